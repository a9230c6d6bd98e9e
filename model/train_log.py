"""The run folder: what the run is, what it did step by step, and where a later start goes on."""

import contextlib
import datetime as dt
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout
from pydantic import JsonValue, ValidationError
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from model.durable import write_whole
from model.train_ranks import Team
from schemas.errors import TrainError
from schemas.training import TrainingStep
from schemas.training_run import TrainingRun, TrainingStart, TrainingValidation

RUN_NAME = "run.json"
STEPS_NAME = "steps.jsonl"
VALIDATIONS_NAME = "validations.jsonl"
LOCK_NAME = ".lock"
"""Files of a run folder, beside TensorBoard's event files, states and weights."""

SPLIT_FREELY = ("batch", "accumulate")
"""Choices that may differ where a run goes on, as long as a step takes as many windows."""

SHOWN_TAG = "window: infrared and visible degraded, fused, infrared and visible restored"

L = TypeVar("L", TrainingStep, TrainingValidation)


class RunLog:
    """Where one start of a run writes; `open_log` makes it."""

    def __init__(self, run_folder: Path, after_step: int) -> None:
        """Cut the logs of `run_folder` to what was done up to `after_step`, and go on with them."""
        self._folder = run_folder
        steps = _cut(run_folder / STEPS_NAME, TrainingStep, after_step)
        _cut(run_folder / VALIDATIONS_NAME, TrainingValidation, after_step)
        self.first_loss = steps[0].loss if steps else None
        self.last_loss = steps[-1].loss if steps else None
        """Of the first and the last step of the whole run; None before there is one."""
        with _writing(run_folder), contextlib.ExitStack() as opened:
            self._steps = opened.enter_context((run_folder / STEPS_NAME).open("a"))
            self._validations = opened.enter_context((run_folder / VALIDATIONS_NAME).open("a"))
            self._board = opened.enter_context(
                SummaryWriter(str(run_folder), purge_step=after_step + 1 if after_step else None)
            )
            self._opened = opened.pop_all()

    def step(self, record: TrainingStep) -> None:
        """Write what a step came to."""
        self.first_loss = record.loss if record.step == 1 else self.first_loss
        self.last_loss = record.loss
        with _writing(self._folder):
            self._steps.write(record.model_dump_json() + "\n")
            self._steps.flush()
            for name, value in record.model_dump(exclude={"step"}).items():
                self._board.add_scalar(f"train/{name}", value, record.step)

    def validation(self, record: TrainingValidation) -> None:
        """Write what a validation came to."""
        with _writing(self._folder):
            self._validations.write(record.model_dump_json() + "\n")
            self._validations.flush()
            for name, value in record.model_dump(exclude={"step"}).items():
                self._board.add_scalar(f"val/{name}", value, record.step)

    def picture(self, picture: Tensor, step: int) -> None:
        """Show a picture (3, H, W) in [0, 1]."""
        with _writing(self._folder):
            self._board.add_image(SHOWN_TAG, picture, step)

    def sync(self) -> None:
        """Have all that was written on the disk, so that no state is ahead of its log."""
        with _writing(self._folder):
            self._board.flush()
            for file in (self._steps, self._validations):
                os.fsync(file.fileno())

    def close(self) -> None:
        """Write no more."""
        self._opened.close()


@contextlib.contextmanager
def open_log(run_folder: Path, run: TrainingRun, after_step: int) -> Iterator[RunLog]:
    """Note this start in run.json, and write to the logs behind `after_step`.

    Raises:
        TrainError: the folder cannot be written.
    """
    with _writing(run_folder):
        write_whole(run_folder / RUN_NAME, (run.model_dump_json(indent=2) + "\n").encode())
        for unfinished in run_folder.glob("**/.*.partial"):
            unfinished.unlink()
    log = RunLog(run_folder, after_step)
    try:
        yield log
    finally:
        log.close()


@contextlib.contextmanager
def sole_user(run_folder: Path) -> Iterator[None]:
    """Hold a run folder for this process alone.

    Raises:
        TrainError: another process trains there, or the folder cannot be made.
    """
    with _writing(run_folder):
        run_folder.mkdir(parents=True, exist_ok=True)
    try:
        with _writing(run_folder):
            lock = FileLock(run_folder / LOCK_NAME, blocking=False)
            lock.acquire()
    except Timeout as error:
        raise TrainError(
            f"{run_folder} is being trained in by another process; wait for it, or choose another "
            "run folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def earlier_starts(run_folder: Path, own: TrainingRun) -> tuple[TrainingStart, ...]:
    """The starts of the run that `run_folder` holds, which has to be the run `own`.

    Raises:
        TrainError: its run.json is damaged, or it is another run; names every field.
    """
    path = run_folder / RUN_NAME
    try:
        held = TrainingRun.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainError(
            f"{path}: does not tell which run the states beside it belong to "
            f"({str(error).splitlines()[0]}); choose another run folder, or remove {run_folder}"
        ) from error
    different = differences(_identity(held), _identity(own))
    if different:
        raise TrainError(
            "\n".join(
                f"{run_folder}: an unfinished run with {name} {_shown(old)} lies there, and "
                f"{_shown(new)} is asked for; ask for the same, choose another run folder, or "
                "remove this one"
                for name, old, new in different
            )
        )
    return held.starts


def _identity(run: TrainingRun) -> dict[str, JsonValue]:
    """All that has to be the same where a run goes on."""
    recipe = run.recipe.model_dump(mode="json", exclude=set(SPLIT_FREELY))
    root_hash = run.data.root_hash if run.data else None
    return {
        "recipe": recipe,
        "windows_per_step": run.windows_per_step,
        "data": {"root_hash": root_hash},
        "first_weights": run.first_weights,
    }


def differences(
    old: dict[str, JsonValue], new: dict[str, JsonValue], place: str = ""
) -> list[tuple[str, JsonValue, JsonValue]]:
    """Dotted name, old and new value of all that two JSON mappings have differently."""
    found: list[tuple[str, JsonValue, JsonValue]] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{place}{name}.")
        elif before != after:
            found.append((f"{place}{name}", before, after))
    return found


def _shown(value: JsonValue) -> str:
    return "none" if value is None else str(value)


def _cut(path: Path, schema: type[L], after_step: int) -> list[L]:
    """Keep the lines of the steps up to `after_step`; a killed run has written more of them."""
    with _writing(path.parent):
        lines = path.read_text().splitlines() if path.exists() else []
        kept: list[L] = []
        for line in lines:
            try:
                record = schema.model_validate_json(line)
            except ValidationError:  # the line that a killed process was writing
                break
            if record.step > after_step:
                break
            kept.append(record)
        write_whole(path, "".join(f"{line}\n" for line in lines[: len(kept)]).encode())
    return kept


@contextlib.contextmanager
def _writing(run_folder: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:  # an OSError, and no trouble of the disk
        raise
    except OSError as error:
        raise TrainError(
            f"{run_folder}: the run's log cannot be written: {error.strerror}; "
            "free space or choose another run folder"
        ) from error


def this_start(team: Team, *, after_step: int, workers: int) -> TrainingStart:
    """What a start of a run is done with, as far as it can be told."""
    on_gpu = team.device.type == "cuda"
    return TrainingStart(
        after_step=after_step,
        started_at=dt.datetime.now(dt.UTC),
        twinband=metadata.version("twinband"),
        commit=checkout_commit(),
        torch=torch.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processor=str(torch.cpu.get_capabilities().get("cpu_name", platform.machine())),
        device=torch.cuda.get_device_name(team.device) if on_gpu else "cpu",
        threads=torch.get_num_threads(),
        ranks=team.share.ranks,
        workers=workers,
    )


def checkout_commit() -> str | None:
    """The git commit of this code, with -dirty where it was changed; None outside a checkout."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return None

    def answer(*question: str) -> str | None:
        asked = subprocess.run(  # noqa: S603 (fixed arguments)
            [git, "-C", str(here.parent), *question], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() if asked.returncode == 0 else None

    if answer("ls-files", "--error-unmatch", here.name) is None:
        return None  # installed inside some other project's repository
    return answer("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
