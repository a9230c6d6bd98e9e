"""`twinband evaluate`: scores of fused videos."""

from pathlib import Path
from typing import Any

import click

from flows.cli_answers import ANYTHING, FILE, FOLDER, Answer, answering, work_option

METHODS = [
    "average", "maximum", "laplacian-pyramid", "wavelet", "guided-filter", "two-scale-saliency",
    "anisotropic-diffusion",
]  # fmt: skip
"""Those of model/baselines.py, which is not imported here so that --help answers at once."""


@answering
@click.argument("release", required=False)
@work_option
@click.option("--method", type=click.Choice(METHODS), help="Fuse RELEASE's clips by this.")
@click.option("--model", "weights", type=FILE, help="Fuse RELEASE's clips by this checkpoint.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test",
              show_default=True, help="Whose clips of RELEASE.")  # fmt: skip
@click.option("--fused", type=ANYTHING, help="Score what lies here instead: a video, a folder of "
              "frames, or a folder of such by clip.")  # fmt: skip
@click.option("--infrared", type=ANYTHING, help="The infrared sources of --fused, laid out alike.")
@click.option("--visible", type=ANYTHING, help="The visible sources of --fused, laid out alike.")
@click.option(
    "--sources",
    type=click.Choice(["clean", "degraded"]),
    default="clean",
    show_default=True,
    help="Which frames of RELEASE are compared with; of folders, what the sources are.",
)
@click.option("--flow", type=click.Choice(["dis", "farneback"]), default="dis", show_default=True,
              help="Method of optical flow.")  # fmt: skip
@click.option(
    "--direction",
    type=click.Choice(["backward", "literal"]),
    default="backward",
    show_default=True,
    help="Of the flow of flowD: the one that aligns, or TemCoCo's text taken literally.",
)
@click.option(
    "--smoothness", is_flag=True, help="Measure BiSWE and MS2R too; takes ten times as long."
)
@click.option("--out", type=FOLDER, help="Write JSON, CSV, Parquet, LaTeX and HTML there.")
def evaluate(
    release: str | None,
    work: Path,
    method: Any,
    weights: Path | None,
    split: Any,
    fused: Path | None,
    infrared: Path | None,
    visible: Path | None,
    out: Path | None,
    *,
    smoothness: bool,
    **choices: Any,
) -> Answer:
    """Score fused videos by the field's metrics: of --fused, or a --method's or --model's."""
    if method is not None and weights is not None:
        raise click.UsageError("give --method or --model, not both")
    fuser = method if weights is None else weights
    paths = {"fused": fused, "infrared": infrared, "visible": visible}
    given = {stream: path for stream, path in paths.items() if path is not None}
    if given and (len(given) < len(paths) or release is not None or fuser is not None):
        raise click.UsageError(
            "give --fused, --infrared and --visible together, without RELEASE, --method and --model"
        )
    if not given and (release is None or fuser is None):
        raise click.UsageError(
            "give RELEASE with --method or --model, or --fused with --infrared and --visible"
        )
    from flows.evaluate import Choices, evaluate_folders, evaluate_release
    from flows.evaluate_tables import lines, write_evaluation
    from flows.progress import progress

    chosen = Choices(**choices, has_smoothness=smoothness)
    with progress("scoring") as show:
        if release is None:
            scored = evaluate_folders(given, chosen, show)
        else:
            scored = evaluate_release(release, work, fuser, chosen, split=split, report=show)
    written = write_evaluation(scored, out) if out else []
    document = scored.evaluation.model_dump(mode="json")
    document["files"] = [str(path) for path in written]
    return Answer(document, [*lines(scored.evaluation), *(f"wrote {path}" for path in written)])
