"""Reads clip stores for training; what is missing or damaged is an error, never black frames."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
import zarr
from pydantic import ValidationError
from torch import Tensor
from zarr.storage import LocalStore

from schemas.errors import StoreError
from schemas.release import ReleaseClip
from schemas.store import MANIFEST_NAME, ClipAttributes, ClipManifest


@dataclass(frozen=True)
class OpenClip:
    """A clip store whose metadata was read and found to be what was released."""

    path: Path
    attributes: ClipAttributes
    arrays: dict[str, zarr.Array[Any]]
    file_sizes: dict[str, int]


def open_clip(root: Path, clip: ReleaseClip) -> OpenClip:
    """The store of a released clip; its manifest and metadata are compared with the release.

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
        for file in manifest.files:
            if file.path.endswith("zarr.json"):
                found = hashlib.sha256((path / file.path).read_bytes()).hexdigest()
                if found != file.sha256:
                    raise StoreError(store_fault(clip.clip, path, f"{file.path} was changed"))
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r", zarr_format=3)
        attributes = ClipAttributes.model_validate(group.attrs.asdict())
    except OSError as error:
        raise StoreError(store_fault(clip.clip, path, str(error))) from error
    except ValidationError as error:
        # as released, so not damaged: written by a version with other attributes
        first = error.errors()[0]
        what = f"attribute {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StoreError(store_fault(clip.clip, path, what)) from error
    return OpenClip(
        path=path,
        attributes=attributes,
        arrays=dict(group.arrays()),
        file_sizes={file.path: file.size_bytes for file in manifest.files},
    )


def read_frames(clip: OpenClip, name: str, place: tuple[slice, slice, slice]) -> Tensor:
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
        frames = np.asarray(array[place])
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, OverflowError) as error:
        what = f"{name}, pairs {place[0].start} to {place[0].stop - 1}: {error}"
        raise StoreError(store_fault(clip.attributes.clip, clip.path, what)) from error
    # zarr reads a missing shard as zeros, so what was read counts only if its files are there.
    for file in shard_files(array, name, place):
        size_bytes = _size_bytes(clip.path / file)
        if size_bytes is None or size_bytes != clip.file_sizes.get(file):
            what = f"{file} is missing" if size_bytes is None else f"{file} is {size_bytes} bytes"
            expected = f"the manifest lists {clip.file_sizes.get(file)} bytes"
            raise StoreError(store_fault(clip.attributes.clip, clip.path, f"{what}; {expected}"))
    tensor = torch.from_numpy(frames)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor[:, None]


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


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def store_fault(clip: str, path: Path, what: str) -> str:
    """The message for a clip whose store at `path` cannot be read, and what to do about it."""
    return f"clip {clip!r}: {path}: {what}; restore the store from its source, or build it again"
