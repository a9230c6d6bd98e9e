"""The picture of a calibration: where the board was, how well the lens fits, how far it bends."""

import textwrap
from collections.abc import Sequence
from itertools import compress

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from numpy.typing import NDArray

from pipeline.calibrate_fit import View, board_points
from pipeline.charts import BLUE, FAINT, ORANGE, RED, bare, colour_bar, rendered, styled
from pipeline.geometry import camera_matrix, coefficients, distorted, undistorted
from schemas.catalog import Lens
from schemas.facts import CameraCalibration, Checkerboard

WIDTH_PX = 1800
HEAD_PX, CHARTS_PX, TITLE_PX, MOST_IMAGE_PX = 100, 340, 40, 600
"""Heights: of the words above, of the lower row, of what stands over the images, of these."""

CELLS = (12, 16)
"""Rows and columns in which mean misses are shown: finer than the coverage map, so that a pattern
about the centre is seen as one."""

ARROW_SHARE = 0.8
"""Length of the longest arrow, in cells."""

FINE_PX = 0.02
"""Longest mean miss that is shown smaller than that: below, arrows would magnify mere noise."""

SAMPLES = 61
"""Places across and down at which the bend of the lens is worked out, for contours."""

Offsets = NDArray[np.float64]


def misses_px(view: View, board: Checkerboard, lens: Lens) -> Offsets:
    """From where a lens puts the corners of a view to where they were seen, (N, 2)."""
    points, matrix, bend = board_points(board), camera_matrix(lens), coefficients(lens)
    _, turn, place = cv2.solvePnP(points, view.corners, matrix, bend)
    said, _ = cv2.projectPoints(points, turn, place, matrix, bend)
    return np.asarray(view.corners - said.reshape(-1, 2), np.float64)


def draw(title: str, found: CameraCalibration, views: Sequence[View]) -> NDArray[np.uint8]:
    """The whole picture, RGB (H, W, 3).

    Args:
        title: rig and band.
        found: what the views told.
        views: every frame on which the board was found, in the order of `found.views`.
    """
    used = list(compress(views, (view.left_out is None for view in found.views)))
    image_px = min(MOST_IMAGE_PX, round(WIDTH_PX / 3 * found.height / found.width))
    heights_px = [HEAD_PX, TITLE_PX + image_px]
    if found.lens is not None:
        heights_px.append(CHARTS_PX)
    with styled(WIDTH_PX, sum(heights_px)) as figure:
        grid = figure.add_gridspec(len(heights_px), 1, height_ratios=heights_px)
        head, images, *charts = (figure.add_subfigure(grid[row]) for row in range(len(heights_px)))
        _write_heading(head, title, found)
        seen, missed, bent = images.subplots(1, 3)
        corners = np.concatenate([np.empty((0, 2)), *(view.corners for view in used)])
        misses = None
        if found.lens is not None and used:
            misses = np.concatenate([misses_px(view, found.board, found.lens) for view in used])
        _show_coverage(seen, found, used)
        _show_misses(missed, found, corners, misses)
        _show_bend(bent, found)
        for chart in charts:
            _plot_views(chart.subplots(), found)
        return rendered(figure)


def _write_heading(head: SubFigure, title: str, found: CameraCalibration) -> None:
    verdict, colour = ("accepted", BLUE) if found.accepted else ("refused", RED)
    head.text(0.012, 0.72, title, size=15, weight="bold", va="center")
    head.text(0.988, 0.72, verdict, size=15, weight="bold", va="center", ha="right", color=colour)
    lines = textwrap.wrap("; ".join(found.reasons), 200)[:2]
    if found.accepted and found.lens is not None and found.deviations is not None:
        lens, deviations = found.lens, found.deviations
        words = (
            f"focal length {lens.fx:.2f} x {lens.fy:.2f} px (±{2 * deviations.fx:.2f})   ·   "
            f"centre {lens.cx:.2f}, {lens.cy:.2f} px (±{2 * deviations.cx:.2f})   ·   "
            f"k1 {lens.k1:.4f}, k2 {lens.k2:.4f}, p1 {lens.p1:.5f}, p2 {lens.p2:.5f}, "
            f"k3 {lens.k3:.4f}   ·   mean reprojection error {found.mean_residual_px:.3f} px"
        )
        lines = [words]
    head.text(0.012, 0.3, "\n".join(lines), size=11, va="center")


def _as_image(axes: Axes, found: CameraCalibration, title: str) -> None:
    """The frame of the camera's image, y down."""
    bare(axes, title)
    axes.set_xlim(-0.5, found.width - 0.5)
    axes.set_ylim(found.height - 0.5, -0.5)
    axes.set_aspect("equal")
    for side in axes.spines.values():
        side.set_visible(True)


def _show_coverage(axes: Axes, found: CameraCalibration, used: Sequence[View]) -> None:
    """Every board as an outline; cells of the coverage map without a corner shaded."""
    board = found.board
    extent = (-0.5, found.width - 0.5, found.height - 0.5, -0.5)
    is_empty = np.array(found.coverage) == 0
    axes.imshow(is_empty, cmap=ListedColormap(["white", "#fbe3e0"]), extent=extent, vmin=0, vmax=1)
    outline = [0, board.columns - 1, -1, -board.columns, 0]
    for view in used:
        axes.plot(*view.corners[outline].T, color=FAINT, linewidth=0.8)
        axes.plot(*view.corners.T, ".", color=BLUE, markersize=2.5)
    _as_image(
        axes,
        found,
        f"The board in {found.used} views: {found.coverage_share:.0%} covered (red: never there)",
    )


def _show_misses(
    axes: Axes, found: CameraCalibration, corners: Offsets, misses: Offsets | None
) -> None:
    """The mean miss of the corners in every cell: a pattern is a lens that does not fit."""
    if misses is None:
        bare(axes, "No lens was fitted")
        return
    rows, columns = CELLS
    row = np.clip((corners[:, 1] + 0.5) * rows / found.height, 0, rows - 1).astype(int)
    column = np.clip((corners[:, 0] + 0.5) * columns / found.width, 0, columns - 1).astype(int)
    cell = row * columns + column
    count = np.bincount(cell, minlength=rows * columns)
    filled = np.flatnonzero(count)
    sums = [np.bincount(cell, part, rows * columns)[filled] for part in misses.T]
    mean = np.stack(sums, axis=1) / count[filled, None]
    lengths = np.hypot(*mean.T)
    longest_px = max(FINE_PX, float(lengths.max()))
    magnified = ARROW_SHARE * found.width / columns / longest_px
    middles = np.stack([filled % columns, filled // columns], axis=1) + 0.5
    places = middles * (found.width / columns, found.height / rows) - 0.5
    arrows = axes.quiver(
        *places.T,
        *mean.T,
        lengths,
        angles="xy",
        scale_units="xy",
        scale=1 / magnified,
        cmap="plasma_r",
        clim=(0, longest_px),
        width=0.005,
        pivot="middle",
    )
    colour_bar(axes, arrows, "px")
    _as_image(axes, found, f"Mean miss of the corners by cell (arrows x {magnified:.0f})")


def _show_bend(axes: Axes, found: CameraCalibration) -> None:
    """How far the lens moves the image of a point from where an ideal lens would put it."""
    if found.lens is None:
        bare(axes, "")
        return
    x, y = np.meshgrid(
        np.linspace(0, found.width - 1, SAMPLES), np.linspace(0, found.height - 1, SAMPLES)
    )
    raw = np.stack([x, y], axis=-1)
    bend = np.linalg.norm(raw - undistorted(raw, found.lens), axis=-1)
    lines = axes.contour(x, y, bend, levels=8, colors=BLUE, linewidths=1)
    axes.clabel(lines, fontsize=9)
    lens = found.lens
    axes.plot(lens.cx, lens.cy, "+", color=ORANGE, markersize=12, markeredgewidth=2)
    for line in _straight_lines(found):
        axes.plot(*distorted(line, lens).T, color="#d5d5d5", linewidth=0.8, zorder=0)
    _as_image(axes, found, "How far the lens bends, px (grey: lines that are straight; +: centre)")


def _straight_lines(found: CameraCalibration) -> list[Offsets]:
    """Upright and level lines of an undistorted image."""
    along = np.linspace(0, 1, SAMPLES)
    ends = (found.width - 1, found.height - 1)
    lines = []
    for place in np.linspace(0, 1, 9):
        level, upright = np.full(SAMPLES, place), np.full(SAMPLES, place)
        lines.append(np.stack([along, level], axis=1) * ends)
        lines.append(np.stack([upright, along], axis=1) * ends)
    return lines


def _plot_views(axes: Axes, found: CameraCalibration) -> None:
    """Mean and largest miss of every view that had a say."""
    views = [view for view in found.views if view.mean_residual_px is not None]
    means = [view.mean_residual_px or 0.0 for view in views]
    largest = [view.max_residual_px or 0.0 for view in views]
    places = np.arange(len(views))
    axes.bar(places, means, color=BLUE, width=0.7, label="mean of its corners")
    axes.plot(places, largest, "_", color=ORANGE, markersize=12, mew=2, label="worst corner")
    axes.axhline(found.mean_residual_px or 0.0, color=FAINT, linewidth=1, linestyle="--")
    axes.set_xticks(places, [view.source for view in views], rotation=60, ha="right", fontsize=8)
    axes.set_xlim(-0.6, len(views) - 0.4)
    axes.set_ylim(0, 1.35 * max(largest))
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("px")
    axes.set_axisbelow(True)
    axes.set_title("Reprojection error of every view")
    axes.legend(loc="upper left", ncols=2)
