"""Opens clip stores for training; what is missing or damaged is an error, never black frames."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from zarr.storage import LocalStore

from model.shards import OpenShards, Place, SealedArray, readable_chain
from schemas.errors import StoreError
from schemas.release import ReleaseClip
from schemas.store import CHECKSUMS_NAME, CLIP_STORE, MANIFEST_NAME, ClipAttributes, ClipManifest
from schemas.store_arrays import ArrayMetadata, checksum_offsets

GROUP = "zarr.json"

FRAME_ARRAYS = {name for name, spec in CLIP_STORE.items() if spec.axes[:3] == ("time", "y", "x")}


@dataclass(frozen=True)
class OpenClip:
    """A clip store whose every file but the shards of frames was found to be what was released."""

    path: Path
    attributes: ClipAttributes
    arrays: dict[str, SealedArray | zarr.Array[Any]]
    """The arrays of frames; in zarr-python's hands where the direct reader does not know them."""
    file_sizes: dict[str, int]


def open_clip(root: Path, clip: ReleaseClip, open_shards: OpenShards | None = None) -> OpenClip:
    """The store of a released clip.

    Args:
        root: the folder that the release's stores are relative to.
        clip: as the release lists it.
        open_shards: where mapped shards are kept; None: with this clip alone.

    Raises:
        StoreError: the store is missing, damaged or another one.
    """
    path = root / clip.store
    if PurePosixPath(clip.store).is_absolute() or ".." in PurePosixPath(clip.store).parts:
        raise StoreError(store_fault(clip.clip, path, "the store lies outside of the release"))
    try:
        manifest = _parsed((path / MANIFEST_NAME).read_bytes())
        if manifest is None or manifest.root_hash != clip.root_hash:
            what = f"{MANIFEST_NAME} is not the one that was released"
            raise StoreError(store_fault(clip.clip, path, what))
        small = _small_files(path, manifest)
        attributes = ClipAttributes.model_validate(json.loads(small[GROUP])["attributes"])
        file_sizes = {file.path: file.size_bytes for file in manifest.files}
        arrays = _arrays(path, small, file_sizes, open_shards or OpenShards())
    except (OSError, ValueError) as error:
        # as released, so not damaged where a value does not fit: another version wrote it
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        what = (
            str(error) if first is None else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        )
        raise StoreError(store_fault(clip.clip, path, what)) from error
    return OpenClip(path, attributes, arrays, file_sizes)


def read_frames(clip: OpenClip, name: str, place: Place) -> Tensor:
    """Frames of one array, uint8, shape (T, C, h, w): the one door to the pixels of a store.

    Args:
        clip: the store.
        name: which array.
        place: pairs, rows and columns, all inside the array.

    Raises:
        StoreError: a shard is missing, cut short or changed.
    """
    array = clip.arrays[name]
    # What zarr and its codecs raise for bytes that do not decode is any of these.
    try:
        if isinstance(array, SealedArray):
            frames = array.read(place)
        else:
            frames = _read_by_zarr(array, clip, name, place)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, OverflowError) as error:
        what = f"{name}, pairs {place[0].start} to {place[0].stop - 1}: {error}"
        raise StoreError(store_fault(clip.attributes.clip, clip.path, what)) from error
    tensor = torch.from_numpy(frames)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor[:, None]


def _small_files(path: Path, manifest: ClipManifest) -> dict[str, bytes]:
    """Every file of a store that is no shard of frames, as it was sealed."""
    contents = {}
    for file in manifest.files:
        if file.path.partition("/c/")[0] in FRAME_ARRAYS:
            continue
        content = (path / file.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise ValueError(f"{file.path} was changed")
        contents[file.path] = content
    for name in (GROUP, CHECKSUMS_NAME):
        if name not in contents:
            raise ValueError(f"it was sealed without {name}, by another version of twinband")
    return contents


def _arrays(
    path: Path, small: dict[str, bytes], file_sizes: dict[str, int], open_shards: OpenShards
) -> dict[str, SealedArray | zarr.Array[Any]]:
    """The arrays of frames of a store whose small files are proven."""
    metadata = {
        name: ArrayMetadata.model_validate_json(content)
        for file, content in small.items()
        if file != GROUP and (name := file.removesuffix(f"/{GROUP}")) != file
    }
    offsets = checksum_offsets(metadata)
    checksums = np.frombuffer(small[CHECKSUMS_NAME], "<u4")
    arrays: dict[str, SealedArray | zarr.Array[Any]] = {}
    for name in sorted(metadata.keys() & FRAME_ARRAYS):
        array = metadata[name]
        if (chain := readable_chain(array)) is not None:
            own = checksums[offsets[name] : offsets[name] + array.checksums]
            own = own.reshape(array.shard_counts[0], -1)
            arrays[name] = SealedArray(name, path, array, own, file_sizes, open_shards, chain)
        else:
            arrays[name] = zarr.open_array(LocalStore(path / name, read_only=True), mode="r")
    return arrays


def _read_by_zarr(
    array: zarr.Array[Any], clip: OpenClip, name: str, place: Place
) -> NDArray[np.uint8]:
    """The frames at `place`; zarr reads a missing shard as zeros, so the files are looked at."""
    frames = np.asarray(array[place])
    for file in shard_files(array, name, place):
        size_bytes, listed = (clip.path / file).stat().st_size, clip.file_sizes.get(file)
        if size_bytes != listed:
            raise ValueError(f"{file} has {size_bytes} bytes; the manifest lists {listed}")
    return frames


def shard_files(array: zarr.Array[Any], name: str, place: Sequence[slice]) -> list[str]:
    """The files of `array` that hold the pixels of `place`, relative to the store."""
    sizes = array.shards or array.chunks
    whole = [slice(0, length) for length in array.shape[len(place) :]]
    touched = [
        range(part.start // size, (part.stop - 1) // size + 1)
        for part, size in zip([*place, *whole], sizes, strict=True)
    ]
    return [f"{name}/{array.metadata.encode_chunk_key(shard)}" for shard in product(*touched)]


def _parsed(content: bytes) -> ClipManifest | None:
    """The manifest, or None where it was changed after it was sealed."""
    try:
        manifest = ClipManifest.model_validate_json(content)
    except ValidationError:
        return None
    return manifest if manifest.is_consistent() else None


def store_fault(clip: str, path: Path, what: str) -> str:
    """The message for a clip whose store at `path` cannot be read, and what to do about it."""
    return f"clip {clip!r}: {path}: {what}; restore the store from its source, or build it again"
