"""A workspace on an object store: what a command needs is at hand, what it made is kept there.

Every command works in a scratch folder of this machine, as in any workspace. Records are fetched
into it beforehand, a clip's store for as long as somebody reads it, and what is new goes back file
by file: the files of a store before its manifest, which seals it; the files of a release before its
release.json; the outcome of a recording after everything it names. Seals and releases are written
only where there are none, records only in the place of those that were fetched: whoever writes on
a lease that was taken over fails there and changes nothing.
"""

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from uuid import uuid4

from pydantic import ValidationError

from pipeline.lease import LEASE_DURATION_S, lease_lost
from pipeline.object_folder import (
    ObjectFolder,
    StoredObject,
    TakenError,
    sha256_of,
)
from pipeline.object_lease import confirm_lease, held_object_lease
from pipeline.object_scratch import scratch
from pipeline.workspace import Workspace
from schemas.base import is_object_address
from schemas.errors import StoreError, TwinbandError
from schemas.release import MANIFEST_NAME as RELEASE_NAME
from schemas.store import MANIFEST_NAME, ClipManifest

STORE = r"clips/[^/]+/[^/]+"
"""Where a clip's store is, below the root."""

OUTCOMES = ("facts/*/shard.json", "facts/*/raw.json")
"""What became of recordings: all that is asked before they are built or released."""

LAST = (MANIFEST_NAME, RELEASE_NAME, "shard.json", "look.json")
"""Files that say of others that they are whole: written after them, deleted before."""


@dataclass(frozen=True)
class Known:
    """A file as it is in the store, as far as this process knows."""

    sha256: str
    e_tag: str


@dataclass(frozen=True)
class ObjectWorkspace(Workspace):
    """A scratch folder that stands for a workspace on an object store."""

    address: str = ""
    known: dict[str, Known] = field(default_factory=dict, compare=False)
    """By path below the root: what was fetched, or written and no clip's."""
    stores: dict[str, dict[str, int | None]] = field(default_factory=dict, compare=False)
    """Size of every file of every clip's store, when the workspace was last refreshed."""
    wanted: tuple[str, ...] = ()
    """Patterns of the files that are at hand, beside the manifests of clips."""

    @property
    def place(self) -> str:
        """The address."""
        return self.address

    @property
    def is_shared(self) -> bool:
        """No: each has a scratch folder of its own."""
        return False

    def told(self, text: str) -> str:
        """The text with the workspace's address in the place of this machine's folder."""
        return text.replace(str(self.root), self.address)

    def found_files(self, store: str) -> dict[str, int | None] | None:
        """Size of every file of a clip's store, by its path there."""
        return self.stores.get(store, {})

    def size_bytes(self, path: str) -> int:
        """Of a file or of all files below a folder."""
        if not path.startswith("clips/"):
            return super().size_bytes(path)
        return sum(size or 0 for size in self.stores.get(path, {}).values())

    @contextmanager
    def owned(self, *, lease_duration_s: float = LEASE_DURATION_S) -> Iterator[Workspace]:
        """Hold the workspace for writing; what was written is kept when the block ends well.

        Raises:
            WorkspaceError: another process is writing to it or took it over in the meantime, or
                the store does not answer.
        """

        def withdraw() -> None:
            shutil.rmtree(self.root / "staging", ignore_errors=True)

        folder = ObjectFolder(self.address)
        with held_object_lease(folder, duration_s=lease_duration_s, withdraw=withdraw) as token:
            held = replace(self, build=token)
            held.staging.mkdir(parents=True)
            held.refresh()  # somebody else may have held it until now
            try:
                yield held
            except Exception as error:
                if held.staging.is_dir() or isinstance(error, TwinbandError):
                    raise
                raise lease_lost(self.address) from error
            held.keep()

    @contextmanager
    def at_hand(self, store: str) -> Iterator[Path]:
        """A clip's store, fetched for as long as the block lasts."""
        target = self.root / store
        if (target / MANIFEST_NAME).is_file() and store not in self.stores:
            yield target  # made here and not yet kept
            return
        manifest = _parsed(target / MANIFEST_NAME)
        hashes = {} if manifest is None else {f.path: f.sha256 for f in manifest.files}
        folder = ObjectFolder(f"{self.address}/{store}")

        def is_right(path: str, content: bytes) -> bool:
            return hashes.get(path) in (None, sha256_of(content))

        fetched = self.stores.get(store, {}).keys() - {MANIFEST_NAME}
        try:
            for path, content, _ in folder.read_all(sorted(fetched), is_right):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(content)
            yield target
        finally:
            if target.is_dir():
                _free(target)

    @contextmanager
    def recording_at_hand(self, recording: str) -> Iterator[Workspace]:
        """A workspace with the facts of a recording, for any process that works for the holder.

        Raises:
            WorkspaceError: the workspace was taken over, or the store does not answer.
        """
        with scratch() as root:
            here = replace(self, root=root, known={}, stores={})
            here.staging.mkdir(parents=True)
            here._fetch(f"facts/{recording}/", lambda _: True)  # noqa: SLF001 (a workspace like this)
            try:
                yield here
            except TwinbandError as error:
                raise type(error)(here.told(str(error))) from error

    def refresh(self) -> None:
        """Bring to the scratch folder what is wanted of the store as it is now."""
        self.stores.clear()
        manifests = re.compile(rf"{STORE}/{MANIFEST_NAME}")
        for path, found in self._fetch("clips/", manifests.fullmatch).items():
            if inside := re.fullmatch(f"({STORE})/(.+)", path):
                self.stores.setdefault(inside[1], {})[inside[2]] = found.size_bytes
        for store in self.stores:
            (self.root / store).mkdir(parents=True, exist_ok=True)
        for below in sorted({pattern.partition("/")[0] for pattern in self.wanted}):
            self._fetch(f"{below}/", self._is_wanted)
        for release in self.root.glob("releases/*"):
            if not (release / RELEASE_NAME).is_file():  # of a process that was killed at it
                shutil.rmtree(release)

    def _is_wanted(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.wanted)

    def _fetch(self, below: str, is_wanted: Callable[[str], object]) -> dict[str, StoredObject]:
        """Bring the wanted files below a folder that are not here already; what is listed there."""
        folder = ObjectFolder(self.address)
        found = folder.files(below)
        for path in [path for path in self.known if path.startswith(below) and path not in found]:
            del self.known[path]
            (self.root / path).unlink(missing_ok=True)
        wanted = [
            path
            for path, listed in found.items()
            if is_wanted(path)
            and (path not in self.known or self.known[path].e_tag != listed.e_tag)
        ]
        for path, content, e_tag in folder.read_all(wanted):
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            self.known[path] = Known(sha256_of(content), e_tag)
        return found

    def keep(self) -> None:
        """Write to the store what is new or changed since it was fetched.

        Raises:
            WorkspaceError: the workspace was taken over, or the store does not answer.
            StoreError: a clip of other content stands under the name of one that was made.
        """
        folder = ObjectFolder(self.address)
        for store in sorted(self.root.glob("clips/*/*.zarr")):
            name = store.relative_to(self.root).as_posix()
            manifest = _parsed(store / MANIFEST_NAME)
            if manifest is not None and all((store / f.path).is_file() for f in manifest.files):
                self._seal(folder, name, manifest)
                _free(store)
        changed: dict[str, bytes] = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if name.startswith(("clips/", "staging/")) or path.is_dir() or path.suffix == ".lock":
                continue
            content = path.read_bytes()
            if name not in self.known or self.known[name].sha256 != sha256_of(content):
                changed[name] = content
        if changed and self.build is not None:
            confirm_lease(folder, self.build)
            folder.delete_all(name for name in self.known if self._is_left_over(name))
        for name in sorted(changed, key=lambda name: PurePosixPath(name).name in LAST):
            self._keep_record(folder, name, changed[name])

    def _is_left_over(self, name: str) -> bool:
        """Whether it belongs to a release that was never finished, and to none made since."""
        return name.startswith("releases/") and not (self.root / name).exists()

    def _keep_record(self, folder: ObjectFolder, name: str, content: bytes) -> None:
        known = self.known.get(name)
        try:
            e_tag = folder.write_if(name, content, None if known is None else known.e_tag)
        except TakenError as error:
            if self.build is None:  # looks and reports, which anybody makes the same
                return
            raise lease_lost(self.address) from error
        self.known[name] = Known(sha256_of(content), e_tag)

    def _seal(self, folder: ObjectFolder, store: str, manifest: ClipManifest) -> None:
        """Write a clip's store, its manifest last; one of the same content is left as it is."""
        content = (self.root / store / MANIFEST_NAME).read_bytes()
        standing = folder.read(f"{store}/{MANIFEST_NAME}")
        there = folder.files(f"{store}/")
        wanted = {f"{store}/{f.path}": f.size_bytes for f in manifest.files}
        if standing is not None:
            sizes = {path: found.size_bytes for path, found in there.items()}
            sizes.pop(f"{store}/{MANIFEST_NAME}")
            if standing[0] == content and sizes == wanted:
                return
            if standing[0] != content and sizes == wanted:
                raise StoreError(
                    f"{self.address}/{store} exists with other content; delete it and build again"
                )
            self._set_aside(folder, store, there)
        confirm_lease(folder, str(self.build))
        folder.write_all({path: self.root / path for path in wanted})
        confirm_lease(folder, str(self.build))
        try:
            folder.write_if(f"{store}/{MANIFEST_NAME}", content, None)
        except TakenError as error:
            raise lease_lost(self.address) from error

    def _set_aside(
        self, folder: ObjectFolder, store: str, there: Mapping[str, StoredObject]
    ) -> None:
        """Move a damaged store below `damaged/`, its manifest first: nobody takes half for it."""
        place = f"damaged/{store.removeprefix('clips/')}.{uuid4().hex[:8]}"
        ordered = sorted(there, key=lambda path: PurePosixPath(path).name != MANIFEST_NAME)
        folder.move_all({path: f"{place}{path.removeprefix(store)}" for path in ordered})

    def set_aside_stores(self) -> list[str]:
        """Every store that was set aside and nobody has deleted yet, below the root."""
        found = ObjectFolder(self.address).files("damaged/")
        return sorted({"/".join(PurePosixPath(path).parts[:3]) for path in found})

    def delete(self, paths: Collection[str]) -> None:
        """Delete files and all that is below folders; what seals others goes first."""
        folder = ObjectFolder(self.address)
        confirm_lease(folder, str(self.build))
        for path in paths:
            below = list(folder.files(f"{path}/")) or [path]
            ordered = sorted(below, key=lambda name: PurePosixPath(name).name not in LAST)
            folder.delete_all(ordered)
            for name in below:
                self.known.pop(name, None)
            gone = self.root / path
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)


@contextmanager
def opened_workspace(work: Path | str, *wanted: str) -> Iterator[Workspace]:
    """The workspace at a folder, or at an address of an object store.

    Args:
        work: the folder, or s3://, gs:// or az:// and its place.
        wanted: patterns of the files that are to be at hand beside clips' manifests, such as
            `releases/*/release.json`, * for any number of folders; in a folder all of them are.

    Raises:
        WorkspaceError: the store does not answer.
    """
    if isinstance(work, Path):
        yield Workspace(work.resolve())
        return
    with scratch() as root:
        workspace = ObjectWorkspace(root, address=work.rstrip("/"), wanted=wanted)
        try:
            workspace.refresh()
            yield workspace
        except TwinbandError as error:
            raise type(error)(workspace.told(str(error))) from error


def workspace_at(place: str, build: str) -> Workspace:
    """The workspace at a place, for a process that works for the holder of its lease.

    Args:
        place: see `Workspace.place`.
        build: token of the lease.
    """
    if is_object_address(place):
        return ObjectWorkspace(Path(), build, address=place)
    return Workspace(Path(place), build)


def _free(store: Path) -> None:
    """Take the files of a store away again, all but its manifest."""
    for path in store.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != MANIFEST_NAME:
            path.unlink()


def _parsed(path: Path) -> ClipManifest | None:
    try:
        return ClipManifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
