"""Forks a child for every trial, spoils its journey at one chosen moment, and looks what is left.

Run as `python -m tests.torture.engine FOLDER SHARE`: films a rig into FOLDER, takes the journey
once undisturbed, chooses the trials that SHARE (JSON) asks for among its events, and prints one
JSON document a line: first the undisturbed journey, then every trial. The process imports all it
needs and starts no thread, so that a child costs a fork and not an import.
"""

import errno
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from schemas.base import StrictModel
from schemas.errors import TwinbandError
from tests.torture.rig import content, debris, film, half_made, journey

ERRORS = ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False))
"""System errors, and whether they last: a full disk stays full, a failing one may recover."""

BUG_SHOWED = 70
"""Exit status of a child whose journey ended in what is no error for users."""

STEPS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")

GROWING = ("open", "os.mkdir", "twinband.written")
"""Events that need room; a full disk still renames and removes."""


class Trial(StrictModel):
    """One journey to be spoilt, at its n-th event or after a time."""

    kind: Literal["kill", "error"]
    event: int | None = None
    after_s: float | None = None
    error: int = 0
    lasting: bool = False


class Share(StrictModel):
    """How many trials to do; None stands for every event of the journey."""

    kills: int | None
    kills_at_random_times: int
    errors: int | None
    """Of every kind of ERRORS."""
    seed: int = 0


class Undisturbed(StrictModel):
    """The journey of a trial that nobody disturbs; the oracle of all others."""

    root_hash: str
    seconds: float
    events: tuple[str, ...]


class Outcome(StrictModel):
    """How a trial went; all lists are empty where all is well."""

    trial: Trial
    happened: str
    half_made: tuple[str, ...] = ()
    debris: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    root_hash: str = ""
    trouble: str = ""


class Watch:
    """Hears every file-system event below a folder and does something at the chosen ones."""

    def __init__(self, folder: Path, act: Callable[[int, str, str], None]) -> None:
        self._below = f"{folder}/"
        self._act = act
        self._number = 0
        self._busy = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy or not (event == "open" or event in STEPS or event.startswith("twinband.")):
            return
        self._busy = True  # looking up a descriptor must not be heard
        try:
            path = self._path(event, arguments)
            if path is None:
                return
            number, self._number = self._number, self._number + 1
            self._act(number, event, f"{event} {kind_of(path)}")
        finally:
            self._busy = False

    def _path(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        """What the event happens to, below the folder; None where it is none of ours."""
        path = arguments[0]
        if not isinstance(path, str | os.PathLike):
            return None
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return None
        place = os.fspath(path)
        if not place.startswith("/"):
            descriptor = arguments[-1]
            if event not in ("os.remove", "os.rmdir") or not isinstance(descriptor, int):
                return None
            place = f"{Path(f'/proc/self/fd/{descriptor}').readlink()}/{place}"
        return place.removeprefix(self._below) if place.startswith(self._below) else None


def kind_of(path: str) -> str:
    """The class of a path below a workspace: numbers, hashes and names of clips left out."""
    path = re.sub(r"[0-9a-f]{32}", "*", path)
    path = re.sub(r"\b(gap|warp)(-\d+)?", "*", path)
    path = re.sub(r"\.break\.[\d.*]+", ".break", path)
    path = re.sub(r"/c(/\d+)+$", "/c/*", path)
    return re.sub(r"/(infrared|visible)(_degraded)?/", "/*/", path)


def in_a_child(work: Callable[[], str], answer: Path, kill_after_s: float | None = None) -> int:
    """Do `work` in a fork; what it gives lies in `answer`. Gives the status of `os.waitpid`."""
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        status = BUG_SHOWED
        try:
            answer.write_text(work())
            status = 0
        finally:
            if status:
                answer.write_text(traceback.format_exc())
            os._exit(status)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def spoil(trial: Trial) -> Callable[[int, str, str], None]:
    """What to do at the events of a trial's journey."""

    def act(number: int, event: str, label: str) -> None:
        if trial.event is None or number < trial.event:
            return
        if trial.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if number == trial.event or (trial.lasting and event in GROWING):
            raise OSError(trial.error, os.strerror(trial.error), label)

    return act


def run_undisturbed(catalog: Path, work: Path, answer: Path) -> Undisturbed:
    labels: list[str] = []

    def take() -> str:
        sys.addaudithook(Watch(work, lambda _number, _event, label: labels.append(label)))
        begun_s = time.perf_counter()
        root_hash = journey(catalog, work)
        taken_s = time.perf_counter() - begun_s
        left = [*half_made(work), *debris(work)]
        assert not left, left
        return Undisturbed(
            root_hash=root_hash, seconds=taken_s, events=tuple(labels)
        ).model_dump_json()

    in_a_child(take, answer)
    return Undisturbed.model_validate_json(answer.read_bytes())


def run_trial(trial: Trial, catalog: Path, work: Path, wanted: dict[str, bytes]) -> Outcome:
    """Spoil one journey, look at what is left, take it again, and compare."""
    answer = work.with_name("answer.json")
    shutil.rmtree(work, ignore_errors=True)

    def spoilt() -> str:
        sys.addaudithook(Watch(work, spoil(trial)))
        try:
            journey(catalog, work)
        except (TwinbandError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    def again() -> str:
        broken = half_made(work)
        root_hash = journey(catalog, work)
        found = content(work)
        differing = [
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        ]
        return Outcome(
            trial=trial,
            happened=happened,
            half_made=(*broken, *half_made(work)),
            debris=tuple(debris(work)),
            differing=tuple(sorted(differing)),
            root_hash=root_hash,
        ).model_dump_json()

    status = in_a_child(spoilt, answer, trial.after_s)
    happened = "killed" if os.WIFSIGNALED(status) else answer.read_text()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        return Outcome(trial=trial, happened="a bug showed", trouble=happened)
    status = in_a_child(again, answer)
    if status:
        return Outcome(trial=trial, happened=happened, trouble=answer.read_text())
    return Outcome.model_validate_json(answer.read_bytes())


def chosen(events: Sequence[str], wanted: int | None, rng: random.Random) -> list[int]:
    """Events of as many kinds as possible, each kind once before any comes twice."""
    kinds: dict[str, list[int]] = {}
    for number, label in enumerate(events):
        kinds.setdefault(label, []).append(number)
    places = list(kinds.values())
    rng.shuffle(places)
    for numbers in places:
        rng.shuffle(numbers)
    rounds = zip_longest(*places)
    found = [number for numbers in rounds for number in numbers if number is not None]
    return sorted(found[:wanted])


def trials_of(share: Share, calm: Undisturbed) -> list[Trial]:
    rng = random.Random(share.seed)
    trials = [Trial(kind="kill", event=number) for number in chosen(calm.events, share.kills, rng)]
    trials += [
        Trial(kind="kill", after_s=rng.uniform(0, calm.seconds))
        for _ in range(share.kills_at_random_times)
    ]
    for error, lasting in ERRORS:
        trials += [
            Trial(kind="error", event=number, error=error, lasting=lasting)
            for number in chosen(calm.events, share.errors, rng)
        ]
    return trials


def tell(record: StrictModel) -> None:
    sys.stdout.write(record.model_dump_json() + "\n")
    sys.stdout.flush()


def main(folder: Path, share: Share) -> None:
    film(folder)
    catalog, work = folder / "catalog.yaml", folder / "calm" / "work"
    calm = run_undisturbed(catalog, work, folder / "answer.json")
    tell(calm)
    wanted = content(work)
    (folder / "spoilt").mkdir()
    for trial in trials_of(share, calm):
        made = run_trial(trial, catalog, folder / "spoilt" / "work", wanted)
        tell(made)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Share.model_validate_json(sys.argv[2]))
