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
@click.option("--fused", "outputs", type=ANYTHING, multiple=True,
              help="Score what lies here, made by anybody: a video, a folder of frames, or one of "
              "such by clip. Of RELEASE's clips, or of --infrared and --visible.")  # fmt: skip
@click.option("--infrared", type=ANYTHING, help="The infrared sources of --fused, laid out alike.")
@click.option("--visible", type=ANYTHING, help="The visible sources of --fused, laid out alike.")
@click.option(
    "--sources",
    type=click.Choice(["clean", "degraded"]),
    default="clean",
    show_default=True,
    help="Which frames of RELEASE are compared with; of folders, what the sources are.",
)
@click.option("--flow", type=click.Choice(["dis", "farneback", "raft"]), default="dis",
              show_default=True, help="Method of optical flow.")  # fmt: skip
@click.option("--flow-weights", type=FILE, help="Of --flow raft: torchvision's state dict.")
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
@click.option("--detect", "detector", type=FILE,
              help="Follow objects in both sources and the fused frames by this .pt of "
              "ultralytics.")  # fmt: skip
@click.option("--out", type=FOLDER, help="Write JSON, CSV, Parquet, LaTeX, HTML, pictures.")
def evaluate(
    release: str | None,
    work: Path | str,
    methods: tuple[Any, ...],
    weights: tuple[Path, ...],
    split: Any,
    layout: Any,
    outputs: tuple[Path, ...],
    infrared: Path | None,
    visible: Path | None,
    out: Path | None,
    *,
    smoothness: bool,
    **choices: Any,
) -> Answer:
    """Score fused videos by the field's metrics: what methods, models and others made."""
    fusers = [*weights, *(METHODS if "all" in methods else dict.fromkeys(methods))]
    sources = {
        stream: path
        for stream, path in (("infrared", infrared), ("visible", visible))
        if path is not None
    }
    if layout is not None and (release is None or outputs):
        raise click.UsageError("give the folder of the dataset with --method or --model")
    if sources and (len(sources) < 2 or not outputs or release is not None or fusers):
        raise click.UsageError(
            "give --fused, --infrared and --visible together, without RELEASE, --method and --model"
        )
    if not sources and (release is None or not (fusers or outputs)):
        raise click.UsageError(
            "give RELEASE with --method, --model or --fused, or --fused with --infrared and "
            "--visible"
        )
    if (choices["flow"] == "raft") != (choices["flow_weights"] is not None):
        raise click.UsageError("give --flow raft and --flow-weights together")
    from flows.evaluate import Choices, evaluate_release
    from flows.evaluate_datasets import evaluate_dataset
    from flows.evaluate_folders import evaluate_folders, evaluate_outputs
    from flows.evaluate_tables import (
        check_subjects,
        compared_lines,
        detection_lines,
        lines,
        write_comparison,
        write_evaluation,
    )
    from flows.progress import progress

    check_subjects([str(each) for each in (*outputs, *fusers)])
    chosen = Choices(**choices, has_smoothness=smoothness)
    with progress("scoring") as show:
        if release is None:
            found = [
                evaluate_folders({"fused": folder} | sources, chosen, show) for folder in outputs
            ]
        elif layout is not None:
            found = [
                evaluate_dataset(layout, Path(release), one, chosen, split=split, report=show)
                for one in fusers
            ]
        else:
            asked = {"split": split, "report": show}
            found = [
                *(evaluate_outputs(release, work, each, chosen, **asked) for each in outputs),
                *(evaluate_release(release, work, each, chosen, **asked) for each in fusers),
            ]
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
    told += detection_lines(evaluations)
    return Answer(document, [*told, *(f"wrote {path}" for path in written)])
