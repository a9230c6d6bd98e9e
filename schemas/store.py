"""The clip store: names, axes, dtypes, chunks and codecs of the zarr groups people read.

This is the only thing pipeline and model share. Any zarr v3 reader opens a clip store.
"""

import hashlib
import math
from typing import Any, Literal

from pydantic import Field

from schemas.base import Fingerprint, Matrix3x3, Sha256, Slug, StrictModel, canonical_json
from schemas.recipe import DegradeRecipe
from schemas.store_arrays import ITEM_BYTES

STORE_VERSION: Literal[1] = 1
"""Raised whenever a reader of older stores would misread newer ones."""

MANIFEST_NAME = "manifest.json"
"""The file whose presence seals a clip store: it lists every other file with its hash."""

CHECKSUMS_NAME = "chunk_checksums.bin"
"""The file that lets a reader prove a window of frames without reading whole shards, and tell a
shard that belongs elsewhere from its own: a CRC-32C for every chunk (schemas/store_arrays.py)."""

CHUNK_PAIRS = 8
"""Pairs per chunk; a seven-frame window touches at most two (STORE.md section 1)."""

SHARD_PAIRS = 64
"""Pairs per shard; all of M3SVD then needs fewer than ten thousand files (STORE.md section 6)."""

TILE_ROWS, TILE_COLUMNS = 60, 80
"""Aimed-for chunk size in pixels: 4-8 thousand pixels decode fastest (STORE.md section 6)."""


class ArraySpec(StrictModel):
    """One array of the clip store."""

    axes: tuple[str, ...]
    dtype: Literal["uint8", "uint16", "float64", "bool"]
    required: bool
    meaning: str


CLIP_STORE: dict[str, ArraySpec] = {
    "infrared": ArraySpec(
        axes=("time", "y", "x"),
        dtype="uint8",
        required=True,
        meaning="clean infrared frames, registered, grey levels",
    ),
    "visible": ArraySpec(
        axes=("time", "y", "x", "channel"),
        dtype="uint8",
        required=True,
        meaning="clean visible frames, registered to the infrared pixels, RGB",
    ),
    "infrared_degraded": ArraySpec(
        axes=("time", "y", "x"),
        dtype="uint8",
        required=False,
        meaning="degraded infrared frames; where absent, made while reading",
    ),
    "visible_degraded": ArraySpec(
        axes=("time", "y", "x", "channel"),
        dtype="uint8",
        required=False,
        meaning="degraded visible frames, RGB; where absent, made while reading",
    ),
    "infrared_counts": ArraySpec(
        axes=("time", "y", "x"),
        dtype="uint16",
        required=False,
        meaning="raw infrared counts behind `infrared`",
    ),
    "time_s": ArraySpec(
        axes=("time",),
        dtype="float64",
        required=True,
        meaning="infrared instants, seconds since the clip's first pair",
    ),
    "valid": ArraySpec(
        axes=("y", "x"),
        dtype="bool",
        required=True,
        meaning="where both cameras see the scene",
    ),
}

PROFILES = Literal["default", "publish", "cache"]

LZ4, ZSTD = ("lz4hc", 9), ("zstd", 5)
"""Compressors of blosc, and their effort."""

PUBLISHED = {"infrared": LZ4, "visible": ("zstd", 8)}
"""Where the publish profile is not ZSTD. Blosc's levels 5 and 8 are zstd's 9 and 15. Of four M3SVD
clips zstd 15 makes clean colours smaller by a seventh and slower to decode by a third; of noisy
infrared it saves nothing. Clean infrared is a tenth of a clip: lz4 makes the clip larger by a
fortieth and faster to read by a tenth."""


class ArrayLayout(StrictModel):
    """How one array lies on disk: shapes for zarr, codecs as zarr v3 metadata."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    codecs: tuple[dict[str, Any], ...] = Field(description="Codecs inside a shard, in order.")


def array_layout(name: str, shape: tuple[int, ...], profile: PROFILES) -> ArrayLayout:
    """The chunks, shards and codecs of array `name` of that shape under `profile`.

    Frame arrays are tiled in space and sharded over whole frames; small arrays are one chunk.
    """
    spec = CLIP_STORE[name]
    if spec.axes[:3] != ("time", "y", "x"):
        zstd = {"name": "zstd", "configuration": {"level": 5, "checksum": True}}
        return ArrayLayout(chunks=shape, shards=shape, codecs=(_to_bytes(spec.dtype), zstd))
    _, height, width, *channels = shape
    rows, columns = max(1, round(height / TILE_ROWS)), max(1, round(width / TILE_COLUMNS))
    if profile == "cache":
        rows = columns = 1
    tile = (math.ceil(height / rows), math.ceil(width / columns))
    return ArrayLayout(
        chunks=(CHUNK_PAIRS, *tile, *channels),
        shards=(SHARD_PAIRS, tile[0] * rows, tile[1] * columns, *channels),
        codecs=_frame_codecs(name, profile),
    )


def _to_bytes(dtype: str) -> dict[str, Any]:
    if ITEM_BYTES[dtype] == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _frame_codecs(name: str, profile: PROFILES) -> tuple[dict[str, Any], ...]:
    """Every profile ends in a checksum, so that a flipped bit never passes as a pixel."""
    dtype = CLIP_STORE[name].dtype
    to_bytes, checksum = _to_bytes(dtype), {"name": "crc32c"}
    if profile == "cache":
        return (to_bytes, checksum)
    size = ITEM_BYTES[dtype]
    compressor, effort = LZ4 if profile == "default" else PUBLISHED.get(name, ZSTD)
    blosc = {
        "cname": compressor,
        "clevel": effort,
        "shuffle": "noshuffle" if size == 1 else "shuffle",
        "typesize": size,
        "blocksize": 0,
    }
    return (to_bytes, {"name": "blosc", "configuration": blosc}, checksum)


class SourceFacts(StrictModel):
    """Where the pixels of one stream come from."""

    path: str = Field(description="Below the data root, as the catalog names it.")
    sha256: Sha256
    codec: str
    pixel_format: str


class ClipAttributes(StrictModel):
    """The attributes of a clip's zarr group."""

    store_version: Literal[1] = STORE_VERSION
    clip: Slug
    fingerprint: Fingerprint
    recording: Slug
    session: Slug
    rig: Slug
    site: Slug
    tags: tuple[Slug, ...]
    fps: float = Field(description="Pairs per second, the median.")
    pairs: int
    width: int
    height: int
    first_infrared_frame: int = Field(description="Frame of the infrared video behind pair 0.")
    homography: Matrix3x3 = Field(description="Visible pixels to infrared pixels of the raw grids.")
    crop: tuple[int, int, int, int] = Field(
        description="x, y, width, height of the clip inside the infrared image, pixels."
    )
    offset_s: float
    drift_ppm: float
    sources: dict[str, SourceFacts]
    degraded: Literal["materialised", "at-load", "given"]
    degrade: DegradeRecipe
    seed: int = Field(description="Seed of the degradation draws, with the clip's id.")
    profile: PROFILES


class StoredFile(StrictModel):
    """One file of a clip store."""

    path: str = Field(
        pattern=r"^\.?\w[\w.-]*(/\.?\w[\w.-]*)*$",
        description="Relative to the store and inside it, with forward slashes.",
    )
    size_bytes: int = Field(ge=0)
    sha256: Sha256


class ClipManifest(StrictModel):
    """Every file of a clip store; written last, so that its presence seals the store."""

    clip: Slug
    fingerprint: Fingerprint
    files: tuple[StoredFile, ...] = Field(description="Sorted by path.")
    root_hash: Sha256

    @classmethod
    def seal(cls, clip: str, fingerprint: str, files: tuple[StoredFile, ...]) -> "ClipManifest":
        """A manifest with its root hash computed."""
        ordered = tuple(sorted(files, key=lambda file: file.path))
        return cls(
            clip=clip,
            fingerprint=fingerprint,
            files=ordered,
            root_hash=files_hash(clip, fingerprint, ordered),
        )

    def is_consistent(self) -> bool:
        """Whether the root hash is that of the listed files."""
        return self.root_hash == files_hash(self.clip, self.fingerprint, self.files)


def files_hash(clip: str, fingerprint: str, files: tuple[StoredFile, ...]) -> str:
    """The sha256 that stands for all the files of a clip store."""
    listed = [file.model_dump(mode="json") for file in files]
    return hashlib.sha256(canonical_json([clip, fingerprint, listed]).encode()).hexdigest()


class Fault(StrictModel):
    """One thing that is wrong with a clip store or a release."""

    clip: str
    array: str | None = Field(description="None where the file belongs to no array.")
    file: str = Field(description="Relative to the store, with forward slashes.")
    what: str
    chunks: tuple[tuple[int, ...], ...] = Field(
        (), description="Where some chunks of a shard alone are damaged: places inside the shard."
    )

    def __str__(self) -> str:
        return f"{self.clip}: {self.file}: {self.what}"
