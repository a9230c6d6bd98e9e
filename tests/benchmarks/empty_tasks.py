"""`python -m tests.benchmarks.empty_tasks KIND COUNT`: seconds that COUNT empty tasks take.

KIND is `dask`, tasks of a dask scheduler with two workers, or `prefect`, tasks of Prefect on the
same, with a server of its own, as a build has them.
"""

import sys
import time
from typing import Any

from flows.environment import prepare_environment

prepare_environment()

from distributed import LocalCluster  # noqa: E402 (Prefect reads its settings when imported)
from prefect import flow, task  # noqa: E402
from prefect.futures import as_completed  # noqa: E402

from flows.runners import prefect_server, task_runner  # noqa: E402

WORKERS = 2

BATCH = 2_000
"""Tasks that are handed in at once: as many as a scheduler need know of at a time."""


def nothing(number: int) -> int:
    """What a clip without pixels costs."""
    return number


def by_dask(count: int) -> float:
    """Seconds by a scheduler alone, tasks handed in in batches."""
    made: Any = LocalCluster
    options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with made(n_workers=WORKERS, **options) as cluster, cluster.get_client() as client:
        begin = time.monotonic()
        for first in range(0, count, BATCH):
            tasks = client.map(nothing, range(first, min(first + BATCH, count)), pure=False)
            client.gather(tasks)
            del tasks
        return time.monotonic() - begin


@task
def empty(number: int) -> int:
    """The same as Prefect's task."""
    return number


@flow
def all_of_them(count: int) -> int:
    """Hand them in and wait for them as a build does."""
    return len(list(as_completed(empty.map(list(range(count))))))


def by_prefect(count: int) -> float:
    """Seconds by Prefect on dask."""
    with prefect_server():
        begin = time.monotonic()
        all_of_them.with_options(task_runner=task_runner(WORKERS, None))(count)
        return time.monotonic() - begin


if __name__ == "__main__":
    taken_s = {"dask": by_dask, "prefect": by_prefect}[sys.argv[1]](int(sys.argv[2]))
    sys.stdout.write(f"{taken_s}\n")
