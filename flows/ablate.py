"""The paper's ablations: the same training with one part of the network or of the loss left out."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from flows.evaluate import Choices, Scored, evaluate_release
from flows.evaluate_tables import PAPER_METRICS, PAPER_ROWS, PAPER_SOURCE
from flows.progress import Show, silence
from flows.train import release_material, train_release
from model.train import WEIGHTS_NAME
from model.train_log import RUN_NAME
from schemas.catalog import Split
from schemas.errors import TrainError
from schemas.training import LossWeights, NetworkRecipe, TrainingRecipe
from schemas.training_run import TrainingData, TrainingRun

FULL = "full"

ABLATIONS: dict[str, tuple[str, str]] = {
    FULL: ("", ""),
    "without-bicam": ("network", "co_attention"),
    "without-cmdrm": ("network", "reinforcement"),
    "without-cmgf": ("network", "guided_fusion"),
    "without-variation-loss": ("losses", "variation"),
    "without-color-loss": ("losses", "color"),
}
"""Which section of a recipe lacks what; MODEL.md section 1.1."""

PAPER_ABLATIONS: dict[str, tuple[float, ...]] = {
    FULL: PAPER_ROWS["VideoFusion"],
    "without-bicam": (7.250, 3.439, 52.194, 0.601, 0.472, 4.747),
    "without-cmdrm": (6.953, 3.557, 48.439, 0.612, 0.510, 3.728),
    "without-cmgf": (7.046, 2.099, 61.403, 0.366, 0.233, 7.029),
    "without-variation-loss": (7.211, 3.432, 52.245, 0.599, 0.480, 6.056),
    "without-color-loss": (6.839, 2.102, 39.854, 0.457, 0.240, 6.031),
}
"""In the order of PAPER_METRICS: VideoFusion, arXiv 2503.23359, table of ablations."""


def ablated(recipe: TrainingRecipe, name: str) -> TrainingRecipe:
    """A recipe without one part; the rest, seed and steps included, stays.

    Raises:
        TrainError: the recipe lacks that part already, so that nothing would be compared.
    """
    section, field = ABLATIONS[name]
    if not section:
        return recipe
    whole: NetworkRecipe | LossWeights = getattr(recipe, section)
    if not getattr(whole, field):
        raise TrainError(
            f"the recipe has {section}.{field} {getattr(whole, field)} already, so that {name} "
            "would be the same; give a recipe with all parts"
        )
    without = {"network": False, "losses": 0.0}[section]
    return recipe.model_copy(update={section: whole.model_copy(update={field: without})})


def ablate_release(
    release: str,
    work: Path | str,
    folder: Path,
    recipe: TrainingRecipe,
    *,
    split: Split = "test",
    report: Show = silence,
) -> list[Scored]:
    """Train the whole network and each ablation alike, and score them on the same clips.

    Runs lie in folders of `folder`; those that are there go on where they were, and those that are
    done are not trained again.

    Args:
        release: a version of the workspace, a published folder, or an address.
        work: the workspace: a folder, or an address of an object store.
        folder: where the runs go.
        recipe: of all of them, with every part.
        split: whose clips are scored.
        report: told of every step and frame.

    Returns:
        In the order of ABLATIONS.

    Raises:
        TrainError: a part is missing from the recipe, or training was stopped.
        ReleaseError, StoreError, EvaluateError: the release or a clip cannot be read or scored.
    """
    recipes = {name: ablated(recipe, name) for name in ABLATIONS}
    data = release_material(release, work, recipe).data
    found = []
    for name, variant in recipes.items():

        def shown(done: int, total: int, latest: str, name: str = name) -> None:
            report(done, total, f"{name} {latest}")

        if not _is_done(folder / name, variant, data):
            trained = train_release(release, work, folder / name, variant, shown)
            if trained.ended == "interrupted":
                raise TrainError(
                    f"{name} was stopped after {trained.steps} steps; give the same command again "
                    "to go on"
                )
        weights = folder / name / f"{name}.safetensors"
        weights.write_bytes((folder / name / WEIGHTS_NAME).read_bytes())
        found.append(evaluate_release(release, work, weights, Choices(), split=split, report=shown))
    return found


def _is_done(run: Path, recipe: TrainingRecipe, data: TrainingData | None) -> bool:
    """Whether a run has ended that was the same; another one is refused by training."""
    if not (run / WEIGHTS_NAME).is_file():
        return False
    try:
        noted = TrainingRun.model_validate_json((run / RUN_NAME).read_bytes())
    except (OSError, ValidationError):
        return False
    return noted.recipe == recipe and noted.data == data


def paper_lines() -> Sequence[str]:
    """What the paper found, for a terminal."""
    width = max(map(len, PAPER_ABLATIONS))
    heads = "  ".join(f"{name:>7}" for name in PAPER_METRICS)
    rows = [
        f"{name:<{width}}  " + "  ".join(f"{value:7.3f}" for value in values)
        for name, values in PAPER_ABLATIONS.items()
    ]
    return [f"{PAPER_SOURCE}:", f"{'':<{width}}  {heads}", *rows]
