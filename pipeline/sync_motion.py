"""What moves before a camera, freed of noise and codec rhythm, and readable at any instant."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SyncError

Signal = NDArray[np.float64]
Levels = NDArray[np.float32]

MIN_OVERLAP_S = 2.0
"""Common footage below which signals agree by chance; two seconds hold a few separate movements."""

SMOOTH_S = 0.1
"""Motion is averaged over so long: three frames, below which codec and noise rule."""

TREND_S = 1.0
"""Movements slower than this are subtracted: light and pans differ between bands; about the 31
frames of CAPTURE.md section 3."""

RHYTHM_FRAMES = range(2, 61)
"""Periods in which a codec may repeat itself; keyframes come every 12 to 60 frames."""

RHYTHM_SHARE = 0.25
"""Share of a signal's variance beyond chance that one exact period must explain to be a rhythm."""

FLASH_PERCENTILE = 99.9
"""Changes above this percentile count no more than it: a lamp or a shutter is no movement."""

STILL_LEVELS = 1e-6
"""Variation of motion below which a view is still; sensor noise alone is far above it."""


@dataclass(frozen=True)
class Motion:
    """Motion of one camera over its own instants."""

    times_s: Signal
    """Increasing, (T,)."""
    levels: NDArray[np.floating]
    """Mean absolute difference to the frame before, by region, (T, rows, columns)."""
    aspect: float = 4 / 3
    """Width over height of the image."""


@dataclass(frozen=True)
class Movement:
    """The rate at which regions change, between one frame and the next."""

    edges_s: Signal
    """Instants of the frames, increasing, (T,)."""
    rate: Levels
    """Change in a usual frame period between neighbouring frames, (T - 1, regions)."""
    grid: tuple[int, int]
    """Rows and columns of the regions."""
    aspect: float
    """Width over height of the image."""

    @property
    def period_s(self) -> float:
        """The usual time from frame to frame."""
        return usual_period_s(self.edges_s)

    @property
    def duration_s(self) -> float:
        """From the first frame to the last one."""
        return float(self.edges_s[-1] - self.edges_s[0])

    def at(self, times_s: Signal, smooth_s: float = SMOOTH_S) -> Levels:
        """What moves about these instants more than in the second around them.

        The rate holds from frame to frame and is averaged exactly, so that neither the frame rate
        nor lost frames move it in time. Nothing moves outside of the recording.

        Args:
            times_s: increasing, (N,).
            smooth_s: over which it is averaged.

        Returns:
            (N, regions).
        """
        start_s, stop_s = self.edges_s[0], self.edges_s[-1]
        found = np.zeros((times_s.size, self.rate.shape[1]), np.float32)
        inside = np.flatnonzero((times_s >= start_s) & (times_s <= stop_s))
        if inside.size == 0:
            return found
        about_s = times_s[inside]
        low_s, high_s = about_s[0] - TREND_S, about_s[-1] + TREND_S
        first = max(0, int(np.searchsorted(self.edges_s, low_s)) - 1)
        last = min(len(self.rate), int(np.searchsorted(self.edges_s, high_s)) + 1)
        edges_s = self.edges_s[first : last + 1]
        spacing_s = np.diff(edges_s).astype(np.float32)[:, None]
        total = np.zeros((edges_s.size, self.rate.shape[1]), np.float32)
        np.cumsum(self.rate[first:last] * spacing_s, axis=0, out=total[1:])
        found[inside] = _mean_about(edges_s, total, about_s, smooth_s) - _mean_about(
            edges_s, total, about_s, TREND_S
        )
        return found

    def pooled(self, factor: int) -> "Movement":
        """The same by larger regions of `factor` by `factor`."""
        rows, columns = self.grid
        parts = self.rate.reshape(-1, rows // factor, factor, columns // factor, factor)
        rate = parts.mean(axis=(2, 4)).reshape(len(self.rate), -1)
        return Movement(self.edges_s, rate, (rows // factor, columns // factor), self.aspect)


def usual_period_s(times_s: Signal) -> float:
    """The median spacing of instants."""
    return float(np.median(np.diff(times_s)))


def _mean_about(edges_s: Signal, total: Levels, about_s: Signal, width_s: float) -> Levels:
    """Mean rate over `width_s` about every instant, cut where the recording ends, (N, regions)."""
    low_s = np.maximum(about_s - width_s / 2, edges_s[0])
    high_s = np.minimum(about_s + width_s / 2, edges_s[-1])
    low, high = (_interpolated(edges_s, total, at_s) for at_s in (low_s, high_s))
    high -= low
    high /= (high_s - low_s).astype(np.float32)[:, None]
    return high


def _interpolated(edges_s: Signal, total: Levels, at_s: Signal) -> Levels:
    before = np.clip(np.searchsorted(edges_s, at_s, side="right") - 1, 0, edges_s.size - 2)
    after = (at_s - edges_s[before]) / (edges_s[before + 1] - edges_s[before])
    share = after.astype(np.float32)[:, None]
    return np.asarray(total[before] * (1 - share) + total[before + 1] * share, np.float32)


def movement_of(motion: Motion, band: str) -> Movement:
    """Free motion of noise, flashes and codec rhythm.

    Raises:
        SyncError: nothing moves, or the video is too short.
    """
    duration_s = float(motion.times_s[-1] - motion.times_s[0]) if motion.times_s.size else 0.0
    if duration_s < MIN_OVERLAP_S:
        raise SyncError(
            f"the {band} video lasts {duration_s:.1f} s, less than the {MIN_OVERLAP_S:g} s that "
            "can be related; give the recording an offset_s or a longer video"
        )
    rows, columns = motion.levels.shape[1:]
    change = motion.levels[1:].reshape(len(motion.levels) - 1, -1).astype(np.float32)
    if float(change.std()) < STILL_LEVELS:
        raise SyncError(
            f"the {band} video shows no motion in {duration_s:.1f} s; "
            "give the recording an offset_s or a span in which things move"
        )
    change -= np.median(change, axis=0)
    change = without_rhythm(change)
    np.minimum(change, np.percentile(change, FLASH_PERCENTILE), out=change)
    spread = change.std(axis=0)
    change /= np.maximum(spread + spread.mean(), STILL_LEVELS)
    spacing_s = np.diff(motion.times_s)
    change *= (np.median(spacing_s) / spacing_s).astype(np.float32)[:, None]
    return Movement(motion.times_s, change, (rows, columns), motion.aspect)


def without_rhythm(change: Levels) -> Levels:
    """The same signal less whatever repeats with one exact period of frames.

    Keyframes of a codec leave such a rhythm in both videos, and its lag is not that of the clocks
    (CAPTURE.md section 3).

    Args:
        change: motion per frame and region, (T, regions).
    """
    pooled = change.mean(axis=1, dtype=np.float64)
    pooled = pooled - pooled.mean()
    total = float((pooled**2).sum())
    if total == 0:
        return change
    excess = {
        period: _explained(pooled, period) / total - period / pooled.size
        for period in RHYTHM_FRAMES
        if period * 4 <= pooled.size
    }
    strongest = max(excess, key=excess.__getitem__, default=0)
    if not strongest or excess[strongest] < RHYTHM_SHARE:
        return change
    freed = change.copy()
    for phase in range(strongest):
        freed[phase::strongest] -= change[phase::strongest].mean(axis=0) - change.mean(axis=0)
    return freed


def _explained(pooled: Signal, period: int) -> float:
    """Sum of squares of the mean course over one period."""
    return sum(
        float(pooled[phase::period].mean() ** 2) * pooled[phase::period].size
        for phase in range(period)
    )
