"""One writer at a time on an object store: a lease kept by conditional writes.

What a folder's lease (pipeline/lease.py) does by a file's date, this does by the e-tag of an object
that its holder writes again and again: who sees it unchanged for as long as a holder may be silent
writes itself in its place, which works for one alone, and only if it is still unchanged. No clock
of another host is read. A holder that was only stopped finds the object to be another's and stops.
An object store cannot take away what such a holder is about to write; it can do no harm all the
same, since clip stores bear the hash of what they are made from, seals and releases are written
only where there are none, and records only in the place of those that were read.
"""

import datetime as dt
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from pydantic import Field, ValidationError

from pipeline.lease import HEARTBEATS, LEASE_NAME, lease_lost
from pipeline.object_folder import ObjectFolder, TakenError
from schemas.base import StrictModel
from schemas.errors import WorkspaceError

_LOGGER = logging.getLogger(__name__)


class ObjectHolder(StrictModel):
    """Who holds the lease of a folder of an object store."""

    token: str
    host: str
    pid: int
    since: dt.datetime
    beats: int = Field(ge=0, description="Signs of life so far; no two writes are equal.")

    def in_words(self) -> str:
        """For people."""
        return f"process {self.pid} of {self.host} (since {self.since:%Y-%m-%d %H:%M} UTC)"

    def is_dead(self) -> bool:
        """Whether it was a process of this host that is no more."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def content(self) -> bytes:
        """As it lies in the store."""
        return self.model_dump_json().encode()


@contextmanager
def held_object_lease(
    folder: ObjectFolder, *, duration_s: float, withdraw: Callable[[], None]
) -> Iterator[str]:
    """Hold the lease on a folder of an object store; gives its token.

    Args:
        folder: that has one writer at a time.
        duration_s: how long a holder may be silent; the same for all who ask for the lease.
        withdraw: called, in a thread, when somebody else is found to hold the lease.

    Raises:
        WorkspaceError: somebody else holds it, or the store does not answer.
    """
    holder = ObjectHolder(
        token=uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        since=dt.datetime.now(dt.UTC),
        beats=0,
    )
    pulse = _Pulse(folder, holder, _acquired(folder, holder, duration_s), duration_s, withdraw)
    pulse.start()
    try:
        yield holder.token
    finally:
        pulse.end()


def confirm_lease(folder: ObjectFolder, token: str) -> None:
    """Make sure that the lease is still held under `token`.

    Raises:
        WorkspaceError: somebody else took it over.
    """
    found = folder.read(LEASE_NAME)
    holder = None if found is None else _parsed(found[0])
    if holder is None or holder.token != token:
        raise lease_lost(folder.address)


class _Pulse(threading.Thread):
    """Writes a sign of life ten times in the time after which a holder passes for dead."""

    def __init__(
        self,
        folder: ObjectFolder,
        holder: ObjectHolder,
        e_tag: str,
        duration_s: float,
        withdraw: Callable[[], None],
    ) -> None:
        super().__init__(name="twinband-lease", daemon=True)
        self._folder, self._holder, self._e_tag = folder, holder, e_tag
        self._duration_s, self._withdraw = duration_s, withdraw
        self._ended = threading.Event()
        self._is_lost = False

    def run(self) -> None:
        last_s = time.monotonic()
        while not self._ended.wait(self._duration_s / HEARTBEATS):
            try:
                self._beat()
                last_s = time.monotonic()
            except TakenError:
                self._is_lost = True
            except WorkspaceError as error:
                _LOGGER.warning("the lease cannot be renewed: %s", error)
                self._is_lost = time.monotonic() - last_s > self._duration_s
            if self._is_lost:
                self._withdraw()
                return

    def _beat(self) -> None:
        self._holder = self._holder.model_copy(update={"beats": self._holder.beats + 1})
        self._e_tag = self._folder.write_if(LEASE_NAME, self._holder.content(), self._e_tag)

    def end(self) -> None:
        """Stop, and give the lease back if it is still one's own."""
        self._ended.set()
        self.join()
        if self._is_lost:
            return
        try:
            confirm_lease(self._folder, self._holder.token)
            self._folder.delete_all([LEASE_NAME])
        except WorkspaceError as error:
            _LOGGER.warning("the lease is left to expire: %s", error)


def _acquired(folder: ObjectFolder, holder: ObjectHolder, duration_s: float) -> str:
    """Write `holder` where there is no living one; the e-tag of what was written.

    Raises:
        WorkspaceError: there is one.
    """
    watched: str | None = None
    since_s, told = time.monotonic(), False
    while True:
        found = folder.read(LEASE_NAME)
        before = None if found is None else found[1]
        there = None if found is None else _parsed(found[0])
        silent_s = time.monotonic() - since_s
        if before is None or silent_s >= duration_s or (there is not None and there.is_dead()):
            try:
                return folder.write_if(LEASE_NAME, holder.content(), before)
            except TakenError:
                watched, since_s = None, time.monotonic()
                continue
        if watched is None:
            watched, since_s = before, time.monotonic()
        name = "somebody" if there is None else there.in_words()
        if before != watched:
            raise WorkspaceError(
                f"{folder.address} is being written to by {name}; wait for it to finish, or stop "
                "it and run this again"
            )
        if not told and silent_s > 2 * duration_s / HEARTBEATS:
            told = True
            _LOGGER.warning(
                "%s is held by %s, which gives no sign of life; it is taken over after %g s of "
                "silence",
                folder.address,
                name,
                duration_s,
            )
        time.sleep(duration_s / HEARTBEATS / 4)


def _parsed(content: bytes) -> ObjectHolder | None:
    try:
        return ObjectHolder.model_validate_json(content)
    except ValidationError:
        return None
