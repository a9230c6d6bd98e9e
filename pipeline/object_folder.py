"""A folder of an object store: files that are whole or absent, and writes that ask what was there.

Addresses are `s3://bucket/path`, `gs://bucket/path` and `az://container/path`. Credentials, region
and endpoint are those that each service's own tools take from the environment, such as
AWS_ENDPOINT_URL for a server of one's own. What may pass by itself, such as a busy server or a
broken connection, is tried again by obstore before anything here hears of it.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PreconditionError,
)
from obstore.store import from_url

from schemas.errors import WorkspaceError

AT_ONCE = 16
"""Files on their way at a time: enough to hide the distance of a store, few enough for a laptop."""

ENDPOINT = "AWS_ENDPOINT_URL"
"""The environment's name for a server of one's own."""

IN_MEMORY = 4 * AT_ONCE
"""Files that have arrived, or are on their way, before the first of them is used."""

TRIES = 3
"""For a file that arrives otherwise than its hash says, and for answers that obstore does not ask
for again, such as a refusal that was cut short."""

T = TypeVar("T")

MD5 = re.compile(r"[0-9a-f]{32}")

BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class StoredObject:
    """What a listing says of a file."""

    size_bytes: int
    e_tag: str
    """Changes with every write of other content."""


class TakenError(Exception):
    """A conditional write found other content than it was told to expect."""


class ObjectFolder:
    """A folder of an object store; every path is relative to it."""

    def __init__(self, address: str, *, retries: int = 8, patience_s: float = 120.0) -> None:
        """Prepare for the folder at `address`; nothing is asked yet.

        Args:
            address: of the folder.
            retries: of a request that failed in a way that may pass by itself.
            patience_s: after which such a request is given up.

        Raises:
            WorkspaceError: it is no address, or the environment's settings do not fit it.
        """
        self.address = address.rstrip("/")
        self._tags_tell = True
        with self._told():
            self._store = from_url(
                self.address,
                client_options={
                    "timeout": timedelta(seconds=patience_s),
                    "allow_http": os.environ.get(ENDPOINT, "").startswith("http://"),
                },
                retry_config={
                    "max_retries": retries,
                    "retry_timeout": timedelta(seconds=patience_s),
                },
            )

    def files(self, below: str = "") -> dict[str, StoredObject]:
        """Every file whose path begins with `below`, a folder's path and a slash."""
        pages = self._asked(below, lambda: list(obstore.list(self._store, below or None)))
        return {
            one["path"]: StoredObject(one["size"], str(one["e_tag"]))
            for page in pages
            for one in page
        }

    def files_at(self, path: str) -> dict[str, StoredObject]:
        """The file at `path`, or every file below it; by their paths in this folder."""
        name = path.rstrip("/")
        try:
            found = self._asked(name, lambda: obstore.head(self._store, name))
        except FileNotFoundError:
            return self.files(f"{name}/")
        return {name: StoredObject(found["size"], str(found["e_tag"]))}

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Content and e-tag of a file; None where there is none."""

        def whole() -> tuple[bytes, str]:
            got = obstore.get(self._store, path)
            return bytes(got.bytes()), str(got.meta["e_tag"])

        for _ in range(TRIES):
            try:
                content, e_tag = self._asked(path, whole)
            except FileNotFoundError:
                return None
            if not self._is_suspect(hashlib.md5(content, usedforsecurity=False).hexdigest(), e_tag):
                break
        else:
            self._tags_tell = False
        return content, e_tag

    def _is_suspect(self, md5: str, e_tag: str) -> bool:
        """Whether a file arrived otherwise than its e-tag says.

        The e-tag of a file that was written in one piece is its MD5, but for stores that encrypt by
        keys of their own (Amazon S3's documentation of the Object type): there it tells nothing,
        which the first file shows by being suspect however often it is read.
        """
        tag = e_tag.strip('"')
        return self._tags_tell and MD5.fullmatch(tag) is not None and tag != md5

    def read_all(
        self, paths: Iterable[str], is_right: Callable[[str, bytes], bool] = lambda *_: True
    ) -> Iterator[tuple[str, bytes, str]]:
        """Many small files at once: path, content and e-tag of each that is there.

        Args:
            paths: of the files.
            is_right: whether a file is what it should be; one that is not is read again, since
                it may have suffered on the way, and given as it came last.
        """

        def one(path: str) -> tuple[str, bytes, str] | None:
            for _ in range(TRIES):
                got = self.read(path)
                if got is None or is_right(path, got[0]):
                    break
            return None if got is None else (path, *got)

        waiting = iter(paths)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while some := list(islice(waiting, IN_MEMORY)):
                yield from (got for got in threads.map(one, some) if got is not None)

    def download(self, path: str, target: Path, *, e_tag: str) -> None:
        """Bring a file of any size to the disk; `target` is whole once this returns.

        Raises:
            WorkspaceError: it is not the one with `e_tag` any more, or the store does not answer.
        """

        def brought() -> tuple[str, int]:
            md5 = hashlib.md5(usedforsecurity=False)
            got = obstore.get(self._store, path, options={"if_match": e_tag})
            with target.open("wb") as file:
                for block in got.stream(min_chunk_size=BLOCK_BYTES):
                    md5.update(block)
                    file.write(block)
            return md5.hexdigest(), got.meta["size"]

        for _ in range(TRIES):
            try:
                digest, size_bytes = self._asked(path, brought)
            except (PreconditionError, FileNotFoundError) as error:
                raise WorkspaceError(
                    f"{self.address}/{path}: changed while it was fetched; run this again once "
                    "nobody writes there"
                ) from error
            if not self._is_suspect(digest, e_tag):
                break
        else:
            self._tags_tell = False
        if target.stat().st_size != size_bytes:
            raise WorkspaceError(
                f"{self.address}/{path}: {target.stat().st_size} of {size_bytes} bytes arrived; "
                "check the connection, then run this again"
            )

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whatever stood there."""
        self._asked(path, lambda: obstore.put(self._store, path, content))

    def write_all(self, files: Mapping[str, Path]) -> None:
        """Write many files, by the path each gets."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for _ in threads.map(lambda path: self.write(path, files[path].read_bytes()), files):
                pass

    def write_if(self, path: str, content: bytes, e_tag: str | None) -> str:
        """Write a file in the place of the one with `e_tag`, or where there is none; its e-tag.

        An answer that is lost on the way makes the client ask again and hear that the file is
        there already: the content tells whose it is.

        Raises:
            TakenError: another file is there, or the expected one is not.
        """
        mode: Any = "create" if e_tag is None else {"e_tag": e_tag}
        try:
            made = self._asked(
                path,
                lambda: obstore.put(self._store, path, content, mode=mode, use_multipart=False),
            )
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            there = self.read(path)
            if there is None or there[0] != content:
                raise TakenError(f"{self.address}/{path}") from error
            return there[1]
        return str(made["e_tag"])

    def move_all(self, moves: Mapping[str, str]) -> None:
        """Copy files to other paths, then delete them where they were."""
        for source, target in moves.items():
            self._asked(source, partial(obstore.copy, self._store, source, target))
        self.delete_all(moves)

    def delete_all(self, paths: Iterable[str]) -> None:
        """Delete files; those that are gone already are passed over."""
        for path in paths:
            with suppress(FileNotFoundError):
                self._asked(path, partial(obstore.delete, self._store, path))

    def _asked(self, path: str, ask: Callable[[], T]) -> T:
        """What the store answers; the last of the tries is told if it fails as well.

        Raises:
            FileNotFoundError, AlreadyExistsError, PreconditionError: what it says of the file.
            WorkspaceError: it does not answer, or refuses.
        """
        with self._told(path):
            for _ in range(TRIES - 1):
                with suppress(GenericError):
                    return ask()
            return ask()

    @contextmanager
    def _told(self, path: str = "") -> Iterator[None]:
        """Say of a store that does not answer, or refuses, which one it is."""
        try:
            yield
        except (FileNotFoundError, AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, ConnectionError, TimeoutError, PermissionError, ValueError) as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            place = "/".join(part for part in (self.address, path) if part)
            raise WorkspaceError(
                f"{place}: {first}; check the address, the connection and the credentials, then "
                "run this again: what is whole there stays"
            ) from error


def sha256_of(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
