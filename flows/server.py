"""A Prefect server on loopback that lives as long as the process that started it.

What serves is flows/server_process.py, in a process of its own: to import it takes as long as all
the rest of a build's imports, which go on meanwhile.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from tempfile import TemporaryFile
from typing import IO, cast

from schemas.errors import WorkspaceError

STOP_LIMIT_S = 20
"""A server that has not ended by then is killed; an idle one ends within a second."""


def own_server() -> AbstractContextManager[Callable[[], str] | None]:
    """A server of our own that starts, or None where `PREFECT_API_URL` names another."""
    return nullcontext() if os.environ.get("PREFECT_API_URL") else starting_server()


@contextmanager
def starting_server() -> Iterator[Callable[[], str]]:
    """Start a server in a process of its own, and stop it at the end.

    Yields:
        What waits until it serves and gives its API address. Raises WorkspaceError where the
        server ended before it was ready.
    """
    with (
        TemporaryFile("w+") as complaints,
        subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-c",
                (
                    "from flows.process_memory import collect_seldom; collect_seldom(); "
                    "from flows.server_process import serve; serve()"
                ),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
            text=True,
        ) as process,
    ):
        to_server, from_server = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)

        @cache
        def address() -> str:
            said = from_server.readline().strip()
            if not said:
                process.wait()
                raise WorkspaceError(_refusal(complaints))
            return said

        try:
            yield address
        finally:
            to_server.close()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _refusal(complaints: IO[str]) -> str:
    complaints.seek(0)
    said = [line for line in complaints.read().splitlines() if line.strip()]
    return (
        f"Prefect's server did not start: {(said or ['no reason given'])[-1].strip()}; "
        f"check that {os.environ.get('PREFECT_HOME', 'PREFECT_HOME')} can be written"
    )
