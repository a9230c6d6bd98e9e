"""Fits a homography between two views by their descriptors: a coarse search, then refinement.

Everything here lives on small grids of search pixels; `scaling` leads from and to camera pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import distance_of_corners
from pipeline.register_descriptors import (
    Descriptors,
    Image,
    correlation,
    describe,
    resized,
    turned,
    warped,
)

Homography = NDArray[np.float64]
"""(3, 3), visible pixels to infrared pixels."""

SCALES = np.geomspace(0.5, 1.43, 19)
ROTATIONS_DEGREES = np.arange(-9, 9.1, 3.0)
"""Similarities tried, after both images are brought to one width. The scales begin below
CAPTURE.md's 0.70, for visible cameras that see twice as wide as the infrared one."""

MIN_SHARE = 0.25
"""Smallest share of either image covered by the other at a place that the search considers."""

STEPS = 30
CONVERGED_PX = 0.01
"""Mean corner movement of a step, search pixels, that ends a refinement."""

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


def search(
    infrared: Sequence[Image], visible: Sequence[Image], *, width_px: int, keep: int
) -> list[Homography]:
    """The most promising similarities, best first, from visible pixels to infrared pixels.

    Tries every scale and rotation, and every shift at once by masked normalised correlation in the
    Fourier domain.

    Args:
        infrared: frames, (H, W) each.
        visible: frames of the same instants, (h, w) each.
        width_px: width that both are resized to.
        keep: number of similarities wanted.
    """
    scale_here, scale_there = (width_px / frames[0].shape[1] for frames in (infrared, visible))
    here = describe([resized(frame, scale_here) for frame in infrared])
    there = describe([resized(frame, scale_there) for frame in visible])
    size = 2 * max(*here.shape[1:], *there.shape[1:])
    canvas = cv2.getOptimalDFTSize(size)
    placed_here = _centred(here.shape[1:], canvas, 1.0, 0.0)
    target = _spectra(*warped(here, placed_here, (canvas, canvas)))
    found: list[tuple[float, Homography]] = []
    for scale, rotation in product(SCALES, ROTATIONS_DEGREES):
        placed = _centred(there.shape[1:], canvas, float(scale), float(rotation))
        pointed = turned(there, float(rotation))
        scores = _masked_correlation(target, _spectra(*warped(pointed, placed, (canvas, canvas))))
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        down, right = (
            int(shift) - canvas if shift > canvas // 2 else int(shift) for shift in (row, column)
        )
        shifted = np.array([[1, 0, right], [0, 1, down], [0, 0, 1]]) @ placed
        between = np.linalg.inv(placed_here) @ shifted
        found.append(
            (
                float(scores[row, column]),
                np.linalg.inv(scaling(scale_here)) @ between @ scaling(scale_there),
            )
        )
    found.sort(key=lambda each: -each[0])
    return [homography / homography[2, 2] for _, homography in found[:keep]]


def _centred(
    shape: tuple[int, ...], canvas: int, scale: float, rotation_degrees: float
) -> Homography:
    """Put an image of that shape in the middle of a square canvas, scaled and turned."""
    height, width = shape
    turned = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rotation_degrees, scale)
    middle = np.array([[1, 0, (canvas - width) / 2], [0, 1, (canvas - height) / 2], [0, 0, 1]])
    return np.asarray(middle @ np.vstack([turned, [0, 0, 1]]), np.float64)


@dataclass(frozen=True)
class _Spectra:
    channels: NDArray[np.complex64]
    energy: NDArray[np.complex64]
    cover: NDArray[np.complex64]
    area_px: float


def _spectra(channels: Descriptors, cover: Image) -> _Spectra:
    masked = channels * cover
    return _Spectra(
        channels=np.fft.rfft2(masked).astype(np.complex64),
        energy=np.fft.rfft2((masked**2).sum(axis=0)).astype(np.complex64),
        cover=np.fft.rfft2(cover).astype(np.complex64),
        area_px=float(cover.sum()),
    )


def _masked_correlation(here: _Spectra, there: _Spectra) -> NDArray[np.float64]:
    """Correlation for every shift of `there` over the area that both cover, weighed by its root."""
    products = np.fft.irfft2((here.channels * np.conj(there.channels)).sum(axis=0))
    energy_here = np.fft.irfft2(here.energy * np.conj(there.cover))
    energy_there = np.fft.irfft2(here.cover * np.conj(there.energy))
    overlap = np.fft.irfft2(here.cover * np.conj(there.cover))
    energy = np.maximum(energy_here, 0) * np.maximum(energy_there, 0)
    enough = overlap >= MIN_SHARE * min(here.area_px, there.area_px)
    floor = max(1e-6 * float(energy.max()), 1e-30)
    scores = products / np.sqrt(np.maximum(energy, floor))
    share = np.maximum(overlap, 0) / min(here.area_px, there.area_px)
    return np.asarray(np.where(enough, scores * np.sqrt(share), -1.0), np.float64)


def refine(
    infrared: Sequence[Image],
    visible: Sequence[Image],
    homography: Homography,
    *,
    scales: Sequence[float],
) -> Fit:
    """Improve a homography by Gauss-Newton steps on the correlation of descriptors.

    At every scale the visible images are brought onto the infrared grid first, so that descriptors
    see equal sizes and directions, and a small homography of the grid is then fitted.

    Args:
        infrared: frames, (H, W) each.
        visible: frames of the same instants, (h, w) each.
        homography: where to start, visible pixels to infrared pixels.
        scales: of the infrared images, coarse to fine.
    """
    fit = Fit(homography, -1.0, float("inf"), 0.0)
    for scale in scales:
        small = [resized(frame, scale) for frame in infrared]
        here = describe(small)
        to_grid = scaling(scale) @ fit.homography
        there, cover = _on_grid(visible, to_grid, small[0].shape)
        step, score, residual_px = _gauss_newton(here, there, cover)
        improved = np.linalg.inv(scaling(scale)) @ step @ to_grid
        improved /= improved[2, 2]
        fit = Fit(improved, score, residual_px / scale, float(cover.mean()))
    return fit


def _on_grid(
    frames: Sequence[Image], homography: Homography, shape: tuple[int, ...]
) -> tuple[Descriptors, Image]:
    """Descriptors of images brought onto the infrared grid, and where these can be trusted."""
    height, width = shape
    spread = float(np.sqrt(abs(np.linalg.det(homography[:2, :2]))))
    smooth = 0.5 * float(np.sqrt(max(1 / spread**2 - 1, 0)))
    moved = []
    for frame in frames:
        source = cv2.GaussianBlur(frame, (0, 0), smooth) if smooth > 0 else frame
        moved.append(
            np.asarray(
                cv2.warpPerspective(
                    source, homography, (width, height), borderMode=cv2.BORDER_REPLICATE
                ),
                np.float32,
            )
        )
    inside = np.ones(frames[0].shape, np.uint8)
    cover = cv2.warpPerspective(inside, homography, (width, height), flags=cv2.INTER_NEAREST)
    margin = np.ones((2 * BORDER_PX + 1, 2 * BORDER_PX + 1), np.uint8)
    padded = cv2.copyMakeBorder(cover, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    trusted = cv2.erode(padded, margin)[1:-1, 1:-1]
    return describe(moved), np.asarray(trusted, np.float32)


def _gauss_newton(
    here: Descriptors, there: Descriptors, cover: Image
) -> tuple[Homography, float, float]:
    """The small homography of the grid that brings `there` onto `here`.

    Returns:
        It, the correlation under it, and the mean displacement that blocks still show, grid pixels.
    """
    height, width = cover.shape
    grid = _Grid.of(height, width)
    step: Homography = np.eye(3)
    moved, weight = _moved(there, cover, step)
    score = correlation(here, moved, weight)
    damping = FIRST_DAMPING
    system = _System.of(here, moved, weight)
    for _ in range(STEPS):
        tried = grid.composed(step, system, damping)
        if tried is None:
            break
        other, other_weight = _moved(there, cover, tried)
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


def _moved(
    channels: Descriptors, cover: Image, homography: Homography
) -> tuple[Descriptors, Image]:
    moved, inside = warped(channels, homography, cover.shape)
    height, width = cover.shape
    weight = cv2.warpPerspective(cover, homography, (width, height))
    return moved, np.asarray(weight * (inside > 1 - 1e-3), np.float32)


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
