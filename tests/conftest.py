"""What every test may ask for; keeps Prefect away from the user's home."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings

PREFECT_HOME = tempfile.TemporaryDirectory(prefix="twinband-prefect-", ignore_cleanup_errors=True)
"""Made before anything can import Prefect, which reads the variable only once."""

os.environ["PREFECT_HOME"] = PREFECT_HOME.name

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
# How long an example takes says more of the machine than of the code; tests/benchmarks measure.

M3SVD = Path(__file__).parents[2] / "shared" / "M3SVD"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let every worker begin with modules that take long, so that none ends alone with one.

    pytest-xdist gives each worker an equal stretch of the list, of whose end others may steal. A
    module stays whole there: what its tests share is made once.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = (item.path for item in items if item.get_closest_marker("slow") is not None)
    modules = list(dict.fromkeys(slow))
    long = [item for item in items if item.path in modules]
    short = [item for item in items if item.path not in modules]
    share = len(items) // workers
    items.clear()
    for worker in range(workers):
        own = [item for item in long if modules.index(item.path) % workers == worker]
        room = max(0, share - len(own)) if worker < workers - 1 else len(short)
        items += own + short[:room]
        del short[:room]


def pytest_unconfigure() -> None:
    PREFECT_HOME.cleanup()


def _lack(reason: str, promise: str) -> None:
    """Skip the test for that reason, or fail it where the variable `promise` is 1."""
    if os.environ.get(promise) == "1":
        pytest.fail(f"{reason}, or unset {promise}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def m3svd() -> Path:
    """The sample of M3SVD beside the repository; read only."""
    if not M3SVD.is_dir():
        reason = f"{M3SVD} is not there; put the sample of M3SVD beside the repository"
        _lack(reason, "TWINBAND_REQUIRE_M3SVD")
    return M3SVD


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """A GPU of NVIDIA; the test is skipped without one, or fails if TWINBAND_REQUIRE_GPU is 1."""
    if not torch.cuda.is_available():
        _lack("torch sees no GPU here; run this where there is one", "TWINBAND_REQUIRE_GPU")
    return torch.device("cuda")
