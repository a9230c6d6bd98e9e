"""`twinband train` and `ablate`: the network on the windows of a release."""

from pathlib import Path
from typing import Any

import click

from flows.cli_answers import FILE, FOLDER, Answer, answering, work_option

recipe_option = click.option("--recipe", type=FILE, help="YAML training recipe.")
preset_option = click.option(
    "--preset",
    type=click.Choice(["published", "small"]),
    help="Recipe without a file.  [default: published on a GPU, small without]",
)
steps_option = click.option("--steps", type=click.IntRange(1), help="Overrides the recipe's steps.")


@answering
@click.argument("release")
@work_option
@click.option("--out", type=FOLDER, default="runs/latest", show_default=True)
@recipe_option
@preset_option
@steps_option
@click.option("--batch", type=click.IntRange(1), help="Overrides the recipe's batch.")
@click.option(
    "--from",
    "first",
    type=FILE,
    help="Checkpoint to begin from; without --recipe and --preset its network is trained.",
)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True,
              help="Processes that read windows.")  # fmt: skip
def train(
    release: str,
    work: Path | str,
    out: Path,
    recipe: Path | None,
    preset: str | None,
    steps: int | None,
    batch: int | None,
    first: Path | None,
    workers: int,
) -> Answer:
    """Train VideoFusion on the train split of RELEASE: a version, published folder or address.

    A run that was killed or stopped goes on where it was when the same command is given again.
    """
    from flows.progress import progress
    from flows.train import train_release, training_recipe
    from model.train_ranks import joined_team

    chosen = training_recipe(recipe, preset, first, steps=steps, batch=batch)
    with joined_team() as team, progress("training") as show:
        result = train_release(
            release, work, out, chosen, report=show, first=first, workers=workers, team=team
        )
    if not team.leads:
        raise click.exceptions.Exit(0)  # the leading rank says it for all
    lines = [f"loss {result.first_loss:.4f} -> {result.last_loss:.4f} in {result.steps} steps"]
    if result.best is not None:
        best = result.best
        lines.append(f"lowest loss on the val split: {best.loss:.4f} after {best.step} steps")
    if result.ended == "interrupted":
        lines.append(f"stopped; give the same command again to go on from {result.checkpoint}")
    else:
        lines.append(f"weights: {result.checkpoint}")
    document = {
        "ended": result.ended,
        "checkpoint": str(result.checkpoint),
        "log": str(result.log),
        "steps": result.steps,
        "first_loss": result.first_loss,
        "last_loss": result.last_loss,
        "best": None if result.best is None else result.best.model_dump(),
    }
    return Answer(document, lines)


@answering
@click.argument("release")
@work_option
@click.option("--out", type=FOLDER, default="runs/ablations", show_default=True)
@recipe_option
@preset_option
@steps_option
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test",
              show_default=True, help="Whose clips are scored.")  # fmt: skip
def ablate(
    release: str,
    work: Path | str,
    out: Path,
    recipe: Path | None,
    preset: str | None,
    steps: int | None,
    split: Any,
) -> Answer:
    """Train and score the paper's five ablations and the whole network, alike, beside its table.

    What was trained already, or in part, goes on when the same command is given again.
    """
    from flows.ablate import PAPER_ABLATIONS, ablate_release, paper_lines
    from flows.evaluate_tables import compared_lines, write_comparison
    from flows.progress import progress
    from flows.train import training_recipe

    chosen = training_recipe(recipe, preset, steps=steps)
    with progress("ablating") as show:
        found = ablate_release(release, work, out, chosen, split=split, report=show)
    written = write_comparison(found, out / "scores")
    evaluations = [one.evaluation for one in found]
    document = {
        "subjects": [one.model_dump(mode="json") for one in evaluations],
        "paper": {name: list(values) for name, values in PAPER_ABLATIONS.items()},
        "files": [str(path) for path in written],
    }
    lines = [*compared_lines(evaluations), "", *paper_lines()]
    return Answer(document, [*lines, f"wrote {len(written)} files below {out / 'scores'}"])
