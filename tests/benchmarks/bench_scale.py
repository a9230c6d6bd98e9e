"""What a build gains by a second process, what Prefect and dask cost, and what many tasks take."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.importers import import_m3svd
from tests.benchmarks.measuring import Spread, alternating
from tests.benchmarks.tables import Claim, Section, Table
from tests.flows.cluster import cluster

LOOP, BUILD, DASK = "a plain loop", "build", "build on a cluster of one process"
ONE, TWO = "build, on one core", "build --workers 2, on two"
CORES = {ONE: 1}
"""That a way may use, where it may not use all."""

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "ZARR_THREADING__MAX_WORKERS": "1",
}
"""One process on many cores would otherwise encode chunks on several of them at once."""

TWINBAND = str(Path(sys.executable).parent / "twinband")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    rounds: int = 3
    """Of one core against two."""
    sample_rounds: int = 5
    """Of a loop against builds, which are closer to each other than a machine to itself."""
    times: int = 2
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
        with cluster(Path(folder), workers=1, **ONE_THREAD) as dask:
            small = _seconds((LOOP, BUILD, DASK), sample, effort.sample_rounds, dask.address)
        large = _seconds((ONE, TWO), many, effort.rounds)
    overhead = {
        way: Spread(tuple(100 * (ratio - 1) for ratio in small[way].over(small[LOOP]).values))
        for way in (BUILD, DASK)
    }
    counts = {"dask": effort.tasks, "prefect": effort.recordings}
    tasks = alternating({kind: partial(_tasks, kind, n) for kind, n in counts.items()}, 1)
    each_ms = {kind: 1000 * tasks[kind].median / count for kind, count in counts.items()}
    rows = tuple(
        (way, count, str(spread), str(spread.over(built[first])))
        for count, built, first in (
            ("the sample", small, LOOP),
            (f"{effort.times} times the sample", large, ONE),
        )
        for way, spread in built.items()
    )
    return Section(
        title="Many recordings",
        method=(
            "M3SVD's sample built whole, each time into an empty workspace: wall time of the "
            "command from its start to its end, imports, Prefect's server and local workers "
            "included. The plain loop imports and calls the stages alone, and is compared in two "
            "rounds more, for builds are closer to it than a machine to itself. The cluster is a "
            "dask scheduler with one worker that stand ready, as on other hosts. One thread a "
            "process: otherwise a single process encodes on several cores (docs/scale.md tells "
            "what a second one is worth then). Even so it keeps a quarter of a second core busy, "
            "as zarr encodes beside what decodes; a process and all that belongs to it is "
            "therefore held to one core where it is compared with two on two. Empty tasks: what a "
            "scheduler with two workers takes for tasks without pixels, and Prefect on it with "
            "its server."
        ),
        claims=(
            Claim("a second core and worker: rate", large[ONE].over(large[TWO]), ">=", 1.7),
            *(
                Claim(f"{way}: time beyond that of {LOOP}", overhead[way], "<=", 10, "%")
                for way in (BUILD, DASK)
            ),
        ),
        tables=(
            Table(("way", "recordings", "seconds", "x the first"), rows),
            Table(
                ("empty tasks", "how many", "seconds", "ms each"),
                tuple(
                    (kind, f"{counts[kind]}", f"{tasks[kind].median:.1f}", f"{each_ms[kind]:.2f}")
                    for kind in counts
                ),
            ),
        ),
    )


def _seconds(
    ways: Sequence[str], catalog: Path, rounds: int, scheduler: str = ""
) -> Mapping[str, Spread]:
    """What each way takes to build a catalog."""
    return alternating({way: partial(_build, way, catalog, scheduler) for way in ways}, rounds)


def _catalog(source: Path, folder: Path, times: int) -> Path:
    """The catalog of `source` with every clip under so many names."""
    for part in ("Video", "val"):
        for clip in sorted(source.glob(f"{part}/**/[0-9]*_[0-9]*")):
            copied = folder / "data" / clip.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            for copy in range(times):
                to = copied.with_stem(f"{clip.stem}_{copy}")
                (shutil.copytree if clip.is_dir() else shutil.copyfile)(clip, to)
    catalog = folder / "catalog.yaml"
    import_m3svd(folder / "data", catalog)
    return catalog


def _build(way: str, catalog: Path, scheduler: str) -> Mapping[str, float]:
    """Wall time of a command, seconds."""
    with TemporaryDirectory() as folder, _held_to(CORES.get(way)):
        work = f"{folder}/work"
        options = {DASK: ("--scheduler", scheduler), TWO: ("--workers", "2")}.get(way, ())
        command = (TWINBAND, "build", "-c", str(catalog), "--work", work, *options)
        if way == LOOP:
            command = (sys.executable, "-m", "tests.benchmarks.plain_loop", str(catalog), work)
        begin = time.monotonic()
        _run(command)
        return {"": time.monotonic() - begin}


@contextmanager
def _held_to(cores: int | None) -> Iterator[None]:
    """Let this process and those it starts use the first so many cores alone; None: all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _tasks(kind: str, count: int) -> Mapping[str, float]:
    program = (sys.executable, "-m", "tests.benchmarks.empty_tasks", kind, str(count))
    return {"": float(_run(program).split()[-1])}


def _run(command: Sequence[str]) -> str:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | ONE_THREAD,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
