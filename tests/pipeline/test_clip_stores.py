"""A clip store reads back bit for bit, is whole or absent, and every damage to it is named."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.core.metadata import ArrayV3Metadata

from pipeline.clip_seals import array_hashes, is_sealed, read_manifest, verify_clip
from pipeline.clip_stores import ClipWriter, open_clip
from pipeline.workspace import Workspace
from schemas.errors import StoreError
from schemas.recipe import DegradeRecipe
from schemas.store import (
    CLIP_STORE,
    MANIFEST_NAME,
    PROFILES,
    SHARD_PAIRS,
    ClipAttributes,
    ClipManifest,
    SourceFacts,
)
from schemas.store_arrays import ArrayMetadata, shard_file

FINGERPRINT = "0123456789abcdef" * 2
STREAMS = ("infrared", "visible", "infrared_degraded", "visible_degraded", "infrared_counts")
ROOT = Path(__file__).parents[2]


def attributes(
    pairs: int, height: int, width: int, profile: PROFILES = "default"
) -> ClipAttributes:
    return ClipAttributes(
        clip="dock-000000",
        fingerprint=FINGERPRINT,
        recording="dock",
        session="spring",
        rig="mast",
        site="harbour",
        tags=("night",),
        fps=25.0,
        pairs=pairs,
        width=width,
        height=height,
        first_infrared_frame=0,
        homography=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        crop=(0, 0, width, height),
        offset_s=0.25,
        drift_ppm=12.5,
        sources={
            "infrared": SourceFacts(
                path="dock/ir.mkv", sha256="a" * 64, codec="ffv1", pixel_format="gray16le"
            )
        },
        degraded="materialised",
        degrade=DegradeRecipe(),
        seed=7,
        profile=profile,
    )


def frames(about: ClipAttributes, streams: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Noise with dark stretches: content that a codec, a fill value or a mix-up would change."""
    rng = np.random.default_rng(about.pairs)
    whole: dict[str, NDArray[Any]] = {}
    for name in streams:
        spec = CLIP_STORE[name]
        shape = (about.pairs, about.height, about.width, 3)[: len(spec.axes)]
        limit = np.iinfo(spec.dtype).max
        whole[name] = rng.integers(0, limit, shape, dtype=spec.dtype, endpoint=True)
        whole[name][:, : about.height // 3] = 0
        whole[name][about.pairs // 2] = 0
    return whole


def small_arrays(about: ClipAttributes) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    valid = np.ones((about.height, about.width), np.bool_)
    valid[: about.height // 4] = False
    return np.arange(about.pairs) / about.fps, valid


def write(
    workspace: Workspace, about: ClipAttributes, whole: dict[str, NDArray[Any]]
) -> ClipManifest:
    time_s, valid = small_arrays(about)
    with ClipWriter(workspace, about, list(whole)) as writer:
        for start in range(0, about.pairs, SHARD_PAIRS):
            writer.write({name: a[start : start + SHARD_PAIRS] for name, a in whole.items()})
        return writer.seal(time_s=time_s, valid=valid)


def store_of(workspace: Workspace, about: ClipAttributes) -> Path:
    return workspace.clip(about.clip, about.fingerprint)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def sealed(workspace: Workspace) -> Path:
    about = attributes(9, 40, 56)
    write(workspace, about, frames(about, STREAMS))
    return store_of(workspace, about)


@pytest.mark.parametrize("profile", ["default", "publish", "cache"])
@pytest.mark.parametrize(
    ("pairs", "height", "width"),
    [(SHARD_PAIRS + 6, 120, 160), (9, 251, 317), (SHARD_PAIRS, 16, 17)],
)
def test_plain_zarr_reads_back_what_was_written(
    workspace: Workspace, pairs: int, height: int, width: int, profile: PROFILES
) -> None:
    about = attributes(pairs, height, width, profile)
    whole = frames(about, STREAMS)
    time_s, valid = small_arrays(about)

    write(workspace, about, whole)

    group = zarr.open_group(store_of(workspace, about), mode="r")
    assert set(group.array_keys()) == {*STREAMS, "time_s", "valid"}
    for name, expected in {**whole, "time_s": time_s, "valid": valid}.items():
        found = group[name]
        assert isinstance(found, zarr.Array)
        assert found.dtype == expected.dtype
        assert isinstance(found.metadata, ArrayV3Metadata)
        assert found.metadata.dimension_names == CLIP_STORE[name].axes
        assert np.array_equal(found[...], expected)
    assert ClipAttributes.model_validate(group.attrs.asdict()) == about


def test_one_file_tells_the_metadata_of_every_array(sealed: Path) -> None:
    group = zarr.open_group(sealed, mode="r", zarr_format=3)

    assert group.metadata.consolidated_metadata is not None
    assert group.metadata.consolidated_metadata.metadata == {
        name: zarr.open_array(sealed / name, mode="r").metadata
        for name in (*STREAMS, "time_s", "valid")
    }


def test_black_frames_are_stored_rather_than_left_out(workspace: Workspace) -> None:
    about = attributes(SHARD_PAIRS + 1, 16, 16)
    black = np.zeros((about.pairs, 16, 16), np.uint8)

    write(workspace, about, {"infrared": black})

    shards = [path for path in content(store_of(workspace, about)) if path.startswith("infrared/c")]
    assert shards == ["infrared/c/0/0/0", "infrared/c/1/0/0"]


def test_equal_input_gives_equal_bytes_in_every_file(tmp_path: Path) -> None:
    about = attributes(SHARD_PAIRS + 6, 50, 70)
    whole = frames(about, STREAMS)
    first, second = Workspace(tmp_path / "first"), Workspace(tmp_path / "second")

    manifests = [write(workspace, about, whole) for workspace in (first, second)]

    assert content(store_of(first, about)) == content(store_of(second, about))
    assert manifests[0] == manifests[1]


def test_a_sealed_store_is_complete_and_opens(workspace: Workspace, sealed: Path) -> None:
    group, about = open_clip(sealed)

    assert is_sealed(sealed)
    assert verify_clip(sealed) == []
    assert verify_clip(sealed, expected_root_hash=read_manifest(sealed).root_hash) == []
    assert about.clip == "dock-000000"
    assert group.read_only
    assert list(workspace.staging.iterdir()) == []


def test_array_hashes_tell_which_array_changed(tmp_path: Path) -> None:
    about = attributes(9, 40, 56)
    whole = frames(about, STREAMS)
    before = array_hashes(write(Workspace(tmp_path / "before"), about, whole))
    whole["visible"][3, 5, 5, 1] ^= 1

    after = array_hashes(write(Workspace(tmp_path / "after"), about, whole))

    assert set(before) == {*STREAMS, "time_s", "valid"}
    assert [name for name in before if before[name] != after[name]] == ["visible"]


def test_writing_the_same_clip_again_keeps_the_store_that_stands(
    workspace: Workspace, sealed: Path
) -> None:
    about = attributes(9, 40, 56)
    inode = sealed.stat().st_ino

    manifest = write(workspace, about, frames(about, STREAMS))

    assert manifest == read_manifest(sealed)
    assert sealed.stat().st_ino == inode
    assert list(workspace.staging.iterdir()) == []


def test_other_content_under_the_same_name_is_never_overwritten(
    workspace: Workspace, sealed: Path
) -> None:
    about = attributes(9, 40, 56)
    whole = frames(about, STREAMS)
    whole["infrared"][0, 0, 0] ^= 1
    before = content(sealed)

    with pytest.raises(StoreError, match=r"exists with other content.*root hash.*delete .* and"):
        write(workspace, about, whole)

    assert content(sealed) == before
    assert list(workspace.staging.iterdir()) == []


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    "name", ["zarr.json", "visible/zarr.json", "visible/c/0/0/0/0", "valid/c/0/0"]
)
def test_a_missing_file_is_named(sealed: Path, name: str, *, quick: bool) -> None:
    (sealed / name).unlink()

    (fault,) = verify_clip(sealed, quick=quick)

    assert (fault.clip, fault.file, fault.what) == ("dock-000000", name, "missing")
    assert fault.array == (name.partition("/")[0] if "/" in name else None)
    with pytest.raises(StoreError, match=f"{name}: missing"):
        open_clip(sealed)


def test_an_extra_file_is_named(sealed: Path) -> None:
    (sealed / "infrared" / "c" / "9").write_bytes(b"stray")
    (sealed / "notes.txt").write_bytes(b"stray")

    faults = verify_clip(sealed)

    assert [(f.array, f.file) for f in faults] == [
        ("infrared", "infrared/c/9"),
        (None, "notes.txt"),
    ]
    assert {f.what for f in faults} == {"not listed in the manifest"}
    assert [f.file for f in verify_clip(sealed, quick=True)] == ["notes.txt"]


@pytest.mark.parametrize("quick", [True, False])
def test_a_truncated_file_is_named_with_both_lengths(sealed: Path, *, quick: bool) -> None:
    shard = sealed / "visible_degraded" / "c/0/0/0/0"
    size = shard.stat().st_size
    os.truncate(shard, size - 1)

    (fault,) = verify_clip(sealed, quick=quick)

    assert fault.array == "visible_degraded"
    assert fault.what == f"{size - 1} bytes long instead of {size}"


def test_a_flipped_bit_anywhere_is_named(sealed: Path) -> None:
    rng = np.random.default_rng(5)
    for name, before in content(sealed).items():
        changed = bytearray(before)
        changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        (sealed / name).write_bytes(changed)

        faults = verify_clip(sealed)

        assert [fault.file for fault in faults][:1] == [name], name
        (sealed / name).write_bytes(before)
    assert verify_clip(sealed) == []


@pytest.mark.parametrize(
    ("profile", "stream"),
    [("default", "visible"), ("publish", "infrared"), ("cache", "infrared_counts")],
)
def test_a_damaged_chunk_is_named_by_its_pairs_rows_and_columns(
    workspace: Workspace, profile: PROFILES, stream: str
) -> None:
    about = attributes(70, 120, 160, profile)
    write(workspace, about, frames(about, STREAMS))
    store = store_of(workspace, about)
    array = ArrayMetadata.model_validate_json((store / stream / "zarr.json").read_bytes())
    path = store / shard_file(stream, (1, *[0] * (len(array.shape) - 1)))
    whole = path.read_bytes()
    offset, size = np.frombuffer(whole[-array.index_bytes :], "<u8", 2).tolist()
    path.write_bytes(
        whole[: offset + size - 1] + bytes([whole[offset + size - 1] ^ 4]) + whole[offset + size :]
    )

    [fault] = verify_clip(store)

    assert fault.chunks == ((0,) * len(array.shape),)
    rows, columns = array.chunks[1] - 1, array.chunks[2] - 1
    assert f"pairs 64 to 69, rows 0 to {rows}, columns 0 to {columns}" in fault.what


def test_shards_of_one_size_that_changed_places_are_named_by_all_their_chunks(
    workspace: Workspace,
) -> None:
    about = attributes(64, 40, 56, "cache")
    write(workspace, about, frames(about, STREAMS))
    store = store_of(workspace, about)
    here, there = (store / shard_file(n, (0, 0, 0)) for n in ("infrared", "infrared_degraded"))
    here_bytes, there_bytes = here.read_bytes(), there.read_bytes()
    here.write_bytes(there_bytes)
    there.write_bytes(here_bytes)

    faults = verify_clip(store)

    assert [fault.array for fault in faults] == ["infrared", "infrared_degraded"]
    assert {len(fault.chunks) for fault in faults} == {8}


def test_a_link_in_place_of_a_file_is_named(sealed: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (sealed / "valid" / "zarr.json").rename(moved)
    (sealed / "valid" / "zarr.json").symlink_to(moved)

    (fault,) = verify_clip(sealed)

    assert (fault.file, fault.what) == ("valid/zarr.json", "not a plain file")


def test_a_store_without_manifest_is_not_sealed(sealed: Path) -> None:
    (sealed / MANIFEST_NAME).unlink()

    (fault,) = verify_clip(sealed)

    assert not is_sealed(sealed)
    assert "not sealed: it has no manifest.json" in fault.what
    with pytest.raises(StoreError, match=r"not sealed.*delete .* and build again"):
        open_clip(sealed)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"clip": "dock-000000"}', "\x00" * 100])
def test_a_damaged_manifest_is_refused(sealed: Path, text: str) -> None:
    (sealed / MANIFEST_NAME).write_text(text)

    assert not is_sealed(sealed)
    with pytest.raises(StoreError, match=r"manifest.json is damaged"):
        read_manifest(sealed)
    assert [fault.file for fault in verify_clip(sealed)] == [MANIFEST_NAME]


def test_a_manifest_that_hides_a_file_is_inconsistent(sealed: Path) -> None:
    manifest = read_manifest(sealed)
    forged = manifest.model_copy(update={"files": manifest.files[1:]})
    (sealed / MANIFEST_NAME).write_text(forged.model_dump_json())

    faults = verify_clip(sealed, quick=True)

    assert "is not that of the files it lists" in faults[0].what
    assert not is_sealed(sealed)
    with pytest.raises(StoreError, match="root hash"):
        read_manifest(sealed)


def test_another_root_hash_than_the_release_names_is_a_fault(sealed: Path) -> None:
    (fault,) = verify_clip(sealed, quick=True, expected_root_hash="0" * 64)

    assert fault.file == MANIFEST_NAME
    assert fault.what.endswith(f"should be {'0' * 64}")


def test_a_store_under_the_name_of_another_clip_is_found_out(sealed: Path) -> None:
    elsewhere = sealed.parent.with_name("quay-000000") / sealed.name
    elsewhere.parent.mkdir()
    sealed.rename(elsewhere)

    (fault,) = verify_clip(elsewhere)

    assert not is_sealed(elsewhere)
    assert "manifest of clips/dock-000000/" in fault.what


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"infrared": np.zeros((8, 16, 16), np.uint8)},
        {"infrared": np.zeros((9, 16, 17), np.uint8)},
        {"infrared": np.zeros((9, 16, 16), np.uint16)},
        {
            "infrared": np.zeros((9, 16, 16), np.uint8),
            "visible": np.zeros((9, 16, 16, 3), np.uint8),
        },
    ],
)
def test_a_block_that_was_not_announced_is_refused_and_leaves_nothing(
    workspace: Workspace, block: dict[str, NDArray[Any]]
) -> None:
    about = attributes(9, 16, 16)

    with (
        pytest.raises(ValueError, match=r"announced|must be"),
        ClipWriter(workspace, about, ["infrared"]) as writer,
    ):
        writer.write(block)

    assert list(workspace.staging.iterdir()) == []
    assert not store_of(workspace, about).exists()


def test_a_clip_with_pairs_missing_cannot_be_sealed(workspace: Workspace) -> None:
    about = attributes(SHARD_PAIRS + 1, 16, 16)
    time_s, valid = small_arrays(about)

    with ClipWriter(workspace, about, ["infrared"]) as writer:
        writer.write({"infrared": np.zeros((SHARD_PAIRS, 16, 16), np.uint8)})
        with pytest.raises(ValueError, match="64 of 65 pairs"):
            writer.seal(time_s=time_s, valid=valid)

    assert list(workspace.staging.iterdir()) == []


KILLED_WRITERS = """
import json, os, signal, sys
from pathlib import Path
from pipeline.workspace import Workspace
from tests.pipeline.test_clip_stores import STREAMS, attributes, frames, write

folder = Path(sys.argv[1])
about = attributes(70, 32, 48)
whole = frames(about, STREAMS)

def write_and_die(root, last):
    "In a fork; kills itself where it touches the workspace for the nth time (0: never)."
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    seen = 0

    def die(event, arguments):
        nonlocal seen
        if event not in ("open", "os.mkdir", "os.rename"):
            return
        seen += str(arguments[0]).startswith(str(root))
        if last and seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    write(Workspace(root), about, whole)
    (folder / "moments").write_text(str(seen))
    os._exit(0)

assert write_and_die(folder / "undisturbed", 0) == 0
count = int((folder / "moments").read_text())
chosen = [1, 3, count // 4, count // 2, 3 * count // 4, *range(count - 5, count + 1)]
for last in chosen:
    assert write_and_die(folder / f"killed-{last}", last) == signal.SIGKILL
print(json.dumps(chosen))
"""
"""Writes a clip over and over, each time killed at another moment; prints which they were."""


def test_a_writer_killed_at_any_moment_leaves_all_or_nothing(tmp_path: Path) -> None:
    about = attributes(70, 32, 48)
    whole = frames(about, STREAMS)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITERS, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = content(store_of(Workspace(tmp_path / "undisturbed"), about))

    for last in json.loads(done.stdout):
        workspace = Workspace(tmp_path / f"killed-{last}")
        store = store_of(workspace, about)
        assert not store.exists() or content(store) == expected

        with workspace.owned() as held:
            write(held, about, whole)

        assert content(store) == expected
        assert list(workspace.staging.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    mount = shutil.which("mount")
    folder = tmp_path / "small"
    folder.mkdir()
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here; the file size limit stands in for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_system_error_and_leaves_nothing(small_disk: Path) -> None:
    workspace = Workspace(small_disk / "work")
    about = attributes(SHARD_PAIRS + 6, 64, 64, "cache")

    with pytest.raises(OSError, match="No space left") as caught:
        write(workspace, about, frames(about, STREAMS))

    assert caught.value.errno == errno.ENOSPC
    assert list(workspace.staging.iterdir()) == []
    assert not store_of(workspace, about).exists()


@pytest.mark.parametrize("limit_bytes", [0, 100, 1500, 60_000])
def test_a_file_size_limit_is_a_system_error_and_leaves_nothing(
    workspace: Workspace, limit_bytes: int
) -> None:
    about = attributes(SHARD_PAIRS + 6, 32, 32, "cache")
    whole = frames(about, STREAMS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(workspace, about, whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert caught.value.errno == errno.EFBIG
    assert list(workspace.staging.iterdir()) == []
    assert not store_of(workspace, about).exists()
