"""Checksums of a store's chunks: made when it is sealed, and used to say where it is damaged."""

import math
from collections.abc import Iterator, Mapping

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from schemas.store import CLIP_STORE
from schemas.store_arrays import (
    ABSENT_CHUNK,
    CRC_BYTES,
    ArrayMetadata,
    checksum_offsets,
)

SHOWN_CHUNKS = 4
"""Damaged chunks of a shard that a message tells; all of them are in the fault's document."""

AXIS_WORDS = {"time": "pairs", "y": "rows", "x": "columns"}


def shard_checksums(shard: bytes, array: ArrayMetadata) -> NDArray[np.uint32]:
    """The CRC-32C of every encoded chunk of an undamaged shard, in the order of its index.

    Args:
        shard: the file.
        array: what it belongs to.

    Raises:
        ValueError: the index of its chunks was changed.
    """
    found = np.zeros(math.prod(array.chunks_per_shard), np.uint32)
    for number, encoded, _ in _chunks(shard, array):
        found[number] = google_crc32c.value(encoded)
    return found


def damaged_chunks(
    shard: bytes, array: ArrayMetadata, sealed: NDArray[np.uint32]
) -> list[tuple[int, ...]]:
    """Which chunks of a shard are not those that were sealed: places inside the shard.

    Args:
        shard: the file, in its right length.
        array: what it belongs to.
        sealed: the shard's part of CHECKSUMS_NAME.

    Raises:
        ValueError: the index of its chunks was changed.
    """
    changed = [
        number
        for number, encoded, own in _chunks(shard, array)
        if not google_crc32c.value(encoded) == sealed[number] == own
    ]
    places = np.unravel_index(changed, array.chunks_per_shard)
    return [tuple(place) for place in np.stack(places, axis=1).tolist()]


def _chunks(shard: bytes, array: ArrayMetadata) -> Iterator[tuple[int, bytes, int]]:
    """Number in the index, encoded bytes and own checksum of every stored chunk.

    A chunk whose codecs append no checksum has that of its bytes.
    """
    index = shard[len(shard) - array.index_bytes : -CRC_BYTES]
    if google_crc32c.value(index) != int.from_bytes(shard[-CRC_BYTES:], "little"):
        raise ValueError("the index of its chunks was changed")
    for number, (offset, size) in enumerate(np.frombuffer(index, "<u8").reshape(-1, 2).tolist()):
        if offset == ABSENT_CHUNK:
            continue
        encoded = shard[offset : offset + size]
        if array.ends_in_crc:
            yield number, encoded[:-CRC_BYTES], int.from_bytes(encoded[-CRC_BYTES:], "little")
        else:
            yield number, encoded, google_crc32c.value(encoded)


def sealed_part(
    checksums: NDArray[np.uint32],
    arrays: Mapping[str, ArrayMetadata],
    name: str,
    place: tuple[int, ...],
) -> NDArray[np.uint32]:
    """The checksums of the shard of array `name` at grid place `place`.

    Args:
        checksums: all of CHECKSUMS_NAME.
        arrays: every array of the store.
        name: the array.
        place: among its shards.
    """
    array = arrays[name]
    size = math.prod(array.chunks_per_shard)
    shard = int(np.ravel_multi_index(place, array.shard_counts))
    first = checksum_offsets(arrays)[name] + size * shard
    return checksums[first : first + size]


def in_words(
    name: str, array: ArrayMetadata, shard: tuple[int, ...], chunks: list[tuple[int, ...]]
) -> str:
    """Which pairs, rows and columns the chunks of a shard hold."""
    told = []
    for chunk in chunks[:SHOWN_CHUNKS]:
        ranges = []
        for axis, place, count, inner, size, length in zip(
            CLIP_STORE[name].axes,
            shard,
            array.chunks_per_shard,
            chunk,
            array.chunks,
            array.shape,
            strict=True,
        ):
            first = (place * count + inner) * size
            if axis in AXIS_WORDS:
                ranges.append(f"{AXIS_WORDS[axis]} {first} to {min(first + size, length) - 1}")
        told.append(", ".join(ranges))
    hidden = len(chunks) - len(told)
    return "; ".join(told) + (f"; and {hidden} more chunks" if hidden else "")
