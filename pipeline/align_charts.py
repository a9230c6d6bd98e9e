"""Charts of the evidence for an alignment: offsets, drift, and what the homography leaves."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.align_evidence import Clocks
from pipeline.charts import BLUE, FAINT, ORANGE, bare, colour_bar, show_image
from pipeline.register_residuals import Residuals
from pipeline.sync_search import PEAK_WIDTH_S

ARROW_SHARE = 1 / 14
"""Length of the longest arrow, in image widths."""

LEAST_TOP = 0.25
"""Correlation up to which the axis reaches at least: chance looks small beside a real agreement."""

LEAST_SCALE_PX = 1.0
"""Displacements shown as long as that share at least: smaller ones are no fault."""


def plot_offsets(axes: Axes, clocks: Clocks) -> None:
    """How well what moves agrees at every offset that was tried."""
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


def plot_drift(axes: Axes, clocks: Clocks) -> None:
    """What each part of a recording says of the offset, and the line through all."""
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


def show_residuals(axes: Axes, infrared: NDArray[np.uint8], misses: Residuals | None) -> None:
    """Where blocks of the visible image would rather lie, as arrows over the infrared one."""
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
