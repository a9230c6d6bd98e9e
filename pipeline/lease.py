"""One writer at a time: a lease that dies with its holder, and a fence nobody passes without it.

The holder has a folder of its own in the staging folder, named by the token of its lease. All that
it writes begins there and reaches its place by a rename. Who takes over a lease moves that folder
away before anything else, so nothing that a former holder does later can have any effect, even if
it was only stopped and never notices. No decision rests on the date or on another host's clock.
"""

import datetime as dt
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import LeaseCompromise, LeaseSettingsMismatch, SoftFileLease, Timeout
from pydantic import ValidationError

from pipeline.durable import make_folder, rename
from schemas.base import StrictModel
from schemas.errors import WorkspaceError

LEASE_DURATION_S = 30.0
"""Longest silence of a living holder: ten times what a busy network disk keeps a write waiting."""

HEARTBEATS = 10
"""Signs of life in one duration; a second holder is refused after the first that it sees."""

LEASE_NAME = ".lease"
HOLDER_NAME = "holder.json"

_LOGGER = logging.getLogger(__name__)


class Holder(StrictModel):
    """Who holds a lease, for people to read; no decision rests on it."""

    host: str
    pid: int
    since: dt.datetime


@contextmanager
def held_lease(root: Path, staging: Path, *, duration_s: float) -> Iterator[Path]:
    """Hold the lease on `root`; gives a folder of one's own in `staging`, which is gone afterwards.

    The lease of a process of this host that is dead is taken over at once, any other after
    `duration_s` without a sign of life. Whatever lies in `staging` is left by the dead and removed.

    Args:
        root: the folder that has one writer at a time.
        staging: on the same file system.
        duration_s: how long a holder may be silent; the same for all who ask for the lease.

    Raises:
        WorkspaceError: somebody else holds it, or took it over in the meantime.
    """
    make_folder(root)

    def withdraw(compromise: LeaseCompromise) -> None:
        """Stop all writing, also in other processes that work for this holder."""
        with suppress(OSError):
            (staging / compromise.token).rename(staging / f"lost.{compromise.token}")

    lease = SoftFileLease(
        root / LEASE_NAME,
        lease_duration=duration_s,
        heartbeat_interval=duration_s / HEARTBEATS,
        on_compromise=withdraw,
        thread_local=False,
    )
    _acquire(lease, root, staging)
    own = staging / str(lease.token)
    try:
        make_folder(own)
        _bury_the_dead(staging, own, lease)
        holder = Holder(host=socket.gethostname(), pid=os.getpid(), since=dt.datetime.now(dt.UTC))
        (own / HOLDER_NAME).write_text(holder.model_dump_json())
        try:
            yield own
        except Exception as error:
            if own.is_dir() or isinstance(error, WorkspaceError):
                raise
            raise lease_lost(root) from error
    finally:
        for folder in (own, staging / f"lost.{own.name}"):
            shutil.rmtree(folder, ignore_errors=True)
        lease.release()


def lease_lost(root: Path | str) -> WorkspaceError:
    """The error of a writer that is one no longer."""
    return WorkspaceError(
        f"{root} was taken over by another twinband while this one gave no sign of life; what is "
        "sealed is whole and nothing else was written; wait for the other to finish, then run "
        "this again"
    )


def _acquire(lease: SoftFileLease, root: Path, staging: Path) -> None:
    """Take the lease, or find that its holder lives.

    Raises:
        WorkspaceError: it does.
    """
    watched = Path(lease.lock_file)
    first = _sign_of_life(watched)
    begun_s, patience_s, told = time.monotonic(), 2 * lease.lease_duration / HEARTBEATS, False

    def holder_lives() -> bool:
        nonlocal first, told
        latest = _sign_of_life(watched)
        first = latest if first is None else first
        if latest == first and time.monotonic() - begun_s >= lease.lease_duration:
            _take_unsigned_away(watched, first, staging)
        if not told and time.monotonic() - begun_s > patience_s:
            told = True
            _LOGGER.warning(
                "%s is held by %s, which gives no sign of life; "
                "it is taken over after %g s of silence",
                root,
                _holder_in_words(lease, staging),
                lease.lease_duration,
            )
        return latest is not None and latest != first

    try:
        lease.acquire(
            timeout=3 * lease.lease_duration,
            poll_interval=min(0.1, lease.lease_duration / HEARTBEATS / 4),
            cancel_check=holder_lives,
        )
    except Timeout as error:
        raise WorkspaceError(
            f"{root} is being written to by {_holder_in_words(lease, staging)}; wait for it to "
            "finish, or stop it and run this again"
        ) from error
    except LeaseSettingsMismatch as error:
        raise WorkspaceError(f"{error}; run the same version of twinband everywhere") from error


def _take_unsigned_away(marker: Path, watched: tuple[int, int] | None, staging: Path) -> None:
    """Take away a marker that nobody signed: its maker was killed before it came to that.

    filelock leaves such a marker where it is, since its locks of old sign nothing.

    Args:
        marker: of the lease.
        watched: how it was all the time.
        staging: where it is moved; whatever lies there is removed by the next holder.
    """
    make_folder(staging)
    aside = staging / f"unsigned.{uuid4().hex}"
    with suppress(FileNotFoundError):
        if marker.stat().st_size:
            return
        marker.rename(aside)
        if _sign_of_life(aside) != watched:  # another build was quicker, and this one is its
            with suppress(FileExistsError):
                os.link(aside, marker)
        aside.unlink()


def _sign_of_life(marker: Path) -> tuple[int, int] | None:
    """Changes with every heartbeat and every new holder; None where nobody holds the lease."""
    try:
        found = marker.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def _holder_in_words(lease: SoftFileLease, staging: Path) -> str:
    """Who holds a lease, as far as the marker and the holder's own note tell."""
    owner = lease.owner
    if owner is None:
        return "another twinband"
    host, since = owner.hostname.partition("?")[0], ""
    with suppress(OSError, ValidationError):
        note = (staging / str(owner.token) / HOLDER_NAME).read_bytes()
        holder = Holder.model_validate_json(note)
        host, since = holder.host, f" since {holder.since:%Y-%m-%d %H:%M:%S} UTC"
    return f"twinband on {host}, process {owner.pid},{since}".rstrip(",")


def _bury_the_dead(staging: Path, own: Path, lease: SoftFileLease) -> None:
    """Take everything else in `staging` out of the reach of whoever still writes to it.

    Raises:
        WorkspaceError: the lease was lost before `own` was made, so nobody has buried it.
    """
    if lease.owner is None or lease.owner.token != lease.token:
        raise lease_lost(Path(lease.lock_file).parent)
    for number, left in enumerate(sorted(staging.iterdir())):
        if left != own:
            grave = own / f"left.{number}"
            rename(left, grave)
            shutil.rmtree(grave) if grave.is_dir() else grave.unlink()
