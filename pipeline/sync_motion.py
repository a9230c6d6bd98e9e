"""Motion of two cameras compared: where one view lies in the other, and at which lag they agree."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SyncError

Signal = NDArray[np.float64]
Levels = NDArray[np.float32]

MIN_OVERLAP_S = 2.0
"""Common footage below which signals agree by chance; two seconds hold a few separate movements."""

TREND_S = 2.0
"""Movements slower than this are subtracted: light and pans differ between bands (CAPTURE.md 3)."""

SMOOTH_S = 0.08
"""Activity is averaged over so long: two to three frames, below which codec and noise rule."""

PEAK_WIDTH_S = 0.4
"""Lags nearer than this belong to one peak: people and cars move for tenths of a second."""

RHYTHM_FRAMES = range(2, 61)
"""Periods in which a codec may repeat itself; keyframes come every 12 to 60 frames."""

RHYTHM_SHARE = 0.25
"""Share of a signal's variance beyond chance that one exact period must explain to be a rhythm."""

STILL_LEVELS = 1e-6
"""Variation of motion below which a view is still; sensor noise alone is far above it."""

SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4)
SHIFTS = (-0.1, 0.0, 0.1)
"""Views tried: sizes of one field of view in the other (CAPTURE.md section 2 searches the same
range), and displacements in parts of the image."""

VIEW_STEPS = (0.05, 0.025, 0.0125)
"""Refinement of the view, in parts of the image: a misplaced region is a wrong instant, since
people reach it earlier or later."""


REGIONS_AT_ONCE = 16
"""Regions whose spectra are in memory together; twelve such groups make up the grid of ingest."""


@dataclass(frozen=True)
class Motion:
    """Motion of one camera over its own instants."""

    times_s: Signal
    """Increasing, (T,)."""
    levels: NDArray[np.float32]
    """Mean absolute difference to the frame before, by region, (T, rows, columns)."""


@dataclass(frozen=True)
class View:
    """Where the infrared image lies in the visible one."""

    scale: float = 1.0
    down: float = 0.0
    right: float = 0.0
    """Of the centre, in parts of the visible image."""


@dataclass(frozen=True)
class Activity:
    """Motion on a regular grid of instants, freed of trend, noise floor and codec rhythm."""

    start_s: float
    step_s: float
    levels: Levels
    """(samples, rows, columns)."""

    def times_s(self) -> Signal:
        """The instants of the grid, (samples,)."""
        return self.start_s + np.arange(len(self.levels), dtype=np.float64) * self.step_s

    def flat(self) -> Levels:
        """The regions side by side, (samples, regions)."""
        return self.levels.reshape(len(self.levels), -1)

    def halves(self) -> "tuple[Activity, Activity]":
        """The earlier and the later half."""
        middle = len(self.levels) // 2
        later_s = self.start_s + middle * self.step_s
        return (
            Activity(self.start_s, self.step_s, self.levels[:middle]),
            Activity(later_s, self.step_s, self.levels[middle:]),
        )

    def seen_as(self, view: View) -> "Activity":
        """The same through the regions of a camera with that view."""
        _, rows, columns = self.levels.shape
        seen = self.flat() @ view_matrix(view, rows, columns).T
        return Activity(self.start_s, self.step_s, seen.reshape(self.levels.shape))


@dataclass(frozen=True)
class Agreement:
    """How well two activities agree at every offset tried."""

    offsets_s: Signal
    """Infrared time less visible time."""
    scores: Signal
    """Correlation over all regions, weighed by the share of the longest possible overlap."""

    @property
    def best(self) -> int:
        """Index of the highest score."""
        return int(np.argmax(self.scores))

    def second(self) -> float:
        """The highest score apart from the best one's peak."""
        distant = np.abs(self.offsets_s - self.offsets_s[self.best]) > PEAK_WIDTH_S
        return float(self.scores[distant].max(initial=0.0))


def activity_of(motion: Motion, step_s: float, band: str) -> Activity:
    """Bring motion onto a regular grid and free it of what is not movement.

    Square roots tame large objects; each region is weighed by one over its own noise.

    Raises:
        SyncError: nothing moves, or the video is too short.
    """
    duration_s = float(motion.times_s[-1] - motion.times_s[0])
    if duration_s < MIN_OVERLAP_S:
        raise SyncError(
            f"the {band} video lasts {duration_s:.1f} s, less than the {MIN_OVERLAP_S:g} s that "
            "can be related; give the recording an offset_s or a longer video"
        )
    shape = motion.levels.shape[1:]
    change = motion.levels[1:].reshape(len(motion.levels) - 1, -1).astype(np.float64)
    change -= np.median(change, axis=0)
    change = without_rhythm(change)
    noise = np.median(np.abs(change), axis=0)
    change /= np.maximum(noise + noise.mean(), np.finfo(np.float64).tiny)
    rate = np.copysign(np.sqrt(np.abs(change)), change)
    middles_s = (motion.times_s[1:] + motion.times_s[:-1]) / 2
    grid_s = np.arange(motion.times_s[0], motion.times_s[-1], step_s)
    activity = np.empty((grid_s.size, rate.shape[1]))
    for region, levels in enumerate(rate.T):
        activity[:, region] = np.interp(grid_s, middles_s, levels)
    activity -= _averaged(activity, round(TREND_S / step_s))
    if float(motion.levels.std()) < STILL_LEVELS or float(activity.std()) < STILL_LEVELS:
        raise SyncError(
            f"the {band} video shows no motion in {duration_s:.1f} s; "
            "give the recording an offset_s or a span in which things move"
        )
    smooth = _averaged(activity, round(SMOOTH_S / step_s))
    levels = smooth.reshape(-1, *shape).astype(np.float32)
    return Activity(float(motion.times_s[0]), step_s, levels)


def without_rhythm(change: Signal) -> Signal:
    """The same signal less whatever repeats with one exact period of frames.

    Keyframes of a codec leave such a rhythm in both videos, and its lag is not that of the clocks
    (CAPTURE.md section 3).

    Args:
        change: motion per frame and region, (T, regions).
    """
    pooled = change.mean(axis=1)
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


def _averaged(signal: Signal, width: int) -> Signal:
    """Moving average along time over about `width` samples, with the ends repeated."""
    half = max(1, width // 2)
    padded = np.pad(signal, ((half + 1, half), (0, 0)), mode="edge")
    sums = np.cumsum(padded, axis=0, out=padded)
    averaged = sums[2 * half + 1 :] - sums[: -2 * half - 1]
    averaged /= 2 * half + 1
    return np.asarray(averaged, np.float64)


def view_matrix(view: View, rows: int, columns: int) -> Levels:
    """Weights by which each infrared region gathers visible ones, (regions, regions).

    Bilinear between the centres of regions; what lies outside counts as still.
    """
    down = _axis_matrix(rows, view.scale, view.down)
    return np.asarray(np.kron(down, _axis_matrix(columns, view.scale, view.right)), np.float32)


def _axis_matrix(cells: int, scale: float, shift: float) -> Signal:
    centres = (np.arange(cells) + 0.5) / cells - 0.5
    places = (centres * scale + shift + 0.5) * cells - 0.5
    distances = np.abs(places[:, None] - np.arange(cells)[None, :])
    return np.asarray(np.maximum(1 - distances, 0), np.float64)


def agreement(infrared: Activity, visible: Activity, max_offset_s: float) -> Agreement:
    """Correlate two activities at every offset that leaves enough overlap.

    Raises:
        SyncError: no offset does.
    """
    here, there = infrared.flat(), visible.flat()
    step_s = infrared.step_s
    starts_s = infrared.start_s - visible.start_s
    least = round(MIN_OVERLAP_S / step_s)
    lowest = max(least - len(there), int(np.ceil((-max_offset_s - starts_s) / step_s)))
    highest = min(len(here) - least, int(np.floor((max_offset_s - starts_s) / step_s)))
    if highest <= lowest:
        raise SyncError(
            f"the videos do not overlap by {MIN_OVERLAP_S:g} s at any offset up to "
            f"{max_offset_s:g} s; give the recording an offset_s or raise sync.max_offset_s"
        )
    size = len(here) + len(there)
    products = np.fft.irfft(_cross_spectrum(here, there, size), size)
    energy_here, energy_there = (
        np.concatenate([[0.0], np.cumsum((signal**2).sum(axis=1), dtype=np.float64)])
        for signal in (here, there)
    )
    lags = np.arange(lowest, highest + 1)
    first, last = np.maximum(lags, 0), np.minimum(len(here), len(there) + lags)
    energy = (energy_here[last] - energy_here[first]) * (
        energy_there[last - lags] - energy_there[first - lags]
    )
    scores = products[lags % size] / np.sqrt(np.maximum(energy, np.finfo(np.float64).tiny))
    overlap = (last - first) / min(len(here), len(there))
    return Agreement(
        np.asarray(lags * step_s + starts_s, np.float64),
        np.asarray(scores * np.sqrt(overlap), np.float64),
    )


def _cross_spectrum(here: Levels, there: Levels, size: int) -> NDArray[np.complex128]:
    """The spectrum of the correlation, summed over regions; a few at a time, for the memory."""
    total = np.zeros(size // 2 + 1, np.complex128)
    for first in range(0, here.shape[1], REGIONS_AT_ONCE):
        part = slice(first, first + REGIONS_AT_ONCE)
        spectra = np.fft.rfft(here[:, part], size, axis=0)
        spectra *= np.conj(np.fft.rfft(there[:, part], size, axis=0))
        total += spectra.sum(axis=1)
    return total


def find_view(infrared: Activity, visible: Activity, max_offset_s: float) -> tuple[View, Agreement]:
    """The view through which the two activities agree best, and how they agree through it.

    Coarse over all views and offsets, then each parameter by halving steps.

    Raises:
        SyncError: the videos do not overlap.
    """
    tried = ((v, agreement(infrared, visible.seen_as(v), max_offset_s)) for v in _coarse_views())
    view, found = max(tried, key=lambda each: float(each[1].scores.max()))
    for step in VIEW_STEPS:
        for scale, down, right in ((step, 0.0, 0.0), (0.0, step, 0.0), (0.0, 0.0, step)):
            for sign in (1, -1):
                while True:
                    other = View(
                        view.scale + sign * scale,
                        view.down + sign * down,
                        view.right + sign * right,
                    )
                    better = agreement(infrared, visible.seen_as(other), max_offset_s)
                    if better.scores.max() <= found.scores.max():
                        break
                    view, found = other, better
    return view, found


def _coarse_views() -> Iterator[View]:
    return (View(*parameters) for parameters in product(SCALES, SHIFTS, SHIFTS))
