"""Where a release lies: a folder, or an address whose files are fetched, proven and kept here.

Addresses are those of fsspec: `hf://datasets/org/name@v1.0.0`, `s3://bucket/prefix`, `gs://`,
`az://`, `http://`, `https://`, `memory://`. Credentials come from where each service's own tools
look for them.
"""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import httpx2
import obstore.fsspec
from filelock import FileLock
from obstore.exceptions import BaseError

from schemas.errors import StoreError
from schemas.store import StoredFile

CACHE_VARIABLE = "TWINBAND_CACHE"
"""The environment's name for the folder of fetched files."""

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")

REVISION = re.compile(r"(?<=[^/])@[^/]+")
"""Of a Hub address; clips are the same under every revision that has them."""

TRIES = 3
"""How often a file is asked for: connections break in mid-file, which no client tries again."""

FETCH_ERRORS = (OSError, BaseError, httpx2.HTTPError)
"""What fsspec, object stores and the Hub's client raise where a file cannot be had."""

obstore.fsspec.register(["s3", "gs", "az", "http", "https"])


@dataclass(frozen=True)
class Place:
    """A folder whose files can be opened, some of them only after they were fetched."""

    root: Path
    """Where the files lie, or will lie once they are fetched."""
    address: str | None = None
    """Where they are fetched from; None: they are here."""

    def within(self, folder: str) -> "Place":
        """A folder of this one."""
        address = None if self.address is None else f"{self.address}/{folder}"
        return Place(self.root / folder, address)

    def content(self, path: str) -> bytes:
        """A small file as it is at this moment.

        Raises:
            OSError: it cannot be read; FileNotFoundError where there is none.
            StoreError: it cannot be fetched.
        """
        if self.address is None:
            return (self.root / path).read_bytes()
        return _fetched(f"{self.address}/{path}")

    def proven(self, path: str, is_right: Callable[[bytes], bool]) -> bytes:
        """A small file that shows by itself whether it is right; fetched at most once if it is.

        Raises:
            OSError: it cannot be read; FileNotFoundError where there is none.
            StoreError: it cannot be fetched.
        """
        kept = self.root / path
        if self.address is None:
            return kept.read_bytes()
        with suppress(FileNotFoundError):
            if is_right(content := kept.read_bytes()):
                return content
        content = _fetched(f"{self.address}/{path}", is_right)
        if is_right(content):
            _keep(kept, content)
        return content

    def file(self, listed: StoredFile) -> Path:
        """A file that can be opened; one from afar is what the manifest lists, byte for byte.

        Raises:
            StoreError: it cannot be fetched, or is not what is listed.
        """
        path = self.root / listed.path
        if self.address is None or _is(path, listed):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):  # other workers want it as well
            if not _is(path, listed):
                self._fetch(path, listed)
        return path

    def _fetch(self, path: Path, listed: StoredFile) -> None:
        address = f"{self.address}/{listed.path}"
        content = _fetched(address, lambda found: _sha256(found) == listed.sha256)
        if (found := _sha256(content)) != listed.sha256:
            raise StoreError(
                f"{address}: what arrived is {len(content)} bytes with the sha256 {found}; "
                f"{listed.size_bytes} bytes with {listed.sha256} are listed; publish the release "
                "again, or try again where the connection is bad"
            )
        _keep(path, content)


def place_of(given: str | Path) -> Place:
    """The place of a folder or of an address.

    Args:
        given: a folder, or an address that fsspec knows.
    """
    if not is_address(given):
        return Place(Path(given).resolve())
    address = str(given).rstrip("/")
    base = REVISION.sub("", address)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", base)[-60:].strip("-")
    digest = hashlib.sha256(base.encode()).hexdigest()[:16]
    return Place(cache_folder() / f"{name}-{digest}", address)


def is_address(given: str | Path) -> bool:
    """Whether it is an address rather than a path of this machine."""
    return isinstance(given, str) and ADDRESS.match(given) is not None


def cache_folder() -> Path:
    """Where fetched files are kept: $TWINBAND_CACHE, else twinband in the user's cache folder."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twinband"


def _fetched(address: str, is_right: Callable[[bytes], bool] = lambda _: True) -> bytes:
    """The whole of a far file; what arrived last where nothing right arrives."""
    fault: Exception | None = None
    content: bytes | None = None
    for _ in range(TRIES):
        try:
            content = _read(address)
            if is_right(content):
                break
        except FileNotFoundError as error:
            what = f"{address} does not exist; check the address and its revision"
            raise StoreError(what) from error
        except FETCH_ERRORS as error:
            fault = error
    if content is None:
        first = (str(fault) or type(fault).__name__).splitlines()[0]
        raise StoreError(
            f"{address} cannot be fetched: {first}; check the connection and the credentials"
        ) from fault
    return content


def _read(address: str) -> bytes:
    options: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "") if address.startswith("s3://") else ""
    if address.startswith("http://") or endpoint.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    try:
        files, path = fsspec.core.url_to_fs(address, **options)
    except ValueError as error:  # fsspec's for a protocol that nobody serves
        raise StoreError(f"{address} is no address that can be read: {error}") from error
    if isinstance(files, obstore.fsspec.FsspecStore) and _fetching_process() != os.getpid():
        raise StoreError(
            f"{address} cannot be fetched by a process that was forked from one that fetched, as "
            "it lacks the threads for it; read by model.loader.WindowLoader, or give DataLoader "
            "multiprocessing_context='forkserver'"
        )
    content: bytes = files.cat_file(path)
    return content


@cache
def _fetching_process() -> int:
    """The process that first asked an object store; one that is forked from it inherits this."""
    return os.getpid()


def _keep(path: Path, content: bytes) -> None:
    """Write a file of the cache; nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _is(path: Path, listed: StoredFile) -> bool:
    try:
        state = path.stat()
        return state.st_size == listed.size_bytes and (
            _file_sha256(path, state.st_ino, state.st_ctime_ns) == listed.sha256
        )
    except FileNotFoundError:
        return False


@lru_cache(maxsize=1 << 16)
def _file_sha256(path: Path, _inode: int, _changed_ns: int) -> str:
    """The hash of a file of the cache, taken once a process for as long as it is not changed.

    A shard that many windows are read from is opened again and again; every chunk of it is checked
    whenever it is read (model/shards.py).
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
