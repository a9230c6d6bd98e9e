"""What a build gains by a second process, what Prefect and dask cost, and what many tasks take."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.importers import import_m3svd
from tests.benchmarks.measuring import Spread, alternating
from tests.benchmarks.tables import Claim, Section, Table

WAYS = {"a plain loop": "loop", "build": "1", "build --workers 2": "2"}

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    rounds: int = 3
    tasks: int = 100_000
    """Of dask alone."""
    recordings: int = 500
    """Of Prefect on dask."""


def section(source: Path, effort: Effort) -> Section:
    """The real sample built in three ways, and empty tasks by the ten thousand.

    Args:
        source: M3SVD.
        effort: how much.
    """
    with TemporaryDirectory() as folder:
        catalog = Path(folder) / "catalog.yaml"
        recordings = list(import_m3svd(source, catalog).plans())
        built = alternating(
            {name: partial(_build, catalog, how) for name, how in WAYS.items()}, effort.rounds
        )
    loop_s, one_s, two_s = (built[name] for name in WAYS)
    overhead = Spread(tuple(100 * (ratio - 1) for ratio in one_s.over(loop_s).values))
    counts = {"dask": effort.tasks, "prefect": effort.recordings}
    tasks = alternating({kind: partial(_tasks, kind, n) for kind, n in counts.items()}, 1)
    each_ms = {kind: 1000 * tasks[kind].median / count for kind, count in counts.items()}
    rows = tuple((name, str(spread), str(spread.over(loop_s))) for name, spread in built.items())
    return Section(
        title="Many recordings",
        method=(
            f"The sample of M3SVD ({len(recordings)} recordings) built whole, wall time behind the "
            "imports, each time into an empty workspace by a process of its own, one thread a "
            "process; `build` runs Prefect's server and, with workers, a dask cluster. The two "
            "cores of the machine may be two threads of one. Empty tasks: what a scheduler with "
            "two workers takes for tasks without pixels, and Prefect on it with its server."
        ),
        claims=(
            Claim("build --workers 2: rate of build", one_s.over(two_s), ">=", 1.7),
            Claim("build: time beyond that of a plain loop", overhead, "<=", 10, "%"),
        ),
        tables=(
            Table(("way", "seconds", "x a plain loop"), rows),
            Table(
                ("empty tasks", "how many", "seconds", "ms each"),
                tuple(
                    (kind, f"{counts[kind]}", f"{tasks[kind].median:.1f}", f"{each_ms[kind]:.2f}")
                    for kind in counts
                ),
            ),
        ),
    )


def _build(catalog: Path, how: str) -> Mapping[str, float]:
    with TemporaryDirectory() as folder:
        return {"": _run("building_all", str(catalog), str(Path(folder) / "work"), how)}


def _tasks(kind: str, count: int) -> Mapping[str, float]:
    return {"": _run("empty_tasks", kind, str(count))}


def _run(program: str, *words: str) -> float:
    printed = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{program}", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return float(printed.split()[-1])
