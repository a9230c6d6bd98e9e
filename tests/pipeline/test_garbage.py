"""Garbage is what nothing names; deleting it takes nothing else, wherever it is interrupted."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.clip_seals import is_sealed
from pipeline.garbage import find_debris, needed_stores, run_delete, run_find_garbage
from pipeline.looks import run_look
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace, save
from schemas.errors import ReleaseError, WorkspaceError
from schemas.facts import ShardFacts
from schemas.release import MANIFEST_NAME, Garbage
from tests.pipeline.studio import Studio, build, tree


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Three built recordings, of which the catalog still names the first two."""
    made = Studio(tmp_path, ["quay", "roof", "pier"])
    for outcome in made.outcomes:
        save(outcome, made.workspace.facts(outcome.recording, "shard"))
    return made


NAMED = ("quay-walk", "roof-walk")


def collect(studio: Studio, recordings: Sequence[str] = NAMED, *, delete: bool) -> list[Garbage]:
    if not delete:
        return run_find_garbage(recordings, studio.workspace)
    with studio.workspace.owned() as held:
        found = run_find_garbage(recordings, held)
        run_delete(found, held)
    return found


def paths(found: Sequence[Garbage]) -> list[str]:
    return [garbage.path for garbage in found]


def below(studio: Studio, path: Path) -> str:
    return path.relative_to(studio.workspace.root).as_posix()


def content(studio: Studio) -> dict[str, bytes]:
    return tree(studio.workspace.root)


def test_clips_and_facts_of_a_recording_that_is_gone_are_garbage(studio: Studio) -> None:
    found = collect(studio, delete=False)

    store = studio.store(2)
    assert paths(found) == [below(studio, store), "facts/pier-walk"]
    assert found[0].size_bytes == sum(len(data) for data in tree(store).values())
    assert [garbage.kind for garbage in found] == ["clip", "facts"]


def test_looks_go_with_their_clips(studio: Studio) -> None:
    folders = [run_look(below(studio, studio.store(n)), studio.workspace)[1] for n in (0, 2)]

    found = collect(studio, delete=True)

    assert [garbage.kind for garbage in found] == ["clip", "look", "facts"]
    assert folders[0].is_dir()
    assert not folders[1].parent.exists()


def test_a_dry_run_changes_nothing(studio: Studio) -> None:
    before = content(studio)

    collect(studio, delete=False)

    assert content(studio) == before


def test_deleting_takes_the_garbage_and_nothing_else(studio: Studio) -> None:
    kept = {name: data for name, data in content(studio).items() if "pier-walk" not in name}

    collect(studio, delete=True)

    assert content(studio) == kept
    assert not studio.store(2).parent.exists()
    assert collect(studio, delete=True) == []


def test_what_a_release_lists_stays_whatever_the_catalog_names(studio: Studio) -> None:
    studio.release()

    found = collect(studio, [], delete=True)

    assert paths(found) == ["facts/pier-walk", "facts/quay-walk", "facts/roof-walk"]
    assert verify_release(None, studio.workspace) == []


def test_an_earlier_build_of_a_recording_is_garbage_once_no_release_needs_it(
    studio: Studio,
) -> None:
    old = studio.store(0)
    studio.release()
    studio.outcomes[0] = build(studio.workspace, studio.recordings[0], seed=50)
    save(studio.outcomes[0], studio.workspace.facts("quay-walk", "shard"))
    everything = [recording.id for recording in studio.recordings]

    before = collect(studio, everything, delete=True)
    shutil.rmtree(studio.workspace.release("v1.0.0"))
    after = collect(studio, everything, delete=True)

    assert before == []
    assert paths(after) == [below(studio, old)]
    assert is_sealed(studio.store(0))


def test_debris_of_dead_processes_is_garbage(studio: Studio) -> None:
    half = studio.workspace.staging / "quay-walk-000.abc"
    half.mkdir(parents=True)
    (half / "zarr.json").write_text("{}")
    partial = studio.workspace.root / "facts" / "quay-walk" / ".sync.json.123.partial"
    partial.write_text("{")

    debris = find_debris(studio.workspace)
    found = collect(studio, delete=True)

    assert paths(debris) == [below(studio, half)]
    assert below(studio, partial) in paths(found)
    assert list(studio.workspace.staging.iterdir()) == []
    assert not partial.exists()


def test_what_somebody_else_put_among_the_clips_stays(studio: Studio) -> None:
    note = studio.workspace.root / "clips" / "notes" / "mine.zarr" / "zarr.json"
    note.parent.mkdir(parents=True)
    note.write_text("{}")

    collect(studio, delete=True)

    assert note.exists()


@pytest.mark.parametrize("damage", ["flip", "remove", "empty"])
def test_nothing_is_deleted_while_a_release_cannot_be_read(studio: Studio, damage: str) -> None:
    studio.release()
    manifest = studio.workspace.release("v1.0.0") / MANIFEST_NAME
    if damage == "flip":
        manifest.write_text(manifest.read_text().replace('"pairs": 9', '"pairs": 8'))
    elif damage == "remove":
        manifest.unlink()
    else:
        manifest.write_text("")
    before = content(studio)

    with pytest.raises(ReleaseError, match=r"release\.json"):
        collect(studio, delete=True)

    assert content(studio) == before


def test_nothing_is_deleted_while_the_outcome_of_a_recording_cannot_be_read(
    studio: Studio,
) -> None:
    studio.workspace.facts("quay-walk", "shard").write_text("{}")
    before = content(studio)

    with pytest.raises(WorkspaceError, match=r"quay-walk.shard\.json cannot be read.*build first"):
        collect(studio, delete=True)

    assert content(studio) == before


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 8, 20, 60, 100])
def test_an_interrupted_deletion_leaves_no_half_store(studio: Studio, step: int) -> None:
    """Whichever of its renames and removals is the first that does not happen."""
    with interrupted_at(step):
        collect(studio, [], delete=True)

    left = list(studio.workspace.root.glob("clips/*/*"))
    assert all(is_sealed(store) for store in left)
    assert not left or verify_release(None, studio.workspace) == []
    collect(studio, [], delete=True)
    assert content(studio) == {}


INTERRUPTIONS: list[Callable[[str], None]] = []


def _audit(event: str, _arguments: tuple[object, ...]) -> None:
    for interruption in INTERRUPTIONS:
        interruption(event)


sys.addaudithook(_audit)  # told of every call of the system, and able to stop it


@contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """The rename or removal of that number raises KeyboardInterrupt instead of happening."""
    seen = 0

    def count(event: str) -> None:
        nonlocal seen
        seen += event in ("os.rename", "os.remove", "os.rmdir")
        if seen == step:
            INTERRUPTIONS.clear()
            raise KeyboardInterrupt

    INTERRUPTIONS.append(count)
    with pytest.raises(KeyboardInterrupt):
        yield


def test_a_store_is_needed_by_releases_and_by_outcomes(studio: Studio) -> None:
    release = studio.release()
    again = build(studio.workspace, studio.recordings[0], seed=60)

    needed = needed_stores([release], [again])

    assert needed == {clip.store for clip in release.clips} | {
        Workspace.clip_path("quay-walk-000", f"{60:032x}")
    }
    assert needed_stores([], [ShardFacts(recording="dock", fingerprint="0" * 32)]) == set()
