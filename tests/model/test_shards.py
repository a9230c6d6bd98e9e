"""The direct reader gives what other zarr readers give, and believes only what was sealed."""

import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import google_crc32c
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.storage import LocalStore
from zstandard import ZstdCompressor, ZstdError

from model.shards import (
    BLOSC_ONE_ZSTD,
    SealedArray,
    checked_extents,
    decode_chunk,
    readable_chain,
)
from model.stores import OpenClip, open_clip, read_frames
from schemas.errors import StoreError
from schemas.store import PROFILES
from schemas.store_arrays import ArrayMetadata, shard_file
from tests.model.clip_fixtures import PlannedClip, Shelf, write_release

FRAMES = ("infrared", "visible", "infrared_degraded", "visible_degraded")

PAIRS, HEIGHT, WIDTH = 70, 131, 170
"""Two shards, and tiles that the frame does not fill."""

BYTE = np.dtype(np.uint8)

ZSTD_OF_A_TRILLION = bytes.fromhex("28b52ffd e0 0000000000010000 010000")
"""A frame whose header announces 2**40 bytes in 8, and an empty last block (RFC 8878)."""

READ_BY_ZARRS = """
import sys, numpy as np, zarr, zarrs
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
store, name, out = sys.argv[1:]
np.save(out, zarr.open_array(f"{store}/{name}", mode="r")[...])
"""


READ_WITH_FEW_FILES = """
import resource, sys
from model.clips import ClipWindows
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
windows = ClipWindows(sys.argv[1], crop=16)
samples = [windows[index] for index in range(len(windows))]
print(len(samples), "samples of", 4 * len(windows.clips), "shards")
"""


SUMMED_IN_A_FORK = """
import os, signal, sys
from model.clips import ClipWindows
from model.stores import open_clip, read_frames
windows = ClipWindows(sys.argv[1], crop=16)
clip = open_clip(windows.place, windows.clips[0])
whole = tuple(slice(0, length) for length in clip.arrays["visible"].metadata.shape[:3])
read_frames(clip, "visible", whole).sum()  # by as many threads as torch may use
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
signal.alarm(20)  # ends a child that hangs
print(int(read_frames(clip, "visible", whole).sum()))
"""


@pytest.fixture(scope="module", params=get_args(PROFILES))
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    plan = PlannedClip("dock", pairs=PAIRS, height=HEIGHT, width=WIDTH, profile=request.param)
    return write_release(tmp_path_factory.mktemp("shelf"), plan)


def opened(shelf: Shelf) -> OpenClip:
    return open_clip(shelf.workspace.root, shelf.clips()[0])


def sealed_arrays(clip: OpenClip) -> dict[str, SealedArray]:
    return {name: a for name, a in clip.arrays.items() if isinstance(a, SealedArray)}


@st.composite
def places(draw: st.DrawFn) -> tuple[slice, slice, slice]:
    parts = []
    for length in (PAIRS, HEIGHT, WIDTH):
        start = draw(st.integers(0, length - 1))
        parts.append(slice(start, draw(st.integers(start + 1, length))))
    return parts[0], parts[1], parts[2]


def test_every_frame_array_is_read_directly(shelf: Shelf) -> None:
    assert sealed_arrays(opened(shelf)).keys() == set(FRAMES)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=places(), name=st.sampled_from(FRAMES))
def test_any_window_equals_the_frames_that_were_written(
    shelf: Shelf, place: tuple[slice, slice, slice], name: str
) -> None:
    expected = shelf.frames["dock"][name][place]

    read = sealed_arrays(opened(shelf))[name].read(place)

    assert np.array_equal(read, expected)


@pytest.mark.parametrize("name", FRAMES)
def test_zarr_python_zarrs_and_tensorstore_read_the_same(
    shelf: Shelf, name: str, tmp_path: Path
) -> None:
    store = shelf.store("dock")
    whole = (slice(0, PAIRS), slice(0, HEIGHT), slice(0, WIDTH))
    read = sealed_arrays(opened(shelf))[name].read(whole)

    by_zarr = np.asarray(zarr.open_array(LocalStore(store / name, read_only=True), mode="r")[...])
    # zarrs replaces zarr's codecs for the whole process, so it has one of its own.
    command = [sys.executable, "-c", READ_BY_ZARRS, str(store), name, str(tmp_path / "read.npy")]
    subprocess.run(command, check=True)
    driver = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / name)}}
    by_tensorstore = tensorstore.open(driver, read=True).result().read().result()

    assert np.array_equal(by_zarr, read)
    assert np.array_equal(np.load(tmp_path / "read.npy"), read)
    assert np.array_equal(by_tensorstore, read)


def test_counts_of_two_bytes_are_read_like_any_frame(shelf: Shelf, tmp_path: Path) -> None:
    profile = opened(shelf).attributes.profile
    plan = PlannedClip(
        "counts", pairs=9, height=HEIGHT, width=WIDTH, profile=profile, with_counts=True
    )
    counted = write_release(tmp_path, plan)
    array = sealed_arrays(opened(counted))["infrared_counts"]

    read = array.read((slice(3, 9), slice(50, 131), slice(1, 100)))

    assert read.dtype == np.uint16
    assert np.array_equal(read, counted.frames["counts"]["infrared_counts"][3:9, 50:, 1:100])


def test_an_array_in_an_unknown_layout_is_left_to_zarr(shelf: Shelf) -> None:
    array = sealed_arrays(opened(shelf))["infrared"].metadata
    gzip = array.model_dump(mode="json")
    gzip["codecs"][0]["configuration"]["codecs"][1:] = [{"name": "gzip", "configuration": {}}]
    big = array.model_dump(mode="json")
    codec = big["codecs"][0]["configuration"]["codecs"][0]
    codec["configuration"] = {"endian": "big"}

    assert readable_chain(array) is not None
    assert readable_chain(ArrayMetadata.model_validate_json(_json(gzip))) is None
    assert readable_chain(ArrayMetadata.model_validate_json(_json(big))) is None


def test_few_open_files_are_enough_for_many_shards(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, *(PlannedClip(f"dock-{n:03}") for n in range(30)))

    read = subprocess.run(
        [sys.executable, "-c", READ_WITH_FEW_FILES, str(shelf.release)],
        check=True,
        capture_output=True,
        text=True,
    )

    assert read.stdout.strip() == "300 samples of 120 shards"


@pytest.mark.parametrize("threads", [None, "1", "4"], ids="{} OpenMP threads".format)
def test_a_forked_process_reads_on_with_what_its_parent_mapped(
    shelf: Shelf, threads: str | None
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = threads

    summed = subprocess.run(
        [sys.executable, "-c", SUMMED_IN_A_FORK, str(shelf.release)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert int(summed.stdout) == shelf.frames["dock"]["visible"].sum(dtype=np.int64)


def test_shards_that_changed_places_are_found_out(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock", pairs=8, profile="cache"))
    here, there = (
        shelf.store("dock") / shard_file(name, (0, 0, 0))
        for name in ("infrared", "infrared_degraded")
    )
    here.write_bytes(there.read_bytes())

    with pytest.raises(StoreError, match=r"infrared/c/0/0/0: chunk 0 is not the one that was sea"):
        read_frames(opened(shelf), "infrared", (slice(0, 1), slice(0, 9), slice(0, 9)))


@pytest.fixture(scope="module")
def shard() -> tuple[bytes, ArrayMetadata]:
    """An honest shard of two chunks along time, of which the array needs one, in 2 x 2 tiles."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [3, 4, 4],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 4, 4]}},
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [4, 2, 2],
                    "codecs": [{"name": "bytes"}, {"name": "blosc"}, {"name": "crc32c"}],
                    "index_codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "crc32c"},
                    ],
                },
            }
        ],
    }
    entries = [(i * 20, 20) for i in range(4)] + [(2**64 - 1, 2**64 - 1)] * 4
    return _with_index(bytes(80), entries), ArrayMetadata.model_validate_json(_json(metadata))


def test_an_honest_index_is_believed(shard: tuple[bytes, ArrayMetadata]) -> None:
    data, array = shard

    assert checked_extents(data, array, 0)[:4] == [(0, 20), (20, 20), (40, 20), (60, 20)]


@pytest.mark.parametrize(
    ("chunk", "entry", "what"),
    [
        (0, (2**64 - 1, 2**64 - 1), "other chunks than the array"),
        (5, (0, 20), "other chunks than the array"),
        (0, (2**64 - 2, 20), "fill the file exactly once"),
        (0, (0, 2**64 - 2), "fill the file exactly once"),
        (1, (0, 20), "fill the file exactly once"),
        (3, (60, 19), "fill the file exactly once"),
        (3, (60, 2**63), "fill the file exactly once"),
        (2, (39, 21), "fill the file exactly once"),
    ],
)
def test_a_forged_index_is_refused(
    shard: tuple[bytes, ArrayMetadata], chunk: int, entry: tuple[int, int], what: str
) -> None:
    data, array = shard
    entries = [tuple(e) for e in np.frombuffer(data[80:-4], "<u8").reshape(-1, 2).tolist()]
    entries[chunk] = entry

    with pytest.raises(ValueError, match=what):
        checked_extents(_with_index(data[:80], entries), array, 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), min_size=8, max_size=8
    )
)
def test_no_index_leads_outside_of_its_file(
    shard: tuple[bytes, ArrayMetadata], entries: list[tuple[int, int]]
) -> None:
    data, array = shard

    with pytest.raises(ValueError, match=r"index|chunks"):
        checked_extents(_with_index(data[:80], entries), array, 0)


def test_a_chunk_whose_header_lies_is_refused_before_memory_is_taken() -> None:
    by_blosc = bytearray(blosc.compress(bytes(4096), b"lz4hc", 9, 0))
    by_blosc[4:8] = (2**31 - 1).to_bytes(4, "little")

    with pytest.raises(ValueError, match="speaks of 2147483647 bytes, a chunk has 4096"):
        decode_chunk(as_array(by_blosc), (4096,), BYTE)
    with pytest.raises(ValueError, match="encoded bytes, there are 20"):
        decode_chunk(as_array(by_blosc[:20]), (4096,), BYTE)


@pytest.mark.parametrize("codec", [b"lz4hc", b"zstd"])
@pytest.mark.parametrize("length", [1, 255, 256, 257, 70000, 300000])
@pytest.mark.parametrize("kind", ["steady", "noise"])
def test_chunks_of_any_length_are_read_where_that_length_is_due(
    codec: bytes, length: int, kind: str
) -> None:
    rng = np.random.default_rng(length)
    content = rng.integers(0, 256 if kind == "noise" else 2, length, np.uint8)

    encoded = as_array(blosc.compress(content.tobytes(), codec, 5, 0))
    decoded = decode_chunk(encoded, (length,), BYTE)

    assert np.array_equal(decoded, content)


@given(noise=st.binary(max_size=200))
def test_noise_never_decodes(noise: bytes) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        decode_chunk(as_array(noise), (4096,), BYTE)


@pytest.fixture(scope="module")
def by_zstd() -> bytes:
    """A chunk that is one frame of zstd."""
    content = np.random.default_rng(0).integers(0, 8, 4096, np.uint8)
    encoded: bytes = blosc.compress(content.tobytes(), b"zstd", 5, 0)
    assert encoded[2] == BLOSC_ONE_ZSTD
    return encoded


@given(place=st.integers(0, 2**16), value=st.integers(0, 255))
def test_a_frame_that_was_changed_decodes_to_a_chunk_or_is_refused(
    by_zstd: bytes, place: int, value: int
) -> None:
    changed = bytearray(by_zstd)
    changed[place % len(changed)] = value
    with suppress(ValueError, RuntimeError, ZstdError):
        assert decode_chunk(as_array(changed), (4096,), BYTE).nbytes == 4096


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (ZSTD_OF_A_TRILLION, "its frame speaks of 1099511627776 bytes, a chunk has 4096"),
        (ZstdCompressor().compress(bytes(4096)) + bytes(5), "unused data"),
        (ZstdCompressor().compress(bytes(4096))[:-2], "did not decompress full frame"),
    ],
    ids=["a trillion", "more behind it", "cut short"],
)
def test_a_frame_that_does_not_hold_a_chunk_is_refused(frame: bytes, message: str) -> None:
    header = bytes([2, 1, BLOSC_ONE_ZSTD, 1])
    sizes = struct.pack("<IIIII", 4096, 4096, 24 + len(frame), 20, len(frame))

    with pytest.raises((ValueError, ZstdError), match=message):
        decode_chunk(as_array(header + sizes + frame), (4096,), BYTE)


def test_threads_decode_side_by_side(by_zstd: bytes) -> None:
    whole = decode_chunk(as_array(by_zstd), (4096,), BYTE)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(
            lambda _: decode_chunk(as_array(by_zstd), (4096,), BYTE), range(400)
        ):
            assert np.array_equal(found, whole)


def test_a_metadata_file_that_claims_a_trillion_elements_is_refused(
    shard: tuple[bytes, ArrayMetadata],
) -> None:
    document = shard[1].model_dump(mode="json")
    document["shape"] = [10**12, 10**6, 10**6]
    document["codecs"][0]["configuration"]["chunk_shape"] = [10**6, 10**6, 2]
    document["chunk_grid"]["configuration"]["chunk_shape"] = [10**6, 10**6, 2]

    with pytest.raises(ValueError, match="chunks of 2000000000000 bytes; at most"):
        ArrayMetadata.model_validate_json(_json(document))


def as_array(encoded: bytes | bytearray) -> NDArray[np.uint8]:
    return np.frombuffer(bytes(encoded), np.uint8)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document)


def _with_index(payload: bytes, entries: list[tuple[int, int]]) -> bytes:
    index = np.array(entries, "<u8").tobytes()
    checksum: int = google_crc32c.value(index)
    return payload + index + checksum.to_bytes(4, "little")
