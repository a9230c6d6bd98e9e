"""Which view and which offset let the motion of two cameras agree, before anything is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sync_motion import MIN_OVERLAP_S, SMOOTH_S, Levels, Movement, Signal
from pipeline.sync_views import Gathering, View, gathering
from schemas.errors import SyncError

PEAK_WIDTH_S = 0.4
"""Lags nearer than this belong to one peak: people and cars move for tenths of a second."""

BLOCK_S = 10.0
"""Motion is compared in blocks of about so long, which bounds the memory."""

LEAST_BLOCKS = 2
"""Parts that a short recording is compared in at least, so that two disjoint windows can be asked
whether they agree (CAPTURE.md section 3)."""

MOST_BLOCKS = 24
"""Blocks that are compared, the liveliest of equal stretches; four minutes of footage settle it."""

FINEST_STEP_S = SMOOTH_S / 3
"""Instants need not be denser than this: what is averaged over SMOOTH_S holds nothing faster."""

BINS_AT_ONCE = 128
"""Frequencies whose products are in memory together, 40 MB with the regions of a search."""

TINY = float(np.finfo(np.float64).tiny)

Spectrum = NDArray[np.complex64]


@dataclass(frozen=True)
class Block:
    """What moves in one block of infrared time, and in the visible window it is slid along."""

    middle_s: float
    infrared: Spectrum
    """Conjugated, (F, regions)."""
    visible: Spectrum
    infrared_energy: Signal
    """Sum of squares by region where the visible camera filmed, at every offset, (L,)."""
    visible_energy: Signal
    """Sum of squares over all regions at every offset, (L,)."""
    overlap: Signal
    """Instants that both filmed, (L,)."""


@dataclass(frozen=True)
class Compared:
    """Two movements, block by block, ready to be slid over each other through any view."""

    offsets_s: Signal
    """Infrared time less visible time, ascending, (L,)."""
    blocks: tuple[Block, ...]
    size: int
    """Length of the transforms."""
    infrared_regions: Signal
    """Share of every region in the infrared energy, (regions,)."""
    visible_products: Signal
    """Mean products of all pairs of visible regions, parts of the energy, (regions, regions)."""
    grid: tuple[int, int]

    def overlap(self, blocks: Sequence[Block]) -> Signal:
        """Share of the longest possible overlap at every offset, (L,)."""
        total = np.sum([block.overlap for block in blocks], axis=0)
        return np.asarray(total / max(float(total.max()), 1.0), np.float64)

    def scores(self, view: View, blocks: Sequence[Block] | None = None) -> Signal:
        """Correlation through one view, times the root of the share of the overlap, (L,).

        Args:
            view: where the infrared regions lie.
            blocks: of these, all where none are given; these alone.
        """
        chosen = self.blocks if blocks is None else tuple(blocks)
        gathered = gathering(view, self.grid)
        crossed = np.sum(
            [(block.infrared * gathered.seen(block.visible)).sum(axis=1) for block in chosen],
            axis=0,
        )
        return self._scored(crossed, gathered, chosen)

    def searched(self, views: Sequence[View]) -> Signal:
        """The same through many views at once, (views, L)."""
        infrared = np.stack([block.infrared for block in self.blocks], axis=2)  # (F, regions, B)
        visible = np.stack([block.visible for block in self.blocks], axis=1)
        gathered = [gathering(view, self.grid) for view in views]
        count = self.infrared_regions.size
        first_entries = np.arange(count)[:, None] * count  # of every infrared region
        crossed = np.zeros((len(views), len(infrared)), np.complex64)
        for first in range(0, len(infrared), BINS_AT_ONCE):
            bins = slice(first, first + BINS_AT_ONCE)
            products = infrared[bins] @ visible[bins]  # (bins, regions, regions)
            by_entry = np.ascontiguousarray(products.reshape(len(products), -1).T)
            for number, each in enumerate(gathered):
                entries = (first_entries + each.places).ravel()
                crossed[number, bins] = each.weights.ravel() @ by_entry[entries]
        return np.stack(
            [self._scored(*each, self.blocks) for each in zip(crossed, gathered, strict=True)]
        )

    def _scored(self, crossed: Spectrum, through: Gathering, blocks: Sequence[Block]) -> Signal:
        """A correlation from the products' spectrum.

        The energies through a view are taken to change with the offset as those of all regions do.
        """
        products = np.fft.irfft(crossed, self.size)[: self.offsets_s.size][::-1]
        seen = float((through.cover() ** 2 * self.infrared_regions).sum())
        shown = through.energy(self.visible_products)
        here = np.sum([block.infrared_energy for block in blocks], axis=0) * seen
        there = np.sum([block.visible_energy for block in blocks], axis=0) * shown
        floor = 1e-3 * float(here.max()) * float(there.max())  # both must show something
        score = products / np.sqrt(np.maximum(here * there, max(floor, TINY)))
        return np.asarray(score * np.sqrt(self.overlap(blocks)), np.float64)


def compare(infrared: Movement, visible: Movement, max_offset_s: float) -> Compared:
    """Lay out everything that is slid over each other, at the offsets that leave enough overlap.

    Raises:
        SyncError: no offset does.
    """
    step_s = max(FINEST_STEP_S, min(infrared.period_s, visible.period_s))
    lowest_s = max(-max_offset_s, infrared.edges_s[0] - visible.edges_s[-1] + MIN_OVERLAP_S)
    highest_s = min(max_offset_s, infrared.edges_s[-1] - visible.edges_s[0] - MIN_OVERLAP_S)
    lags = np.arange(np.ceil(lowest_s / step_s), np.floor(highest_s / step_s) + 1)
    if lags.size < 2:
        raise SyncError(
            f"the videos do not overlap by {MIN_OVERLAP_S:g} s at any offset up to "
            f"{max_offset_s:g} s; give the recording an offset_s or raise sync.max_offset_s"
        )
    offsets_s: Signal = lags * step_s
    times = _block_times(infrared, step_s)
    size = _transform_size(max(len(block_s) for block_s in times) + lags.size - 1)
    regions = infrared.rate.shape[1]
    here_regions, there_products = np.zeros(regions), np.zeros((regions, regions))
    blocks = []
    for block_s in times:
        count = block_s.size + lags.size - 1
        window_s = block_s[0] - offsets_s[-1] + np.arange(count) * step_s
        here, there = infrared.at(block_s), visible.at(window_s)
        here_regions += (here.astype(np.float64) ** 2).sum(axis=0)
        there_products += there.T @ there
        blocks.append(_block(here, there, _filmed(visible, window_s), float(block_s.mean()), size))
    return Compared(
        offsets_s=offsets_s,
        blocks=tuple(blocks),
        size=size,
        infrared_regions=here_regions / max(float(here_regions.sum()), TINY),
        visible_products=there_products / max(float(np.trace(there_products)), TINY),
        grid=infrared.grid,
    )


def _block_times(infrared: Movement, step_s: float) -> list[Signal]:
    """Instants of the infrared camera by blocks of about equal length."""
    count = max(1, int(infrared.duration_s / step_s))
    times_s: Signal = infrared.edges_s[0] + np.arange(count) * step_s
    parts = max(round(infrared.duration_s / BLOCK_S), min(LEAST_BLOCKS, count))
    blocks = np.array_split(times_s, parts)
    if len(blocks) <= MOST_BLOCKS:
        return blocks
    starts = np.searchsorted(infrared.edges_s[1:-1], [block[0] for block in blocks])
    lively = np.add.reduceat((infrared.rate**2).sum(axis=1), starts)
    stretches = np.array_split(np.arange(len(blocks)), MOST_BLOCKS)
    return [blocks[int(part[np.argmax(lively[part])])] for part in stretches]


def _filmed(visible: Movement, window_s: Signal) -> Signal:
    """Whether the visible camera filmed at these instants, 0 or 1."""
    inside = (window_s >= visible.edges_s[0]) & (window_s <= visible.edges_s[-1])
    return np.asarray(inside, np.float64)


def _block(here: Levels, there: Levels, filmed: Signal, middle_s: float, size: int) -> Block:
    """Spectra and energies; products of the first instants belong to the last offset."""
    energy = (here.astype(np.float64) ** 2).sum(axis=1)
    ones = np.ones(len(here))
    shown = (there.astype(np.float64) ** 2).sum(axis=1)
    return Block(
        middle_s=middle_s,
        infrared=np.conj(np.fft.rfft(here, size, axis=0)).astype(np.complex64),
        visible=np.fft.rfft(there, size, axis=0).astype(np.complex64),
        infrared_energy=np.correlate(filmed, energy, "valid")[::-1],
        visible_energy=np.correlate(shown, ones, "valid")[::-1],
        overlap=np.correlate(filmed, ones, "valid")[::-1],
    )


def _transform_size(least: int) -> int:
    """A length of 2**a or 3 * 2**a, which transforms are quick for."""
    power = 1 << (least - 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= least else power


def peaks(offsets_s: Signal, scores: Signal, count: int) -> list[int]:
    """Places of the best scores that do not belong to one another's peaks, the best first.

    Args:
        offsets_s: ascending, (L,).
        scores: (L,).
        count: most of them; fewer where the offsets are too close together.
    """
    found: list[int] = []
    free = np.ones(scores.size, bool)
    while free.any() and len(found) < count:
        best = int(np.argmax(np.where(free, scores, -np.inf)))
        found.append(best)
        free &= np.abs(offsets_s - offsets_s[best]) > PEAK_WIDTH_S
    return found
