"""What a build gains by a second process, what Prefect and dask cost, and what many tasks take."""

import os
import shutil
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

LOOP, ONE, TWO = "a plain loop", "build", "build --workers 2"
HOW = {LOOP: "loop", ONE: "1", TWO: "2"}

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "ZARR_THREADING__MAX_WORKERS": "1",
}
"""One process on many cores would otherwise encode chunks on several of them at once."""

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    rounds: int = 3
    times: int = 3
    """So often every recording of the sample is there, when processes are compared."""
    tasks: int = 100_000
    """Of dask alone."""
    recordings: int = 500
    """Of Prefect on dask."""


def section(source: Path, effort: Effort) -> Section:
    """The real sample built in a loop and by a build, several of it by one process and by two.

    Args:
        source: M3SVD.
        effort: how much.
    """
    with TemporaryDirectory() as folder:
        sample, many = (
            _catalog(source, Path(folder) / str(times), times) for times in (1, effort.times)
        )
        small, large = (
            alternating({way: partial(_build, catalog, way) for way in ways}, effort.rounds)
            for catalog, ways in ((sample, (LOOP, ONE)), (many, (ONE, TWO)))
        )
    overhead = Spread(tuple(100 * (ratio - 1) for ratio in small[ONE].over(small[LOOP]).values))
    counts = {"dask": effort.tasks, "prefect": effort.recordings}
    tasks = alternating({kind: partial(_tasks, kind, n) for kind, n in counts.items()}, 1)
    each_ms = {kind: 1000 * tasks[kind].median / count for kind, count in counts.items()}
    rows = tuple(
        (way, count, str(spread), str(spread.over(built[ONE])))
        for count, built in (("the sample", small), (f"{effort.times} times the sample", large))
        for way, spread in built.items()
    )
    return Section(
        title="Many recordings",
        method=(
            "M3SVD's sample built whole, wall time behind the imports, each time into an empty "
            "workspace by a process of its own, one thread a process (otherwise a single process "
            "encodes on several cores); `build` runs Prefect's server and, with workers, a dask "
            "cluster, and their start-up is in the time. The two cores of a machine may be two "
            "threads of one. Empty tasks: what a scheduler with two workers takes for tasks "
            "without pixels, and Prefect on it with its server."
        ),
        claims=(
            Claim("build --workers 2: rate of build", large[ONE].over(large[TWO]), ">=", 1.7),
            Claim("build: time beyond that of a plain loop", overhead, "<=", 10, "%"),
        ),
        tables=(
            Table(("way", "recordings", "seconds", "x build"), rows),
            Table(
                ("empty tasks", "how many", "seconds", "ms each"),
                tuple(
                    (kind, f"{counts[kind]}", f"{tasks[kind].median:.1f}", f"{each_ms[kind]:.2f}")
                    for kind in counts
                ),
            ),
        ),
    )


def _catalog(source: Path, folder: Path, times: int) -> Path:
    """The catalog of `source` with every clip under so many names."""
    for part in ("Video", "val"):
        for clip in sorted(source.glob(f"{part}/**/[0-9]*_[0-9]*")):
            copied = folder / "data" / clip.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            for time in range(times):
                to = copied.with_stem(f"{clip.stem}_{time}")
                (shutil.copytree if clip.is_dir() else shutil.copyfile)(clip, to)
    catalog = folder / "catalog.yaml"
    import_m3svd(folder / "data", catalog)
    return catalog


def _build(catalog: Path, way: str) -> Mapping[str, float]:
    with TemporaryDirectory() as folder:
        return {"": _run("building_all", str(catalog), str(Path(folder) / "work"), HOW[way])}


def _tasks(kind: str, count: int) -> Mapping[str, float]:
    return {"": _run("empty_tasks", kind, str(count))}


def _run(program: str, *words: str) -> float:
    printed = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{program}", *words],
        cwd=ROOT,
        env=os.environ | ONE_THREAD,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return float(printed.split()[-1])
