"""Bytes that lie, sealed and released as if they were honest, cost no memory and give an error."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.stores import OpenClip, open_clip, read_frames
from pipeline.clip_checksums import shard_checksums
from pipeline.clip_seals import files_of, read_arrays, read_manifest
from schemas.errors import StoreError
from schemas.release import ReleaseClip
from schemas.store import CHECKSUMS_NAME, MANIFEST_NAME, ClipManifest, StoredFile
from schemas.store_arrays import CRC_BYTES, shard_file
from tests.model.clip_fixtures import PlannedClip, Shelf, write_release

MOST_BYTES = 64 * 2**20
"""No more than a few frames: what is forged here claims thousands of times as much."""

PAIRS, HEIGHT, WIDTH = 10, 48, 64
PLACE = (slice(0, PAIRS), slice(0, HEIGHT), slice(0, WIDTH))
SHARD = shard_file("infrared", (0, 0, 0))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return write_release(tmp_path, PlannedClip("dock"))


def resealed(shelf: Shelf) -> ReleaseClip:
    """The clip as a forger would release it: hashes, sizes and root hash fit its files."""
    (listed,) = shelf.clips()
    store = shelf.store("dock")
    names = sorted(
        path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()
    )
    files = tuple(
        StoredFile(
            path=name,
            size_bytes=(store / name).stat().st_size,
            sha256=hashlib.sha256((store / name).read_bytes()).hexdigest(),
        )
        for name in names
        if name != MANIFEST_NAME
    )
    manifest = ClipManifest.seal(listed.clip, listed.fingerprint, files)
    (store / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return listed.model_copy(update={"root_hash": manifest.root_hash})


def reseal_checksums(store: Path) -> None:
    """Write the checksums of the chunks anew, as they are."""
    arrays = read_arrays(store)
    sums = [
        shard_checksums((store / shard_file(name, place)).read_bytes(), array)
        for name, array in sorted(arrays.items())
        for place in array.shard_places()
    ]
    (store / CHECKSUMS_NAME).write_bytes(np.concatenate(sums).astype("<u4").tobytes())


def read_all(shelf: Shelf, clip: ReleaseClip) -> OpenClip:
    opened = open_clip(shelf.workspace.root, clip)
    for name in opened.arrays:
        read_frames(opened, name, PLACE)
    return opened


def assert_refused_cheaply(shelf: Shelf) -> None:
    clip = resealed(shelf)
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match="clip 'dock'"):
            read_all(shelf, clip)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < MOST_BYTES


def test_an_honest_clip_sealed_anew_reads(shelf: Shelf) -> None:
    reseal_checksums(shelf.store("dock"))

    read_all(shelf, resealed(shelf))

    assert {MANIFEST_NAME, SHARD} <= set(files_of(shelf.store("dock")))
    assert read_manifest(shelf.store("dock")).clip == "dock"


Document = dict[str, Any]


def _huge_shape(array: Document) -> None:
    array["shape"][:3] = [10**4, 10**4, 10**4]


def _huge_chunks(array: Document) -> None:
    array["shape"][:3] = [10**4, 10**4, 10**4]
    array["chunk_grid"]["configuration"]["chunk_shape"][:3] = [10**4, 10**4, 10**4]
    array["codecs"][0]["configuration"]["chunk_shape"][:3] = [10**4, 10**4, 10**4]


def _huge_index(array: Document) -> None:
    array["shape"][:3] = [10**4, 10**4, 10**4]
    array["chunk_grid"]["configuration"]["chunk_shape"][:3] = [10**4, 10**4, 10**4]
    array["codecs"][0]["configuration"]["chunk_shape"] = [1] * len(array["shape"])


def _unknown_codec(array: Document) -> None:
    array["codecs"][0]["configuration"]["codecs"][1] = {"name": "numcodecs.bomb"}


def _huge_chunks_in_a_foreign_codec(array: Document) -> None:
    _huge_chunks(array)
    gzip = {"name": "gzip", "configuration": {"level": 1}}
    array["codecs"][0]["configuration"]["codecs"][1:] = [gzip]


def _negative_shape(array: Document) -> None:
    array["shape"][0] = -1


def _no_array(array: Document) -> None:
    array.clear()


@pytest.mark.parametrize(
    "forge",
    [
        _huge_shape,
        _huge_chunks,
        _huge_index,
        _unknown_codec,
        _huge_chunks_in_a_foreign_codec,
        _negative_shape,
        _no_array,
    ],
)
def test_metadata_that_claims_what_cannot_be_is_refused(
    shelf: Shelf, forge: Callable[[Document], None]
) -> None:
    path = shelf.store("dock") / "infrared" / "zarr.json"
    document = json.loads(path.read_bytes())
    forge(document)
    path.write_text(json.dumps(document))

    assert_refused_cheaply(shelf)


@pytest.mark.parametrize(
    "content", ['{"attributes":' + "[" * 10**6, "{}", "[]", "null", '{"attributes": {}}', "", "\0"]
)
def test_metadata_of_a_clip_that_tells_nothing_is_refused(shelf: Shelf, content: str) -> None:
    (shelf.store("dock") / "zarr.json").write_text(content)

    assert_refused_cheaply(shelf)


def with_index(shard: bytes, change: Callable[[Any], None], entries: int) -> bytes:
    """The shard with another index, whose own checksum fits."""
    length = entries * 16 + CRC_BYTES
    index = np.frombuffer(shard[-length:-CRC_BYTES], "<u8").reshape(-1, 2).copy()
    change(index)
    encoded = index.tobytes()
    checksum: int = google_crc32c.value(encoded)
    return shard[:-length] + encoded + checksum.to_bytes(CRC_BYTES, "little")


def _out_of_range(index: Any) -> None:
    index[0, 0] = 10**12


def _beyond_all_numbers(index: Any) -> None:
    index[0] = (2**64 - 2, 2**64 - 2)


def _overlapping(index: Any) -> None:
    index[1] = index[0]


def _absent(index: Any) -> None:
    index[0] = 2**64 - 1


def _without_length(index: Any) -> None:
    index[0, 1] = 0


@pytest.mark.parametrize(
    "change", [_out_of_range, _beyond_all_numbers, _overlapping, _absent, _without_length]
)
def test_an_index_that_lies_is_refused(shelf: Shelf, change: Callable[[Any], None]) -> None:
    store = shelf.store("dock")
    array = read_arrays(store)["infrared"]
    entries = (array.index_bytes - CRC_BYTES) // 16
    shard = (store / SHARD).read_bytes()

    (store / SHARD).write_bytes(with_index(shard, change, entries))

    assert_refused_cheaply(shelf)


def test_a_chunk_that_claims_two_gigabytes_is_refused(shelf: Shelf) -> None:
    """The header of blosc: decoded length at byte 4, length of a block at 8, encoded at 12."""
    store = shelf.store("dock")
    shard = bytearray((store / SHARD).read_bytes())
    array = read_arrays(store)["infrared"]
    index = np.frombuffer(shard[-array.index_bytes : -CRC_BYTES], "<u8").reshape(-1, 2)
    first, length = int(index[0, 0]), int(index[0, 1])
    shard[first + 4 : first + 12] = (2**31 - 16).to_bytes(4, "little") * 2
    body = bytes(shard[first : first + length - CRC_BYTES])
    own = google_crc32c.value(body).to_bytes(4, "little")
    shard[first + length - CRC_BYTES : first + length] = own
    (store / SHARD).write_bytes(shard)
    reseal_checksums(store)

    assert_refused_cheaply(shelf)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2**31), st.binary(min_size=1, max_size=24)), min_size=1, max_size=4
    ),
    seals=st.sampled_from(["honest", "forged"]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_in_a_shard_do_more_than_raise_an_error(
    shelf: Shelf, changes: list[tuple[int, bytes]], seals: str
) -> None:
    """With `forged` seals the checksums of the index and of the chunks fit what was changed."""
    store = shelf.store("dock")
    array = read_arrays(store)["infrared"]
    honest, sums = (store / SHARD).read_bytes(), (store / CHECKSUMS_NAME).read_bytes()
    shard = bytearray(honest)
    for place, noise in changes:
        start = place % len(shard)
        shard[start : start + len(noise)] = noise[: len(shard) - start]
    if seals == "forged":
        index = bytes(shard[-array.index_bytes : -CRC_BYTES])
        shard[-CRC_BYTES:] = google_crc32c.value(index).to_bytes(4, "little")
    (store / SHARD).write_bytes(shard)
    if seals == "forged":
        with suppress(ValueError):  # of an index that nobody can follow
            reseal_checksums(store)

    tracemalloc.start()
    try:
        read_all(shelf, resealed(shelf))
    except StoreError:
        pass
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        (store / SHARD).write_bytes(honest)
        (store / CHECKSUMS_NAME).write_bytes(sums)

    assert peak_bytes < MOST_BYTES
