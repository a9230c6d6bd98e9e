"""Where everything lies under `work/`, and how small records are saved whole or not at all."""

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import ValidationError

from schemas.base import StrictModel
from schemas.errors import WorkspaceError

M = TypeVar("M", bound=StrictModel)


@dataclass(frozen=True)
class Workspace:
    """The folder a dataset is built in; every path below it is named here."""

    root: Path

    def facts(self, recording: str, stage: str) -> Path:
        """The JSON record of one stage of a recording."""
        return self.root / "facts" / recording / f"{stage}.json"

    def signals(self, recording: str) -> Path:
        """Per-frame times and motion of both cameras, measured by ingest (npz)."""
        return self.root / "facts" / recording / "signals.npz"

    def pairs(self, recording: str) -> Path:
        """The pair list of a recording, made by sync (npz)."""
        return self.root / "facts" / recording / "pairs.npz"

    def clip(self, clip: str, fingerprint: str) -> Path:
        """The sealed store of a clip."""
        return self.root / self.clip_path(clip, fingerprint)

    @staticmethod
    def clip_path(clip: str, fingerprint: str) -> str:
        """The same, relative to the root of a workspace or a published release."""
        return f"clips/{clip}/{fingerprint}.zarr"

    @property
    def staging(self) -> Path:
        """Unsealed work; whatever a dead build left here is debris."""
        return self.root / "staging"

    def release(self, version: str) -> Path:
        """The folder of a release."""
        return self.root / "releases" / version

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the workspace for writing; the system frees it when the holder dies.

        Raises:
            WorkspaceError: another process is writing to it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise WorkspaceError(
                f"{self.root} is being written to by another twinband; wait for it to finish"
            ) from error


def save(record: StrictModel, path: Path) -> None:
    """Write `record` as JSON; a reader never sees half of it."""
    _write_whole(path, (record.model_dump_json(indent=2) + "\n").encode())


def load(path: Path, schema: type[M]) -> M | None:
    """The record at `path`, or None where there is none that fits the schema."""
    try:
        return schema.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def save_arrays(arrays: dict[str, NDArray[np.generic]], path: Path) -> None:
    """Write named arrays as npz; a reader never sees half of it."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    _write_whole(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays saved at `path`.

    Raises:
        WorkspaceError: there are none, or the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WorkspaceError(f"{path}: {error}; delete it and build again") from error


def _write_whole(path: Path, content: bytes) -> None:
    """Write, sync, then rename, so that `path` holds all of `content` or what it held before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
