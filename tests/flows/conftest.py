"""Footage filmed and built once for all tests of the flows, and one Prefect server to share."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from flows.server import starting_server
from tests.flows.rig import (
    Answer,
    build,
    film_footage,
    harbour,
    registered,
    walk,
    write_catalog,
)


@dataclass(frozen=True)
class Built:
    """A workspace that an undisturbed build has left, and the catalog it was built from."""

    footage: Path
    catalog: Path
    work: Path
    answer: Answer

    def copy(self, folder: Path) -> Path:
        """A workspace of one's own to spoil, in the same state."""
        return Path(shutil.copytree(self.work, folder / "work"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all the processes that run tests together."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def footage(shared: Path) -> Path:
    folder = shared / "footage"
    with FileLock(shared / "footage.lock"):
        if not folder.exists():
            film_footage(shared / "footage.partial")
            (shared / "footage.partial").rename(folder)
    return folder


@pytest.fixture(scope="session")
def built(footage: Path, shared: Path) -> Built:
    """Two recordings, one of which has to be related and registered, built by one command."""
    folder = shared / "built"
    catalog, printed = folder / "catalog.yaml", folder / "answer.json"
    with FileLock(shared / "built.lock"):
        if not printed.exists():
            write_catalog(catalog, footage, [walk(), harbour(registered("quay"))])
            answer = build(catalog, folder / "work")
            assert answer.code == 0, answer.complaints + answer.printed
            printed.write_text(json.dumps(asdict(answer)))
    return Built(footage, catalog, folder / "work", Answer(**json.loads(printed.read_text())))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server for tests that do not ask how a build comes by its own."""
    with starting_server() as address:
        yield address()
