"""Records of a workspace are whole or absent, and belong to whoever holds the workspace."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.workspace import Workspace, has_arrays, load, load_arrays, save, save_arrays
from schemas.errors import WorkspaceError
from schemas.facts import Rejection, ToneMapping

TONE = ToneMapping(low_counts=20.0, high_counts=4000.5)
ARRAYS: dict[str, NDArray[np.generic]] = {
    "frames": np.arange(5),
    "times_s": np.linspace(0, 1, 5),
}
MINE, OTHER = "ab" * 16, "cd" * 16


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def test_a_record_comes_back_as_it_was_saved_and_leaves_nothing_beside(
    workspace: Workspace,
) -> None:
    path = workspace.facts("walk", "ingest")

    save(TONE, path, workspace)

    assert load(path, ToneMapping) == TONE
    assert list(path.parent.iterdir()) == [path]
    assert list(workspace.staging.iterdir()) == []


def test_a_record_saved_without_a_workspace_lies_beside_until_it_is_whole(tmp_path: Path) -> None:
    save(TONE, tmp_path / "new" / "tone.json")

    assert load(tmp_path / "new" / "tone.json", ToneMapping) == TONE
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tone.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"low_counts": 1}', b"[]"])
def test_a_record_that_does_not_fit_is_none(workspace: Workspace, content: bytes) -> None:
    path = workspace.facts("walk", "ingest")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    assert load(path, ToneMapping) is None
    assert load(path.with_name("nothing.json"), ToneMapping) is None


def test_every_flipped_bit_of_a_record_is_noticed(workspace: Workspace) -> None:
    path = workspace.facts("walk", "ingest")
    save(TONE, path, workspace)
    whole = path.read_bytes()

    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)

        assert load(path, ToneMapping) is None, (place, bytes(content))


def test_a_record_of_another_schema_is_none(workspace: Workspace) -> None:
    path = workspace.facts("walk", "ingest")

    save(TONE, path, workspace)

    assert load(path, Rejection) is None


def test_arrays_come_back_and_know_whose_they_are(workspace: Workspace) -> None:
    path = workspace.pairs("walk")
    arrays = dict(ARRAYS)

    save_arrays(arrays, path, workspace, fingerprint=MINE)

    found = load_arrays(path, fingerprint=MINE)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert has_arrays(path, fingerprint=MINE)


def test_arrays_of_other_facts_are_refused(workspace: Workspace) -> None:
    path = workspace.pairs("walk")
    save_arrays({"frames": np.arange(5)}, path, workspace, fingerprint=OTHER)

    with pytest.raises(WorkspaceError, match=rf"pairs.npz: belongs to .* {OTHER}, not {MINE}"):
        load_arrays(path, fingerprint=MINE)

    assert not has_arrays(path, fingerprint=MINE)


def test_plain_numpy_reads_the_arrays_too(workspace: Workspace) -> None:
    path = workspace.pairs("walk")

    save_arrays(dict(ARRAYS), path, workspace, fingerprint=MINE)

    with np.load(path) as found:
        assert set(found.files) == {*ARRAYS, "fingerprint"}
        assert np.array_equal(found["times_s"], ARRAYS["times_s"])


def test_every_flipped_bit_of_arrays_is_noticed(workspace: Workspace) -> None:
    path = workspace.pairs("walk")
    save_arrays(dict(ARRAYS), path, workspace, fingerprint=MINE)
    whole = path.read_bytes()

    for place in range(0, 8 * len(whole), 7):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)

        assert not has_arrays(path, fingerprint=MINE), place


@pytest.mark.parametrize("length", [0, 1, 100])
def test_arrays_that_end_early_are_refused(workspace: Workspace, length: int) -> None:
    path = workspace.pairs("walk")
    save_arrays({"frames": np.arange(5)}, path, workspace, fingerprint=MINE)
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(WorkspaceError, match=r"pairs\.npz: damaged; delete it and build again"):
        load_arrays(path, fingerprint=MINE)


def test_missing_arrays_are_refused(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"pairs\.npz"):
        load_arrays(workspace.pairs("walk"))


def test_a_store_set_aside_is_kept_and_named(workspace: Workspace) -> None:
    for number in range(3):
        store = workspace.clip("walk-000", MINE)
        store.mkdir(parents=True)
        (store / "content").write_text(str(number))

        workspace.set_aside(store)

        assert not store.exists()
    kept = workspace.set_aside_stores()
    assert kept == [
        f"damaged/walk-000/{MINE}.1.zarr",
        f"damaged/walk-000/{MINE}.2.zarr",
        f"damaged/walk-000/{MINE}.zarr",
    ]
    assert (workspace.root / kept[2] / "content").read_text() == "0"


def test_a_holder_writes_from_a_folder_of_its_own_that_goes_with_it(workspace: Workspace) -> None:
    with workspace.owned() as held:
        assert held.root == workspace.root
        assert held.staging.parent == workspace.staging
        save(TONE, held.facts("walk", "ingest"), held)

    assert load(workspace.facts("walk", "ingest"), ToneMapping) == TONE
    assert list(workspace.staging.iterdir()) == []


def test_what_the_dead_left_is_gone_once_somebody_holds_the_workspace(
    workspace: Workspace,
) -> None:
    (workspace.staging / "dead" / "walk-000.zarr").mkdir(parents=True)
    (workspace.staging / "ingest.json.partial").touch()

    with workspace.owned() as held:
        assert list(workspace.staging.iterdir()) == [held.staging]
        assert [path.name for path in held.staging.iterdir()] == ["holder.json"]


def write_without_a_folder(workspace: Workspace, *, how: str) -> None:
    with workspace.owned() as held:
        shutil.rmtree(held.staging)
        if how == "save":
            save(TONE, held.facts("walk", "ingest"), held)
        else:
            (held.staging / "half.zarr").touch()


@pytest.mark.parametrize("how", ["save", "some other way"])
def test_a_holder_whose_folder_was_taken_away_can_write_nothing_more(
    workspace: Workspace, how: str
) -> None:
    with pytest.raises(WorkspaceError, match=r"was taken over by another .* then run this again"):
        write_without_a_folder(workspace, how=how)

    assert not workspace.facts("walk", "ingest").exists()
    assert list(workspace.staging.iterdir()) == []


def test_an_error_of_the_work_passes_through_and_frees_the_workspace(workspace: Workspace) -> None:
    with pytest.raises(FileNotFoundError), workspace.owned() as held:
        (held.root / "nothing").read_bytes()

    with workspace.owned() as held:
        assert held.staging.is_dir()
