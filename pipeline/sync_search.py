"""Which view and which offset let the motion of two cameras agree, before anything is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pipeline.sync_motion import MIN_OVERLAP_S, Levels, Movement, Signal
from pipeline.sync_views import View, coarse_views, gathering
from schemas.errors import SyncError

PEAK_WIDTH_S = 0.4
"""Lags nearer than this belong to one peak: people and cars move for tenths of a second."""

BLOCK_S = 10.0
"""Motion is compared in blocks of about so long, which bounds the memory."""

SEARCH_BLOCKS = 8
"""Blocks, the liveliest ones, that the view is sought on; more say nothing new."""

TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Agreement:
    """How well two movements agree at every offset tried, by blocks of infrared time."""

    offsets_s: Signal
    """Infrared time less visible time, (L,)."""
    products: Signal
    """Sum of products over regions and instants, (B, L)."""
    infrared_energy: Signal
    """Sum of squares where both cameras film, (B, L)."""
    visible_energy: Signal
    overlap: Signal
    """Share of the longest possible overlap, (L,)."""

    def scores(self) -> Signal:
        """Correlation over all blocks, weighed by the share of the longest overlap, (L,)."""
        energy = self.infrared_energy.sum(axis=0) * self.visible_energy.sum(axis=0)
        score = self.products.sum(axis=0) / np.sqrt(np.maximum(energy, TINY))
        return np.asarray(score * np.sqrt(self.overlap), np.float64)

    def only(self, blocks: Sequence[int]) -> "Agreement":
        """Of some blocks."""
        chosen = list(blocks)
        return Agreement(
            self.offsets_s,
            self.products[chosen],
            self.infrared_energy[chosen],
            self.visible_energy[chosen],
            self.overlap,
        )


@dataclass(frozen=True)
class Compared:
    """Two movements on one grid of instants, block by block."""

    infrared: Movement
    visible: Movement
    offsets_s: Signal
    step_s: float

    def blocks(self) -> list[Signal]:
        """Instants of the infrared camera, block by block; blocks that are almost even."""
        count = max(1, int(self.infrared.duration_s / self.step_s))
        times_s: Signal = self.infrared.edges_s[0] + np.arange(count) * self.step_s
        parts = max(1, round(self.infrared.duration_s / BLOCK_S), min(4, count * 2))
        return list(np.array_split(times_s, parts))

    def window(self, block_s: Signal) -> Signal:
        """Visible instants that a block meets at any offset, (N + L - 1,)."""
        count = block_s.size + self.offsets_s.size - 1
        window_s: Signal = block_s[0] - self.offsets_s[-1] + np.arange(count) * self.step_s
        return window_s


def compare(infrared: Movement, visible: Movement, max_offset_s: float) -> Compared:
    """Lay out the offsets that leave enough overlap.

    Raises:
        SyncError: no offset does.
    """
    step_s = min(infrared.period_s, visible.period_s)
    lowest_s = max(-max_offset_s, infrared.edges_s[0] - visible.edges_s[-1] + MIN_OVERLAP_S)
    highest_s = min(max_offset_s, infrared.edges_s[-1] - visible.edges_s[0] - MIN_OVERLAP_S)
    lags = np.arange(np.ceil(lowest_s / step_s), np.floor(highest_s / step_s) + 1)
    if lags.size < 2:
        raise SyncError(
            f"the videos do not overlap by {MIN_OVERLAP_S:g} s at any offset up to "
            f"{max_offset_s:g} s; give the recording an offset_s or raise sync.max_offset_s"
        )
    return Compared(infrared, visible, lags * step_s, step_s)


@dataclass(frozen=True)
class Block:
    """The movements of a block and of the window it is slid along."""

    infrared: Levels
    visible: Levels
    filmed: Signal
    """Whether the visible camera filmed at an instant of the window, 0 or 1."""


def blocks_of(compared: Compared) -> list[Block]:
    """Everything that is slid over each other."""
    made = []
    for block_s in compared.blocks():
        window_s = compared.window(block_s)
        edges_s = compared.visible.edges_s
        filmed = (window_s >= edges_s[0]) & (window_s <= edges_s[-1])
        made.append(
            Block(
                compared.infrared.at(block_s),
                compared.visible.at(window_s),
                filmed.astype(np.float64),
            )
        )
    return made


def agreement(compared: Compared, blocks: Sequence[Block], view: View) -> Agreement:
    """Correlate two movements at every offset, through one view."""
    weights = gathering(view, compared.visible.grid).T
    count = compared.offsets_s.size
    products, here, there = (np.zeros((len(blocks), count)) for _ in range(3))
    overlap = np.zeros(count)
    for place, block in enumerate(blocks):
        seen = block.visible @ weights
        products[place] = _along_diagonals(block.infrared @ seen.T, count)
        energy = (block.infrared.astype(np.float64) ** 2).sum(axis=1)
        here[place] = np.correlate(block.filmed, energy, "valid")[::-1]
        ones = np.ones(len(block.infrared))
        there[place] = np.correlate((seen.astype(np.float64) ** 2).sum(axis=1), ones, "valid")[::-1]
        overlap += np.correlate(block.filmed, ones, "valid")[::-1]
    return Agreement(compared.offsets_s, products, here, there, overlap / max(overlap.max(), 1))


def _along_diagonals(products: Levels, count: int) -> Signal:
    """Sums over a block for every offset, from products of all its instants with the window's.

    Args:
        products: (N, N + count - 1).
        count: offsets; the last offset meets the window's first instants.
    """
    rows, columns = products.strides
    shifted = as_strided(products, (len(products), count), (rows + columns, columns))
    return np.asarray(shifted.sum(axis=0, dtype=np.float64)[::-1], np.float64)


def likely_views(
    compared: Compared, blocks: Sequence[Block], keep: int
) -> list[tuple[View, float]]:
    """The views through which the movements agree best at any offset, with that offset."""
    lively = sorted(blocks, key=lambda block: float((block.infrared**2).sum()), reverse=True)
    found = []
    for view in coarse_views(compared.infrared.aspect, compared.visible.aspect):
        tried = agreement(compared, lively[:SEARCH_BLOCKS], view)
        scores = tried.scores()
        best = int(np.argmax(scores))
        found.append((float(scores[best]), view, float(tried.offsets_s[best])))
    found.sort(key=lambda each: each[0], reverse=True)
    return [(view, offset_s) for _, view, offset_s in found[:keep]]
