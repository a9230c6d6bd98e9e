"""16-bit infrared counts to grey levels, by a curve that follows the recording slowly.

Every frame is measured by its quantiles while ingest reads it. These are averaged over a few
seconds, so that a curve drawn from them moves with the camera's temperature and with nothing
faster: neighbouring frames get practically the same curve, and nothing flickers. The curve itself
is a plateau equalisation: counts that are frequent get more grey levels, yet never more than a few
times what a straight line would give them, so that a warm person in a cold street keeps detail.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.facts import ToneMapping
from schemas.recipe import IngestRecipe

WHITE = 255

INTERVALS = 64
"""A curve is drawn from so many intervals between quantiles, and kept as so many straight pieces:
four grey levels a piece."""

LEAST_SPACING_COUNTS = 1e-3
"""Quantiles that coincide, as in a frame of few values, are held apart by this much."""

REACH_SPREADS = 3.0
"""The average looks so many standard deviations of its window to either side; beyond lies 0.3 %."""

HALVINGS = 40
"""Of the interval in which a curve's limit is sought: far finer than a grey level."""

UNMOVED_SHARE = 0.5
"""What moves least, half of the picture, tells by how much the whole changed."""


def tone_mapped(counts: NDArray[np.uint16], tone: ToneMapping) -> NDArray[np.uint8]:
    """Grey levels of counts: linear from `low_counts` to `high_counts`, clamped beyond.

    One mapping for a whole recording, under which equal counts are equal levels in all its
    frames: what registration looks at.

    Args:
        counts: of any shape.
        tone: the recording's mapping.
    """
    span = np.float32(tone.high_counts - tone.low_counts)
    levels = (counts.astype(np.float32) - np.float32(tone.low_counts)) * (np.float32(WHITE) / span)
    return np.asarray(np.rint(np.clip(levels, 0, WHITE)), np.uint8)


def tone_shares(recipe: IngestRecipe) -> NDArray[np.float64]:
    """Shares of pixels at which a frame's quantiles are taken, (INTERVALS + 1,).

    From one of the recipe's percentiles to the other, closer together towards the ends, where
    few pixels span many counts.
    """
    low, high = (percentile / 100 for percentile in recipe.tone_percentiles)
    steps = np.cos(np.pi * np.arange(INTERVALS + 1) / INTERVALS)
    return np.asarray(low + (high - low) * (1 - steps) / 2)


def quantiles(histogram: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float32]:
    """The counts below which these shares of the samples lie, shape of `shares`.

    Args:
        histogram: how often each count occurs, (65536,), not all zero.
        shares: increasing, 0..1.
    """
    below = np.cumsum(histogram)
    return np.asarray(np.searchsorted(below, shares * below[-1]), np.float32)


def common_change(change: NDArray[Any]) -> float:
    """By how much a whole picture became brighter, whatever moves in it; the unit of `change`.

    The mean of the middle half of all changes: finer than their median where they are integers.

    Args:
        change: of every pixel, of any shape, one at least.
    """
    ordered = np.sort(change, axis=None)
    tail = round(ordered.size * (1 - UNMOVED_SHARE) / 2)
    return float(ordered[tail : ordered.size - tail].mean(dtype=np.float64))


def tone_curves(
    measured: NDArray[np.float32],
    common_counts: NDArray[np.float64],
    times_s: NDArray[np.float64],
    usable: NDArray[np.bool_],
    recipe: IngestRecipe,
) -> NDArray[np.float32]:
    """The curve of every frame: which counts become the levels 0, 4, 8 and so on to 255.

    What all pixels have in common, a camera that warms up or jumps at its shutter correction, is
    followed at once; what a scene's things do to the quantiles, over seconds. An error of the
    common changes adds up from frame to frame; the average, taken without them, takes it out.

    Args:
        measured: quantiles of every frame at `tone_shares`, counts, (T, INTERVALS + 1).
        common_counts: change of the whole picture since the frame before, (T,).
        times_s: instants of the frames, increasing, (T,).
        usable: frames whose quantiles count, (T,), one at least.
        recipe: names the percentiles, the window and the plateau.

    Returns:
        Increasing counts, (T, INTERVALS + 1).
    """
    whole = np.cumsum(common_counts)[:, None]
    scene = _averaged(measured - whole, times_s, usable, recipe.tone_smoothing_s)
    return _equalised(scene + whole, tone_shares(recipe), recipe.tone_plateau)


def _averaged(
    measured: NDArray[np.float64],
    times_s: NDArray[np.float64],
    usable: NDArray[np.bool_],
    spread_s: float,
) -> NDArray[np.float64]:
    """Each quantile under a Gaussian window in time; each frame looks back and ahead alike."""
    known_s, known = times_s[usable], measured[usable]
    nearest = np.searchsorted(known_s, times_s).clip(0, known_s.size - 1)
    first = np.minimum(np.searchsorted(known_s, times_s - REACH_SPREADS * spread_s), nearest)
    last = np.searchsorted(known_s, times_s + REACH_SPREADS * spread_s)
    averaged = np.empty(measured.shape)
    for index, time_s in enumerate(times_s):
        window = slice(first[index], max(last[index], nearest[index] + 1))
        weights = np.exp(-0.5 * ((known_s[window] - time_s) / spread_s) ** 2)
        averaged[index] = (weights / weights.sum()) @ known[window]
    return averaged


def _equalised(
    averaged: NDArray[np.float64], shares: NDArray[np.float64], plateau: float
) -> NDArray[np.float32]:
    """Counts at evenly spaced levels of the plateau equalisation, (T, INTERVALS + 1).

    As in contrast-limited equalisation (Pizer et al., 1987), what is cut off above a limit is
    spread evenly over the whole range of counts, which leaves rare counts their share of a
    straight line. The limit is the one under which nothing becomes steeper than the plateau, so
    that a plateau of 1 gives a straight line.
    """
    knots = averaged + LEAST_SPACING_COUNTS * np.arange(averaged.shape[1])
    widths = np.diff(knots, axis=1)
    widths /= widths.sum(axis=1, keepdims=True)
    slopes = np.diff(shares) / (shares[-1] - shares[0]) / widths  # of a straight line: 1
    low, high = np.zeros((len(slopes), 1)), np.full((len(slopes), 1), plateau)
    for _ in range(HALVINGS):
        limit = (low + high) / 2
        is_too_steep = limit + _cut_off(slopes, widths, limit) > plateau
        low, high = np.where(is_too_steep, low, limit), np.where(is_too_steep, limit, high)
    steps = (np.minimum(slopes, low) + _cut_off(slopes, widths, low)) * widths
    heights = np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)
    even = np.linspace(0, 1, INTERVALS + 1)
    return np.stack([np.interp(even, *pair) for pair in zip(heights, knots, strict=True)]).astype(
        np.float32
    )


def _cut_off(
    slopes: NDArray[np.float64], widths: NDArray[np.float64], limit: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What lies above the limit of each curve, and is spread over its whole width of 1, (T, 1)."""
    return np.asarray(1 - (np.minimum(slopes, limit) * widths).sum(axis=1, keepdims=True))


def levels_of(counts: NDArray[np.uint16], curve: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels of one frame's counts under its curve, clamped beyond its ends.

    Args:
        counts: of any shape.
        curve: increasing counts that become evenly spaced levels, (INTERVALS + 1,).
    """
    low, high = int(counts.min(initial=2**16 - 1)), int(counts.max(initial=0))
    known = np.arange(low, high + 1)
    levels = np.interp(known, curve.astype(np.float64), np.linspace(0, WHITE, curve.size))
    return np.asarray(np.rint(levels).astype(np.uint8)[counts - np.uint16(low)])
