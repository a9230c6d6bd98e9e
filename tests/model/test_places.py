"""A release far away reads like one here, and nothing that arrives damaged is kept or believed."""

import http.server
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pytest
import torch
from torch.utils.data import DataLoader

from model.clips import ClipWindows
from model.places import _file_sha256, cache_folder, is_address, place_of
from model.releases import open_release
from schemas.errors import ReleaseError, StoreError
from tests.loopback import serving
from tests.model.clip_fixtures import PlannedClip, Shelf, write_release


@dataclass
class Server:
    """A folder served on loopback, with what goes wrong and what was asked for."""

    address: str
    asked: list[str] = field(default_factory=list)
    cut_short: set[str] = field(default_factory=set)
    flipped: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    cut_short_once: set[str] = field(default_factory=set)


@pytest.fixture
def published(tmp_path: Path) -> Shelf:
    """A release laid out as it is published: stores beside release.json."""
    clips = (PlannedClip("dock-000", pairs=9), PlannedClip("pier-000", pairs=9, materialise=False))
    shelf = write_release(tmp_path / "work", *clips)
    shutil.copytree(shelf.workspace.root / "clips", tmp_path / "published" / "clips")
    shutil.copy(shelf.release / "release.json", tmp_path / "published")
    return shelf


@pytest.fixture
def server(tmp_path: Path, published: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TWINBAND_CACHE", str(tmp_path / "cache"))
    folder = published.workspace.root.parent / "published"
    standing = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(HubHandler, directory=str(folder))
    )
    told = Server(f"http://127.0.0.1:{standing.server_port}")
    standing.told = told  # type: ignore[attr-defined]
    with serving(standing):
        yield told


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, some of them badly."""

    def do_GET(self) -> None:
        told: Server = self.server.told  # type: ignore[attr-defined]
        told.asked.append(self.path)
        damaged = told.flipped | told.cut_short | told.cut_short_once
        name = next((n for n in damaged if self.path.endswith(n)), None)
        if any(self.path.endswith(one) for one in told.refused):
            self.send_error(403)
        elif name is None:
            super().do_GET()
        else:
            content = bytearray(Path(self.translate_path(self.path)).read_bytes())
            content[len(content) // 2] ^= name in told.flipped
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            is_cut = name in told.cut_short | told.cut_short_once
            told.cut_short_once.discard(name)
            self.wfile.write(content[: len(content) // (2 if is_cut else 1)])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class HubHandler(Handler):
    """Serves the folder as revisions v0.1.0 and v0.2.0 of the data set org/name, too."""

    def do_GET(self) -> None:
        about, _, revision_and_path = unquote(self.path).partition("/org/name/")
        question, _, rest = revision_and_path.partition("/")
        revision, _, path = rest.partition("?")[0].partition("/")
        if not revision_and_path or question == "resolve":
            self.path = f"/{path}" if revision_and_path else self.path
            super().do_GET()
        elif (about, revision in {"v0.1.0", "v0.2.0"}) != ("/api/datasets", True):
            self.send_error(404)
        elif question == "revision":
            self.tell({"id": "org/name", "sha": "a" * 40, "siblings": []})
        else:
            root = Path(self.directory)
            self.tell([self.entry(root, found) for found in (root / path).iterdir()])

    def entry(self, root: Path, found: Path) -> object:
        path = found.relative_to(root).as_posix()
        if found.is_dir():
            return {"type": "directory", "path": path, "oid": "b" * 40}
        return {"type": "file", "path": path, "oid": "b" * 40, "size": found.stat().st_size}

    def tell(self, answer: object) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def test_a_release_at_an_address_gives_the_samples_of_the_folder(
    published: Shelf, server: Server
) -> None:
    here, there = ClipWindows(published.release, crop=16), ClipWindows(server.address, crop=16)

    for index in range(len(here)):
        sample, wanted = there[index], here[index]
        assert all(torch.equal(sample[name], wanted[name]) for name in wanted)


def test_every_file_is_fetched_once_and_only_when_it_is_needed(server: Server) -> None:
    windows = ClipWindows(server.address, crop=16)
    assert server.asked == ["/release.json"]

    windows[0]
    windows[0]
    fetched = len(server.asked)
    ClipWindows(server.address, crop=16)[1]

    assert not any("pier-000" in path for path in server.asked)
    assert len(set(server.asked)) == fetched
    assert server.asked[fetched:] == ["/release.json"]


def test_a_connection_that_breaks_in_mid_file_is_tried_again(server: Server) -> None:
    broken = {"release.json", "manifest.json", "infrared/zarr.json", "visible/c/0/0/0/0"}
    server.cut_short_once |= broken

    ClipWindows(server.address, crop=16)[0]

    assert not server.cut_short_once
    assert all(sum(path.endswith(name) for path in server.asked) >= 2 for name in broken)


def test_a_file_of_the_cache_is_hashed_again_only_when_it_changed(server: Server) -> None:
    def hashed_in_all() -> int:
        ClipWindows(server.address, crop=16)[0]
        return _file_sha256.cache_info().misses

    hashed_in_all()
    first, second = hashed_in_all(), hashed_in_all()
    (kept,) = cache_folder().rglob("dock-000/*/visible/c/0/0/0/0")
    kept.write_bytes(kept.read_bytes())
    third = hashed_in_all()

    assert (second - first, third - second) == (0, 1)


def test_a_forked_process_reads_what_is_here_and_says_what_it_cannot_fetch(server: Server) -> None:
    windows = ClipWindows(server.address, crop=16)
    here = windows[0]
    forked = partial(DataLoader, windows, num_workers=1, multiprocessing_context="fork")

    (found,) = list(forked(sampler=[0]))
    with pytest.raises(StoreError, match=r"pier-000.*was forked from.*forkserver"):
        list(forked(sampler=[9]))

    assert torch.equal(found["visible"][0], here["visible"])


@pytest.mark.parametrize("fault", ["cut_short", "flipped"])
@pytest.mark.parametrize("name", ["visible/c/0/0/0/0", "chunk_checksums.bin", "infrared/zarr.json"])
def test_what_arrives_damaged_is_refused_and_not_kept(
    server: Server, fault: str, name: str
) -> None:
    getattr(server, fault).add(name)

    with pytest.raises(StoreError, match=f"{name}.*(what arrived|cannot be fetched)"):
        ClipWindows(server.address, crop=16)[0]

    assert not any(cache_folder().rglob("*.partial"))
    getattr(server, fault).clear()
    assert ClipWindows(server.address, crop=16)[0]["visible"].any()


def test_a_damaged_release_or_none_is_refused(server: Server) -> None:
    server.flipped.add("release.json")
    with pytest.raises(ReleaseError, match="release"):
        ClipWindows(server.address)
    server.flipped.clear()
    with pytest.raises(ReleaseError, match=r"elsewhere/release.json does not exist"):
        ClipWindows(f"{server.address}/elsewhere")
    server.refused.add("release.json")
    with pytest.raises(ReleaseError, match="cannot be fetched"):
        ClipWindows(server.address)
    with pytest.raises(ReleaseError, match="no address that can be read"):
        ClipWindows("gopher://somewhere/else")


def test_a_damaged_file_of_the_cache_is_found_and_fetched_again(server: Server) -> None:
    wanted = ClipWindows(server.address, crop=16)[0]
    (kept,) = cache_folder().rglob("dock-000/*/visible/c/0/0/0/0")
    content = bytearray(kept.read_bytes())
    content[100] ^= 1
    kept.write_bytes(content)

    again = ClipWindows(server.address, crop=16)[0]

    assert torch.equal(again["visible"], wanted["visible"])


def test_workers_share_what_one_of_them_fetched(server: Server) -> None:
    windows = ClipWindows(server.address, crop=16)
    loader = DataLoader(windows, batch_size=1, num_workers=2, multiprocessing_context="forkserver")

    assert len(list(loader)) == len(windows)
    fetched = [path for path in server.asked if "/c/" in path]
    assert len(fetched) == len(set(fetched))


def test_a_release_in_another_kind_of_store_is_read_as_well(
    published: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINBAND_CACHE", str(tmp_path / "cache"))
    folder = published.workspace.root.parent / "published"
    fsspec.filesystem("memory").put(str(folder), "/bucket", recursive=True)

    release, place = open_release("memory://bucket/release.json")

    assert release.version == "v0.1.0"
    assert place.address == "memory://bucket"
    assert ClipWindows("memory://bucket", crop=16)[0]["infrared"].shape == (7, 1, 16, 16)


READ_FROM_HUB = """
import sys
from model.clips import ClipWindows

for revision in ("v0.1.0", "v0.2.0"):
    windows = ClipWindows(f"hf://datasets/org/name@{revision}", crop=16)
    print(windows[0]["visible"].sum().item(), end=" ")
"""


def test_a_revision_of_the_hub_is_read_and_the_next_shares_its_files(
    published: Shelf, server: Server
) -> None:
    wanted = ClipWindows(published.release, crop=16)[0]["visible"].sum().item()

    read = subprocess.run(
        [sys.executable, "-c", READ_FROM_HUB],
        env={**os.environ, "HF_ENDPOINT": server.address, "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert read.stdout.split() == [str(wanted)] * 2, read.stderr
    assert server.asked.count("/release.json") == 2
    assert len(set(server.asked)) == len(server.asked) - 1


def test_addresses_are_told_from_paths_and_revisions_share_a_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TWINBAND_CACHE", str(tmp_path))
    old, new = (place_of(f"hf://datasets/org/name@v1.{n}.0") for n in (0, 1))

    assert is_address("s3://bucket/prefix")
    assert not is_address("work/releases/v1.0.0")
    assert not is_address(tmp_path)
    assert old.root == new.root
    assert old.address == "hf://datasets/org/name@v1.0.0"
    assert place_of("hf://datasets/org/other").root != old.root
    assert place_of(tmp_path).root == Path(os.path.realpath(tmp_path))
