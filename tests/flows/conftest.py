"""Footage filmed and built once for all tests of the flows, and one Prefect server to share."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.server import loopback_server
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
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    film_footage(folder)
    return folder


@pytest.fixture(scope="session")
def built(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Two recordings, one of which has to be related and registered, built by one command."""
    folder = tmp_path_factory.mktemp("built")
    catalog = write_catalog(folder / "catalog.yaml", footage, [walk(), harbour(registered("quay"))])
    answer = build(catalog, folder / "work")
    assert answer.code == 0, answer.complaints + answer.printed
    return Built(footage, catalog, folder / "work", answer)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server for tests that do not ask how a build comes by its own."""
    with loopback_server() as address:
        yield address
