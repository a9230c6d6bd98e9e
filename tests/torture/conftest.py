"""One journey that all tests of the fault suite look at."""

from pathlib import Path

import pytest

from tests.torture.rig import film, journey


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings and their catalog."""
    folder = tmp_path_factory.mktemp("torture")
    film(folder)
    return folder


@pytest.fixture(scope="session")
def released(footage: Path) -> Path:
    """A workspace beside the footage with one release, to be left as it was found."""
    journey(footage / "catalog.yaml", footage / "work")
    return footage / "work"
