"""Training on a release, as the command line asks for it."""

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from flows.progress import Show, silence
from flows.release import release_place
from model.checkpoint import load_checkpoint
from model.clips import ClipWindows
from model.releases import open_release
from model.train import FirstWeights, Material, Means, TrainingResult, train
from model.train_ranks import ALONE, Team
from schemas.catalog import Split
from schemas.training import PRESETS, TrainingRecipe
from schemas.training_run import TrainingData
from schemas.yaml_files import load_yaml

STOPPING = (signal.SIGTERM, signal.SIGINT)


def train_release(
    release: str,
    work: Path | str,
    run_folder: Path,
    recipe: TrainingRecipe,
    report: Show = silence,
    *,
    first: Path | None = None,
    workers: int = 0,
    team: Team = ALONE,
) -> TrainingResult:
    """Train on the train split of a release and leave weights and log in `run_folder`.

    The val split, where there is one, is validated on. SIGTERM or one Ctrl-C ends the run after
    the step under way, with its state kept; the same call goes on from there.

    Args:
        release: a version of the workspace, a folder that holds a release.json, or the address of
            a published one (model/places.py).
        work: the workspace: a folder, or an address of an object store.
        run_folder: where the run goes, or goes on.
        recipe: the choices.
        report: told of every step and its loss.
        first: a checkpoint to begin from.
        workers: processes that read windows; 0 reads in this one.
        team: the processes that train together.

    Raises:
        ReleaseError: there is no such release.
        CheckpointError: `first` is none.
        StoreError, TrainError: a clip cannot be read, or training cannot go on.
    """
    with stopped_by_signals() as is_stopped:
        means = Means(
            team,
            workers,
            lambda step, loss: report(step, recipe.steps, f"loss {loss:.4f}"),
            is_stopped,
        )
        return train(release_material(release, work, recipe, first), recipe, run_folder, means)


def release_material(
    release: str, work: Path | str, recipe: TrainingRecipe, first: Path | None = None
) -> Material:
    """The windows of a release that a recipe asks for, of the train split and the val split.

    Raises:
        ReleaseError: there is no such release.
        TrainError: a clip of either split is too short or too small, or the train split is empty.
        CheckpointError: `first` is no checkpoint.
    """
    where = release_place(release, work)

    def windows(split: Split, *, is_varied: bool) -> ClipWindows:
        return ClipWindows(
            where,
            split=split,
            frames=recipe.frames,
            crop=recipe.crop,
            seed=recipe.seed,
            augment=is_varied and recipe.augment,
            redraw=is_varied and recipe.redraw,
        )

    opened, _ = open_release(where)
    train_windows = windows("train", is_varied=True)
    val_windows = windows("val", is_varied=False) if opened.split_counts().get("val") else None
    data = TrainingData(
        dataset=opened.dataset.name,
        version=opened.version,
        root_hash=opened.root_hash,
        train_windows=len(train_windows),
        val_windows=0 if val_windows is None else len(val_windows),
    )
    weights = None
    if first is not None:
        network = load_checkpoint(first)
        weights = FirstWeights(network, hashlib.sha256(first.read_bytes()).hexdigest())
    return Material(train_windows, val_windows, data, weights)


@contextmanager
def stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Ask whether SIGTERM or Ctrl-C has come; a second Ctrl-C stops at once, as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield bool  # only the main thread hears signals
        return
    heard: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        if heard and number == signal.SIGINT:
            raise KeyboardInterrupt
        heard.append(number)

    before = {number: signal.signal(number, hear) for number in STOPPING}
    try:
        yield lambda: bool(heard)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def training_recipe(
    path: Path | None,
    preset: str | None,
    first: Path | None = None,
    **overrides: float | None,
) -> TrainingRecipe:
    """The recipe of a YAML file, or a preset, with single numbers set by hand.

    Args:
        path: the file; wins over `preset`.
        preset: a name of `schemas.training.PRESETS`; None: published on a GPU, small without.
        first: a checkpoint to begin from; where neither file nor preset is given, its network is
            trained.
        overrides: fields of the recipe; None leaves them.

    Raises:
        CatalogError: the file has problems.
        CheckpointError: `first` is no checkpoint.
    """
    chosen = preset or ("published" if torch.cuda.is_available() else "small")
    recipe = load_yaml(path, TrainingRecipe) if path is not None else PRESETS[chosen]
    given: dict[str, object] = {
        name: value for name, value in overrides.items() if value is not None
    }
    if first is not None and path is None and preset is None:
        given["network"] = load_checkpoint(first).recipe
    return TrainingRecipe.model_validate(recipe.model_dump() | given)
