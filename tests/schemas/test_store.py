"""The clip store's layout is pinned; its manifest stands for every file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.store import (
    CHUNK_PAIRS,
    PROFILES,
    SHARD_PAIRS,
    ClipManifest,
    StoredFile,
    array_layout,
)
from tests.schemas.make_golden import GOLDEN, layout

FINGERPRINT = "0123456789abcdef" * 2


def stored(path: str, digit: str = "a") -> StoredFile:
    return StoredFile(path=path, size_bytes=3, sha256=digit * 64)


def test_the_published_layout_has_not_moved() -> None:
    """Readers we do not control rely on this. To change it: `make golden`, bump STORE_VERSION."""
    assert layout() == json.loads(GOLDEN.read_text(encoding="utf-8"))


@given(
    height=st.integers(16, 2160),
    width=st.integers(16, 3840),
    pairs=st.integers(2, 1000),
    name=st.sampled_from(["infrared", "visible", "infrared_counts"]),
    profile=st.sampled_from(["default", "publish", "cache"]),
)
def test_a_shard_holds_whole_frames_in_whole_chunks(
    height: int, width: int, pairs: int, name: str, profile: PROFILES
) -> None:
    channels = (3,) if name == "visible" else ()

    found = array_layout(name, (pairs, height, width, *channels), profile)

    assert found.shards[0] == SHARD_PAIRS
    assert found.chunks[0] == CHUNK_PAIRS
    assert found.shards[1] >= height
    assert found.shards[2] >= width
    assert found.shards[3:] == found.chunks[3:] == channels
    assert all(s % c == 0 for s, c in zip(found.shards, found.chunks, strict=True))
    rows, columns = found.shards[1] // found.chunks[1], found.shards[2] // found.chunks[2]
    assert found.shards[1] - height < rows
    assert found.shards[2] - width < columns


@pytest.mark.parametrize("profile", ["default", "publish", "cache"])
@pytest.mark.parametrize("name", ["infrared", "time_s", "valid", "infrared_counts"])
def test_every_chunk_carries_a_checksum(name: str, profile: PROFILES) -> None:
    shape = {"time_s": (9,), "valid": (32, 48)}.get(name, (9, 32, 48))

    *_, last = array_layout(name, shape, profile).codecs

    assert last["name"] == "crc32c" or last["configuration"]["checksum"] is True


def test_a_manifest_does_not_depend_on_the_order_of_its_files() -> None:
    files = (stored("infrared/c/0/0/0"), stored("zarr.json", "b"))

    there = ClipManifest.seal("dock-000000", FINGERPRINT, files)
    back = ClipManifest.seal("dock-000000", FINGERPRINT, files[::-1])

    assert there == back
    assert there.is_consistent()


@pytest.mark.parametrize(
    "change",
    [
        {"clip": "dock-000001"},
        {"fingerprint": "f" * 32},
        {"files": (stored("zarr.json", "b"),)},
        {"files": (stored("zarr.json"), stored("visible/zarr.json"))},
        {"files": ()},
    ],
)
def test_a_changed_manifest_is_no_longer_consistent(change: dict[str, object]) -> None:
    manifest = ClipManifest.seal("dock-000000", FINGERPRINT, (stored("zarr.json"),))

    assert not manifest.model_copy(update=change).is_consistent()


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../zarr.json", "visible/../../x", "a//b", "", "a/", "a\\b", ".", "a/.."],
)
def test_a_listed_file_lies_inside_the_store(path: str) -> None:
    with pytest.raises(ValidationError, match="path"):
        stored(path)
