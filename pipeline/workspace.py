"""Where everything lies under `work/`, and how small records are saved whole or not at all."""

import hashlib
import io
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.durable import make_folder, rename, write_whole
from pipeline.lease import LEASE_DURATION_S, held_lease, lease_lost
from schemas.base import Fingerprint, StrictModel
from schemas.errors import WorkspaceError

M = TypeVar("M", bound=StrictModel)

SEAL = re.compile(rb',\n  "sha256": "[0-9a-f]{64}"\n\}\n\Z')
"""How a sealed record ends."""

DIGEST_BYTES = hashlib.sha256().digest_size
"""At the end of an npz, of all that is before it; readers of zip files pass over it."""

BOUND_TO = "fingerprint"
"""Member of an npz that says whose facts its arrays belong to."""


@dataclass(frozen=True)
class Workspace:
    """The folder a dataset is built in; every path below it is named here."""

    root: Path
    build: str | None = None
    """Token of the lease under which its holder writes; None where nobody else can be writing."""

    def facts(self, recording: str, stage: str) -> Path:
        """The JSON record of one stage of a recording."""
        return self.root / "facts" / recording / f"{stage}.json"

    def signals(self, recording: str) -> Path:
        """Per-frame times and motion of both cameras, measured by ingest (npz)."""
        return self.root / "facts" / recording / "signals.npz"

    def pairs(self, recording: str) -> Path:
        """The pair list of a recording, made by sync (npz)."""
        return self.root / "facts" / recording / "pairs.npz"

    def residuals(self, recording: str) -> Path:
        """Where local matches would rather lie than where the homography puts them (npz)."""
        return self.root / "facts" / recording / "residuals.npz"

    def calibration(self, rig: str, band: str) -> Path:
        """How the lens of one of a rig's cameras was found."""
        return self.root / "calibration" / rig / f"{band}.json"

    def clip(self, clip: str, fingerprint: str) -> Path:
        """The sealed store of a clip."""
        return self.root / self.clip_path(clip, fingerprint)

    @staticmethod
    def clip_path(clip: str, fingerprint: str) -> str:
        """The same, relative to the root of a workspace or a published release."""
        return f"clips/{clip}/{fingerprint}.zarr"

    @property
    def looks(self) -> Path:
        """The folder of what reports show of all clips."""
        return self.root / "looks"

    def look(self, store: str) -> Path:
        """The folder of what reports show of a clip, by the path of its store below the root."""
        return self.looks.joinpath(*PurePosixPath(store).with_suffix("").parts[1:])

    def report(self, version: str) -> Path:
        """The folder of a release's report; beside the release, whose own folder never changes."""
        return self.root / "reports" / version

    @property
    def staging(self) -> Path:
        """Unsealed work, of this holder of the lease alone; what dead ones left is debris."""
        return self.root / "staging" / (self.build or "")

    def staged(self, name: str) -> Path:
        """A path in the staging folder for something to be made.

        Raises:
            WorkspaceError: another process took the workspace over.
        """
        if self.build is None:
            self.staging.mkdir(parents=True, exist_ok=True)
        elif not self.staging.is_dir():
            raise lease_lost(self.root)
        return self.staging / name

    def release(self, version: str) -> Path:
        """The folder of a release."""
        return self.root / "releases" / version

    @property
    def place(self) -> str:
        """Where it is, in a word: the folder, or the address of an object store."""
        return str(self.root)

    @property
    def is_shared(self) -> bool:
        """Whether all processes that work for its holder see one staging folder."""
        return True

    def told(self, text: str) -> str:
        """A text that names paths of the workspace, as its users call them."""
        return text

    @contextmanager
    def at_hand(self, store: str) -> Iterator[Path]:
        """A clip's store, named by its path below the root, for as long as somebody reads it."""
        yield self.root / store

    @contextmanager
    def recording_at_hand(self, recording: str) -> Iterator["Workspace"]:  # noqa: ARG002
        """The workspace as a process needs it that builds one recording for the holder."""
        yield self

    def found_files(self, store: str) -> dict[str, int | None] | None:  # noqa: ARG002
        """Size of every file of a clip's store where that is known without looking; else None."""
        return None

    def keep(self) -> None:
        """Make sure that what was written is where the workspace is."""

    def size_bytes(self, path: str) -> int:
        """Of a file, or of all files below a folder, by its path; links count as themselves."""
        place = self.root / path
        if place.is_symlink() or not place.is_dir():
            return place.lstat().st_size
        return sum(
            Path(folder, name).lstat().st_size
            for folder, _, names in os.walk(place)
            for name in names
        )

    def delete(self, paths: Collection[str]) -> None:
        """Delete files and folders, by their paths; the caller owns the workspace.

        They are moved to the staging folder first: a store never stands half under its name.

        Raises:
            WorkspaceError: another process took the workspace over.
            OSError: something cannot be moved or deleted.
        """
        grave = self.staged("garbage")
        grave.mkdir()
        for number, path in enumerate(paths):
            rename(self.root / path, grave / str(number))
        shutil.rmtree(grave)

    def set_aside(self, store: Path) -> Path:
        """Move a damaged store out of the way, and say where it is kept."""
        place = store.relative_to(self.root / "clips")
        taken = [self.root / "damaged" / place]
        while taken[-1].exists():
            taken.append(taken[0].with_name(f"{place.stem}.{len(taken)}{place.suffix}"))
        make_folder(taken[-1].parent)
        rename(store, taken[-1])
        return taken[-1]

    def set_aside_stores(self) -> list[str]:
        """Every store that was set aside and nobody has deleted yet, below the root."""
        found = self.root.glob("damaged/*/*")
        return sorted(store.relative_to(self.root).as_posix() for store in found)

    @contextmanager
    def owned(self, *, lease_duration_s: float = LEASE_DURATION_S) -> Iterator["Workspace"]:
        """Hold the workspace for writing; write by the workspace that this gives, not by this one.

        Args:
            lease_duration_s: silence after which a holder passes for dead.

        Raises:
            WorkspaceError: another process is writing to it, or took it over in the meantime.
        """
        staging = self.root / "staging"
        with held_lease(self.root, staging, duration_s=lease_duration_s) as own:
            yield replace(self, build=own.name)


def save(record: StrictModel, path: Path, workspace: Workspace | None = None) -> None:
    """Write `record` as JSON; a reader never sees half of it.

    Args:
        record: what to write.
        path: of the file.
        workspace: in whose staging folder the file lies until it is whole, and whose records are
            sealed by their hash, so that `load` finds any change; None: beside `path`, unsealed.
    """
    content = (record.model_dump_json(indent=2) + "\n").encode()
    _write(path, content if workspace is None else _sealed(content), workspace)


def load(path: Path, schema: type[M]) -> M | None:
    """The record at `path`; None where there is none, or it fits neither schema nor seal."""
    try:
        content = path.read_bytes()
        if seal := SEAL.search(content):
            body = content[: seal.start()] + b"\n}\n"
            content = body if _sealed(body) == content else b""
        return schema.model_validate_json(content)
    except (FileNotFoundError, ValidationError):
        return None


def _sealed(content: bytes) -> bytes:
    """JSON of a record, with the hash of what it was without it as its last member."""
    digest = hashlib.sha256(content).hexdigest()
    return content.removesuffix(b"\n}\n") + f',\n  "sha256": "{digest}"\n}}\n'.encode()


def save_arrays(
    arrays: dict[str, NDArray[np.generic]],
    path: Path,
    workspace: Workspace | None = None,
    *,
    fingerprint: Fingerprint,
) -> None:
    """Write named arrays as npz; a reader never sees half of it.

    Args:
        arrays: what to write.
        path: of the file.
        workspace: in whose staging folder the file lies until it is whole; None: beside `path`.
        fingerprint: of the facts that the arrays belong to.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays, **{BOUND_TO: np.array(fingerprint)})
    content = buffer.getvalue()
    _write(path, content + hashlib.sha256(content).digest(), workspace)


def load_arrays(
    path: Path, *, fingerprint: Fingerprint | None = None
) -> dict[str, NDArray[np.generic]]:
    """The arrays saved at `path`.

    Args:
        path: of the file.
        fingerprint: of the facts that they have to belong to; None: of any.

    Raises:
        WorkspaceError: there are none, the file is damaged, or belongs to other facts.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkspaceError(f"{path}: {error.strerror}; build the recording again") from error
    content, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise WorkspaceError(f"{path}: damaged; delete it and build again")
    with np.load(io.BytesIO(content), allow_pickle=False) as saved:
        arrays = {name: saved[name] for name in saved.files}
    bound_to = str(arrays.pop(BOUND_TO, ""))
    if fingerprint not in (None, bound_to):
        raise WorkspaceError(
            f"{path}: belongs to facts of the fingerprint {bound_to or 'unknown'}, not "
            f"{fingerprint}; build the recording again"
        )
    return arrays


def has_arrays(path: Path, *, fingerprint: Fingerprint) -> bool:
    """Whether undamaged arrays that belong to these facts lie at `path`."""
    try:
        load_arrays(path, fingerprint=fingerprint)
    except WorkspaceError:
        return False
    return True


def _write(path: Path, content: bytes, workspace: Workspace | None) -> None:
    name = f"{path.name}.{uuid4().hex}.partial"
    if workspace is not None:
        unfinished = workspace.staged(name)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{name}")
    write_whole(path, content, unfinished)
