"""Nothing in a release can change, vanish or appear without verify and training noticing it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.stores import open_clip, read_frames
from pipeline.clip_seals import verify_clip
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace
from schemas.errors import StoreError
from tests.model.clip_fixtures import PlannedClip, write_release
from tests.torture.damage import (
    CLASSES,
    changed,
    counts,
    flips,
    is_read_refused,
    read_everything,
)
from tests.torture.rig import VERSION

FLIPS = 200
"""What every change is tested with; `make torture` makes more than a thousand."""

PAGE_BYTES = 4096


def shards(work: Path, array: str = "*") -> list[Path]:
    return sorted(path for path in work.glob(f"clips/*/*/{array}/c/**/*") if path.is_file())


def files_at_fault(work: Path) -> set[str]:
    return {fault.file for fault in verify_release(VERSION, Workspace(work))}


def test_an_untouched_release_is_whole_and_reads(released: Path) -> None:
    assert verify_release(VERSION, Workspace(released)) == []
    read_everything(released)


@pytest.mark.slow
def test_every_flipped_bit_is_noticed_by_verify_and_by_training(released: Path) -> None:
    made = list(flips(released, FLIPS))

    assert [flip for flip in made if not flip.is_noticed] == []
    assert set(counts(made)) == set(CLASSES)
    assert verify_release(VERSION, Workspace(released)) == []


def test_a_shard_cut_anywhere_is_noticed(released: Path) -> None:
    shard = max(shards(released, "visible"), key=lambda path: path.stat().st_size)
    whole = shard.read_bytes()
    lengths = [*range(0, len(whole), PAGE_BYTES), len(whole) - 1]
    assert len(lengths) > 2

    for length in lengths:
        with changed(shard, whole[:length]):
            assert "visible/c/0/0/0/0" in files_at_fault(released), length
            assert is_read_refused(released), length


@pytest.mark.parametrize("array", ["infrared", "visible_degraded", "time_s", "valid"])
def test_a_missing_shard_is_noticed_and_never_black(released: Path, array: str) -> None:
    shard = shards(released, array)[0]
    aside = shard.rename(released / "aside")

    at_fault, is_refused = files_at_fault(released), is_read_refused(released)

    aside.rename(shard)
    assert len(at_fault) == 1
    assert at_fault.pop().startswith(f"{array}/c/")
    assert is_refused


def test_a_missing_clip_is_noticed(released: Path) -> None:
    store = next(released.glob("clips/*/*"))
    aside = store.rename(released / "aside")

    at_fault, is_refused = files_at_fault(released), is_read_refused(released)

    aside.rename(store)
    assert at_fault == {"manifest.json"}
    assert is_refused


@pytest.mark.parametrize("place", ["stray", "infrared/c/0/0/1", "infrared/stray", "link"])
def test_a_stray_file_in_a_store_is_noticed(released: Path, place: str) -> None:
    stray = next(released.glob("clips/*/*")) / place
    if place == "link":
        stray.symlink_to("zarr.json")
    else:
        stray.write_bytes(b"stray")

    at_fault = files_at_fault(released)

    stray.unlink()
    assert at_fault == {place}


def swapped(first: Path, second: Path, check: Callable[[], None]) -> None:
    """Exchange two files while `check` runs."""
    aside = first.with_name("aside")
    for source, target in ((first, aside), (second, first), (aside, second)):
        source.rename(target)
    try:
        check()
    finally:
        for source, target in ((first, aside), (second, first), (aside, second)):
            source.rename(target)


@pytest.mark.parametrize("array", ["infrared", "visible", "time_s", "valid"])
def test_shards_exchanged_between_clips_are_noticed(released: Path, array: str) -> None:
    first, second = (
        path
        for store in sorted(released.glob("clips/*/*"))[::2]
        for path in shards(released, array)
        if path.is_relative_to(store)
    )
    if first.read_bytes() == second.read_bytes():
        pytest.skip("both clips have the same content there")

    def check() -> None:
        assert files_at_fault(released)
        assert is_read_refused(released)

    swapped(first, second, check)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dock infrared", "dock infrared_degraded"),
        ("dock visible", "quay visible"),
        ("dock infrared_degraded", "quay infrared"),
    ],
)
def test_shards_of_one_size_exchanged_between_arrays_or_clips_are_noticed(
    tmp_path: Path, first: str, second: str
) -> None:
    """Stored as they are, all shards of a shape have one size and only their bytes tell."""
    shelf = write_release(
        tmp_path, *(PlannedClip(name, profile="cache", pairs=8) for name in ("dock", "quay"))
    )
    paths = [
        min(path for path in (shelf.store(clip) / array / "c").rglob("*") if path.is_file())
        for clip, array in (first.split(), second.split())
    ]
    assert paths[0].stat().st_size == paths[1].stat().st_size

    def check() -> None:
        faults = verify_clip(shelf.store("dock")) + verify_clip(shelf.store("quay"))
        assert {fault.file.split("/")[0] for fault in faults} == {
            first.split()[1],
            second.split()[1],
        }
        for clip in shelf.clips():
            opened = open_clip(tmp_path, clip)
            place = (slice(0, clip.pairs), slice(0, clip.height), slice(0, clip.width))
            array = dict(pair.split() for pair in (first, second)).get(clip.clip)
            if array is not None:
                with pytest.raises(StoreError, match="is not the one that was sealed"):
                    read_frames(opened, array, place)

    swapped(paths[0], paths[1], check)


def test_whole_stores_exchanged_between_clips_are_noticed(released: Path) -> None:
    first, second, *_ = sorted(released.glob("clips/*/*"))

    def check() -> None:
        assert files_at_fault(released) == {"manifest.json"}
        assert is_read_refused(released)

    swapped(first, second, check)


def test_a_release_whose_folder_was_exchanged_is_noticed(released: Path, tmp_path: Path) -> None:
    work = Path(shutil.copytree(released, tmp_path / "work"))
    (work / "releases" / VERSION).rename(work / "releases" / "v2.0.0")

    assert verify_release("v2.0.0", Workspace(work)) != []
