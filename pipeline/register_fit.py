"""Refines a homography between two views by Gauss-Newton steps on their descriptors."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import distance_of_corners
from pipeline.register_descriptors import (
    Descriptors,
    Image,
    View,
    correlation,
    describe,
    warped,
)

Homography = NDArray[np.float64]
"""(3, 3), visible pixels to infrared pixels."""

STEPS = 30
CONVERGED_PX = 0.01
"""Mean corner movement of a step, grid pixels, that ends a refinement."""

FIRST_DAMPING = 1e-3
LAST_DAMPING = 1e3
"""Levenberg's factor on the diagonal; a step that does not help raises it tenfold."""

BORDER_PX = 4
"""Margin whose descriptors still feel the black around a warped image."""

BLOCKS = 6
"""Rows and columns of blocks whose own displacement measures the residual."""

LEAST_TEXTURE = 0.1
"""Blocks with a smaller share of the median block's texture have no say."""


@dataclass(frozen=True)
class Fit:
    """A homography, how well the descriptors agree under it, and how far blocks are off."""

    homography: Homography
    correlation: float
    residual_px: float
    """Mean displacement of blocks, infrared pixels."""
    share: float
    """Of the infrared image that the visible one covers."""

    @property
    def merit(self) -> float:
        """By which candidates compete: a small overlap agrees by chance, so area counts."""
        return self.correlation * float(np.sqrt(self.share))


def scaling(scale: float) -> Homography:
    """From pixels of an image to those of its resized version; pixel centres at integers."""
    shift = (scale - 1) / 2
    return np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]], np.float64)


@dataclass(frozen=True)
class Described:
    """The infrared image's side of a fit, at one scale."""

    channels: Descriptors
    cover: Image
    """Where they can be trusted, 0 or 1, (H, W)."""
    scale: float
    """Of the grid, to the infrared image."""


def described(infrared: View, scale: float) -> Described:
    """Descriptors of the infrared frames at that scale."""
    small = infrared.resized(scale)
    return Described(describe(small.frames), trusted(small.seen, border_px=0), scale)


def trusted(seen: Image, *, border_px: int = 1) -> Image:
    """Where descriptors do not feel what is not seen.

    Args:
        seen: 0 or 1, (H, W).
        border_px: whether the image's own border counts as not seen: 1 or 0.
    """
    edge = cv2.copyMakeBorder(
        seen, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0.0 if border_px else 1.0
    )
    margin = np.ones((2 * BORDER_PX + 1, 2 * BORDER_PX + 1), np.uint8)
    return np.asarray(cv2.erode(edge, margin)[1:-1, 1:-1], np.float32)


def refine(infrared: Described, visible: View, homography: Homography) -> Fit:
    """Improve a homography by Gauss-Newton steps on the correlation of descriptors.

    The visible images are brought onto the infrared grid first, so that descriptors see equal sizes
    and directions, and a small homography of the grid is then fitted.

    Args:
        infrared: at the scale of the fit.
        visible: frames of the same instants.
        homography: where to start, visible pixels to infrared pixels.
    """
    to_small = scaling(infrared.scale)
    to_grid = to_small @ homography
    there, cover = on_grid(visible, to_grid, infrared.cover.shape)
    step, score, residual_px = _gauss_newton(infrared, there, cover)
    improved = np.linalg.inv(to_small) @ step @ to_grid
    return Fit(
        improved / improved[2, 2],
        score,
        residual_px / infrared.scale,
        float((cover * infrared.cover).mean()),
    )


def on_grid(
    visible: View, homography: Homography, shape: tuple[int, ...]
) -> tuple[Descriptors, Image]:
    """Descriptors of images brought onto another grid, and where these can be trusted.

    Args:
        visible: frames.
        homography: visible pixels to pixels of the grid.
        shape: height, width of the grid.
    """
    height, width = shape
    spread = float(np.sqrt(abs(np.linalg.det(homography[:2, :2]))))
    smooth = 0.5 * float(np.sqrt(max(1 / spread**2 - 1, 0)))
    moved = []
    for frame in visible.frames:
        source = cv2.GaussianBlur(frame, (0, 0), smooth) if smooth > 0 else frame
        moved.append(
            np.asarray(
                cv2.warpPerspective(
                    source, homography, (width, height), borderMode=cv2.BORDER_REPLICATE
                ),
                np.float32,
            )
        )
    seen = cv2.warpPerspective(visible.seen, homography, (width, height), flags=cv2.INTER_NEAREST)
    return describe(moved), trusted(np.asarray(seen, np.float32))


def _gauss_newton(
    infrared: Described, there: Descriptors, cover: Image
) -> tuple[Homography, float, float]:
    """The small homography of the grid that brings `there` onto `here`.

    Returns:
        It, the correlation under it, and the mean displacement that blocks still show, grid pixels.
    """
    here = infrared.channels
    grid = _Grid.of(*cover.shape)
    step: Homography = np.eye(3)
    moved, weight = there, cover * infrared.cover
    score = correlation(here, moved, weight)
    damping = FIRST_DAMPING
    system = _System.of(here, moved, weight)
    for _ in range(STEPS):
        tried = grid.composed(step, system, damping)
        if tried is None:
            break
        other, other_cover = warped(there, cover, tried, cover.shape)
        other_weight = other_cover * infrared.cover
        other_score = correlation(here, other, other_weight)
        movement_px = distance_of_corners(step, tried, cover.shape)
        if other_score <= score:
            damping *= 10
            if damping > LAST_DAMPING or movement_px < CONVERGED_PX:
                break
            continue
        step, score, damping = tried, other_score, damping / 10
        system = _System.of(here, other, other_weight)
        if movement_px < CONVERGED_PX:
            break
    return step, score, system.block_displacement()


@dataclass(frozen=True)
class _System:
    """The normal equations of a displacement field, pixel by pixel, summed over channels."""

    across: Image
    mixed: Image
    down: Image
    pull_across: Image
    pull_down: Image

    @classmethod
    def of(cls, here: Descriptors, moved: Descriptors, weight: Image) -> "_System":
        energy = float((moved**2 * weight).sum())
        gain = float((here * moved * weight).sum()) / max(energy, 1e-12)
        sums = np.zeros((5, *weight.shape), np.float32)
        for target, source in zip(here, moved, strict=True):
            across = gain * cv2.Sobel(source, cv2.CV_32F, 1, 0, scale=0.125)
            down = gain * cv2.Sobel(source, cv2.CV_32F, 0, 1, scale=0.125)
            missing = target - gain * source
            sums += (
                across * across,
                across * down,
                down * down,
                across * missing,
                down * missing,
            )
        return cls(*(sums * weight))

    def block_displacement(self) -> float:
        """Mean length of the displacement that each textured block would like, grid pixels."""
        size = (BLOCKS, BLOCKS)
        xx, xy, yy, x, y = (
            cv2.resize(each, size, interpolation=cv2.INTER_AREA)
            for each in (self.across, self.mixed, self.down, self.pull_across, self.pull_down)
        )
        determinant = xx * yy - xy**2
        textured = determinant > LEAST_TEXTURE * float(np.median(determinant))
        if not textured.any():
            return float("inf")
        safe = np.where(textured, determinant, 1)
        lengths = np.hypot((yy * x - xy * y) / safe, (xx * y - xy * x) / safe)
        return float(lengths[textured].mean())


@dataclass(frozen=True)
class _Grid:
    """The pixels of a grid in coordinates of about -1 to 1, and a homography's eight motions."""

    to_unit: Homography
    motions: NDArray[np.float32]
    """Displacement in unit coordinates by parameter, (2, 8, H, W)."""

    @classmethod
    def of(cls, height: int, width: int) -> "_Grid":
        half = max(height, width) / 2
        to_unit = np.array(
            [
                [1 / half, 0, -(width - 1) / 2 / half],
                [0, 1 / half, -(height - 1) / 2 / half],
                [0, 0, 1],
            ]
        )
        x, y = np.meshgrid(
            ((np.arange(width) - (width - 1) / 2) / half).astype(np.float32),
            ((np.arange(height) - (height - 1) / 2) / half).astype(np.float32),
        )
        one, none = np.ones_like(x), np.zeros_like(x)
        across = np.stack([x, y, one, none, none, none, -x * x, -x * y])
        down = np.stack([none, none, none, x, y, one, -x * y, -y * y])
        return cls(to_unit, np.stack([across, down]))

    def composed(self, step: Homography, system: _System, damping: float) -> Homography | None:
        """`step` followed by the damped solution of `system`; None where there is none."""
        across, down = self.motions
        unit_px = 1 / self.to_unit[0, 0]
        pulled = system.across * across + system.mixed * down  # (8, H, W)
        pushed = system.mixed * across + system.down * down
        matrix = np.tensordot(pulled, across, axes=([1, 2], [1, 2])) + np.tensordot(
            pushed, down, axes=([1, 2], [1, 2])
        )
        vector = np.tensordot(across, system.pull_across, axes=2) + np.tensordot(
            down, system.pull_down, axes=2
        )
        matrix = matrix.astype(np.float64) + damping * np.diag(np.diag(matrix))
        try:
            a = np.linalg.solve(matrix, vector) / unit_px
        except np.linalg.LinAlgError:
            return None
        motion = np.eye(3) + np.array([[a[0], a[1], a[2]], [a[3], a[4], a[5]], [a[6], a[7], 0]])
        pull = np.linalg.inv(self.to_unit) @ motion @ self.to_unit
        composed = np.linalg.inv(pull) @ step
        return np.asarray(composed / composed[2, 2], np.float64)
