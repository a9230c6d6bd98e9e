"""A dask cluster of real processes: a scheduler and workers as somebody would start them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.flows.rig import wait_until

IMPATIENT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
"""In place of the half minute in which a network may mend."""

DASK = Path(sys.executable).parent / "dask"


@dataclass
class Cluster:
    """A scheduler and the workers that were started for it."""

    address: str
    folder: Path
    stack: ExitStack
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)

    def stop_scheduler(self) -> None:
        """Kill it; its workers go on looking for it."""
        self.scheduler.kill()
        self.scheduler.wait()

    def start_worker(self, *prefix: str) -> subprocess.Popen[bytes]:
        """One more, of one thread, that nobody starts again when it dies.

        Args:
            prefix: before its command, such as that of a host.
        """
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
                prefix=prefix,
                log=self.folder / f"{place.name}.log",
                environment=self.environment,
            )
        )
        self.workers.append(worker)
        log = self.folder / f"{place.name}.log"
        wait_until(lambda: "Registered to" in log.read_text(), "a worker has registered")
        return worker


@contextmanager
def cluster(
    folder: Path,
    *,
    workers: int,
    host: str = "127.0.0.1",
    prefix: Sequence[str] = (),
    **environment: str,
) -> Iterator[Cluster]:
    """Start a scheduler and workers; nothing of them is left afterwards.

    Args:
        folder: for logs.
        workers: how many are started here at once.
        host: the address that the scheduler listens at.
        prefix: before its command.
        environment: of all of them.
    """
    about, log = folder / "scheduler.json", folder / "scheduler.log"
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            _started(
                "scheduler",
                "--host",
                host,
                "--port",
                "0",
                "--no-dashboard",
                "--scheduler-file",
                about,
                prefix=prefix,
                log=log,
                environment=environment,
            )
        )
        wait_until(about.exists, "the scheduler listens")
        address = next(
            line.rpartition(" ")[2]
            for line in log.read_text().splitlines()
            if "Scheduler at:" in line
        )
        started = Cluster(address, folder, stack, scheduler, environment=environment)
        for _ in range(workers):
            started.start_worker()
        yield started


@contextmanager
def _started(
    *words: str | Path, prefix: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as said,
        subprocess.Popen(
            [*prefix, str(DASK), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=os.environ | {"OMP_NUM_THREADS": "1", **environment},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()
