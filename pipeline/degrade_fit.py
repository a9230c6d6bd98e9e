"""Parameters of M3SVD's two degradations, measured on a clean clip and its degraded version.

The model is that of CAPTURE.md section 1: infrared is a tone curve plus column stripes that stay
plus white noise that does not; visible is a Gaussian blur, a gain and an offset.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.degrade_blur import blur, gaussian_weights
from pipeline.degrade_draws import Window
from schemas.base import StrictModel
from schemas.degradations import GainAndOffset, GaussianBlur, StripeNoise, TonePoints

POINT_LEVELS = 4
"""Clean grey levels that share a point of the tone curve."""

MIN_POINT_PIXELS = 500
"""A point of the tone curve is trusted from this many pixels: white noise of 14 levels then moves
it by 0.6 levels."""

CUT_MARGIN_LEVELS = 4
"""Degraded levels nearer than this to 0 or 255 may be cut off and tell nothing of the noise."""

SEARCHED_FRAMES = 4
"""Spread over the clip, in which the blur is searched for: its sigma varies by 0.02 px within a
clip (CAPTURE.md section 1), and one frame has a million pixels to tell it."""

WIDEST_SIGMA_PX = 6.0

SIGMA_TOLERANCE_PX = 0.005

GOLDEN = (math.sqrt(5) - 1) / 2


class InfraredFit(StrictModel):
    """What was measured on infrared frames."""

    tone: TonePoints
    noise: StripeNoise
    stripe_correlation: float
    """Of the column pattern, from frame to frame."""


class VisibleFit(StrictModel):
    """What was measured on visible frames."""

    blur: GaussianBlur
    tone: GainAndOffset
    psnr_db: float
    """Of the clean frames, degraded so, against the degraded ones."""


def fit_infrared(clean: NDArray[np.uint8], degraded: NDArray[np.uint8]) -> InfraredFit:
    """Tone curve, stripes and white noise.

    Args:
        clean: (T, H, W), at least two frames.
        degraded: the same frames degraded, the same shape.

    Raises:
        ValueError: there are fewer than two frames, or they are not of one shape.
    """
    _check(clean, degraded)
    tone = _tone_points(clean, degraded)
    curve = np.interp(np.arange(256), *np.transpose(tone.points))
    residual = degraded.astype(np.float32) - curve.astype(np.float32)[clean]
    whole = (degraded >= CUT_MARGIN_LEVELS) & (degraded <= 255 - CUT_MARGIN_LEVELS)
    columns = np.stack([_column_means(r, w) for r, w in zip(residual, whole, strict=True)])
    white = _neighbour_deviation(residual - columns[:, None, :], whole)
    pattern = columns.mean(0)
    # what white noise leaves in a mean over all frames and rows is no stripe
    left = white**2 / (len(clean) * clean.shape[1])
    stripe = math.sqrt(max(0.0, float(np.mean(np.diff(pattern) ** 2)) / 2 - left))
    return InfraredFit(
        tone=_without_cuts(tone, math.hypot(white, stripe)),
        noise=StripeNoise(
            stripe_sigma_levels=(round(stripe, 3),) * 2, white_sigma_levels=(round(white, 3),) * 2
        ),
        stripe_correlation=float(
            np.mean([np.corrcoef(columns[0], row)[0, 1] for row in columns[1:]])
        ),
    )


def fit_visible(clean: NDArray[np.uint8], degraded: NDArray[np.uint8]) -> VisibleFit:
    """Blur, gain and offset by least squares.

    Args:
        clean: (T, H, W, 3).
        degraded: the same frames degraded, the same shape.

    Raises:
        ValueError: there are fewer than two frames, or they are not of one shape.
    """
    _check(clean, degraded)
    some = slice(None, None, math.ceil(len(clean) / SEARCHED_FRAMES))
    sigma_px = _lowest(
        lambda sigma: _fit_line(clean[some], degraded[some], sigma)[0], 0.0, WIDEST_SIGMA_PX
    )
    error, gain, offset = _fit_line(clean, degraded, sigma_px)
    return VisibleFit(
        blur=GaussianBlur(sigma_px=(sigma_px, sigma_px)),
        tone=GainAndOffset(gain=(gain, gain), offset_levels=(offset, offset)),
        psnr_db=10 * math.log10(255**2 / max(error, 1e-9)),
    )


def _fit_line(
    clean: NDArray[np.uint8], degraded: NDArray[np.uint8], sigma_px: float
) -> tuple[float, float, float]:
    """Mean squared error of blurred clean frames, and the gain and offset that make it least."""
    frames, weights = torch.from_numpy(clean).permute(0, 3, 1, 2), gaussian_weights(sigma_px)
    blurred = blur(frames, weights, Window(0, 0, *frames.shape[-2:])).permute(0, 2, 3, 1).numpy()
    pairs = np.bincount(  # few enough to count: grey levels before and after
        (blurred.astype(np.int32) * 256 + degraded).ravel(), minlength=1 << 16
    ).reshape(256, 256)
    levels, shares = np.arange(256.0), pairs / pairs.sum()
    before, after = shares.sum(1), shares.sum(0)
    mean, wanted = before @ levels, after @ levels
    spread = before @ (levels - mean) ** 2
    gain = ((levels - mean) @ shares @ (levels - wanted)) / spread if spread else 1.0
    offset = wanted - gain * mean
    made = np.clip(np.floor(gain * levels + offset + 0.5), 0, 255)
    error = (shares * (made[:, None] - levels) ** 2).sum()
    return float(error), float(gain), float(offset)


def _tone_points(clean: NDArray[np.uint8], degraded: NDArray[np.uint8]) -> TonePoints:
    """The mean degraded level of groups of clean levels that enough pixels have."""
    counts = np.bincount(clean.ravel(), minlength=256).astype(np.float64)
    sums = np.bincount(clean.ravel(), weights=degraded.ravel(), minlength=256)
    levels = np.arange(256) * counts
    points = []
    for first in range(0, 256, POINT_LEVELS):
        group = slice(first, first + POINT_LEVELS)
        if (pixels := counts[group].sum()) >= MIN_POINT_PIXELS:
            points.append((levels[group].sum() / pixels, sums[group].sum() / pixels))
    if len(points) < 2:  # frames of one level: the curve is that level's shift
        shift = float(degraded.mean()) - float(clean.mean())
        points = [(0.0, max(0.0, shift)), (255.0, min(255.0, 255.0 + shift))]
    return TonePoints(points=tuple((round(x, 3), round(y, 3)) for x, y in points))


def _without_cuts(tone: TonePoints, sigma_levels: float) -> TonePoints:
    """The curve before noise of that deviation was cut off at 0 and 255, which moved its means.

    The mean of a normal variable held between two bounds is known (Johnson, Kotz and
    Balakrishnan, Continuous Univariate Distributions, volume 1, section 13.10).
    """
    true_levels = np.linspace(-64, 319, 1533)
    seen_levels = [_mean_when_held(level, max(sigma_levels, 0.01)) for level in true_levels]
    points = [
        (clean, float(np.clip(np.interp(seen, seen_levels, true_levels), 0, 255)))
        for clean, seen in tone.points
    ]
    return TonePoints(points=tuple((clean, round(level, 3)) for clean, level in points))


def _mean_when_held(mean: float, sigma: float) -> float:
    """Mean of a normal variable held within 0 and 255."""

    def below(bound: float) -> float:  # E[max(bound - X, 0)]
        z = (bound - mean) / sigma
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return (bound - mean) * (1 + math.erf(z / math.sqrt(2))) / 2 + sigma * density

    return 255 + below(0.0) - below(255.0)


def _column_means(residual: NDArray[np.float32], whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of each column over the pixels that were not cut off, (W,)."""
    pixels = np.maximum(whole.sum(0), 1)
    means: NDArray[np.float64] = (residual * whole).sum(0, dtype=np.float64) / pixels
    return means


def _neighbour_deviation(residual: NDArray[np.float64], whole: NDArray[np.bool_]) -> float:
    """Deviation of noise that is new in every pixel, by the differences of neighbours in a row."""
    both = whole[:, :, 1:] & whole[:, :, :-1]
    differences = np.diff(residual, axis=2)[both]
    return math.sqrt(float(np.mean(differences**2)) / 2)


def _lowest(error: Callable[[float], float], low: float, high: float) -> float:
    """Where an error with one valley between the bounds is least (golden section search)."""
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = error(inner), error(outer)
    while high - low > SIGMA_TOLERANCE_PX:
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - GOLDEN * (high - low)
            at_inner = error(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + GOLDEN * (high - low)
            at_outer = error(outer)
    return round((low + high) / 2, 3)


def _check(clean: NDArray[np.uint8], degraded: NDArray[np.uint8]) -> None:
    if clean.shape != degraded.shape or len(clean) < 2:
        raise ValueError(
            f"clean frames {clean.shape} and degraded frames {degraded.shape} must be of one "
            "shape and at least two"
        )
