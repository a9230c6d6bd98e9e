"""The arrays of a clip store as zarr v3 describes them, and how the bytes of their shards lie."""

import math
from collections.abc import Mapping
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

INDEX_ENTRY_BYTES = 16
"""A chunk in the index that ends a shard: offset and length, little-endian uint64."""

ABSENT_CHUNK = 2**64 - 1
"""Offset and length of a chunk that is not stored, since it lies wholly outside of the array."""

CRC_BYTES = 4
"""A CRC-32C, little-endian, behind an index and behind what the codec `crc32c` encodes."""

MAX_AXIS = 2**40
"""Longest axis that is believed: a billion times longer than any recording's."""

MAX_CHUNK_BYTES = 2**28
"""Largest decoded chunk: eight colour frames of 2900 x 3800 pixels, three bytes each."""

Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=MAX_AXIS)], ...], Field(min_length=1, max_length=4)
]

ITEM_BYTES = {"bool": 1, "uint8": 1, "uint16": 2, "float64": 8}


class ZarrPart(BaseModel):
    """Something of a zarr.json; keys that do not change how bytes are read may be added."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _ShardShape(ZarrPart):
    chunk_shape: Annotated[Sizes, Field(strict=False)]


class _Grid(ZarrPart):
    name: Literal["regular"]
    configuration: _ShardShape


class Codec(ZarrPart):
    """One codec of zarr v3."""

    name: str
    configuration: dict[str, Any] = Field(default_factory=dict)


class _Sharding(_ShardShape):
    codecs: Annotated[tuple[Codec, ...], Field(strict=False, min_length=1)]
    index_codecs: Annotated[tuple[Codec, ...], Field(strict=False)]
    index_location: Literal["end"] = "end"


class _ShardingCodec(ZarrPart):
    name: Literal["sharding_indexed"]
    configuration: _Sharding


class ArrayMetadata(ZarrPart):
    """The zarr.json of one sharded array: the subset that twinband writes.

    What does not fit is left to zarr-python by readers.
    """

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Annotated[Sizes, Field(strict=False)]
    data_type: Literal["bool", "uint8", "uint16", "float64"]
    chunk_grid: _Grid
    codecs: Annotated[tuple[_ShardingCodec], Field(strict=False)]
    storage_transformers: Annotated[tuple[()], Field(strict=False)] = ()

    @cached_property
    def shards(self) -> tuple[int, ...]:
        """Shape of a shard."""
        return self.chunk_grid.configuration.chunk_shape

    @cached_property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk inside a shard."""
        return self.codecs[0].configuration.chunk_shape

    @cached_property
    def chunk_codecs(self) -> tuple[Codec, ...]:
        """What encodes a chunk, in order."""
        return self.codecs[0].configuration.codecs

    @cached_property
    def chunk_bytes(self) -> int:
        """Length of a decoded chunk."""
        return math.prod(self.chunks) * ITEM_BYTES[self.data_type]

    @cached_property
    def ends_in_crc(self) -> bool:
        """Whether a chunk's own codecs append a CRC-32C to it."""
        return self.chunk_codecs[-1].name == "crc32c"

    @cached_property
    def chunks_per_shard(self) -> tuple[int, ...]:
        """How many chunks a shard has along each axis."""
        return tuple(whole // part for whole, part in zip(self.shards, self.chunks, strict=True))

    @cached_property
    def shard_counts(self) -> tuple[int, ...]:
        """How many shards the array has along each axis."""
        return tuple(
            math.ceil(length / part) for length, part in zip(self.shape, self.shards, strict=True)
        )

    @cached_property
    def index_bytes(self) -> int:
        """Length of the index that ends a shard, its checksum included."""
        return math.prod(self.chunks_per_shard) * INDEX_ENTRY_BYTES + CRC_BYTES

    @cached_property
    def checksums(self) -> int:
        """How many checksums CHECKSUMS_NAME has for this array."""
        return math.prod(self.shard_counts) * math.prod(self.chunks_per_shard)

    def shard_places(self) -> list[tuple[int, ...]]:
        """The grid places of the shards, in C order."""
        return list(product(*map(range, self.shard_counts)))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        axes = {len(self.shape), len(self.shards), len(self.chunks)}
        if len(axes) != 1:
            raise ValueError(f"shape, shards and chunks have {sorted(axes)} axes")
        if any(whole % part for whole, part in zip(self.shards, self.chunks, strict=True)):
            raise ValueError(f"shards of {self.shards} hold no whole chunks of {self.chunks}")
        if self.chunk_bytes > MAX_CHUNK_BYTES:
            raise ValueError(f"chunks of {self.chunk_bytes} bytes; at most {MAX_CHUNK_BYTES}")
        plain = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        found = [
            codec.model_dump(exclude_defaults=True)
            for codec in self.codecs[0].configuration.index_codecs
        ]
        if found != plain:
            raise ValueError(f"the index of a shard is encoded by {found} instead of {plain}")
        return self


def shard_file(name: str, place: tuple[int, ...]) -> str:
    """Path in the store of the shard of array `name` at grid place `place`."""
    return "/".join([name, "c", *map(str, place)])


def checksum_offsets(arrays: Mapping[str, ArrayMetadata]) -> dict[str, int]:
    """Where the checksums of each array begin in CHECKSUMS_NAME, counted in checksums.

    The file holds a CRC-32C, uint32 little-endian, for every encoded chunk, taken without the
    checksum that a codec of its own may append: arrays by name, their shards in C order, the
    chunks of a shard in C order. A chunk that is not stored has 0.

    Args:
        arrays: every array of a clip store.
    """
    offsets, end = {}, 0
    for name, array in sorted(arrays.items()):
        offsets[name] = end
        end += array.checksums
    return offsets
