"""Whether checkerboard footage determines a lens: every doubt in words, with what to film."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.calibrate_fit import LEAST_VIEWS, Fit
from schemas.catalog import Lens
from schemas.facts import Checkerboard

LEAST_COVERAGE = 0.4
"""Share of cells: a simulated board that stays in the middle covers 0.1 to 0.2, in one half of the
image 0.2 to 0.3, one carried into the corners 0.7 and more."""

LEAST_TILT_SPREAD_DEG = 8.0
"""Root mean square angle of the board to its mean direction; boards that all face one way leave
focal length and distance interchangeable, and then deviations deceive: such fits were wrong by
half and sure to 0.01 %. Good footage has 15 to 30."""

MOST_FOCAL_ERROR = 0.01
MOST_CENTRE_ERROR = 0.01
"""Two standard deviations may reach this: of the focal length in itself, of the centre in image
diagonals (4 px of a 320x256 image). Of 400 planted cameras, most of them filmed badly, 51 were
accepted: focal lengths were wrong by 0.9 % at most, centres by 3.4 px. Good footage has a tenth."""

MOST_MEAN_RESIDUAL_PX = 1.0
"""A flat board and a lens of OpenCV's model stay below 0.5 px even in small, blurred images."""

FOCAL_RANGE = (0.3, 50.0)
"""Focal lengths in image widths: from a view of 120 degrees to one of 1 degree."""

MOST_ASPECT = 0.05
"""By how much fx and fy may differ; pixels of sensors are square to a thousandth."""

MOST_OFF_CENTRE = 0.25
"""Image sides that the centre may lie beside the middle; mounted lenses stay within a tenth."""


def too_few_views(found: int, different: int, board: Checkerboard, looked: int) -> Iterator[str]:
    """Why the footage cannot be fitted at all, if so."""
    name = f"{board.columns}x{board.rows}"
    if found == 0:
        yield (
            f"no board of {name} inner corners was found in {looked} frames; check --board "
            "(corners where four squares meet, not squares), show the whole board with a rim "
            "around it, and warm or cool it until its squares stand out"
        )
    elif different < LEAST_VIEWS:
        yield (
            f"the board was found in {found} of {looked} frames, in {different} different poses; "
            f"{LEAST_VIEWS} are needed and 20 are good: hold it still in each for a second"
        )


def doubts_about_views(fit: Fit, coverage_share: float) -> Iterator[str]:
    """What was not shown to the camera, and what to show."""
    spread = tilt_spread_deg(fit.normals)
    if spread < LEAST_TILT_SPREAD_DEG:
        yield (
            f"the board faced the same way in all views, {spread:.1f} degrees about its mean "
            f"direction where {LEAST_TILT_SPREAD_DEG:g} are needed; tilt it by 20 to 40 degrees, "
            "up, down, left and right"
        )
    if coverage_share < LEAST_COVERAGE:
        yield (
            f"the board covered {coverage_share:.0%} of the image where {LEAST_COVERAGE:.0%} are "
            "needed; carry it into the edges and corners, where lenses bend most"
        )


def tilt_spread_deg(normals: NDArray[np.float64]) -> float:
    """Root mean square angle between the board's directions (V, 3) and their mean, degrees."""
    mean = normals.mean(axis=0)
    cosines = normals @ mean / np.linalg.norm(mean)
    return float(np.degrees(np.sqrt(np.mean(np.arccos(np.clip(cosines, -1, 1)) ** 2))))


def doubts_about_lens(fit: Fit, size: tuple[int, int]) -> Iterator[str]:
    """What is wrong with, or uncertain about, a fitted lens."""
    lens, deviations = fit.lens, fit.deviations
    width, height = size
    focal = 2 * max(deviations.fx / lens.fx, deviations.fy / lens.fy)
    if focal > MOST_FOCAL_ERROR:
        yield (
            f"the focal length is known to {focal:.2%} where {MOST_FOCAL_ERROR:.0%} is needed; "
            "add views tilted by 20 to 40 degrees about both axes, near enough to fill half of "
            "the image"
        )
    centre = 2 * max(deviations.cx, deviations.cy)
    most = MOST_CENTRE_ERROR * float(np.hypot(*size))
    if centre > most:
        yield (
            f"the optical centre is known to {centre:.1f} px where {most:.1f} px are needed; "
            "add tilted views in all parts of the image"
        )
    if not FOCAL_RANGE[0] <= lens.fx / width <= FOCAL_RANGE[1] or (
        abs(lens.fy / lens.fx - 1) > MOST_ASPECT
    ):
        yield (
            f"focal lengths of {lens.fx:.0f} and {lens.fy:.0f} px are no camera's of {width} px "
            "width; check that no frame is stretched, then add tilted views"
        )
    off = max(
        abs(lens.cx - (width - 1) / 2) / width,
        abs(lens.cy - (height - 1) / 2) / height,
    )
    if off > MOST_OFF_CENTRE:
        yield (
            f"an optical centre at {lens.cx:.0f}, {lens.cy:.0f} px is too far from the middle of a "
            f"{width}x{height} image; check that no frame is cut, then add tilted views"
        )
    if folds_inside(lens, size):
        yield ("the lens model folds back before the image's corners; carry the board into them")
    if fit.mean_residual_px > MOST_MEAN_RESIDUAL_PX:
        yield (
            f"corners miss their places by {fit.mean_residual_px:.2f} px on average where "
            f"{MOST_MEAN_RESIDUAL_PX:g} px is the most; check that the board is flat and stiff, "
            "--board is right, and the camera neither zoomed nor refocused"
        )


def folds_inside(lens: Lens, size: tuple[int, int]) -> bool:
    """Whether the radial model stops growing before it reaches the image's farthest corner."""
    corners = np.array([(x, y) for x in (0, size[0] - 1) for y in (0, size[1] - 1)], np.float64)
    rays = (corners - (lens.cx, lens.cy)) / (lens.fx, lens.fy)
    reach = float(np.linalg.norm(rays, axis=1).max())
    roots = np.roots([7 * lens.k3, 5 * lens.k2, 3 * lens.k1, 1.0])  # of the squared radius
    turning = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    if not turning.size:
        return False
    squared = float(turning.min())
    factor = 1 + lens.k1 * squared + lens.k2 * squared**2 + lens.k3 * squared**3
    return bool(np.sqrt(squared) * factor <= reach)
