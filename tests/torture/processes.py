"""Builds on a cluster, whose scheduler, worker, Prefect server or client is killed outright."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tests.flows.cluster import IMPATIENT, Cluster, cluster
from tests.flows.prefect_server import SharedServer, shared_server
from tests.flows.rig import (
    Answer,
    Running,
    build_command,
    debris,
    film_pair,
    harbour,
    processes_of_session,
    registered,
    running,
    wait_until,
    write_catalog,
)
from tests.pipeline.studio import tree

Role = Literal["scheduler", "worker", "Prefect server", "client"]
ROLES: tuple[Role, ...] = get_args(Role)

LATEST = 0.9
"""Of the time that an undisturbed build takes; another may be faster, and a kill would miss it."""


@dataclass(frozen=True)
class Killed:
    """What came of a build during which a process was killed, and of the next build."""

    role: Role
    after_s: float
    struck: bool
    """Whether the build was still going on."""
    faults: tuple[str, ...]


@dataclass
class Site:
    """A catalog, and the processes that build it, which last from trial to trial."""

    catalog: Path
    folder: Path
    server: SharedServer

    def command(self, work: Path, *more: str) -> tuple[str | Path, ...]:
        return (*build_command(self.catalog, work), *more)

    def undisturbed(self) -> tuple[dict[str, bytes], float]:
        """The stores of a build that nobody disturbs, and how long it takes on a cluster."""
        work = self.folder / "calm"
        with self._cluster("calm") as started:
            begun_s = time.monotonic()
            answer = self._ended(self.command(work, "--scheduler", started.address))
            lasts_s = time.monotonic() - begun_s
        assert answer.code == 0, answer.printed + answer.complaints
        return tree(work / "clips"), lasts_s

    def spoilt(self, number: int, role: Role, after_s: float, calm: dict[str, bytes]) -> Killed:
        """Build, kill, start again what was killed, and build once more."""
        work, name = self.folder / f"work{number}", f"trial{number}"
        with self._cluster(name) as started:
            words = self.command(work, "--scheduler", started.address)
            with running(*words, PREFECT_API_URL=self.server.address, **IMPATIENT) as build:
                with suppress(AssertionError):
                    wait_until(build.has_ended, "the build ends", limit_s=after_s)
                struck = not build.has_ended()
                self._strike(role, started, build)
                first = build.answer()
                left = processes_of_session(build.process.pid)
        again = self._ended(self.command(work))
        faults = [f"left behind: {process}" for process in left]
        if again.code:
            faults.append(f"the next build: {again.printed}{again.complaints}")
        if role in ("worker", "Prefect server") and first.code not in (0, 1):
            faults.append(f"the build itself: {first.complaints}")
        if first.code == 1 and "Traceback" in first.complaints + first.printed:
            faults.append(f"a traceback: {first.complaints[-2000:]}")
        if tree(work / "clips") != calm:
            faults.append("other stores than those of an undisturbed build")
        faults += [f"debris: {path}" for path in debris(work)]
        return Killed(role, after_s, struck, tuple(faults))

    def _strike(self, role: Role, started: Cluster, build: Running) -> None:
        strikes: dict[Role, Callable[[], None]] = {
            "scheduler": started.stop_scheduler,
            "worker": started.workers[0].kill,
            "Prefect server": self.server.kill,
            "client": build.process.kill,
        }
        strikes[role]()
        if role == "worker":
            started.start_worker()
        if role == "Prefect server":
            self.server.start()

    @contextmanager
    def _cluster(self, name: str) -> Iterator[Cluster]:
        folder = self.folder / name
        folder.mkdir()
        with cluster(folder, workers=1) as started:
            yield started

    def _ended(self, words: tuple[str | Path, ...]) -> Answer:
        with running(*words, PREFECT_API_URL=self.server.address) as command:
            return command.answer()


def film_harbour(folder: Path) -> Path:
    """Two recordings of a second, and their catalog."""
    film_pair(folder / "quay", 40, seed=1)
    film_pair(folder / "pier", 30, seed=2)
    session = harbour(registered("quay"), registered("pier"))
    return write_catalog(folder / "catalog.yaml", folder, [session])


def killed_processes(
    catalog: Path, folder: Path, kills: int, roles: tuple[Role, ...] = ROLES
) -> Iterator[Killed]:
    """So many kills of each role, each at a moment drawn over most of the time a build takes."""
    drawn = random.Random(5)
    with ExitStack() as stack:
        database = f"sqlite+aiosqlite:///{folder}/prefect.db"
        site = Site(catalog, folder, stack.enter_context(shared_server(database)))
        calm, lasts_s = site.undisturbed()
        for number in range(kills * len(roles)):
            role = roles[number % len(roles)]
            yield site.spoilt(number, role, drawn.uniform(0, LATEST * lasts_s), calm)
