"""Where the work runs: Prefect's server, and the threads or dask processes that do the tasks."""

import ipaddress
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect_dask.task_runners import DaskTaskRunner

from flows.server import own_server
from schemas.errors import WorkspaceError

UNREACHED = "Failed to reach API"
"""How the RuntimeError begins that Prefect raises for want of its server; it has no class of its
own."""


@contextmanager
def prefect_server(starting: Callable[[], str] | None = None) -> Iterator[None]:
    """Use the server that `PREFECT_API_URL` names; where it names none, one of our own.

    Args:
        starting: of `own_server`, where one is on its way; None: one is run for the while.
    """
    with own_server() if starting is None else nullcontext(starting) as server:
        if server is None:
            yield
            return
        address = server()
        os.environ["PREFECT_API_URL"] = address  # dask's processes inherit it
        # nobody looks for signs of life there, and to end them holds each flow up to a second
        settings = {PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        try:
            with temporary_settings(settings):
                yield
        finally:
            del os.environ["PREFECT_API_URL"]


@contextmanager
def server_told(scheduler: str | None) -> Iterator[None]:
    """Say of a Prefect server that cannot be reached which one it is, and by whom it has to be.

    Raises:
        WorkspaceError: it does not answer any more; or other hosts work for the build, and it
            could not be reached by them because none is named.
    """
    address = os.environ.get("PREFECT_API_URL")
    host = urlsplit(scheduler or "").hostname
    if host is not None and not address and not _is_loopback(host):
        raise WorkspaceError(
            f"the workers of {scheduler} need a Prefect server that they can reach, and none is "
            "named; start one (prefect server start --host 0.0.0.0), set PREFECT_API_URL to its "
            "address, and build again"
        )
    try:
        yield
    except (RuntimeError, httpx.TransportError, PrefectHTTPStatusError) as error:
        if isinstance(error, RuntimeError) and UNREACHED not in str(error):
            raise
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise WorkspaceError(
            f"the Prefect server {address or 'of this build'} cannot be reached ({first}); what is "
            "built stays: start it, make sure that all workers reach it, and build again"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
