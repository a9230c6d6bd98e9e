"""Tiny footage, catalogs of it, and the real `twinband` command run in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate import run_simulate
from pipeline.video_files import write_video
from schemas.catalog import (
    Camera,
    CatalogFile,
    Dataset,
    Recording,
    Rig,
    Session,
    SplitRule,
    Timestamps,
)
from schemas.recipe import Recipe
from schemas.simulation import SMALL_RECORDING, small_simulation

WIDTH, HEIGHT, FPS = 64, 48, 25.0
QUAY_FRAMES, PIER_FRAMES = 80, 20
MAST = Camera(width=WIDTH, height=HEIGHT)
COMMAND = Path(sys.executable).parent / "twinband"
LIMIT_S = 400.0
"""Longer than any command here needs on a busy machine."""

WALK = SMALL_RECORDING
"""Whose clocks and views the build has to relate by itself."""


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    printed: str
    complaints: str
    peak_kib: int

    @property
    def document(self) -> dict[str, Any]:
        """What it printed as JSON, which has to be one document."""
        document = json.loads(self.printed)
        assert isinstance(document, dict)
        return document


class Running:
    """A command in a session of its own, so that whatever it leaves behind can be found."""

    def __init__(self, process: subprocess.Popen[str], printed: IO[str], said: IO[str]) -> None:
        self.process = process
        self._printed, self._said = printed, said
        self._peak_kib = 0

    def has_ended(self) -> bool:
        self._peak_kib = max(self._peak_kib, peak_memory_kib(self.process.pid))
        return self.process.poll() is not None

    def said(self) -> str:
        """Its complaints so far."""
        self._said.seek(0)
        return self._said.read()

    def answer(self) -> Answer:
        wait_until(self.has_ended, "the command ends")
        self._printed.seek(0)
        self._said.seek(0)
        return Answer(
            self.process.returncode, self._printed.read(), self._said.read(), self._peak_kib
        )

    def kill_with_children(self) -> None:
        """Kill all that it started at once, as when its host dies."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_at(self, moment: Callable[[], bool], what: str) -> None:
        """Kill the command alone, not its children, as soon as `moment` has come."""
        wait_until(lambda: moment() or self.has_ended(), what)
        assert self.process.poll() is None, f"the command ended before {what}"
        self.process.kill()
        self.process.wait()


@contextmanager
def running(*command: str | Path, **environment: str) -> Iterator[Running]:
    """Start a command; nothing of it survives the `with` block."""
    with (
        TemporaryFile("w+") as printed,
        TemporaryFile("w+") as said,
        subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=said,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            start_new_session=True,
            text=True,
        ) as process,
    ):
        try:
            yield Running(process, printed, said)
        finally:
            if processes_of_session(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def build_command(catalog: Path, work: Path) -> tuple[str | Path, ...]:
    return (COMMAND, "build", "--json", "-c", catalog, "--work", work)


def build(catalog: Path, work: Path, *more: str | Path, **environment: str) -> Answer:
    with running(*build_command(catalog, work), *more, **environment) as command:
        return command.answer()


def wait_until(claim: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Look every few milliseconds whether `claim` holds of another process."""
    end_s = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < end_s, f"waited {limit_s:g} s in vain until {what}"
        time.sleep(0.01)


def peak_memory_kib(pid: int) -> int:
    """Most memory the process has held; rusage would start from what its parent held."""
    for line in _read_of_process(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def processes_of_session(session: int) -> list[str]:
    """The command lines of all that runs in a session, the dead left out."""
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        fields = _read_of_process(int(folder.name), "stat").rpartition(")")[2].split()
        if fields and fields[0] != "Z" and int(fields[3]) == session:
            found.append(_read_of_process(int(folder.name), "cmdline").replace("\0", " "))
    return found


def _read_of_process(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def street(
    count: int, *, seed: int, width: int = WIDTH, height: int = HEIGHT, color: bool = True
) -> Iterator[NDArray[np.uint8]]:
    """Textured frames in which squares come and go, the same in both bands."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(40, 120, (height // 4, width // 4, 3)).repeat(4, 0).repeat(4, 1)
    side, x, y, speed = height // 4, 0, 0, 1
    for index in range(count):
        if index % 10 == 0:
            x, y = int(rng.integers(width - side)), int(rng.integers(height - side))
            speed = int(rng.integers(-3, 4))
        x = int(np.clip(x + speed, 0, width - side))
        frame = ground.astype(np.uint8)
        frame[y : y + side, x : x + side] = (250, 200, 60)
        yield frame if color else frame[..., 0]


def film_pair(
    folder: Path, count: int, *, seed: int, width: int = WIDTH, height: int = HEIGHT
) -> None:
    """Write infrared.mp4 and visible.mp4, of one view and one clock."""
    for band, color in (("infrared", False), ("visible", True)):
        frames = street(count, seed=seed, width=width, height=height, color=color)
        write_video(folder / f"{band}.mp4", frames, fps=FPS, codec="h264")


def registered(name: str, **changes: Any) -> Recording:
    """The recording that `film_pair` made in a folder of that name."""
    fields: dict[str, Any] = {
        "id": name,
        "site": "harbour",
        "infrared": f"{name}/infrared.mp4",
        "visible": f"{name}/visible.mp4",
        "registered": True,
    }
    return Recording.model_validate(fields | changes)


def film_footage(footage: Path) -> None:
    """Film everything `catalog_of` can name: a walk with a real rig, and two registered pairs."""
    run_simulate(footage / "simulated", small_simulation(WALK))
    film_pair(footage / "quay", QUAY_FRAMES, seed=1)
    film_pair(footage / "pier", PIER_FRAMES, seed=2)


def walk() -> Session:
    folder = "simulated/outing/walk"
    recording = Recording(
        id=WALK.id,
        site=WALK.site,
        infrared=f"{folder}/infrared.mkv",
        visible=f"{folder}/visible.mp4",
        timestamps=Timestamps(infrared=f"{folder}/infrared.csv", visible=f"{folder}/visible.csv"),
    )
    return Session(id="outing", rig="simulated-rig", recordings=(recording,))


def harbour(*recordings: Recording) -> Session:
    return Session(id="harbour", rig="mast", recordings=recordings)


def write_catalog(
    path: Path,
    footage: Path,
    sessions: Sequence[Session],
    *,
    recipe: Recipe | None = None,
    mast: Camera = MAST,
) -> Path:
    """Write a catalog of sessions filmed into `footage`; JSON is YAML too."""
    simulated = small_simulation(WALK)
    catalog = CatalogFile(
        dataset=Dataset(name="harbour", data_root=str(footage)),
        rigs=(
            Rig(id="mast", infrared=mast, visible=mast),
            Rig(
                id=simulated.rig,
                infrared=simulated.infrared.camera,
                visible=simulated.visible.camera,
            ),
        ),
        sessions=tuple(sessions),
        recipe=recipe or Recipe(),
        splits=SplitRule(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(catalog.model_dump_json(exclude_unset=True, by_alias=True, indent=1))
    return path


def debris(work: Path) -> list[str]:
    """Whatever half-made things lie in a workspace."""
    staged = list((work / "staging").iterdir()) if (work / "staging").exists() else []
    return [str(path) for path in [*staged, *work.rglob("*.partial*")]]


def inodes(work: Path) -> dict[str, tuple[int, int]]:
    """File -> inode and time of change, for every file of every store."""
    files = (path for path in (work / "clips").rglob("*") if path.is_file())
    stats = ((path.relative_to(work).as_posix(), path.stat()) for path in files)
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats}
