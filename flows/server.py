"""A Prefect server on loopback that lives as long as the process that started it.

`python -m flows.server` prints its API address and serves until its standard input closes, so a
build that is killed outright leaves no server behind.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, cast

import uvicorn
from prefect.server.api.server import create_app

from schemas.errors import WorkspaceError

STOP_LIMIT_S = 20
"""A server that has not ended by then is killed; an idle one ends within a second."""


@contextmanager
def loopback_server() -> Iterator[str]:
    """Run a server in a process of its own for the while, and yield its API address.

    Raises:
        WorkspaceError: the server ended before it was ready.
    """
    with (
        TemporaryFile("w+") as complaints,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
            text=True,
        ) as process,
    ):
        to_server, from_server = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        try:
            address = from_server.readline().strip()
            if not address:
                process.wait()
                complaints.seek(0)
                said = [line for line in complaints.read().splitlines() if line.strip()]
                raise WorkspaceError(
                    f"Prefect's server did not start: {(said or ['no reason given'])[-1].strip()}; "
                    f"check that {os.environ.get('PREFECT_HOME', 'PREFECT_HOME')} can be written"
                )
            yield address
        finally:
            to_server.close()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def serve() -> None:
    """Serve Prefect's API on a free loopback port until standard input closes."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on")
    )
    threading.Thread(
        target=_announce, args=(server, listener.getsockname()[1]), daemon=True
    ).start()
    threading.Thread(target=_stop_with_input, daemon=True).start()
    server.run(sockets=[listener])


def _announce(server: uvicorn.Server, port: int) -> None:
    while not server.started:
        threading.Event().wait(0.05)
    sys.stdout.write(f"http://127.0.0.1:{port}/api\n")
    sys.stdout.flush()


def _stop_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    serve()
