"""What infrared and visible images of one scene have in common: the orientation of their edges.

Eight unsigned orientation channels of local-contrast-normalised gradients, each spreading by the
fourth power of a cosine, averaged over frames (CAPTURE.md section 2; the CFOG family). Since
cos^4(x) = 3/8 + cos(2x)/2 + cos(4x)/8, the eight hold five independent numbers. These five are
kept, weighted so that products and sums of squares equal those of the eight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""(H, W)."""

Descriptors = NDArray[np.float32]
"""Edge strength, its cosine and sine at twice, then at four times the angle, (5, H, W)."""

ORIENTATIONS = 8
"""Channels whose correlation is computed; unsigned, as contrast may be inverted between bands."""

STRENGTH = float(np.sqrt(ORIENTATIONS)) * 3 / 8
TWICE = float(np.sqrt(ORIENTATIONS / 2)) / 2
FOUR_TIMES = float(np.sqrt(ORIENTATIONS / 2)) / 8
"""Weights of the five: each term of cos^4 times the root of its sum of squares over channels."""

CONTRAST_SIGMA_PX = 8.0
"""Neighbourhood in which contrast is made equal: warm and cold, lit and dark places count alike."""

NOISE_LEVELS = 2.0
"""Contrast below which a neighbourhood is empty: sensor noise after smoothing, grey levels."""

SMOOTH_SIGMA_PX = 1.0
"""Smoothing before gradients and of the channels after them."""

TREND_SIGMA_PX = 12.0
"""What varies more slowly than this says where texture is, not where edges are; it is removed."""

STRIPE_SIGMA_PX = 4.0
"""Neighbourhood of columns that one column is compared with; stripes are independent of each other
(CAPTURE.md section 1)."""

FLAT = 1e-12
"""Gradient strength that stands for none, where an angle would divide by zero."""

BLACK_LEVELS = 4
"""Brightest grey level of a margin without picture; codecs leave a few levels there."""

FILL_SIGMA_PX = 16.0
"""Neighbourhood whose mean fills a margin, so that its edge is no edge of the scene."""


@dataclass(frozen=True)
class View:
    """What one camera saw: frames of one size, and where they show anything at all."""

    frames: tuple[Image, ...]
    seen: Image
    """0 or 1, (H, W)."""

    @property
    def is_flat(self) -> bool:
        """Whether every frame is of one single value."""
        return all(float(np.ptp(frame)) == 0 for frame in self.frames)

    def resized(self, scale: float) -> "View":
        """All of it at another scale."""
        seen = resized(self.seen, scale)
        return View(
            tuple(resized(frame, scale) for frame in self.frames),
            np.asarray(seen > 1 - 1e-3, np.float32),
        )

    def part(self, start: int, step: int) -> "View":
        """The same of every `step`th frame."""
        return View(self.frames[start::step], self.seen)


def view_of(frames: Sequence[Image]) -> View:
    """Frames whose black margins, left by undistortion or stabilisation, count as not seen.

    Args:
        frames: grey levels, (H, W) each.
    """
    dark = np.max(frames, axis=0) <= BLACK_LEVELS
    padded = cv2.copyMakeBorder(dark.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    _, labels = cv2.connectedComponents(padded, connectivity=4)
    seen = np.asarray(labels != labels[0, 0], np.float32)[1:-1, 1:-1]
    seen = np.asarray(cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((3, 3))), np.float32)
    if seen.all() or not seen.any():
        return View(tuple(frames), np.ones_like(seen))
    share = np.maximum(_blurred(seen, FILL_SIGMA_PX), 1e-6)
    filled = []
    for frame in frames:
        around = _blurred(frame * seen, FILL_SIGMA_PX) / share
        filled.append(np.where(seen > 0, frame, around).astype(np.float32, copy=False))
    return View(tuple(filled), seen)


def without_stripes(frames: Sequence[Image]) -> list[Image]:
    """Frames freed of the offsets that their columns keep, as those of uncooled cameras do.

    What every row of a column differs by from the columns around it, at the median over rows, is
    taken for the sensor's; things of the scene seldom stand over half of the height. Without this
    the sensor's stripes pass for upright edges.

    Args:
        frames: grey levels, (H, W) each.
    """
    mean = np.asarray(np.mean(frames, axis=0), np.float32)
    around = cv2.GaussianBlur(mean, (0, 0), sigmaX=STRIPE_SIGMA_PX, sigmaY=1e-3)
    offsets = np.median(mean - around, axis=0, keepdims=True).astype(np.float32)
    return [frame - offsets for frame in frames]


def describe(images: Sequence[Image]) -> Descriptors:
    """The mean descriptors of images of one size and one view.

    Args:
        images: grey levels, (H, W) each; moving things average out, resting ones stay.
    """
    total = np.zeros((5, *images[0].shape), np.float32)
    for image in images:
        total += _oriented(image)
    return np.stack([_filtered(channel / len(images)) for channel in total])


def _oriented(image: Image) -> Descriptors:
    smooth = _blurred(image, SMOOTH_SIGMA_PX)
    mean = _blurred(smooth, CONTRAST_SIGMA_PX)
    contrast = np.sqrt(np.maximum(_blurred((smooth - mean) ** 2, CONTRAST_SIGMA_PX), 0))
    normal = (smooth - mean) / (contrast + NOISE_LEVELS)
    across, down = (
        cv2.Sobel(normal, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1))
    )
    strength = np.sqrt(across * across + down * down) + np.float32(FLAT)
    cosine = (across * across - down * down) / strength
    sine = 2 * across * down / strength
    return np.stack(
        [
            STRENGTH * strength,
            TWICE * cosine,
            TWICE * sine,
            FOUR_TIMES * (2 * cosine * cosine / strength - strength),
            FOUR_TIMES * (2 * cosine * sine / strength),
        ]
    )


def turned(channels: Descriptors, rotation_degrees: float) -> Descriptors:
    """Descriptors whose edges point elsewhere, at their old places.

    Args:
        channels: (5, H, W).
        rotation_degrees: counter-clockwise as seen, as OpenCV counts it.
    """
    strength, twice_cosine, twice_sine, four_cosine, four_sine = channels
    angle = np.deg2rad(-rotation_degrees)  # rows run down, so the angle of an edge shrinks
    two, four = np.exp(2j * angle), np.exp(4j * angle)
    return np.stack(
        [
            strength,
            twice_cosine * two.real - twice_sine * two.imag,
            twice_cosine * two.imag + twice_sine * two.real,
            four_cosine * four.real - four_sine * four.imag,
            four_cosine * four.imag + four_sine * four.real,
        ]
    ).astype(np.float32, copy=False)


def _filtered(channel: Image) -> Image:
    smooth = _blurred(channel, SMOOTH_SIGMA_PX)
    return np.asarray(smooth - _blurred(smooth, TREND_SIGMA_PX), np.float32)


def _blurred(image: Image, sigma_px: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float32)


def resized(image: Image, scale: float) -> Image:
    """The image at another scale, smoothed where it shrinks; centres of pixels keep their places.

    Args:
        image: (H, W).
        scale: new size over old size.
    """
    height, width = (max(1, round(side * scale)) for side in image.shape)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.float32)


def warped(
    channels: Descriptors, cover: Image, homography: NDArray[np.float64], size: tuple[int, ...]
) -> tuple[Descriptors, Image]:
    """Channels on another grid, and how much of each pixel they cover.

    Args:
        channels: (C, h, w).
        cover: where they can be trusted, 0 to 1, (h, w).
        homography: from the channels' pixels to the grid's.
        size: height, width of the grid.

    Returns:
        (C, H, W) and a weight of 0 to 1, (H, W).
    """
    shape = (size[1], size[0])
    moved = np.stack([cv2.warpPerspective(channel, homography, shape) for channel in channels])
    weight = cv2.warpPerspective(cover, homography, shape)
    return moved.astype(np.float32, copy=False), np.asarray(weight, np.float32)


def correlation(here: Descriptors, there: Descriptors, weight: Image) -> float:
    """Normalised correlation of two sets of channels over a weighted area, -1 to 1."""
    product = float((here * there * weight).sum())
    energy = float((here**2 * weight).sum()) * float((there**2 * weight).sum())
    return product / float(np.sqrt(energy)) if energy > 0 else 0.0
