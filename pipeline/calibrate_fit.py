"""A camera's lens from the corners of many views of a board: choosing, fitting, doubting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.calibrate_corners import Corners
from schemas.catalog import Lens
from schemas.errors import CalibrateError
from schemas.facts import Checkerboard, LensDeviations

MOST_VIEWS = 40
"""Of more views the ones most unlike are kept: the rest adds time and next to no knowledge."""

ALIKE_SHARE = 0.01
"""Views whose outer corners lie closer, in image diagonals (mean), are near-duplicates: 4 px of a
320x256 image. A board tilted by 20 degrees where it stands is none."""

OUTLIER_RATIO = 3.0
OUTLIER_PX = 0.15
"""A view that misses by this many times the middle view's error and by this much is left out."""

LEAST_VIEWS = 8
"""Zhang's method needs three without noise; with fewer than these one bad view decides."""

MOST_LEFT_OUT = 1 / 3
"""Share of the views that may be outliers; where more disagree, the footage is at fault."""

SURE_RATIO = 3.0
"""k3 is held at 0 unless it is this many of its deviations: unsure, it bends the image's rim."""


@dataclass(frozen=True)
class View:
    """A frame on which the board was found."""

    source: str
    corners: Corners


@dataclass(frozen=True)
class Fit:
    """The lens that explains some views best, and how well it does."""

    lens: Lens
    deviations: LensDeviations
    residuals_px: tuple[NDArray[np.float64], ...]
    """Of every view: distances of its corners from where the lens puts them, (N,)."""
    normals: NDArray[np.float64]
    """Of every view: the direction the board faces in the camera's axes, (V, 3)."""
    centres_squares: NDArray[np.float64]
    """Of every view: the board's middle in the camera's axes, in squares, (V, 3)."""

    @property
    def mean_residual_px(self) -> float:
        """Over all corners."""
        return float(np.concatenate(self.residuals_px).mean())


def board_points(board: Checkerboard) -> NDArray[np.float32]:
    """The inner corners in the board's axes, squares, row by row, (rows * columns, 3)."""
    rows, columns = np.mgrid[0 : board.rows, 0 : board.columns]
    points = np.stack([columns, rows, np.zeros_like(rows)], axis=-1)
    return points.reshape(-1, 3).astype(np.float32)


def spread_views(
    views: Sequence[View], board: Checkerboard, size: tuple[int, int]
) -> tuple[list[View], dict[str, str]]:
    """The views most unlike each other, and why each other one is left out, by its source.

    Starts with the largest board; then always the view whose outer corners lie farthest from those
    of every view chosen, until the next would be a near-duplicate or there are MOST_VIEWS.

    Args:
        views: all that were found.
        board: what they show.
        size: width and height of the images, pixels.
    """
    if not views:
        return [], {}
    outer = [0, board.columns - 1, -board.columns, -1]
    shapes = np.stack([view.corners[outer] for view in views]) / np.hypot(*size)  # (V, 4, 2)
    apart = np.linalg.norm(shapes[:, None] - shapes[None], axis=-1).mean(axis=-1)  # (V, V)
    chosen = [int(np.linalg.norm(shapes[:, 0] - shapes[:, 3], axis=-1).argmax())]
    while len(chosen) < MOST_VIEWS and apart[chosen].min(axis=0).max() > ALIKE_SHARE:
        chosen.append(int(apart[chosen].min(axis=0).argmax()))
    left_out = {}
    for index in sorted(set(range(len(views))) - set(chosen)):
        twin = min(chosen, key=lambda other: float(apart[index, other]))
        left_out[views[index].source] = (
            f"nearly the same view as {views[twin].source}"
            if apart[index, twin] <= ALIKE_SHARE
            else f"the {MOST_VIEWS} views used are more unlike each other"
        )
    return [views[index] for index in sorted(chosen)], left_out


def fit_lens(views: Sequence[View], board: Checkerboard, size: tuple[int, int]) -> Fit:
    """The lens that explains the views best; k3 is free where the views tell it surely.

    Args:
        views: three at least.
        board: what they show.
        size: width and height of the images, pixels.

    Raises:
        CalibrateError: no lens explains them.
    """
    free = _fit(views, board, size, flags=0)
    if abs(free.lens.k3) >= SURE_RATIO * free.deviations.k3:
        return free
    return _fit(views, board, size, flags=cv2.CALIB_FIX_K3)


def _fit(views: Sequence[View], board: Checkerboard, size: tuple[int, int], *, flags: int) -> Fit:
    points = board_points(board)
    seen = [view.corners.astype(np.float32)[:, None] for view in views]
    _, matrix, distortion, turns, places, deviations, *_ = cv2.calibrateCameraExtended(
        [points] * len(views), seen, size, np.eye(3), np.zeros(5), flags=flags
    )
    matrix = np.asarray(matrix, np.float64)
    five = np.ravel(distortion)[:5]
    residuals, normals, centres = [], [], []
    middle = np.array([board.columns - 1, board.rows - 1, 0]) / 2
    for view, turn, place in zip(views, turns, places, strict=True):
        said, _ = cv2.projectPoints(points, turn, place, matrix, distortion)
        residuals.append(np.linalg.norm(said.reshape(-1, 2) - view.corners, axis=1))
        rotation = np.asarray(cv2.Rodrigues(turn)[0], np.float64)
        normals.append(rotation[:, 2])
        centres.append(rotation @ middle + np.ravel(place))
    numbers = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *five])
    scatter = np.ravel(deviations)[:9]
    if not (np.isfinite(numbers).all() and np.isfinite(scatter).all() and (numbers[:2] > 0).all()):
        raise CalibrateError(
            f"no lens explains the {len(views)} views of the board; film it again, tilted by 20 to "
            "40 degrees, in all parts of the image"
        )
    return Fit(
        lens=Lens(**_named(numbers)),
        deviations=LensDeviations(**_named(scatter)),
        residuals_px=tuple(residuals),
        normals=np.stack(normals),
        centres_squares=np.stack(centres),
    )


def _named(values: Iterable[float]) -> dict[str, float]:
    """Numbers in OpenCV's order by the names of a lens' fields."""
    return {name: float(value) for name, value in zip(Lens.model_fields, values, strict=True)}


def fit_without_outliers(
    views: Sequence[View], board: Checkerboard, size: tuple[int, int]
) -> tuple[list[View], Fit, dict[str, str]]:
    """The lens that most views agree on, those views, and why each other one is left out.

    The view that misses most is left out and the rest fitted again, until none stands out.

    Args:
        views: three at least.
        board: what they show.
        size: width and height of the images, pixels.

    Raises:
        CalibrateError: no lens explains them.
    """
    kept, left_out = list(views), dict[str, str]()
    spare = min(len(views) - LEAST_VIEWS, int(MOST_LEFT_OUT * len(views)))
    while True:
        fit = fit_lens(kept, board, size)
        means = [float(residuals.mean()) for residuals in fit.residuals_px]
        worst, middle = int(np.argmax(means)), float(np.median(means))
        if means[worst] <= max(OUTLIER_RATIO * middle, OUTLIER_PX) or len(left_out) >= spare:
            return kept, fit, left_out
        left_out[kept[worst].source] = (
            f"its corners miss the common lens by {means[worst]:.2f} px, "
            f"those of the middle view by {middle:.2f} px"
        )
        del kept[worst]
