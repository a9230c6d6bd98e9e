"""`prefect server start`, as a team would start it."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.flows.rig import Running, running, wait_until

PREFECT = Path(sys.executable).parent / "prefect"


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


@dataclass
class SharedServer:
    """A server that can be killed, and started again on what it kept."""

    host: str
    port: int
    database: str
    stack: ExitStack
    command: Running | None = None

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}/api"

    def start(self) -> None:
        words = (PREFECT, "server", "start", "--host", self.host, "--port", str(self.port))
        self.command = self.stack.enter_context(
            running(*words, "--no-ui", PREFECT_SERVER_DATABASE_CONNECTION_URL=self.database)
        )
        wait_until(self.answers, "the server answers")

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.command is not None
        self.command.kill_with_children()


@contextmanager
def shared_server(database: str, host: str = "127.0.0.1") -> Iterator[SharedServer]:
    """A server on a database, such as sqlite+aiosqlite:///PATH; nothing of it is left after."""
    with ExitStack() as stack:
        server = SharedServer(host, free_port(host), database, stack)
        server.start()
        yield server
