"""Where a release lies: a folder, or an address whose files are fetched, proven and kept here.

Addresses are those of fsspec: `hf://datasets/org/name@v1.0.0`, `s3://bucket/prefix`, `gs://`,
`az://`, `http://`, `https://`, `memory://`. Credentials come from where each service's own tools
look for them.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
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

FETCH_ERRORS = (OSError, BaseError)
"""What fsspec, the Hub's client and object stores raise where a file cannot be had."""

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
        content = _fetched(address)
        found = hashlib.sha256(content).hexdigest()
        if found != listed.sha256:
            raise StoreError(
                f"{address}: what arrived is {len(content)} bytes with the sha256 {found}; "
                f"{listed.size_bytes} bytes with {listed.sha256} are listed; publish the release "
                "again, or try again where the connection is bad"
            )
        partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


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


def _fetched(address: str) -> bytes:
    """The whole of a far file."""
    options: dict[str, Any] = {}
    if address.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    try:
        files, path = fsspec.core.url_to_fs(address, **options)
        content: bytes = files.cat_file(path)
    except FileNotFoundError as error:
        raise StoreError(f"{address} does not exist; check the address and its revision") from error
    except FETCH_ERRORS as error:
        raise StoreError(
            f"{address} cannot be fetched: {str(error).splitlines()[0]}; check the connection and "
            "the credentials"
        ) from error
    except ValueError as error:  # fsspec's for a protocol that nobody serves
        raise StoreError(f"{address} is no address that can be read: {error}") from error
    return content


def _is(path: Path, listed: StoredFile) -> bool:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != listed.size_bytes:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == listed.sha256
    except FileNotFoundError:
        return False
