"""Where releases lie: read, written whole, and sent to a folder laid out like a Hub repository."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.clip_seals import read_manifest, verify_clip
from pipeline.durable import make_folder, rename, sync, sync_tree
from schemas.errors import PublishError, ReleaseError, StoreError
from schemas.release import MANIFEST_NAME, Publication, PublishPlan, Release, ReleaseClip
from schemas.store import MANIFEST_NAME as CLIP_MANIFEST_NAME
from schemas.store import StoredFile

PARTIAL = ".publishing"
"""Folder at a destination that holds what is on its way; its presence marks an unfinished send."""

BLOCK_BYTES = 2**20

IGNORED = re.compile(r"\.git|\.gitattributes|\.gitignore|\.cache|report|report/.*")
"""What git and the Hub's own client leave in a clone, and the pages of `twinband report`, which
whoever serves them from there puts there; neither read nor touched."""

OURS = re.compile(
    rf"README\.md|{re.escape(MANIFEST_NAME)}|index|index/[a-z]+\.parquet|assets|assets/[\w-]+\.png"
    r"|previews|previews/[a-z0-9-]+\.[0-9a-f]{32}\.(?:jpg|mp4)"
    r"|clips|clips/[a-z0-9-]+|clips/[a-z0-9-]+/[0-9a-f]{32}\.zarr"
)
"""Every path a published release has above and at its clip stores."""


SMALL = ("index", "assets", "previews")
"""Folders of a release whose files no other release relies on."""


def read_release(folder: Path) -> Release:
    """The release whose manifest lies in `folder`.

    Raises:
        ReleaseError: there is none, or it is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        return Release.read(path.read_bytes())
    except OSError as error:
        raise ReleaseError(
            f"{path}: cannot be read: {error.strerror}; check the version"
        ) from error
    except ReleaseError as error:
        raise ReleaseError(f"{path} {error}") from error


def listed_files(folder: Path) -> tuple[StoredFile, ...]:
    """Every file below `folder` with size and hash, sorted by path."""
    return tuple(
        stored_file(path, path.relative_to(folder).as_posix())
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    )


def stored_file(path: Path, name: str) -> StoredFile:
    """Size and hash of a file, listed under `name`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(path=name, size_bytes=os.fstat(file.fileno()).st_size, sha256=digest)


def clip_files(clip: ReleaseClip, clips_root: Path) -> tuple[StoredFile, ...]:
    """Every file of a clip's store by its path there, the manifest last.

    Raises:
        PublishError: the store below `clips_root` is missing, or not what the release lists.
    """
    store = clips_root / clip.store
    try:
        manifest = read_manifest(store)
    except StoreError as error:
        raise PublishError(f"clip {clip.clip} cannot be sent: {error}") from error
    if manifest.root_hash != clip.root_hash:
        raise PublishError(
            f"clip {clip.clip}: {store} has the root hash {manifest.root_hash} and the "
            f"release lists {clip.root_hash}; delete {store} and build again"
        )
    return (*manifest.files, stored_file(store / CLIP_MANIFEST_NAME, CLIP_MANIFEST_NAME))


def release_files(release: Release, folder: Path) -> tuple[StoredFile, ...]:
    """Card, index, pictures, and the manifest last: what a release has besides its clips."""
    return (*release.files, stored_file(folder / MANIFEST_NAME, MANIFEST_NAME))


def changed_since(source: Path, listed: StoredFile, sha256: str, version: str) -> PublishError:
    """The refusal of a file that is not what the manifests of a release list."""
    return PublishError(
        f"{source}: changed since it was sealed: its sha256 is {sha256} instead of "
        f"{listed.sha256}; see twinband verify {version}, delete what it names and build again"
    )


def other_dataset(place: str, there: Release, release: Release) -> PublishError:
    """The refusal of a place that holds releases of another dataset."""
    return PublishError(
        f"{place} holds release {there.version} of {there.dataset.name}, not of "
        f"{release.dataset.name}; name another place"
    )


class FolderSender:
    """Sends one release to a folder, sealing it with release.json at the very end.

    Clips go first, each under a temporary name until it is whole. From the moment anything that an
    older release relies on is changed until the new release is complete, there is no release.json.
    """

    def __init__(self, release: Release, source: Path, clips_root: Path, destination: Path) -> None:
        """Prepare sending `release`, its folder `source`, its stores below `clips_root`."""
        self._release = release
        self._source = source
        self._clips_root = clips_root
        self._destination = destination
        self._partial = destination / PARTIAL
        self._sent: list[StoredFile] = []
        self._kept = 0
        self._removed = 0

    def send(self) -> Publication:
        """Bring over what is missing or different; equal files are left as they are.

        Raises:
            PublishError: the destination holds something else or is in use, a clip is not what
                the release lists, or the disk is full or failing.
        """
        try:
            make_folder(self._destination)
            with _sole_sender(self._destination):
                _refuse_foreign(self._destination, self._release)
                self._partial.mkdir(exist_ok=True)
                for clip in self._release.clips:
                    self._send_clip(clip)
                self._remove_others()
                for file in release_files(self._release, self._source):
                    self._send_file(file)
                shutil.rmtree(self._partial)
                sync(self._destination)
        except OSError as error:
            raise PublishError(
                f"{error.filename or self._destination}: {error.strerror or error}; mend it and "
                "publish again: what has arrived is kept"
            ) from error
        return Publication(
            version=self._release.version,
            destination=str(self._destination),
            files_sent=len(self._sent),
            bytes_sent=sum(file.size_bytes for file in self._sent),
            files_kept=self._kept,
            clips_removed=self._removed,
        )

    def plan(self) -> PublishPlan:
        """What sending would do; changes nothing.

        Raises:
            PublishError: the destination holds something else, or a clip is not what the release
                lists.
        """
        is_new = not self._destination.exists()
        if not is_new:
            _refuse_foreign(self._destination, self._release)
        wanted = list(release_files(self._release, self._source))
        for clip in self._release.clips:
            wanted += [
                file.model_copy(update={"path": f"{clip.store}/{file.path}"})
                for file in clip_files(clip, self._clips_root)
            ]
        send = [file for file in wanted if not _is_equal(self._destination / file.path, file)]
        others = [*self._other_stores(), *self._other_files()]
        return PublishPlan(
            version=self._release.version,
            destination=str(self._destination),
            is_new=is_new,
            send=tuple(send),
            remove=tuple(path.relative_to(self._destination).as_posix() for path in others),
            files_kept=len(wanted) - len(send),
        )

    def _send_clip(self, clip: ReleaseClip) -> None:
        source, target = self._clips_root / clip.store, self._destination / clip.store
        files = clip_files(clip, self._clips_root)
        if target.exists() and not verify_clip(target, expected_root_hash=clip.root_hash):
            self._kept += len(files)
            return
        staged = self._partial / f"{clip.clip}.{clip.fingerprint}"
        if target.exists():
            self._unseal()
            shutil.rmtree(staged, ignore_errors=True)
            rename(target, staged)
        for file in files:
            self._bring(source / file.path, staged / file.path, file)
        wanted = {staged / file.path for file in files}
        for path in [
            path for path in staged.rglob("*") if not path.is_dir() and path not in wanted
        ]:
            path.unlink()
        sync_tree(staged)
        make_folder(target.parent)
        rename(staged, target)

    def _send_file(self, file: StoredFile) -> None:
        """Card, index, picture, manifest: staged, then put in the place of what was there."""
        target = self._destination / file.path
        if _is_equal(target, file):
            self._kept += 1
            return
        self._unseal()
        staged = self._partial / target.name
        self._bring(self._source / file.path, staged, file)
        sync(staged)
        make_folder(target.parent)
        rename(staged, target)

    def _bring(self, source: Path, target: Path, file: StoredFile) -> None:
        """Copy one file, unless an earlier try did, and prove that it is the one listed."""
        if _is_equal(target, file):
            self._kept += 1
            return
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        with source.open("rb") as reading, target.open("wb") as writing:
            while block := reading.read(BLOCK_BYTES):
                found.update(block)
                writing.write(block)
        if found.hexdigest() != file.sha256:
            target.unlink()
            raise changed_since(source, file, found.hexdigest(), self._release.version)
        self._sent.append(file)

    def _other_stores(self) -> list[Path]:
        """Clips that only the release before had."""
        stores = {self._destination / clip.store for clip in self._release.clips}
        return sorted(set(self._destination.glob("clips/*/*.zarr")) - stores)

    def _other_files(self) -> list[Path]:
        """Small files that only the release before had."""
        files = {self._destination / file.path for file in self._release.files}
        there = [path for name in SMALL for path in self._destination.glob(f"{name}/*")]
        return sorted(set(there) - files)

    def _remove_others(self) -> None:
        for store in self._other_stores():
            self._unseal()
            gone = self._partial / f"{store.parent.name}.{store.name}.gone"
            shutil.rmtree(gone, ignore_errors=True)
            rename(store, gone)
            shutil.rmtree(gone)
            self._removed += 1
            if not any(store.parent.iterdir()):
                store.parent.rmdir()
        for path in self._other_files():
            self._unseal()
            path.unlink()

    def _unseal(self) -> None:
        """Before what the sealed release relies on changes, its seal goes."""
        (self._destination / MANIFEST_NAME).unlink(missing_ok=True)
        sync(self._destination)


def _refuse_foreign(destination: Path, release: Release) -> None:
    """Make sure that nothing at the destination is anybody else's."""
    manifest = destination / MANIFEST_NAME
    begun = (destination / PARTIAL).is_dir()
    for path in _down_to_the_stores(destination):
        name = path.relative_to(destination).as_posix()
        ours = OURS.fullmatch(name) is not None and not path.is_symlink()
        if not ours or not (begun or manifest.is_file()):
            raise PublishError(
                f"{destination} holds {name}, which no release put there; "
                "name an empty folder, or one that an earlier release was published to"
            )
    if manifest.is_file():
        try:
            there = read_release(destination)
        except ReleaseError as error:
            raise PublishError(
                f"{destination} holds a {MANIFEST_NAME} that is none of ours or damaged: {error}; "
                "name an empty folder"
            ) from error
        if there.dataset.name != release.dataset.name:
            raise other_dataset(str(destination), there, release)


def _down_to_the_stores(destination: Path) -> Iterator[Path]:
    """Every path at a destination, as far down as the clip stores; their files are verified."""
    for path in sorted(destination.iterdir()):
        if IGNORED.fullmatch(path.name) or path.name == PARTIAL:
            continue
        yield path
        if path.name in (*SMALL, "clips") and path.is_dir() and not path.is_symlink():
            yield from sorted(path.iterdir())
            if path.name == "clips":
                yield from sorted(path.glob("*/*"))


@contextmanager
def _sole_sender(destination: Path) -> Iterator[None]:
    """Hold the folder against other senders; the system frees it when the holder dies."""
    descriptor = os.open(destination, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise PublishError(
            f"{destination} is being published to by another twinband; wait for it to finish"
        ) from error
    finally:
        os.close(descriptor)


def _is_equal(path: Path, file: StoredFile) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    return stored_file(path, file.path) == file
