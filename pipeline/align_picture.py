"""The picture of an alignment: both bands before and after, and the evidence it rests on."""

import textwrap
from pathlib import Path, PurePosixPath

import numpy as np
from matplotlib.figure import SubFigure
from numpy.typing import NDArray

from pipeline.align_charts import plot_drift, plot_offsets, show_residuals
from pipeline.align_evidence import Found, Views, run_evidence
from pipeline.charts import BLUE, RED, rendered, show_image, styled
from pipeline.overlays import checkerboard, overlay
from pipeline.video_files import write_image
from pipeline.workspace import Workspace
from schemas.catalog import RecordingPlan
from schemas.facts import Alignment

WIDTH_PX = 1800
HEAD_PX, CHARTS_PX, TITLE_PX = 100, 460, 40
"""Heights: of the words above, of the lower row, and of what stands over the images."""


def draw(names: str, answer: Alignment, found: Found) -> NDArray[np.uint8]:
    """The whole picture, RGB (H, W, 3).

    Args:
        names: of the files.
        answer: what stands above it.
        found: what it rests on.
    """
    views = found.views
    height, width = views.infrared.shape
    heights_px = (HEAD_PX, TITLE_PX + round(WIDTH_PX / 3 * height / width), CHARTS_PX)
    with styled(WIDTH_PX, sum(heights_px)) as figure:
        grid = figure.add_gridspec(3, 1, height_ratios=heights_px)
        head, images, charts = (figure.add_subfigure(grid[row]) for row in range(3))
        _write_heading(head, names, answer)
        _show_views(images.subplots(1, 3), views)
        offsets, drift, misses = charts.subplots(1, 3)
        plot_offsets(offsets, found.clocks)
        plot_drift(drift, found.clocks)
        show_residuals(misses, views.infrared, found.misses)
        return rendered(figure)


def _write_heading(head: SubFigure, names: str, answer: Alignment) -> None:
    verdict, colour = ("aligned", BLUE) if answer.accepted else ("refused", RED)
    head.text(0.012, 0.72, names, size=15, weight="bold", va="center")
    head.text(0.988, 0.72, verdict, size=15, weight="bold", va="center", ha="right", color=colour)
    figures = []
    if answer.offset_s is not None and answer.sync_confidence is not None:
        figures.append(
            f"offset {answer.offset_s:+.4f} s, drift {answer.drift_ppm:+.1f} ppm, confidence "
            f"{answer.sync_confidence:.2f}, {answer.pairs} pairs"
        )
    if answer.registration_confidence is not None:
        figures.append(f"homography confidence {answer.registration_confidence:.2f}")
        if answer.mean_residual_px is not None:
            figures.append(f"mean residual {answer.mean_residual_px:.2f} px")
    if answer.parallax_px is not None:
        figures.append(f"parallax {answer.parallax_px:.1f} px")
    if len(answer.stretches) > 1:
        figures.append(f"the rig moved: {len(answer.stretches)} stretches, the longest shown")
    words = "   ·   ".join(figures)
    if answer.reason is not None:
        words = "\n".join([*filter(None, [words]), *textwrap.wrap(answer.reason, 190)[:2]])
    head.text(0.012, 0.3, words, size=11, va="center")


def _show_views(axes: NDArray[np.object_], views: Views) -> None:
    show_image(
        axes[0],
        overlay(views.infrared, views.as_recorded),
        "Before: infrared outlines over the visible frame of the same file time",
    )
    if views.registered is None:
        show_image(axes[1], views.infrared, f"Infrared, {views.time_s:.2f} s")
        show_image(axes[2], views.as_recorded, "Visible, same file time, stretched to that size")
        return
    show_image(
        axes[1],
        overlay(views.infrared, views.registered),
        f"After: of the same instant, through the homography ({views.time_s:.2f} s)",
    )
    show_image(
        axes[2], checkerboard(views.infrared, views.registered), "After: tiles of both in turn"
    )


def _names(plan: RecordingPlan) -> str:
    recording = plan.recording
    return f"{PurePosixPath(recording.infrared).name}  +  {PurePosixPath(recording.visible).name}"


def run_align_picture(
    picture: Path, plan: RecordingPlan, workspace: Workspace, answer: Alignment
) -> None:
    """Draw what an alignment rests on into a PNG.

    Args:
        picture: ends in .png.
        plan: of the two files.
        workspace: with their facts, as far as there are any.
        answer: what was found.

    Raises:
        VideoError: a frame cannot be decoded.
        OSError: the picture cannot be written.
    """
    write_image(picture, draw(_names(plan), answer, run_evidence(plan, workspace, answer)))
