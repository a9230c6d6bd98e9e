"""Training on a release, as the command line asks for it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch

from flows.progress import Show, silence
from flows.publish import release_folder
from model.clips import ClipWindows, open_release
from model.places import is_address
from model.train import Material, Means, TrainingResult, train
from model.train_ranks import ALONE, Team
from schemas.catalog import Split
from schemas.training import PRESETS, TrainingRecipe
from schemas.training_run import TrainingData
from schemas.yaml_files import load_yaml

STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopRequest:
    """Whether a signal has asked the run to stop, and which."""

    signal: int | None = None
    heard: list[int] = field(default_factory=list)


def train_release(
    release: str,
    root: Path,
    run_folder: Path,
    recipe: TrainingRecipe,
    report: Show = silence,
    *,
    workers: int = 0,
    team: Team = ALONE,
) -> TrainingResult:
    """Train on the train split of a release and leave weights and log in `run_folder`.

    The val split, where there is one, is validated on. SIGTERM or one Ctrl-C ends the run after
    the step under way, with its state kept; the same call goes on from there.

    Args:
        release: a version of the workspace, a folder that holds a release.json, or the address of
            a published one (model/places.py).
        root: the workspace's folder.
        run_folder: where the run goes, or goes on.
        recipe: the choices.
        report: told of every step and its loss.
        workers: processes that read windows; 0 reads in this one.
        team: the processes that train together.

    Raises:
        ReleaseError: there is no such release.
        StoreError, TrainError: a clip cannot be read, or training cannot go on.
    """
    with stopped_by_signals() as is_stopped:
        means = Means(
            team,
            workers,
            lambda step, loss: report(step, recipe.steps, f"loss {loss:.4f}"),
            is_stopped,
        )
        return train(release_material(release, root, recipe), recipe, run_folder, means)
