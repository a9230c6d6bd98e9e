"""The process of a Prefect server: prints its API address, serves until its standard input closes.

A build that is killed outright so leaves no server behind.
"""

import os
import signal
import socket
import sys
import threading

import uvicorn
from prefect.server.api.server import create_app


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
