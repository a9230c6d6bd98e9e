"""An S3-compatible server on loopback (moto's), and a bad connection to it."""

import http.client
import http.server
import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import obstore
from obstore.store import S3Store

from tests.flows.rig import wait_until
from tests.loopback import serving

MOTO = Path(sys.executable).parent / "moto_server"

BUCKET = "rigs"

Wrong = Literal["slow", "busy", "broken", "lost", "partial", "changed"]
"""Comes late; is refused with 503; the connection breaks before the server hears of it, or before
its answer is heard; half of a body arrives; a body arrives with one byte changed."""

WRONGS: tuple[Wrong, ...] = get_args(Wrong)

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}

Says = Callable[[int, str, str], Wrong | None]
"""What goes wrong with a request: its number, method and path."""


@dataclass
class Served:
    """The server as clients see it."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """For commands that are to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_REGION": "us-east-1",
        }

    def store(self, folder: str) -> S3Store:
        """A folder of the bucket, by the client library alone."""
        return S3Store(
            BUCKET,
            prefix=folder,
            endpoint=self.endpoint,
            access_key_id="anybody",
            secret_access_key="anything",
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def tree(self, folder: str) -> dict[str, bytes]:
        """Every file below a folder."""
        store = self.store(folder)
        return {
            one["path"]: bytes(obstore.get(store, one["path"]).bytes())
            for page in obstore.list(store)
            for one in page
        }


@contextmanager
def object_server(folder: Path) -> Iterator[Served]:
    """Start a server with one empty bucket."""
    log = folder / "moto.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [MOTO, "-H", "127.0.0.1", "-p", "0"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        try:
            wait_until(lambda: "Running on http://" in log.read_text(), "the server listens")
            endpoint = log.read_text().partition("Running on ")[2].split()[0]
            with urlopen(Request(f"{endpoint}/{BUCKET}", method="PUT")) as answer:
                assert answer.status == HTTPStatus.OK
            yield Served(endpoint)
        finally:
            process.kill()


@dataclass
class Line(Served):
    """A connection to a server on which things go wrong."""

    server: Served
    says: Says
    wrongs: Counter[Wrong] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def drawn(self, method: str, path: str) -> Wrong | None:
        """What goes wrong with the next request; counted."""
        wrong = self.says(next(self.numbers), method, path)
        self.wrongs.update([] if wrong is None else [wrong])
        return wrong


@contextmanager
def bad_line(server: Served, says: Says) -> Iterator[Line]:
    """Stand between clients and a server; `endpoint` is then this one's."""
    standing = LineServer(("127.0.0.1", 0), LineHandler)
    standing.line = Line(f"http://127.0.0.1:{standing.server_port}", server, says)
    with serving(standing):
        yield standing.line


class LineServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    line: Line

    def handle_error(self, *_: object) -> None:
        """Clients go away; that is the point."""


class LineHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LineServer

    def handle_it(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wrong = self.server.line.drawn(self.command, self.path)
        if wrong == "busy":
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, {}, b"")
            return
        if wrong == "broken":
            self.close_connection = True
            return
        if wrong == "slow":
            time.sleep(0.2)
        status, headers, body = self.forwarded(content)
        if wrong == "lost":
            self.close_connection = True
            return
        self.answer(
            status,
            headers,
            with_a_bit_flipped(body) if wrong == "changed" else body,
            is_cut=wrong == "partial",
        )

    def answer(
        self, status: int, headers: Mapping[str, str], body: bytes, *, is_cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = headers.get("content-length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.close_connection = self.close_connection or is_cut
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body[: len(body) // 2] if is_cut else body)

    def forwarded(self, content: bytes) -> tuple[int, Mapping[str, str], bytes]:
        target = urlsplit(self.server.line.server.endpoint)
        asked = http.client.HTTPConnection(str(target.hostname), target.port)
        try:
            asked.request(self.command, self.path, content, dict(self.headers))
            answer = asked.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            asked.close()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_it  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


def with_a_bit_flipped(content: bytes) -> bytes:
    """The same but for one bit in the middle."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] if content else b""
