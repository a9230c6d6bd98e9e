"""What the blocks of a recording say about the clock, each for itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.sync_fit import (
    OFFSET,
    RIDGE,
    VIEW,
    Clock,
    Matched,
    least_squares,
    match,
    parts_of,
    trusted,
)
from pipeline.sync_motion import Movement, Signal
from pipeline.sync_search import TINY
from pipeline.sync_views import View

BLOCK_S = 5.0
"""Blocks that are asked for themselves: a few people pass in each."""

MOST_BLOCKS = 240
"""Evenly spread over long recordings."""

FINE_SMOOTH_S = 0.05
"""Movement is averaged over half as long as where view and offset are sought: steps and swings of
arms, which tell the time best, are as quick as that."""

BENDS_RIDGE = 1e-3
"""What holds the bends where nothing moves, in parts of what moves."""


@dataclass(frozen=True)
class Course:
    """The offset over a recording."""

    times_s: Signal
    """Middles of the blocks on the infrared clock, (B,)."""
    added_s: Signal
    """What each adds to the offset, the view being that of all, (B,)."""
    errors_s: Signal
    """Standard error of that, were all its samples independent, (B,)."""


def course(infrared: Movement, visible: Movement, pose: tuple[Clock, View]) -> Course:
    """Ask every block by how much the offset is too small there.

    The view is an affine mapping, while lenses bend images and near things lie elsewhere in one of
    them: who walks there seems early or late, by the way he goes. Bends that hold for the whole
    recording are told by all that moves, and taken off.
    """
    parts = parts_of(
        infrared, visible, pose[0], most=MOST_BLOCKS, block_s=BLOCK_S, smooth_s=FINE_SMOOTH_S
    )
    found = match(parts, visible, pose, trusted(parts, visible, pose), _cubic)
    bends = _bends(found, pose[0].middle_s)
    return Course(
        times_s=np.array([block.middle_s for block in found]),
        added_s=np.array([_added_s(block, bends) for block in found]),
        errors_s=np.array([_error_s(block) for block in found]),
    )


def _cubic(places: Signal) -> Signal:
    """Terms of second and third order in the place, as lens distortion needs them, (7, regions)."""
    x, y = places.T
    return np.stack([x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3])


def _bends(blocks: Sequence[Matched], middle_s: float) -> Signal:
    """The numbers of view and bends that all blocks agree on beside a clock that drifts."""
    columns = len(blocks[0].products)
    bent = columns - VIEW.start
    normal, wanted = np.zeros((3 + bent, 3 + bent)), np.zeros(3 + bent)
    for block in blocks:
        free = np.zeros((columns, 3 + bent))
        free[0, 0] = free[OFFSET, 1] = 1
        free[OFFSET, 2] = block.middle_s - middle_s
        free[VIEW.start :, 3:] = np.eye(bent)
        normal += free.T @ block.products @ free
        wanted += free.T @ block.products[1]
    return least_squares(normal, wanted, np.array([RIDGE] * 3 + [BENDS_RIDGE] * bent))[3:]


def _added_s(block: Matched, bends: Signal) -> float:
    """The offset's step by least squares, the infrared movement being scaled freely."""
    own = [0, OFFSET]
    wanted = block.products[own, 1] - block.products[own, VIEW.start :] @ bends
    normal = block.products[np.ix_(own, own)]
    return float(least_squares(normal, wanted, np.full(len(own), RIDGE))[1])


def _error_s(block: Matched) -> float:
    of = block.products
    unexplained = of[1, 1] - of[0, 1] ** 2 / max(of[0, 0], TINY)
    error = np.sqrt(max(unexplained, TINY) / block.samples / max(of[OFFSET, OFFSET], TINY))
    return float(error)
