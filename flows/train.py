"""Training on a release, as the command line asks for it."""

from pathlib import Path

import torch

from flows.progress import Show, silence
from flows.publish import release_folder
from model.clips import ClipWindows
from model.places import is_address
from model.train import TrainingResult, train
from schemas.training import PRESETS, TrainingRecipe
from schemas.yaml_files import load_yaml


def train_release(
    release: str,
    root: Path,
    run_folder: Path,
    recipe: TrainingRecipe,
    report: Show = silence,
) -> TrainingResult:
    """Train on the train split of a release and leave weights and log in `run_folder`.

    Args:
        release: a version of the workspace, a folder that holds a release.json, or the address of
            a published one (model/places.py).
        root: the workspace's folder.
        run_folder: where the run goes.
        recipe: the choices.
        report: told of every step and its loss.

    Raises:
        ReleaseError: there is no such release.
        StoreError, TrainError: a clip cannot be read, or training cannot go on.
    """
    windows = ClipWindows(
        release if is_address(release) else release_folder(release, root),
        split="train",
        frames=recipe.frames,
        crop=recipe.crop,
        seed=recipe.seed,
    )
    return train(
        windows,
        recipe,
        run_folder,
        lambda step, loss: report(step, recipe.steps, f"loss {loss:.4f}"),
        device="cuda" if torch.cuda.is_available() else "cpu",
    )


def training_recipe(
    path: Path | None, preset: str | None, **overrides: float | None
) -> TrainingRecipe:
    """The recipe of a YAML file, or a preset, with single numbers set by hand.

    Args:
        path: the file; wins over `preset`.
        preset: a name of `schemas.training.PRESETS`; None: published on a GPU, small without.
        overrides: fields of the recipe; None leaves them.

    Raises:
        CatalogError: the file has problems.
    """
    chosen = preset or ("published" if torch.cuda.is_available() else "small")
    recipe = load_yaml(path, TrainingRecipe) if path is not None else PRESETS[chosen]
    given = {name: value for name, value in overrides.items() if value is not None}
    return TrainingRecipe.model_validate(recipe.model_dump() | given)
