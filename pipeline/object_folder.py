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
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from schemas.errors import WorkspaceError

AT_ONCE = 16
"""Files on their way at a time: enough to hide the distance of a store, few enough for a laptop."""

ENDPOINT = "AWS_ENDPOINT_URL"
"""The environment's name for a server of one's own."""

READ_TRIES = 3
"""For a file that arrives otherwise than its hash says."""

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

    def __init__(self, address: str, *, retries: int = 9, patience_s: float = 120.0) -> None:
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
        found: dict[str, StoredObject] = {}
        with self._told(below):
            for page in obstore.list(self._store, below or None):
                for one in page:
                    found[one["path"]] = StoredObject(one["size"], str(one["e_tag"]))
        return found

    def files_at(self, path: str) -> dict[str, StoredObject]:
        """The file at `path`, or every file below it; by their paths in this folder."""
        name = path.rstrip("/")
        with self._told(name):
            try:
                found = obstore.head(self._store, name)
            except FileNotFoundError:
                return self.files(f"{name}/")
        return {name: StoredObject(found["size"], str(found["e_tag"]))}

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Content and e-tag of a file; None where there is none."""
        content, e_tag = b"", ""
        for tries_left in reversed(range(READ_TRIES)):
            with self._told(path):
                try:
                    got = obstore.get(self._store, path)
                except FileNotFoundError:
                    return None
                try:
                    content, e_tag = bytes(got.bytes()), str(got.meta["e_tag"])
                except BaseError:  # in its midst, and what is left of it is of another file by now
                    if not tries_left:
                        raise
                    continue
            if not self._is_suspect(hashlib.md5(content, usedforsecurity=False).hexdigest(), e_tag):
                return content, e_tag
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
            for _ in range(READ_TRIES):
                got = self.read(path)
                if got is None or is_right(path, got[0]):
                    break
            return None if got is None else (path, *got)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            yield from (got for got in threads.map(one, paths) if got is not None)

    def download(self, path: str, target: Path, *, e_tag: str) -> None:
        """Bring a file of any size to the disk; `target` is whole once this returns.

        Raises:
            WorkspaceError: it is not the one with `e_tag` any more, or the store does not answer.
        """
        for _ in range(READ_TRIES):
            md5 = hashlib.md5(usedforsecurity=False)
            with self._told(path), target.open("wb") as file:
                got = obstore.get(self._store, path, options={"if_match": e_tag})
                for block in got.stream(min_chunk_size=BLOCK_BYTES):
                    md5.update(block)
                    file.write(block)
            if not self._is_suspect(md5.hexdigest(), e_tag):
                break
        else:
            self._tags_tell = False
        if target.stat().st_size != got.meta["size"]:
            raise WorkspaceError(
                f"{self.address}/{path}: {target.stat().st_size} of {got.meta['size']} bytes "
                "arrived; check the connection, then run this again"
            )

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whatever stood there."""
        with self._told(path):
            obstore.put(self._store, path, content)

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
        with self._told(path):
            try:
                mode: Any = "create" if e_tag is None else {"e_tag": e_tag}
                made = obstore.put(self._store, path, content, mode=mode, use_multipart=False)
                return str(made["e_tag"])
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                there = self.read(path)
                if there is None or there[0] != content:
                    raise TakenError(f"{self.address}/{path}") from error
                return there[1]

    def move_all(self, moves: Mapping[str, str]) -> None:
        """Copy files to other paths, then delete them where they were."""
        with self._told():
            for source, target in moves.items():
                obstore.copy(self._store, source, target)
        self.delete_all(moves)

    def delete_all(self, paths: Iterable[str]) -> None:
        """Delete files; those that are gone already are passed over."""
        with self._told():
            for path in paths:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, path)

    @contextmanager
    def _told(self, path: str = "") -> Iterator[None]:
        """Say of a store that does not answer, or refuses, which one it is."""
        try:
            yield
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
