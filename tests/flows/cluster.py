"""A dask cluster of real processes: a scheduler and workers as somebody would start them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.flows.rig import wait_until

DASK = Path(sys.executable).parent / "dask"


@dataclass
class Cluster:
    """A scheduler and the workers that were started for it."""

    address: str
    folder: Path
    stack: ExitStack
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def stop_scheduler(self) -> None:
        """Kill it; its workers go on looking for it."""
        self.scheduler.kill()
        self.scheduler.wait()

    def start_worker(self) -> subprocess.Popen[bytes]:
        """One more, of one thread, that nobody starts again when it dies."""
        place = self.folder / f"worker{len(self.workers)}"
        place.mkdir()
        worker = self.stack.enter_context(
            _started(
                "worker",
                self.address,
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
                "--local-directory",
                place,
                log=self.folder / f"{place.name}.log",
            )
        )
        self.workers.append(worker)
        log = self.folder / f"{place.name}.log"
        wait_until(lambda: "Registered to" in log.read_text(), "a worker has registered")
        return worker


@contextmanager
def cluster(folder: Path, *, workers: int) -> Iterator[Cluster]:
    """Start a scheduler and workers; nothing of them is left afterwards."""
    about, log = folder / "scheduler.json", folder / "scheduler.log"
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            _started(
                "scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
                "--scheduler-file",
                about,
                log=log,
            )
        )
        wait_until(about.exists, "the scheduler listens")
        address = next(
            line.rpartition(" ")[2]
            for line in log.read_text().splitlines()
            if "Scheduler at:" in line
        )
        started = Cluster(address, folder, stack, scheduler)
        for _ in range(workers):
            started.start_worker()
        yield started


@contextmanager
def _started(*words: str | Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [DASK, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
