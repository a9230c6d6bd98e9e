"""Writes and opens clip stores; half a store never stands under its final name."""

import errno
import hashlib
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import ValidationError
from zarr.errors import ZarrUserWarning
from zarr.storage import LocalStore

from pipeline.clip_checksums import shard_checksums
from pipeline.clip_seals import files_of, read_arrays, read_manifest, remedy, verify_clip
from pipeline.durable import make_folder, rename, sync
from pipeline.staged_store import StagedStore
from pipeline.workspace import Workspace
from schemas.errors import StoreError
from schemas.store import (
    CHECKSUMS_NAME,
    CLIP_STORE,
    MANIFEST_NAME,
    SHARD_PAIRS,
    ClipAttributes,
    ClipManifest,
    StoredFile,
    array_layout,
)
from schemas.store_arrays import shard_file

CHANNELS = 3
"""Samples of a visible pixel: red, green, blue."""


class ClipWriter:
    """Writes one clip store in blocks of whole shards and seals it; one writer per store.

    Everything lies in the staging folder until `seal` renames it to its final name. Leaving the
    `with` block without sealing removes what was staged. Equal input gives equal bytes.
    """

    def __init__(
        self,
        workspace: Workspace,
        attributes: ClipAttributes,
        streams: Sequence[str],
        *,
        first_pair: int = 0,
    ) -> None:
        """Prepare a store for `attributes.pairs` pairs of the frame arrays named in `streams`.

        Args:
            workspace: where the store will stand.
            attributes: of the clip.
            streams: names of frame arrays.
            first_pair: where writing begins, for a part that another writer `adopt`s.
        """
        self._final = workspace.clip(attributes.clip, attributes.fingerprint)
        self._workspace = workspace
        self._attributes = attributes
        self._streams = tuple(streams)
        self._pairs = first_pair

    def __enter__(self) -> Self:
        self._staged = self._workspace.staged(f"{self._attributes.clip}.{uuid4().hex}")
        self._staged.mkdir()
        try:
            self._group = zarr.create_group(
                StagedStore(self._staged), attributes=self._attributes.model_dump(mode="json")
            )
            self._arrays = {name: self._create(name) for name in self._streams}
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()

    def write(self, block: Mapping[str, NDArray[np.generic]]) -> None:
        """Append one shard of pairs to every stream.

        Args:
            block: stream name -> frames, time first; SHARD_PAIRS pairs, fewer in the last block.

        Raises:
            ValueError: streams, length, shape or dtype are not those announced.
            OSError: the disk is full or failing.
        """
        pairs = min(SHARD_PAIRS, self._attributes.pairs - self._pairs)
        if pairs == 0 or set(block) != set(self._streams):
            raise ValueError(
                f"got {sorted(block)} after {self._pairs} pairs; {sorted(self._streams)} and "
                f"{self._attributes.pairs} pairs were announced"
            )
        for name, frames in block.items():
            array = self._arrays[name]
            expected = (pairs, *array.shape[1:])
            if frames.shape != expected or frames.dtype != array.dtype:
                raise ValueError(
                    f"{name}: {frames.shape} {frames.dtype} must be {expected} {array.dtype}"
                )
            array[self._pairs : self._pairs + pairs] = frames
        self._pairs += pairs

    def part(self) -> Path:
        """Leave what was written, and where it is, to a writer that adopts it."""
        part, self._staged = self._staged, self._staged.with_name(f"{self._staged.name}.left")
        return part

    def adopt(self, part: Path, pairs: int) -> None:
        """Append the next pairs, which another writer has written; they are moved, not copied.

        Args:
            part: what that writer's `part` gave.
            pairs: how many, whole shards but at the end of the clip.
        """
        for name in self._streams:
            shards = part / name / "c"
            for shard in [path for path in shards.rglob("*") if path.is_file()]:
                target = self._staged / name / "c" / shard.relative_to(shards)
                target.parent.mkdir(parents=True, exist_ok=True)
                shard.rename(target)
        shutil.rmtree(part)
        self._pairs += pairs

    def seal(self, *, time_s: NDArray[np.float64], valid: NDArray[np.bool_]) -> ClipManifest:
        """Write the small arrays and the manifest, sync all of it, and give it its final name.

        A sealed store of the same content that already stands there is kept, and is the result.

        Args:
            time_s: seconds since the clip's first pair, shape (pairs,).
            valid: where both cameras see the scene, shape (height, width).

        Raises:
            ValueError: pairs are missing, or a shape or dtype is not the announced one.
            StoreError: something else stands under the final name.
            OSError: the disk is full or failing.
        """
        if self._pairs != self._attributes.pairs:
            raise ValueError(f"{self._pairs} of {self._attributes.pairs} pairs were written")
        for name, values in (("time_s", time_s), ("valid", valid)):
            array = self._create(name)
            if values.shape != array.shape or values.dtype != array.dtype:
                raise ValueError(
                    f"{name}: {values.shape} {values.dtype} must be {array.shape} {array.dtype}"
                )
            array[...] = values
        _consolidate(self._staged)
        (self._staged / CHECKSUMS_NAME).write_bytes(_checksums(self._staged).tobytes())
        manifest = ClipManifest.seal(
            self._attributes.clip, self._attributes.fingerprint, _synced_files(self._staged)
        )
        (self._staged / MANIFEST_NAME).write_text(
            manifest.model_dump_json(indent=2) + "\n", encoding="utf-8", newline="\n"
        )
        sync(self._staged / MANIFEST_NAME)
        sync(self._staged)
        _publish(self._staged, self._final, manifest)
        return manifest

    def _create(self, name: str) -> zarr.Array[Any]:
        spec = CLIP_STORE[name]
        sizes = {
            "time": self._attributes.pairs,
            "y": self._attributes.height,
            "x": self._attributes.width,
            "channel": CHANNELS,
        }
        shape = tuple(sizes[axis] for axis in spec.axes)
        layout = array_layout(name, shape, self._attributes.profile)
        to_bytes, *compressors = layout.codecs
        return self._group.create_array(
            name,
            shape=shape,
            dtype=spec.dtype,
            chunks=layout.chunks,
            shards=layout.shards,
            filters=None,
            serializer=to_bytes,
            compressors=compressors,
            fill_value=0,
            dimension_names=spec.axes,
            config={"write_empty_chunks": True},
        )

    def _discard(self) -> None:
        shutil.rmtree(self._staged, ignore_errors=True)


def open_clip(store: Path) -> tuple[zarr.Group, ClipAttributes]:
    """The zarr group of a sealed store, read only, with its attributes.

    A file that is missing would read as black frames, so names and sizes are compared first.

    Raises:
        StoreError: the store is not sealed, or files or attributes are damaged.
    """
    manifest = read_manifest(store)
    for fault in verify_clip(store, quick=True, expected_root_hash=manifest.root_hash):
        raise StoreError(f"{store}: {fault.file}: {fault.what}; {remedy(store)}")
    group = zarr.open_group(LocalStore(store, read_only=True), mode="r", zarr_format=3)
    try:
        return group, ClipAttributes.model_validate(group.attrs.asdict())
    except ValidationError as error:
        raise StoreError(f"{store}: attributes: {error}; {remedy(store)}") from error


def read_pairs(group: zarr.Group, name: str, first: int, last: int) -> NDArray[np.uint8]:
    """Pairs `first` to `last` (left out) of a frame array of an open clip, time first."""
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is a group in {group.store_path}")
    return np.asarray(array[first:last], dtype=np.uint8)


def _consolidate(store: Path) -> None:
    """Repeat the arrays' metadata in the group's, sorted.

    Readers then need not list the folder, which zarr-python does not do without a warning about
    the manifest. Readers that do not know consolidated metadata pass over it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        zarr.consolidate_metadata(StagedStore(store), zarr_format=3)


def _checksums(store: Path) -> NDArray[np.uint32]:
    """The content of CHECKSUMS_NAME for the arrays as they lie in `store`."""
    return np.concatenate(
        [
            shard_checksums((store / shard_file(name, place)).read_bytes(), array)
            for name, array in sorted(read_arrays(store).items())
            for place in array.shard_places()
        ]
    ).astype("<u4")


def _synced_files(store: Path) -> tuple[StoredFile, ...]:
    """Every file of `store`, on the disk for good, hashed as it reads back."""
    files: list[StoredFile] = []
    for name in sorted(files_of(store)):
        sync(store / name)
        with (store / name).open("rb") as file:
            files.append(
                StoredFile(
                    path=name,
                    size_bytes=os.fstat(file.fileno()).st_size,
                    sha256=hashlib.file_digest(file, "sha256").hexdigest(),
                )
            )
    for folder, _, _ in os.walk(store, topdown=False):
        sync(Path(folder))
    return tuple(files)


def _publish(staged: Path, final: Path, manifest: ClipManifest) -> None:
    """Rename `staged` to `final`, or keep the equal store that is already there."""
    make_folder(final.parent)
    try:
        rename(staged, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        for fault in verify_clip(final, quick=True, expected_root_hash=manifest.root_hash):
            raise StoreError(
                f"{final} exists with other content: {fault.file}: {fault.what}; {remedy(final)}"
            ) from error
    for folder in (final.parent.parent, final.parent.parent.parent):
        sync(folder)  # also where a build that was killed had made them
