"""Reads windows out of the shards of a sealed array: mapped, checked chunk by chunk, decoded.

It reads the codec chains of schemas/store.py in the layout of schemas/store_arrays.py and
leaves the rest to zarr-python. Whatever bytes it meets, it allocates no more than one chunk.
"""

import math
import mmap
import os
import resource
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
import zstandard
from numcodecs import blosc
from numpy.typing import NDArray

from model.places import Place
from schemas.store import StoredFile
from schemas.store_arrays import ABSENT_CHUNK, CRC_BYTES, ArrayMetadata, shard_file

MOST_OPEN_SHARDS = 1024
"""Shards a process keeps mapped at once; fewer where the system allows few open files."""

Chain = Literal["blosc", "plain"]

CHAINS: dict[tuple[str, ...], Chain] = {
    ("bytes", "blosc", "crc32c"): "blosc",
    ("bytes", "crc32c"): "plain",
}
"""The codec chains of the default and the publish profile, and of the cache profile."""

BLOSC_HEADER = struct.Struct("<BBBBIII")
"""Versions, flags, size of an item; bytes decoded, of a block, and encoded."""

CHECKSUM = struct.Struct("<I")
"""What the codec `crc32c` appends to a chunk."""

BLOSC_STORED = 2
"""The flag of a chunk that is stored as it is."""

BLOSC_ONE_ZSTD = 0x90
"""The flags of a chunk of zstd that is neither shuffled nor split."""

LENGTH_BYTES = 4

BLOSC_BLOCK = struct.Struct("<II")
"""What lies before the only block of a chunk: where its length stands, and that length."""

blosc.use_threads = False  # a chunk is too small to share, and threads do not survive a fork

Key = tuple[Path, str, int]
"""A shard: folder of the store, name of the array, number along time."""

Cut = tuple[slice, slice, slice]
"""Pairs, rows and columns of a window, all inside the array."""


@dataclass(frozen=True)
class Shard:
    """A mapped shard file whose index was checked."""

    file: str
    content: NDArray[np.uint8]
    """The whole file."""
    extents: list[tuple[int, int]]
    """Offset and length of every chunk."""
    checksums: list[int]
    """The sealed CRC-32C of every chunk."""
    chain: Chain
    shape: tuple[int, ...]
    """Of a chunk."""
    dtype: np.dtype[Any]
    proven: dict[int, NDArray[Any]] = field(default_factory=dict)
    """Chunks stored as they are that were checked since the file was mapped, by number."""

    def chunk(self, number: int) -> NDArray[Any]:
        """The frames of a chunk.

        It is checked and decoded where it lies: sealed files are replaced, never written again.

        Raises:
            ValueError: it is not the chunk that was sealed.
        """
        offset, length = self.extents[number]
        end = offset + length - CRC_BYTES
        encoded = self.content[offset:end]
        sealed = self.checksums[number]
        (own,) = CHECKSUM.unpack_from(self.content.data, end)
        if not google_crc32c.value(encoded) == sealed == own:
            raise ValueError(f"{self.file}: chunk {number} is not the one that was sealed")
        if self.chain == "plain":
            # Checking whole frames costs more than reading them, so once is enough there.
            found = encoded.view(self.dtype).reshape(self.shape)
            self.proven[number] = found
            return found
        try:
            return decode_chunk(encoded, self.shape, self.dtype)
        except (ValueError, RuntimeError, zstandard.ZstdError) as error:
            raise ValueError(f"{self.file}: chunk {number} does not decode: {error}") from error


class OpenShards:
    """The shards that a process has mapped; the one not used for longest makes room.

    A mapping has no file position and no thread, so a forked process may go on with it.
    """

    def __init__(self) -> None:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(1, min(MOST_OPEN_SHARDS, allowed // 4))
        self._shards: OrderedDict[Key, Shard] = OrderedDict()

    def get(self, key: Key) -> Shard | None:
        """The shard kept under `key`, if it is still there."""
        if key in self._shards:
            self._shards.move_to_end(key)
        return self._shards.get(key)

    def keep(self, key: Key, shard: Shard) -> None:
        """Keep `shard`, in place of the one not used for longest where there is no room."""
        if len(self._shards) >= self._most:
            self._shards.popitem(last=False)
        self._shards[key] = shard


@dataclass(frozen=True)
class SealedArray:
    """A frame array of a store whose metadata and checksums were found to be the sealed ones."""

    name: str
    place: Place
    """The store."""
    metadata: ArrayMetadata
    checksums: NDArray[np.uint32]
    """Of the chunks, (shards, chunks of a shard)."""
    files: dict[str, StoredFile]
    """The store's, by path."""
    open_shards: OpenShards
    chain: Chain

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the frames."""
        return np.dtype(self.metadata.data_type)

    def read(self, cut: Cut) -> NDArray[Any]:
        """The frames of `cut`, (T, h, w) or (T, h, w, channels), in the dtype of the array.

        Raises:
            OSError: a shard cannot be read.
            StoreError: a shard cannot be fetched.
            ValueError: a shard is missing, cut short or changed; it says which and where.
        """
        array = self.metadata
        of_shard, of_rows, of_columns = array.chunks_per_shard[:3]
        sizes = array.chunks
        pairs, rows, columns = (
            _overlaps(cut[0].start, cut[0].stop, sizes[0]),
            _overlaps(cut[1].start, cut[1].stop, sizes[1]),
            _overlaps(cut[2].start, cut[2].stop, sizes[2]),
        )
        shape = (*[part.stop - part.start for part in cut], *array.shape[3:])
        frames = np.empty(shape, self.dtype)
        for t, from_t, to_t in pairs:
            shard, first = self._shard(t // of_shard), t % of_shard * of_rows * of_columns
            proven = shard.proven
            for y, from_y, to_y in rows:
                for x, from_x, to_x in columns:
                    number = first + y * of_columns + x
                    chunk = proven.get(number)
                    if chunk is None:
                        chunk = shard.chunk(number)
                    frames[to_t, to_y, to_x] = chunk[from_t, from_y, from_x]
        return frames

    def _shard(self, number: int) -> Shard:
        key = (self.place.root, self.name, number)
        shard = self.open_shards.get(key)
        if shard is None:
            file = shard_file(self.name, (number, *[0] * (len(self.metadata.shape) - 1)))
            try:
                shard = self._map(file, number)
            except FileNotFoundError as error:
                raise ValueError(f"{file} is missing") from error
            self.open_shards.keep(key, shard)
        return shard

    def _map(self, file: str, number: int) -> Shard:
        if (listed := self.files.get(file)) is None:
            raise ValueError(f"{file} is not listed in the manifest")
        descriptor = os.open(self.place.file(listed), os.O_RDONLY)
        try:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes != listed.size_bytes:
                raise ValueError(
                    f"{file} has {size_bytes} bytes; the manifest lists {listed.size_bytes}"
                )
            if size_bytes < self.metadata.index_bytes:
                raise ValueError(f"{file} is shorter than the index of its chunks")
            data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        try:
            extents = checked_extents(data, self.metadata, number)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        return Shard(
            file=file,
            content=np.frombuffer(data, np.uint8),
            extents=extents,
            checksums=self.checksums[number].tolist(),
            chain=self.chain,
            shape=self.metadata.chunks,
            dtype=self.dtype,
        )


def readable_chain(array: ArrayMetadata) -> Chain | None:
    """The codec chain of an array that `SealedArray` can read; None where it cannot.

    It reads frames in shards of whole frames, in chunks of whole pixels.
    """
    chain = CHAINS.get(tuple(codec.name for codec in array.chunk_codecs))
    has_frames = len(array.shape) in (3, 4) and all(n == 1 for n in array.shard_counts[1:])
    has_pixels = all(count == 1 for count in array.chunks_per_shard[3:])
    is_little = array.chunk_codecs[0].configuration.get("endian", "little") == "little"
    return chain if has_frames and has_pixels and is_little else None


def checked_extents(
    data: mmap.mmap | bytes, array: ArrayMetadata, shard: int
) -> list[tuple[int, int]]:
    """Offset and length of every chunk of a shard, as its index has them.

    Args:
        data: the file, at least as long as its index.
        array: what it belongs to.
        shard: which of its shards it is, along time.

    Raises:
        ValueError: the index was changed, or its chunks do not fill the file exactly once.
    """
    index = data[len(data) - array.index_bytes : len(data) - CRC_BYTES]
    own = int.from_bytes(data[len(data) - CRC_BYTES : len(data)], "little")
    if google_crc32c.value(index) != own:
        raise ValueError("the index of its chunks was changed")
    entries = np.frombuffer(index, "<u8").reshape(-1, 2)
    present = (entries != ABSENT_CHUNK).any(axis=1)
    if not np.array_equal(present, stored_chunks(array, shard)):
        raise ValueError("its index has other chunks than the array")
    lengths = entries[present]
    lengths = lengths[np.argsort(lengths[:, 0], kind="stable")]
    limit = np.uint64(len(data))
    ends = np.cumsum(np.minimum(lengths[:, 1], limit))  # no sum of such lengths overflows
    starts = np.concatenate([np.zeros(1, np.uint64), ends[:-1]])
    payload = len(data) - array.index_bytes
    if not np.array_equal(lengths[:, 0], starts) or (ends[-1] if ends.size else 0) != payload:
        raise ValueError("the chunks of its index do not fill the file exactly once")
    own_bytes = CRC_BYTES if array.ends_in_crc else 0
    sizes, is_plain = lengths[:, 1], readable_chain(array) == "plain"
    if (sizes <= own_bytes).any() or (is_plain and (sizes != array.chunk_bytes + own_bytes).any()):
        raise ValueError("a chunk of its index has a length that no chunk can have")
    return [tuple(entry) for entry in entries.tolist()]


def stored_chunks(array: ArrayMetadata, shard: int) -> NDArray[np.bool_]:
    """Which chunks of a shard hold any pixel of the array and are stored, in C order.

    Args:
        array: in shards of whole frames.
        shard: which of them, along time.
    """
    inside = np.ones((), np.bool_)
    for axis, count in enumerate(array.chunks_per_shard):
        first = shard * count if axis == 0 else 0
        starts = (first + np.arange(count)) * array.chunks[axis]
        inside = inside[..., None] & (starts < array.shape[axis])
    return inside.reshape(-1)


def decode_chunk(
    encoded: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """What a chunk of blosc stands for, which must be as much as `shape` and `dtype` hold.

    What blosc stored because it could not be compressed is given where it lies. A chunk that is a
    single frame of zstd is decoded by python-zstandard, whose build of the same zstd takes a sixth
    less time than the one in numcodecs.

    Raises:
        ValueError: its header speaks of another length (c-blosc, README_CHUNK_FORMAT).
        RuntimeError, ZstdError: it cannot be decoded.
    """
    if encoded.size < BLOSC_HEADER.size:
        raise ValueError(f"{encoded.size} bytes hold no header")
    _, _, flags, _, announced, block, held = BLOSC_HEADER.unpack_from(encoded.data)
    if held != encoded.size:
        raise ValueError(f"its header speaks of {held} encoded bytes, there are {encoded.size}")
    if announced != (due := math.prod(shape) * dtype.itemsize):
        raise ValueError(f"its header speaks of {announced} bytes, a chunk has {due}")
    if flags & BLOSC_STORED and held == BLOSC_HEADER.size + announced:
        return encoded[BLOSC_HEADER.size :].view(dtype).reshape(shape)
    start = BLOSC_HEADER.size + BLOSC_BLOCK.size
    if flags == BLOSC_ONE_ZSTD and block == announced and held > start:
        place, length = BLOSC_BLOCK.unpack_from(encoded.data, BLOSC_HEADER.size)
        if place == start - LENGTH_BYTES and length == held - start:
            return np.frombuffer(_from_zstd(encoded.data[start:], due), dtype).reshape(shape)
    decoded = np.empty(shape, dtype)
    blosc.decompress(encoded, decoded)
    return decoded


class _Decoder(threading.local):
    """zstd's context, which one thread at a time may use."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_DECODER = _Decoder()


def _from_zstd(frame: memoryview, due: int) -> bytes:
    if (announced := zstandard.frame_content_size(frame)) != due:
        raise ValueError(f"its frame speaks of {announced} bytes, a chunk has {due}")
    return _DECODER.zstd.decompress(frame, allow_extra_data=False)


@lru_cache(maxsize=4096)
def _overlaps(start: int, stop: int, size: int) -> tuple[tuple[int, slice, slice], ...]:
    """The chunks along one axis from `start` to `stop`: number, where in the chunk, where there."""
    return tuple(
        (
            number,
            slice(max(start - number * size, 0), min(stop - number * size, size)),
            slice(max(number * size - start, 0), min((number + 1) * size, stop) - start),
        )
        for number in range(start // size, (stop - 1) // size + 1)
    )
