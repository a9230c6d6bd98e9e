"""Freed memory stays with a process that dask started, and Python looks for it seldom."""

import os
import subprocess
import sys

FAULTS = """
import resource
import numpy as np
{before}
begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    np.zeros(2**20, np.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
"""
KEEP = "from flows.process_memory import keep_freed_memory; keep_freed_memory()"

PAGES = 2**20 // 4096
"""Of an array that is too small for a huge page."""


def faults(before: str) -> int:
    """Page faults of a hundred arrays of 1 MB, one after the other, as in a dask process."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(before=before)],
        env=os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


def test_memory_that_dask_would_have_returned_is_used_again() -> None:
    assert faults("") > 50 * PAGES
    assert faults(KEEP) < 5 * PAGES


def test_a_process_that_collects_seldom_looks_through_nothing_at_its_end() -> None:
    program = """
import atexit, gc
from flows.process_memory import collect_seldom
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 1000))
collect_seldom()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stdout.split() == ["50000", "True"]
