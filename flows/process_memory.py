"""When freed memory goes back to the system, and how often Python looks for some.

The system's are parameters of glibc's mallopt(3); nothing is done where another library serves.
"""

import atexit
import ctypes
import gc

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

RETURNED_AT_ONCE_BYTES = 2**20
"""Freed blocks from this size on go back to the system. Left to itself, glibc raises the bound to
that of the largest block freed, and holes between kept blocks grow by luck: 541 to 626 MB for the
same frames of 64 x 80, of 40 to 400 frames; with this bound 508 to 523 MB."""

KEPT_BYTES = 2**25
"""What glibc raises the bound to by itself at most; twice as much stays at the end of the heap."""


COLLECTED_OBJECTS = 50_000
"""New objects after which Python looks for unreachable ones; 700 unless it is told otherwise."""


def collect_seldom() -> None:
    """Spare a process that imports much most of the search for unreachable objects.

    Nearly all that libraries make while they are imported stays. To look through it time and again
    took a quarter of the 3.7 seconds of a build's imports, and a second at the end of the process.
    """
    gc.set_threshold(COLLECTED_OBJECTS)
    atexit.register(gc.freeze)


def return_memory_at_once() -> None:
    """Make the memory of this process what it holds."""
    _set(M_MMAP_THRESHOLD, RETURNED_AT_ONCE_BYTES)


def keep_freed_memory() -> None:
    """Use freed memory again, as glibc does when left to itself.

    dask starts its processes with a MALLOC_TRIM_THRESHOLD_ of 64 KiB: every array of frames is then
    asked of the system again, a page at a time, which took a quarter of a build's CPU time.
    """
    _set(M_MMAP_THRESHOLD, KEPT_BYTES)
    _set(M_TRIM_THRESHOLD, 2 * KEPT_BYTES)


def _set(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
