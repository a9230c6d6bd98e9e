"""The page of results: methods and weights on a release, in tables and pictures (`make paper`)."""

import datetime as dt
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from flows.evaluate import Choices, Scored, evaluate_release, pairs_of
from flows.evaluate_pictures import metrics_chart, slices, strip
from flows.evaluate_tables import (
    PAPER_METRICS,
    PAPER_ROWS,
    PAPER_SOURCE,
    head,
    mean_and_ends,
    subject,
)
from flows.optical_flow import optical_flow
from flows.progress import progress
from model.baselines import Method, fuse_classically
from model.checkpoint import BUNDLED_WEIGHTS
from model.metrics_flow import Direction, OpticalFlow, flow_distance
from model.releases import open_release
from model.stores import open_clip
from pipeline.pictures import jpeg
from schemas.base import BANDS
from schemas.evaluation import Comparison, Evaluation

SHOWN = (*PAPER_METRICS, "PSNR_infrared", "SSIM_infrared", "PSNR_visible", "SSIM_visible")

LESS_IS_BETTER = ("flowD",)

CLAIMED = ("flowD", "PSNR_infrared", "SSIM_infrared", "PSNR_visible", "SSIM_visible")
"""On which weights that restore are to beat every method that does not."""

FLOW_FRAMES = 16
"""Of each clip: all that the shortest have."""

HEAD = """# Results

Written by `make paper RELEASE={version} WORK={work}` on {date} in {minutes:.0f} minutes: {machine}.
Data: release {version} of {dataset} (root hash `{root}`), test split, {clips} clips, {frames}
frames. Every method and network gets the degraded frames and is scored against the clean ones;
means over all frames, below them where 95 % of the means lie if clips are drawn anew, which says
little where clips are few.

The same by hand: `twinband evaluate {version} --model {weights} --method all --out scores`.
"""

PAPER = f"""## Beside the paper's rows

{PAPER_SOURCE}: other clips, of 200 frames each, and another
optical flow (SEA-RAFT), so that its flowD compares with none above.
"""

FLOW = """## What flowD does

Medians over the test clips of means over {pairs} pairs of neighbouring frames, optical flow DIS:
the direction that aligns lies below no flow at all, which lies below the direction that TemCoCo's
text has literally; degraded sources lie above clean ones.
"""


def page(
    evaluations: Sequence[Evaluation], heading: str, flow: str, pictures: Sequence[str]
) -> str:
    """The whole page, Markdown."""
    names = [subject(one) for one in evaluations]
    return "\n".join(
        [
            heading,
            table(evaluations),
            "\n".join(claims(evaluations)) + "\n",
            PAPER,
            paper_table(),
            flow,
            f"## Pictures\n\nIn the order {', '.join(names)}.\n",
            *(f"![]({name})\n" for name in pictures),
        ]
    )


def table(evaluations: Sequence[Evaluation]) -> str:
    """A row for each subject."""
    heads = ["", *(head(name, evaluations[0]) for name in SHOWN)]
    rows = [f"| {' | '.join(heads)} |", f"|---|{'---|' * len(SHOWN)}"]
    for one in evaluations:
        cells = []
        for name in SHOWN:
            value, ends = mean_and_ends(one, name)
            cells.append("<br>".join(filter(None, (value, "..".join(ends)))))
        rows.append(f"| {subject(one)} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def paper_table() -> str:
    """What the paper reports."""
    rows = [f"| | {' | '.join(PAPER_METRICS)} |", f"|---|{'---|' * len(PAPER_METRICS)}"]
    rows += [
        f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |"
        for name, values in PAPER_ROWS.items()
    ]
    return "\n".join(rows) + "\n"


def claims(evaluations: Sequence[Evaluation]) -> list[str]:
    """Where the weights, which come first, are better than every method, and where not."""
    ours, *others = evaluations
    told = []
    for name in SHOWN:
        value = ours.overall.get(name)
        known = {subject(o): v for o in others if (v := o.overall.get(name)) is not None}
        if value is None or not known:
            continue
        sign = -1 if name in LESS_IS_BETTER else 1
        best = max(known, key=lambda key: sign * known[key])
        is_better = sign * value > sign * known[best]
        word = "better than" if is_better else "not better than"
        mark = " (claimed)" if name in CLAIMED else ""
        told.append(
            f"- {head(name, ours)}{mark}: {value:.3f}, {word} the best method, {best}, with "
            f"{known[best]:.3f}"
        )
    return told


def run_results(folder: Path, release: str, work: Path, weights: Path) -> None:
    """Write the page and its pictures into `folder`."""
    opened, _ = open_release(work / "releases" / release)
    began_s, choices = time.monotonic(), Choices()
    found: dict[str, Scored] = {}
    with progress("scoring") as show:
        for fuser in (weights, *get_args(Method)):
            one = evaluate_release(release, work, fuser, choices, split="test", report=show)
            found[subject(one.evaluation)] = one
    evaluations = [one.evaluation for one in found.values()]
    frames = sum(clip.frames for clip in evaluations[0].clips)
    pictures = _run_pictures(folder, found)
    flow = _run_flow_table(release, work)
    heading = HEAD.format(
        minutes=(time.monotonic() - began_s) / 60,
        work=work.name,
        date=dt.datetime.now(dt.UTC).date(),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        version=opened.version,
        dataset=opened.dataset.name,
        root=opened.root_hash[:16],
        clips=len(evaluations[0].clips),
        frames=frames,
        weights=weights.name,
    )
    text = page(evaluations, heading, flow, pictures)
    (folder / "results.md").write_text(text, encoding="utf-8")
    comparison = Comparison(subjects=tuple(map(_without_way, evaluations)))
    (folder / "results.json").write_text(comparison.model_dump_json(indent=1) + "\n")


def _without_way(evaluation: Evaluation) -> Evaluation:
    """The same, named as in the table: where weights lay on a machine is nobody's business."""
    settings = evaluation.settings.model_copy(update={"fused": subject(evaluation)})
    return evaluation.model_copy(update={"settings": settings})


def _run_flow_table(release: str, work: Path) -> str:
    """How flowD answers to its direction and to what is degraded."""
    opened, place = open_release(work / "releases" / release)
    warps: dict[str, tuple[OpticalFlow, Direction]] = {
        "no flow": (_still, "backward"),
        "literal": (optical_flow("dis"), "literal"),
        "backward": (optical_flow("dis"), "backward"),
    }
    rows: dict[str, list[list[float]]] = {}
    for listed in opened.clips:
        if listed.split != "test":
            continue
        clip = open_clip(place, listed)
        pairs = list(pairs_of(clip, min(FLOW_FRAMES, clip.attributes.pairs)))
        infrared, visible, noisy, blurred = (
            torch.stack([getattr(getattr(pair, kind), band) for pair in pairs])
            for kind in ("clean", "degraded")
            for band in BANDS
        )
        shown = {
            "visible, clean": visible,
            "maximum of clean": fuse_classically("maximum", infrared, visible),
            "maximum of degraded": fuse_classically("maximum", noisy, blurred),
        }
        for name, video in shown.items():
            values = [flow_distance(video, visible, *how).mean().item() for how in warps.values()]
            rows.setdefault(name, []).append(values)
    lines = [f"| | {' | '.join(warps)} |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {' | '.join(f'{value:.3f}' for value in np.median(found, axis=0))} |"
        for name, found in rows.items()
    ]
    return FLOW.format(pairs=FLOW_FRAMES - 1) + "\n" + "\n".join(lines) + "\n"


def _still(first: Tensor, _second: Tensor) -> Tensor:
    """A flow of nothing."""
    return torch.zeros(2, *first.shape[-2:])


def _run_pictures(folder: Path, found: Mapping[str, Scored]) -> list[str]:
    """Those of the longest clip; their names."""
    first = next(iter(found.values()))
    clip = max(first.rows, key=lambda name: len(first.rows[name]))
    views = {name: one.views[clip] for name, one in found.items()}
    contents = {
        "results-strip.jpg": jpeg(strip(clip, views)),
        "results-slices.jpg": jpeg(slices(clip, views)),
        "results-metrics.svg": metrics_chart(
            clip, {name: one.rows[clip] for name, one in found.items()}
        ),
    }
    for name, content in contents.items():
        (folder / "pictures" / name).write_bytes(content)
    return [f"pictures/{name}" for name in contents]


if __name__ == "__main__":
    run_results(
        Path(sys.argv[1]),
        sys.argv[2],
        Path(sys.argv[3]),
        Path(sys.argv[4]) if len(sys.argv) > 4 else BUNDLED_WEIGHTS,
    )
