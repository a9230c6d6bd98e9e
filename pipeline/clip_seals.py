"""The seal of a clip store: its manifest read, and every byte of the store held against it."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import ValidationError

from pipeline.clip_checksums import damaged_chunks, in_words, sealed_part
from pipeline.workspace import Workspace
from schemas.base import canonical_json
from schemas.errors import StoreError
from schemas.store import (
    CHECKSUMS_NAME,
    CLIP_STORE,
    MANIFEST_NAME,
    ClipManifest,
    Fault,
    StoredFile,
)
from schemas.store_arrays import ArrayMetadata

MAX_MANIFEST_BYTES = 64 * 2**20
"""Longest manifest that is read: some 300,000 files, the shards of a recording of many days."""

CHANGED = "changed"
"""How the fault of a file begins that is as long as it should be and has other bytes."""


def read_manifest(store: Path) -> ClipManifest:
    """The manifest that seals `store`.

    Raises:
        StoreError: the store is not sealed, or its manifest is damaged.
    """
    manifest = _parse_manifest(store)
    if not manifest.is_consistent():
        raise StoreError(
            f"{store / MANIFEST_NAME} is damaged: its root hash {manifest.root_hash} is not that "
            f"of the files it lists; {remedy(store)}"
        )
    return manifest


def is_sealed(store: Path) -> bool:
    """Whether `store` was finished under the name it bears; its files are not looked at."""
    try:
        return _misplaced(store, read_manifest(store)) is None
    except StoreError:
        return False


def verify_clip(
    store: Path,
    *,
    quick: bool = False,
    expected_root_hash: str | None = None,
    sizes: Mapping[str, int | None] | None = None,
) -> list[Fault]:
    """Everything wrong with `store`: missing, extra, truncated and changed files, by name.

    Args:
        store: the folder of the clip store.
        quick: compare the sizes of the listed files, and the names at the top of the store, alone;
            otherwise every folder is searched and every byte is read.
        expected_root_hash: what a release says the root hash is; None: not asked.
        sizes: of every file that is there, for a store of which the manifest alone is at hand;
            None: the folder is searched.
    """
    clip = store.parent.name
    try:
        manifest = _parse_manifest(store)
    except StoreError as error:
        return [Fault(clip=clip, array=None, file=MANIFEST_NAME, what=str(error))]
    faults = [
        Fault(clip=clip, array=None, file=MANIFEST_NAME, what=what)
        for what in _manifest_faults(store, manifest, expected_root_hash)
    ]
    listed = {file.path: file for file in manifest.files}
    if sizes is None:
        sizes = _listed_files(store, manifest) if quick else files_of(store)
    changed: dict[str, str] = {}
    for name in sorted((listed.keys() | sizes.keys()) - {MANIFEST_NAME}):
        what = _file_fault(name, sizes, listed.get(name), None if quick else store)
        if what is not None:
            changed[name] = what
    if not changed:
        return faults
    proven = not faults and not any(file.path in changed for file in small_files(manifest))
    for name, what in changed.items():
        fault = Fault(clip=clip, array=_array_of(name), file=name, what=what)
        if proven and what.startswith(CHANGED):
            fault = _with_chunks(fault, store)
        faults.append(fault)
    return faults


def small_files(manifest: ClipManifest) -> Iterator[StoredFile]:
    """The files that tell what the shards of a store hold: metadata and checksums."""
    for file in manifest.files:
        if file.path == CHECKSUMS_NAME or PurePosixPath(file.path).name == "zarr.json":
            yield file


def array_hashes(manifest: ClipManifest) -> dict[str, str]:
    """A sha256 over the files of each array: their names, sizes and hashes."""
    files: dict[str, list[object]] = {}
    for file in manifest.files:
        if (array := _array_of(file.path)) is not None:
            files.setdefault(array, []).append(file.model_dump(mode="json"))
    return {
        array: hashlib.sha256(canonical_json(listed).encode()).hexdigest()
        for array, listed in sorted(files.items())
    }


def _parse_manifest(store: Path) -> ClipManifest:
    path = store / MANIFEST_NAME
    if not path.is_file():
        raise StoreError(f"{store} is not sealed: it has no {MANIFEST_NAME}; {remedy(store)}")
    with path.open("rb") as file:
        content = file.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise StoreError(f"{path} is longer than {MAX_MANIFEST_BYTES} bytes; {remedy(store)}")
    try:
        return ClipManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise StoreError(f"{path} is damaged: {where}: {first['msg']}; {remedy(store)}") from error


def read_arrays(store: Path) -> dict[str, ArrayMetadata]:
    """What zarr says of the arrays of a store, by name; the metadata is as it was written."""
    return {
        path.parent.name: ArrayMetadata.model_validate_json(path.read_bytes())
        for path in store.glob("*/zarr.json")
    }


def _with_chunks(fault: Fault, store: Path) -> Fault:
    """The fault of a changed shard with the chunks it is in, told by metadata that is proven."""
    arrays = read_arrays(store)
    name, _, place = fault.file.partition("/c/")
    array, shard = arrays[name], tuple(map(int, place.split("/")))
    checksums = np.fromfile(store / CHECKSUMS_NAME, "<u4")
    sealed = sealed_part(checksums, arrays, name, shard)
    try:
        chunks = damaged_chunks((store / fault.file).read_bytes(), array, sealed)
    except ValueError as error:
        return fault.model_copy(update={"what": f"{fault.what}; {error}"})
    what = f"{fault.what}; damaged are {in_words(name, array, shard, chunks)}"
    return fault.model_copy(update={"what": what, "chunks": tuple(chunks)})


def _manifest_faults(
    store: Path, manifest: ClipManifest, expected_root_hash: str | None
) -> Iterator[str]:
    if not manifest.is_consistent():
        yield f"its root hash {manifest.root_hash} is not that of the files it lists"
    if expected_root_hash is not None and manifest.root_hash != expected_root_hash:
        yield f"its root hash {manifest.root_hash} should be {expected_root_hash}"
    if (misplaced := _misplaced(store, manifest)) is not None:
        yield misplaced


def _misplaced(store: Path, manifest: ClipManifest) -> str | None:
    belongs = Path(Workspace.clip_path(manifest.clip, manifest.fingerprint))
    if (store.parent.name, store.name) == (belongs.parent.name, belongs.name):
        return None
    return f"it is the manifest of {belongs}, not of {store}"


def _file_fault(
    name: str, sizes: Mapping[str, int | None], listed: StoredFile | None, store: Path | None
) -> str | None:
    """What is wrong with one file, if anything.

    Args:
        name: its path in the store.
        sizes: of the files that are there; None of what is no plain file.
        listed: what the manifest says of it; None: nothing, and then it is there.
        store: where its bytes are to be read; None: they are not.
    """
    if listed is None or name not in sizes:
        return "missing" if name not in sizes else "not listed in the manifest"
    size_bytes = sizes[name]
    if size_bytes is None:
        return "not a plain file"
    if size_bytes != listed.size_bytes:
        return f"{size_bytes} bytes long instead of {listed.size_bytes}"
    if store is None:
        return None
    try:
        with (store / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error}"
    if sha256 != listed.sha256:
        return f"{CHANGED}: its sha256 is {sha256} instead of {listed.sha256}"
    return None


def _array_of(path: str) -> str | None:
    top, _, rest = path.partition("/")
    return top if rest and top in CLIP_STORE else None


def files_of(store: Path) -> dict[str, int | None]:
    """Size of everything below `store` that is no plain folder, by its path there.

    None is the size of what is neither a folder nor a plain file.
    """
    found: dict[str, int | None] = {}
    folders = [("", str(store))]
    while folders:
        prefix, folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    found[f"{prefix}{entry.name}"] = _size_of(entry.stat(follow_symlinks=False))
    return found


def _listed_files(store: Path, manifest: ClipManifest) -> dict[str, int | None]:
    """What the manifest lists and is there, and whatever else lies at the top of `store`.

    Folders that the manifest names are not searched: listing them costs ten times as much, and no
    reader looks at a file among the shards that the metadata of the array does not lead to.
    """
    top = str(store)
    found: dict[str, int | None] = {}
    for file in manifest.files:
        with suppress(FileNotFoundError, NotADirectoryError):
            found[file.path] = _size_of(os.lstat(f"{top}/{file.path}"))
    known = {file.path.partition("/")[0] for file in manifest.files}
    with os.scandir(top) as entries:
        for entry in entries:
            if entry.name not in known:
                found[entry.name] = _size_of(entry.stat(follow_symlinks=False))
    return found


def _size_of(found: os.stat_result) -> int | None:
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def remedy(store: Path) -> str:
    """What to do about a store that is no good."""
    return f"delete {store} and build again"
