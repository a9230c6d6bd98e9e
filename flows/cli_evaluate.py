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

DATASETS = ["tno", "roadscene", "msrs", "llvip", "m3fd", "hdo", "ino"]
"""Those of pipeline/importers_pairs.py, likewise."""


@answering
@click.argument("release", required=False)
@work_option
@click.option("--method", "methods", type=click.Choice([*METHODS, "all"]), multiple=True,
              help="Fuse RELEASE's clips by this; may be given several times.")  # fmt: skip
@click.option("--model", "weights", type=FILE, multiple=True,
              help="Fuse RELEASE's clips by this checkpoint; the same.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test",
              show_default=True, help="Whose clips of RELEASE.")  # fmt: skip
@click.option("--dataset", "layout", type=click.Choice(DATASETS),
              help="RELEASE is the folder of this dataset instead.")  # fmt: skip
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
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32",
              show_default=True, help="Of a network's arithmetic.")  # fmt: skip
@click.option("--stretch", type=click.Choice(["none", "frame"]), default="none", show_default=True,
              help="frame: stretch a network's frames as the paper's tester does.")  # fmt: skip
@click.option("--out", type=FOLDER, help="Write JSON, CSV, Parquet, LaTeX, HTML, pictures.")
def evaluate(
    release: str | None,
    work: Path,
    methods: tuple[Any, ...],
    weights: tuple[Path, ...],
    split: Any,
    layout: Any,
    fused: Path | None,
    infrared: Path | None,
    visible: Path | None,
    out: Path | None,
    *,
    smoothness: bool,
    **choices: Any,
) -> Answer:
    """Score fused videos by the field's metrics: of --fused, or of methods and models."""
    fusers = [*weights, *(METHODS if "all" in methods else dict.fromkeys(methods))]
    paths = {"fused": fused, "infrared": infrared, "visible": visible}
    given = {stream: path for stream, path in paths.items() if path is not None}
    if layout is not None and release is None:
        raise click.UsageError("give the folder of the dataset")
    if given and (len(given) < len(paths) or release is not None or fusers):
        raise click.UsageError(
            "give --fused, --infrared and --visible together, without RELEASE, --method and --model"
        )
    if not given and (release is None or not fusers):
        raise click.UsageError(
            "give RELEASE with --method or --model, or --fused with --infrared and --visible"
        )
    from flows.evaluate import Choices, evaluate_folders, evaluate_release
    from flows.evaluate_datasets import evaluate_dataset
    from flows.evaluate_tables import (
        check_subjects,
        compared_lines,
        lines,
        write_comparison,
        write_evaluation,
    )
    from flows.progress import progress

    check_subjects([str(fuser) for fuser in fusers])
    chosen = Choices(**choices, has_smoothness=smoothness)
    found = []
    with progress("scoring") as show:
        if release is None:
            found.append(evaluate_folders(given, chosen, show))
        elif layout is not None:
            found.extend(
                evaluate_dataset(layout, Path(release), one, chosen, split=split, report=show)
                for one in fusers
            )
        else:
            found.extend(
                evaluate_release(release, work, fuser, chosen, split=split, report=show)
                for fuser in fusers
            )
    evaluations = [one.evaluation for one in found]
    document: dict[str, Any]
    if len(found) == 1:
        written = write_evaluation(found[0], out) if out else []
        document, told = evaluations[0].model_dump(mode="json"), lines(evaluations[0])
    else:
        written = write_comparison(found, out) if out else []
        document = {"subjects": [one.model_dump(mode="json") for one in evaluations]}
        told = compared_lines(evaluations)
    document["files"] = [str(path) for path in written]
    return Answer(document, [*told, *(f"wrote {path}" for path in written)])
