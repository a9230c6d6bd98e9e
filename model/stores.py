"""Opens clip stores for training; what is missing or damaged is an error, never black frames."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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

from model.places import Place
from model.shards import Cut, OpenShards, SealedArray, readable_chain
from schemas.errors import StoreError
from schemas.release import ReleaseClip
from schemas.store import (
    CHECKSUMS_NAME,
    CLIP_STORE,
    MANIFEST_NAME,
    ClipAttributes,
    ClipManifest,
    StoredFile,
)
from schemas.store_arrays import ArrayMetadata, checksum_offsets

GROUP = "zarr.json"

FRAME_ARRAYS = {name for name, spec in CLIP_STORE.items() if spec.axes[:3] == ("time", "y", "x")}


@dataclass(frozen=True)
class OpenClip:
    """A clip store whose every file but the shards of frames was found to be what was released."""

    place: Place
    attributes: ClipAttributes
    arrays: dict[str, SealedArray | zarr.Array[Any]]
    """The arrays of frames; in zarr-python's hands where the direct reader does not know them."""
    files: dict[str, StoredFile]
    """Every file of the store, by path."""

    @property
    def path(self) -> Path:
        """Its folder on this machine."""
        return self.place.root


def open_clip(
    root: Path | Place, clip: ReleaseClip, open_shards: OpenShards | None = None
) -> OpenClip:
    """The store of a released clip.

    Args:
        root: the place that the release's stores are relative to.
        clip: as the release lists it.
        open_shards: where mapped shards are kept; None: with this clip alone.

    Raises:
        StoreError: the store is missing, damaged or another one.
    """
    place = (Place(root) if isinstance(root, Path) else root).within(clip.store)
    path = place.address or place.root
    if PurePosixPath(clip.store).is_absolute() or ".." in PurePosixPath(clip.store).parts:
        raise StoreError(store_fault(clip.clip, path, "the store lies outside of the release"))
    try:
        manifest = _parsed(place.proven(MANIFEST_NAME, partial(_is_released, clip=clip)))
        if manifest is None or manifest.root_hash != clip.root_hash:
            what = f"{MANIFEST_NAME} is not the one that was released"
            raise StoreError(store_fault(clip.clip, path, what))
        small = _small_files(place, manifest)
        attributes = ClipAttributes.model_validate(json.loads(small[GROUP])["attributes"])
        files = {file.path: file for file in manifest.files}
        arrays = _arrays(place, small, files, open_shards or OpenShards())
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        # as released, so not damaged where a value does not fit: another version wrote it
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        what = (
            str(error) if first is None else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        )
        raise StoreError(store_fault(clip.clip, path, what)) from error
    return OpenClip(place, attributes, arrays, files)


def read_frames(clip: OpenClip, name: str, cut: Cut) -> Tensor:
    """Frames of one array, uint8, shape (T, C, h, w): the one door to the pixels of a store.

    Args:
        clip: the store.
        name: which array.
        cut: pairs, rows and columns, all inside the array.

    Raises:
        StoreError: a shard is missing, cut short or changed.
    """
    array = clip.arrays[name]
    # What zarr and its codecs raise for bytes that do not decode is any of these.
    try:
        if isinstance(array, SealedArray):
            frames = array.read(cut)
        else:
            frames = _read_by_zarr(array, clip, name, cut)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, OverflowError) as error:
        what = f"{name}, pairs {cut[0].start} to {cut[0].stop - 1}: {error}"
        raise StoreError(store_fault(clip.attributes.clip, clip.path, what)) from error
    # numpy's views cost half of torch's
    return torch.from_numpy(frames[:, None] if frames.ndim == 3 else frames.transpose(0, 3, 1, 2))


def _small_files(place: Place, manifest: ClipManifest) -> dict[str, bytes]:
    """Every file of a store that is no shard of frames, as it was sealed."""
    contents = {}
    for file in manifest.files:
        if file.path.partition("/c/")[0] in FRAME_ARRAYS:
            continue
        content = place.file(file).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise ValueError(f"{file.path} was changed")
        contents[file.path] = content
    for name in (GROUP, CHECKSUMS_NAME):
        if name not in contents:
            raise ValueError(f"it was sealed without {name}, by another version of twinband")
    return contents


def _arrays(
    place: Place,
    small: dict[str, bytes],
    files: dict[str, StoredFile],
    open_shards: OpenShards,
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
            arrays[name] = SealedArray(name, place, array, own, files, open_shards, chain)
        else:
            for file, listed in files.items():
                if file.startswith(f"{name}/"):
                    place.file(listed)
            folder = LocalStore(place.root / name, read_only=True)
            arrays[name] = zarr.open_array(folder, mode="r")
    return arrays


def _read_by_zarr(array: zarr.Array[Any], clip: OpenClip, name: str, cut: Cut) -> NDArray[np.uint8]:
    """The frames of `cut`; zarr reads a missing shard as zeros, so the files are looked at."""
    frames = np.asarray(array[cut])
    for file in shard_files(array, name, cut):
        size_bytes, listed = (clip.place.root / file).stat().st_size, clip.files.get(file)
        if listed is None or size_bytes != listed.size_bytes:
            raise ValueError(f"{file} has {size_bytes} bytes; the manifest lists {listed}")
    return frames


def shard_files(array: zarr.Array[Any], name: str, cut: Sequence[slice]) -> list[str]:
    """The files of `array` that hold the pixels of `cut`, relative to the store."""
    sizes = array.shards or array.chunks
    whole = [slice(0, length) for length in array.shape[len(cut) :]]
    touched = [
        range(part.start // size, (part.stop - 1) // size + 1)
        for part, size in zip([*cut, *whole], sizes, strict=True)
    ]
    return [f"{name}/{array.metadata.encode_chunk_key(shard)}" for shard in product(*touched)]


def _parsed(content: bytes) -> ClipManifest | None:
    """The manifest, or None where it was changed after it was sealed."""
    try:
        manifest = ClipManifest.model_validate_json(content)
    except ValidationError:
        return None
    return manifest if manifest.is_consistent() else None


def _is_released(content: bytes, clip: ReleaseClip) -> bool:
    """Whether it is the manifest that was released."""
    manifest = _parsed(content)
    return manifest is not None and manifest.root_hash == clip.root_hash


def store_fault(clip: str, path: object, what: str) -> str:
    """The message for a clip whose store at `path` cannot be read, and what to do about it."""
    return f"clip {clip!r}: {path}: {what}; restore the store from its source, or build it again"
