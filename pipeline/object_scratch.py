"""Folders for what is fetched from object stores, among the system's temporary files (TMPDIR)."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

SCRATCH = "twinband-scratch-"
"""How they begin."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of one's own that is gone afterwards, with those that killed processes left."""
    everybody = Path(tempfile.gettempdir())
    for left in everybody.glob(f"{SCRATCH}*.lock"):
        lock = FileLock(left)
        try:
            lock.acquire(timeout=0)
        except (Timeout, PermissionError):
            continue
        shutil.rmtree(left.with_suffix(""), ignore_errors=True)
        left.unlink(missing_ok=True)
        lock.release()
    folder = everybody / f"{SCRATCH}{uuid4().hex}"
    held = folder.with_name(f"{folder.name}.lock")
    with FileLock(held):
        folder.mkdir(mode=0o700)
        try:
            yield folder.resolve()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            held.unlink(missing_ok=True)
