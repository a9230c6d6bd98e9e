"""A Hugging Face Hub on loopback: the part of its protocol that publishing and reading take.

It keeps what it is sent, as git and its large file storage would, and does wrong what a test asks.
"""

import base64
import hashlib
import http.server
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from huggingface_hub.utils.sha import git_hash

from tests.loopback import serving

TOKEN = "hf_secretsecretsecret"
PAGE_ENTRIES = 500
"""Of a listing; the real Hub has 1,000."""

PART_BYTES = 2**16
"""Larger objects come in parts; the real Hub begins at 5 GB."""


Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, content."""


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    content: bytes
    is_large: bool

    @cached_property
    def oid(self) -> str:
        return git_hash(self.content)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


Tree = dict[str, Blob]


@dataclass
class Repository:
    is_private: bool
    commits: dict[str, Tree] = field(default_factory=dict)
    head: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, tree: Tree) -> str:
        listed = sorted((path, blob.oid) for path, blob in tree.items())
        content = json.dumps([self.head, len(self.commits), listed]).encode()
        self.head = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.commits[self.head] = tree
        return self.head

    def commit_of(self, revision: str) -> str | None:
        if revision == "main":
            return self.head
        return self.tags.get(revision, revision if revision in self.commits else None)


@dataclass(frozen=True)
class Request:
    """What came in; the same request made again is equal."""

    method: str
    path: str
    repository: str
    part: str = ""
    """Of an object that comes in several."""


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering."""

    kind: Literal["status", "reset", "stall", "short", "lost", "call"]
    """Answer an error; cut the connection after some of the body; say nothing; answer in part; do
    what is asked and then cut the connection; or let the test do something."""
    status: int = 503
    retry_after: str | None = None
    after_bytes: int = 0
    stall_s: float = 5.0
    call: Callable[[], None] | None = None


@dataclass
class HubServer:
    """What the server holds, and what became of every request."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By repository and sha256."""
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    fault: Callable[[Request], Fault | None] = lambda _: None
    requests: list[Request] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    uploaded: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each object arrived whole."""
    committed_bytes: int = 0
    """Of the bodies of commits that were taken."""
    parts: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def tree(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        """Contents by path."""
        found = self.repositories[repository]
        commit = found.commit_of(revision)
        assert commit is not None, revision
        return {path: blob.content for path, blob in found.commits[commit].items()}


@contextmanager
def hub_server() -> Iterator[HubServer]:
    hub = HubServer()
    server = Serving(hub)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield hub


class Serving(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def hub(self) -> HubServer:
        assert isinstance(self.server, Serving)
        return self.server.hub

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        names = [unquote(name) for name in address.path.strip("/").split("/")]
        self._read: bytes | None = None
        if names[-2:] == ["repos", "create"]:
            wanted = json.loads(self._body())
            repository = f"{wanted['organization']}/{wanted['name']}"
        else:
            first = 2 if names[0] == "api" else 1
            repository = "/".join(names[first : first + 2]).removesuffix(".git")
        request = Request(self.command, address.path, repository, "".join(query.get("part", [])))
        with self.hub.lock:
            self.hub.requests.append(request)
            fault = self.hub.fault(request)
            if fault is not None:
                self.hub.faults[fault.kind] += 1
        try:
            if fault is None or fault.kind in ("short", "lost", "call"):
                if fault is not None and fault.call is not None:
                    fault.call()
                body = self._body()
                status, headers, content = self._answer(request, names, query, body)
                self._send(status, headers, content, fault)
            elif fault.kind == "status":
                self._body()
                asked = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                self._send(fault.status, asked, b'{"error": "as the test wants it"}', None)
            elif fault.kind == "stall":
                self._body()
                time.sleep(fault.stall_s)
                self._reset()
            else:
                self.rfile.read(min(fault.after_bytes, self._length()))
                self._reset()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _length(self) -> int:
        return int(self.headers.get("Content-Length", 0))

    def _body(self) -> bytes:
        if self._read is None:
            self._read = self._received()
        return self._read

    def _received(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(self._length())

    def _send(
        self, status: int, headers: dict[str, str], content: bytes, fault: Fault | None
    ) -> None:
        if fault is not None and fault.kind == "lost":
            self._reset()
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            if fault is not None and fault.kind == "short":
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self._reset()
                return
            self.wfile.write(content)

    def _reset(self) -> None:
        """Cut the connection as a crashed host does."""
        self.close_connection = True
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def _answer(
        self, request: Request, names: list[str], query: dict[str, list[str]], body: bytes
    ) -> Answer:
        if names[0] == "objects":  # signed addresses, which need no token
            return self._object(request, names[3], body)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.hub.tokens:
            return _json({"error": "Invalid credentials in Authorization header"}, 401)
        with self.hub.lock:
            match request.method, *names:
                case "POST", "api", "repos", "create":
                    return self._create(json.loads(body))
                case "POST", "api", "validate-yaml":
                    return _json({"errors": [], "warnings": []})
                case "POST", "datasets", owner, name, "info", "lfs", "objects", "batch":
                    return self._batch(f"{owner}/{name.removesuffix('.git')}", json.loads(body))
                case _, "api", "datasets", owner, name, *rest:
                    return self._dataset(request.method, f"{owner}/{name}", rest, query, body)
                case "GET" | "HEAD", "datasets", owner, name, "resolve", revision, *path:
                    return self._resolve(f"{owner}/{name}", revision, "/".join(path))
        return _json({"error": f"no such place: {request.path}"}, 404)

    def _create(self, wanted: dict[str, Any]) -> Answer:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            return _json({"error": "You already created this dataset repo"}, 409)
        made = Repository(is_private=wanted.get("visibility") == "private")
        made.add({".gitattributes": Blob(b"*.parquet filter=lfs\n", is_large=False)})
        self.hub.repositories[name] = made
        return _json({"url": f"{self.hub.address}/datasets/{name}", "name": name})

    def _batch(self, repository: str, wanted: dict[str, Any]) -> Answer:
        answers = []
        for one in wanted["objects"]:
            answer: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if (repository, one["oid"]) not in self.hub.objects:
                place = f"{self.hub.address}/objects/{repository}/{one['oid']}"
                href = f"{place}?signature=secret"
                header: dict[str, str] = {}
                if one["size"] > PART_BYTES:
                    parts = -(-one["size"] // PART_BYTES)
                    header = {"chunk_size": str(PART_BYTES)} | {
                        str(part): f"{href}&part={part}" for part in range(1, parts + 1)
                    }
                    href = f"{place}/complete?signature=secret"
                answer["actions"] = {"upload": {"href": href, "header": header}}
            answers.append(answer)
        return _json({"transfer": "basic", "objects": answers})

    def _object(self, request: Request, oid: str, body: bytes) -> Answer:
        key = (request.repository, oid)
        with self.hub.lock:
            if request.part:
                self.hub.parts[*key, int(request.part)] = body
                return 200, {"ETag": f'"{request.part}"'}, b""
            if request.path.endswith("/complete"):
                count = len(json.loads(body)["parts"])
                body = b"".join(self.hub.parts[*key, part] for part in range(1, count + 1))
            if hashlib.sha256(body).hexdigest() != oid:
                return _json({"error": "the content is not that of its name"}, 400)
            self.hub.objects[key] = body
            self.hub.uploaded[key] += 1
        return _json({})

    def _dataset(
        self,
        method: str,
        repository: str,
        rest: list[str],
        query: dict[str, list[str]],
        body: bytes,
    ) -> Answer:
        found = self.hub.repositories.get(repository)
        if found is None:
            return _json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        match method, *rest:
            case "GET", "refs":
                branches = [_ref("heads", "main", found.head)]
                tags = [_ref("tags", name, commit) for name, commit in found.tags.items()]
                return _json({"branches": branches, "tags": tags, "converts": []})
            case "POST", "preupload", revision:
                return self._preupload(found, revision, json.loads(body))
            case "POST", "commit", "main":
                return self._commit(repository, found, body)
            case "POST", "tag", revision:
                return self._tag(found, revision, json.loads(body)["tag"])
        return self._look_up(repository, found, (method, *rest), query, body)

    def _tag(self, found: Repository, revision: str, name: str) -> Answer:
        commit = found.commit_of(revision)
        if name in found.tags:
            return _json({"error": "Tag reference exists already"}, 409)
        if commit is None:
            return _no_revision()
        found.tags[name] = commit
        return _json({})

    def _look_up(
        self,
        repository: str,
        found: Repository,
        asked: tuple[str, ...],
        query: dict[str, list[str]],
        body: bytes,
    ) -> Answer:
        revision = asked[2] if len(asked) > 2 else "main"
        commit = found.commit_of(revision)
        if commit is None:
            return _no_revision()
        tree = found.commits[commit]
        match asked:
            case ("GET",) | ("GET", "revision", _):
                siblings = [{"rfilename": path} for path in sorted(tree)]
                return _json({"id": repository, "sha": commit, "siblings": siblings, "tags": []})
            case "GET", "tree", _, *path:
                return self._list(tree, "/".join(path), query)
            case "POST", "paths-info", _:
                wanted = parse_qs(body.decode()).get("paths", [])
                entries = [entry for entry in _entries(tree, "") if entry["path"] in wanted]
                return _json(entries)
        return _json({"error": "no such place"}, 404)

    def _preupload(self, found: Repository, revision: str, wanted: dict[str, Any]) -> Answer:
        commit = found.commit_of(revision)
        tree = {} if commit is None else found.commits[commit]
        files = []
        for one in wanted["files"]:
            is_large = b"\0" in base64.b64decode(one["sample"]) or one["size"] > 10 * 2**20
            there = tree.get(one["path"])
            oid = None if there is None else there.oid
            if there is not None and there.is_large:
                oid = there.sha256
            mode = "lfs" if is_large else "regular"
            files.append(
                {"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        return _json({"files": files})

    def _commit(self, repository: str, found: Repository, body: bytes) -> Answer:
        lines = [json.loads(line) for line in body.splitlines()]
        (header,) = [line["value"] for line in lines if line["key"] == "header"]
        if header.get("parentCommit", found.head) != found.head:
            return _json({"error": "A commit has happened since. Please refresh"}, 412)
        tree = dict(found.commits[found.head])
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    content = base64.b64decode(value["content"])
                    tree[value["path"]] = Blob(content, is_large=False)
                case "lfsFile":
                    key = (repository, value["oid"])
                    if key not in self.hub.objects:
                        return _json({"error": f"{value['path']} was not uploaded"}, 400)
                    tree[value["path"]] = Blob(self.hub.objects[key], is_large=True)
                case "deletedFile":
                    del tree[value["path"]]
        commit = found.add(tree)
        self.hub.committed_bytes += len(body)
        url = f"{self.hub.address}/datasets/{repository}/commit/{commit}"
        return _json({"commitUrl": url, "commitOid": commit})

    def _list(self, tree: Tree, folder: str, query: dict[str, list[str]]) -> Answer:
        entries = _entries(tree, folder)
        if not entries and folder:
            return _json({"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        if query.get("recursive") != ["true"] and query.get("recursive") != ["True"]:
            depth = folder.count("/") + 1 if folder else 0
            entries = [entry for entry in entries if entry["path"].count("/") == depth]
        first = int(query.get("cursor", ["0"])[0])
        headers = {}
        if first + PAGE_ENTRIES < len(entries):
            kept = "&".join(
                f"{name}={value[0]}" for name, value in query.items() if name != "cursor"
            )
            place = f"{self.hub.address}{urlsplit(self.path).path}?{kept}"
            headers["Link"] = f'<{place}&cursor={first + PAGE_ENTRIES}>; rel="next"'
        return _json(entries[first : first + PAGE_ENTRIES], headers=headers)

    def _resolve(self, repository: str, revision: str, path: str) -> Answer:
        found = self.hub.repositories.get(repository)
        commit = None if found is None else found.commit_of(revision)
        if found is None or commit is None:
            return _no_revision()
        blob = found.commits[commit].get(path)
        if blob is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return _json({"error": "Entry not found"}, 404, headers)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if not asked:
            return 200, headers, blob.content
        first, _, last = asked.partition("-")
        end = min(int(last) + 1 if last else len(blob.content), len(blob.content))
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(blob.content)}"
        return 206, headers, blob.content[int(first) : end]


def _json(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    named = {"Content-Type": "application/json"} | (headers or {})
    return status, named, json.dumps(document).encode()


def _no_revision() -> Answer:
    headers = {"X-Error-Code": "RevisionNotFound"}
    return _json({"error": "Invalid rev id"}, 404, headers)


def _ref(kind: str, name: str, commit: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}


def _entries(tree: Tree, folder: str) -> list[dict[str, Any]]:
    """Files and folders below `folder`, sorted by path."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in tree.items():
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            name = prefix + "/".join(parts[:depth])
            entries[name] = {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        entry: dict[str, Any] = {"type": "file", "path": path, "oid": blob.oid}
        entry["size"] = len(blob.content)
        if blob.is_large:
            entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 130}
        entries[path] = entry
    return [entries[path] for path in sorted(entries)]
