"""Where one camera's view lies in the other's, as far as their motion must be compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.complex64)

SCALES = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
SHIFTS = (-0.12, -0.06, 0.0, 0.06, 0.12)
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


@dataclass(frozen=True)
class Gathering:
    """From which visible regions every infrared region gathers, and by which weights.

    Bilinear between the centres of regions; what lies outside counts as still.
    """

    places: NDArray[np.int64]
    """(regions, 4)."""
    weights: Matrix
    """0 to 1, (regions, 4)."""

    def cover(self) -> Matrix:
        """How far every infrared region lies within the visible image, 0 to 1, (regions,)."""
        return np.asarray(self.weights.sum(axis=1), np.float32)

    def seen(self, levels: NDArray[Number]) -> NDArray[Number]:
        """What visible regions show at the places of infrared ones, (N, regions)."""
        total = levels[:, self.places[:, 0]] * self.weights[:, 0]
        for corner in range(1, 4):
            total += levels[:, self.places[:, corner]] * self.weights[:, corner]
        return total

    def energy(self, products: NDArray[np.float64]) -> float:
        """Sum of squares of what is seen, from products of all pairs of visible regions."""
        pairs = products[self.places[:, :, None], self.places[:, None, :]]
        return float((pairs * self.weights[:, :, None] * self.weights[:, None, :]).sum())


def gathering(view: View, grid: tuple[int, int]) -> Gathering:
    """How infrared regions gather visible ones through a view."""
    rows, columns = grid
    here = np.concatenate([centres(grid), np.ones((rows * columns, 1))], axis=1)
    right, across = _neighbours((here @ view.right + 0.5) * columns - 0.5, columns)
    down, along = _neighbours((here @ view.down + 0.5) * rows - 0.5, rows)
    places = down[:, :, None] * columns + right[:, None, :]
    weights = along[:, :, None] * across[:, None, :]
    return Gathering(places.reshape(-1, 4), np.asarray(weights.reshape(-1, 4), np.float32))


def _neighbours(
    places: NDArray[np.float64], cells: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The two cells about each place and their weights, none beyond the last cell, (N, 2)."""
    cell = np.floor(places).astype(np.int64)[:, None] + np.arange(2)
    weights = np.maximum(1 - np.abs(places[:, None] - cell), 0) * ((cell >= 0) & (cell < cells))
    return np.clip(cell, 0, cells - 1), np.asarray(weights, np.float64)
