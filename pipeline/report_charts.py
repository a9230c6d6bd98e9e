"""Charts of a clip's page: levels and flicker, frame times, clocks, what registration leaves."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.align_charts import plot_drift, plot_offsets, show_residuals
from pipeline.align_evidence import Clocks, Signals
from pipeline.charts import BLUE, FAINT, ORANGE, RED, drawn, styled
from pipeline.clips import GAP_SPACINGS
from pipeline.register_residuals import Residuals
from schemas.report import ClipLook

WIDTH_PX, HEIGHT_PX = 1180, 300
"""Of a row of charts; the page scales it to its width."""

COLOURS = {"infrared": ORANGE, "visible": BLUE}


def levels_chart(look: ClipLook, fps: float) -> bytes:
    """Histograms of both bands, and how the whole pictures became brighter and darker; SVG."""
    with styled(WIDTH_PX, HEIGHT_PX) as figure:
        histogram, changes = figure.subplots(1, 2)
        for band, colour in COLOURS.items():
            seen = getattr(look, band)
            counts = np.array(seen.histogram, np.float64)
            edges = np.linspace(0, 256, counts.size + 1)
            share = 100 * counts / max(1.0, counts.sum())
            histogram.stairs(share, edges, color=colour, label=band, linewidth=1.5)
            times_s = np.arange(1, len(seen.changes_levels) + 1) / fps
            changes.plot(times_s, seen.changes_levels, color=colour, linewidth=1.2)
        histogram.set_title("Grey levels")
        histogram.set_xlabel("level")
        histogram.set_ylabel("% of pixels")
        histogram.set_xlim(0, 256)
        histogram.legend()
        changes.set_title("Flicker: change of the whole picture from pair to pair")
        changes.set_xlabel("seconds of the clip")
        changes.set_ylabel("grey levels")
        changes.set_ylim(bottom=0)
        return drawn(figure)


def timing_chart(signals: Signals, pairs: Signals, clip: tuple[float, float]) -> bytes:
    """Spacing of both cameras' frames, and how far apart the two frames of each pair are; SVG.

    Args:
        signals: what ingest measured of the recording.
        pairs: what sync paired.
        clip: where the clip begins and ends on the infrared clock, seconds.
    """
    start_s = float(signals["infrared_times_s"][0])
    span_s = (clip[0] - start_s, clip[1] - start_s)
    with styled(WIDTH_PX, HEIGHT_PX) as figure:
        spacing, residual = figure.subplots(1, 2)
        for band, colour in COLOURS.items():
            _plot_spacing(spacing, signals[f"{band}_times_s"].astype(np.float64), band, colour)
        spacing.set_title("From frame to frame (crosses: frames were lost)")
        spacing.set_ylabel("milliseconds")
        spacing.set_ylim(bottom=0)
        spacing.legend(loc="lower right")
        times_s = pairs["infrared_times_s"].astype(np.float64) - start_s
        residual.plot(times_s, 1000 * pairs["residual_s"].astype(np.float64), ".", color=BLUE, ms=3)
        residual.set_title("Between the two frames of a pair")
        residual.set_ylabel("milliseconds")
        for axes in (spacing, residual):
            axes.axvspan(*span_s, color="#f2f5f8", zorder=0)
            axes.set_xlabel("seconds of the recording (shaded: this clip)")
        return drawn(figure)


def _plot_spacing(axes: Axes, times_s: NDArray[np.float64], band: str, colour: str) -> None:
    since_s, spacing_s = times_s[1:] - times_s[0], np.diff(times_s)
    if not spacing_s.size:
        return
    is_gap = spacing_s > GAP_SPACINGS * float(np.median(spacing_s))
    axes.plot(since_s, 1000 * spacing_s, color=colour, linewidth=1, label=band)
    axes.plot(since_s[is_gap], 1000 * spacing_s[is_gap], "x", color=RED, markersize=8)


def clocks_chart(clocks: Clocks) -> bytes:
    """How the offset was found, and what parts of the recording say of it; SVG."""
    with styled(WIDTH_PX, HEIGHT_PX + 40) as figure:
        offsets, drift = figure.subplots(1, 2)
        plot_offsets(offsets, clocks)
        plot_drift(drift, clocks)
        return drawn(figure)


def residuals_chart(infrared: NDArray[np.uint8], misses: Residuals) -> bytes:
    """Where blocks would rather lie, over the infrared frame, and how long those moves are; SVG.

    Args:
        infrared: on the grid that the moves are in, (H, W).
        misses: of the recording.
    """
    with styled(WIDTH_PX, 2 * HEIGHT_PX) as figure:
        picture, lengths = figure.subplots(1, 2, width_ratios=(3, 2))
        show_residuals(picture, infrared, misses)
        moves_px = np.hypot(*misses.moves_px[misses.is_trusted].T)
        bins = np.linspace(0, max(2.0, float(moves_px.max(initial=0))), 21)
        lengths.hist(moves_px, bins=bins, color=BLUE)
        if moves_px.size:
            lengths.axvline(float(np.median(moves_px)), color=ORANGE, label="median")
            lengths.legend()
        lengths.set_title("Length of the moves")
        lengths.set_xlabel("pixels")
        lengths.set_ylabel("blocks")
        lengths.tick_params(axis="y", colors=FAINT)
        return drawn(figure)
