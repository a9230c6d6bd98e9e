"""The picture of an alignment: both bands before and after, and the evidence it rests on."""

import textwrap
from pathlib import Path, PurePosixPath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from numpy.typing import NDArray

from pipeline.align_evidence import Clocks, Found, Views, run_evidence
from pipeline.charts import BLUE, FAINT, ORANGE, RED, bare, colour_bar, rendered, show_image, styled
from pipeline.overlays import checkerboard, overlay
from pipeline.register_residuals import Residuals
from pipeline.sync_search import PEAK_WIDTH_S
from pipeline.video_files import write_image
from pipeline.workspace import Workspace
from schemas.catalog import RecordingPlan
from schemas.facts import Alignment

WIDTH_PX = 1800
HEAD_PX, CHARTS_PX, TITLE_PX = 100, 460, 40
"""Heights: of the words above, of the lower row, and of what stands over the images."""

ARROW_SHARE = 1 / 14
"""Length of the longest arrow, in image widths."""

LEAST_TOP = 0.25
"""Correlation up to which the axis reaches at least: chance looks small beside a real agreement."""

LEAST_SCALE_PX = 1.0
"""Displacements shown as long as that share at least: smaller ones are no fault."""


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
        _plot_offsets(offsets, found.clocks)
        _plot_drift(drift, found.clocks)
        _show_residuals(misses, views.infrared, found.misses)
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


def _plot_offsets(axes: Axes, clocks: Clocks) -> None:
    evidence = clocks.evidence
    if evidence is None:
        bare(axes, "No motion was compared")
        return
    offsets_s, scores = evidence.offsets_s, evidence.scores
    best = int(scores.argmax())
    axes.plot(offsets_s, scores, color=BLUE, linewidth=1)
    axes.plot(offsets_s[best], scores[best], "o", color=ORANGE, markersize=8)
    _label(axes, (offsets_s[best], scores[best]), f"{offsets_s[best]:+.3f} s: {scores[best]:.2f}")
    others = np.abs(offsets_s - offsets_s[best]) > PEAK_WIDTH_S
    if others.any():
        rival = int(np.where(others, scores, -np.inf).argmax())
        axes.plot(offsets_s[rival], scores[rival], "o", color=FAINT, markersize=7, mfc="white")
        _label(axes, (offsets_s[rival], scores[rival]), f"next best: {scores[rival]:.2f}")
    axes.margins(x=0.02, y=0.15)
    axes.set_ylim(top=max(LEAST_TOP, 1.15 * float(scores[best])))
    axes.set_title("Agreement of what moves, by offset")
    axes.set_xlabel("seconds added to visible time")
    axes.set_ylabel("correlation")


def _label(axes: Axes, at: tuple[float, float], text: str) -> None:
    low, high = axes.get_xlim()
    is_right = at[0] > low + 0.75 * (high - low)
    axes.annotate(
        text,
        at,
        xytext=(-9 if is_right else 9, 8),
        textcoords="offset points",
        ha="right" if is_right else "left",
    )


def _plot_drift(axes: Axes, clocks: Clocks) -> None:
    evidence = clocks.evidence
    if evidence is None or not evidence.block_times_s.size:
        bare(axes, "No part of the recording was compared")
        return
    times_s = evidence.block_times_s
    middle_s = float(clocks.offset_at(np.array([clocks.middle_s]))[0])
    line_s = clocks.offset_at(times_s)
    apparent_ms = 1000 * (line_s - middle_s + evidence.block_offsets_s - middle_s)
    start_s = float(times_s[0])
    half_ms = 500 * clocks.period_s
    axes.axhspan(-half_ms, half_ms, color="#f2f5f8", zorder=0)
    axes.errorbar(
        times_s - start_s,
        apparent_ms,
        yerr=2000 * evidence.block_errors_s,
        fmt="o",
        color=BLUE,
        capsize=3,
        label="each part alone, two standard errors",
    )
    axes.plot(
        times_s - start_s,
        1000 * (line_s - middle_s),
        color=ORANGE,
        label=f"all of it: {middle_s:+.4f} s, {clocks.drift_ppm:+.1f} ppm",
    )
    axes.set_ylim(*_limits(apparent_ms, half_ms))
    axes.set_title("Offset over the recording (shaded: half a frame)")
    axes.set_xlabel("seconds since the first part's middle")
    axes.set_ylabel("milliseconds beside the middle's")
    axes.legend(loc="upper left")


def _limits(values_ms: NDArray[np.float64], half_ms: float) -> tuple[float, float]:
    """Of the axis, with room for half a frame and for the legend."""
    reach = max(1.3 * float(np.abs(values_ms).max()), 1.3 * half_ms)
    return -reach, 1.5 * reach


def _show_residuals(axes: Axes, infrared: NDArray[np.uint8], misses: Residuals | None) -> None:
    if misses is None or not misses.is_trusted.any():
        bare(axes, "No homography to check")
        return
    clear = misses.is_trusted
    lengths = np.hypot(*misses.moves_px[clear].T)
    longest_px = max(LEAST_SCALE_PX, float(np.quantile(lengths, 0.95)))
    magnified = ARROW_SHARE * infrared.shape[1] / longest_px
    show_image(axes, np.asarray(255 - (255 - infrared) * 0.45, np.uint8), "")
    axes.plot(*misses.centres_px[~clear].T, ".", color=FAINT, markersize=3)
    arrows = axes.quiver(
        *misses.centres_px[clear].T,
        *misses.moves_px[clear].T,
        lengths,
        angles="xy",
        scale_units="xy",
        scale=1 / magnified,
        cmap="plasma_r",
        clim=(0, 1.25 * longest_px),
        width=0.006,
        edgecolor="white",
        linewidth=0.4,
    )
    colour_bar(axes, arrows, "px")
    axes.set_title(
        f"What {clear.sum()} of {clear.size} blocks still ask for: median "
        f"{np.median(lengths):.2f} px (arrows x {magnified:.0f})"
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
