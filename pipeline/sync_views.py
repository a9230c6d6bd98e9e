"""Where one camera's view lies in the other's, as far as their motion must be compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

SCALES = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
SHIFTS = (-0.12, 0.0, 0.12)
"""Views tried: sizes of one field of view in the other (CAPTURE.md section 2 searches the same
range), and displacements in parts of the image."""


@dataclass(frozen=True)
class View:
    """Where infrared regions lie in the visible image, an affine mapping of image parts.

    Parts run from -0.5 to 0.5 over the width and the height of an image.
    """

    right: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """Visible part to the right: of infrared right, infrared down and one."""
    down: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def moved(self, step: NDArray[np.float64]) -> "View":
        """With six numbers added, those of `right` before those of `down`."""
        a = [float(value) for value in np.add([*self.right, *self.down], step)]
        return View((a[0], a[1], a[2]), (a[3], a[4], a[5]))


def coarse_views(aspect: float, other_aspect: float) -> Iterator[View]:
    """The views that a search begins with.

    Args:
        aspect: width over height of the infrared image.
        other_aspect: of the visible one.
    """
    for scale, down, right in product(SCALES, SHIFTS, SHIFTS):
        yield View((scale * aspect / other_aspect, 0.0, right), (0.0, scale, down))


def similarities(aspect: float, other_aspect: float) -> NDArray[np.float64]:
    """How the numbers of a view change while square things stay square, (6, 4).

    The four are scale, turn, right and down. What moves is mostly upright and moves sideways: it
    tells nothing about the scale of heights for itself.
    """
    return np.array(
        [
            [aspect / other_aspect, 0, 0, 0],
            [0, -1 / other_aspect, 0, 0],
            [0, 0, 1, 0],
            [0, aspect, 0, 0],
            [1, 0, 0, 0],
            [0, 0, 0, 1],
        ]
    )


def centres(grid: tuple[int, int]) -> NDArray[np.float64]:
    """Right and down of every region's centre, (regions, 2)."""
    rows, columns = grid
    down, right = np.meshgrid(
        (np.arange(rows) + 0.5) / rows - 0.5,
        (np.arange(columns) + 0.5) / columns - 0.5,
        indexing="ij",
    )
    return np.stack([right.ravel(), down.ravel()], axis=1)


def gathering(view: View, grid: tuple[int, int]) -> Matrix:
    """Weights by which each infrared region gathers visible ones, (regions, regions).

    Bilinear between the centres of regions; what lies outside counts as still.
    """
    rows, columns = grid
    here = np.concatenate([centres(grid), np.ones((rows * columns, 1))], axis=1)
    across = _hats((here @ view.right + 0.5) * columns - 0.5, columns)
    along = _hats((here @ view.down + 0.5) * rows - 0.5, rows)
    weights = along[:, :, None] * across[:, None, :]  # (regions, rows, columns)
    return np.asarray(weights.reshape(rows * columns, -1), np.float32)


def _hats(places: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Weight of every cell at these places, in cells, (N, cells)."""
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0), np.float64)
