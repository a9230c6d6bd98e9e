"""Where the work runs: Prefect's server, and the threads or dask processes that do the tasks."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect_dask.task_runners import DaskTaskRunner

from flows.server import loopback_server


@contextmanager
def prefect_server() -> Iterator[None]:
    """Use the server that `PREFECT_API_URL` names; where it names none, run one for the while."""
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    with loopback_server() as address:
        os.environ["PREFECT_API_URL"] = address  # dask's processes inherit it
        try:
            with temporary_settings({PREFECT_API_URL: address}):
                yield
        finally:
            del os.environ["PREFECT_API_URL"]


def task_runner(workers: int, scheduler: str | None) -> TaskRunner[Any]:
    """Run tasks one after the other, on `workers` local processes, or on a dask cluster.

    Args:
        workers: recordings built at the same time on this machine.
        scheduler: address of a running dask.distributed scheduler; wins over `workers`.
    """
    if scheduler is not None or workers > 1:
        # dask logs a traceback for what the build tells in a line
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    if scheduler is not None:
        return DaskTaskRunner(address=scheduler)
    if workers > 1:
        return DaskTaskRunner(
            cluster_kwargs={
                "n_workers": workers,
                "threads_per_worker": 1,
                "dashboard_address": "127.0.0.1:0",  # None would take a port others may hold
                "memory_limit": 0,
            }
        )
    return ThreadPoolTaskRunner(max_workers=1)
