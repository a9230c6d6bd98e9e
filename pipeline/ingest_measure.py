"""What one pass over a stream measures of every frame: motion, faults, and the counts it holds."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.image_files import Frame
from pipeline.tone import common_change, quantiles

GRID = (24, 32)
"""Rows and columns of regions whose motion is kept: fine enough to time what passes them."""

MOTION_PX = 96
"""Shorter side of the grey images motion is measured on: noise averages out, people do not."""

COUNTS = 2**16
"""Values that a 16-bit sample can take."""

COUNTS_PER_LEVEL = 256.0
"""16-bit counts per grey level, for motion in grey levels before any tone mapping is known."""

TORN_SHARE = 1 / 16
"""Rows of a frame that must be old or blank before it is called torn; fewer may be chance."""

SKIPPED_SHARE = 0.1
"""Where more frames than these have stale rows, a codec has skipped what does not move: frames of
M3SVD that were decoded and stored as PNG. No frame of such a stream is called torn."""


@dataclass(frozen=True)
class Signals:
    """What one pass over a stream yields for each frame."""

    motion: NDArray[np.float32]
    """Mean absolute difference to the frame before, by region, grey levels, (T, rows, columns)."""
    repeated: NDArray[np.bool_]
    """Equal to the frame before, (T,)."""
    dead: NDArray[np.bool_]
    """One single value all over, (T,)."""
    stale: NDArray[np.int64]
    """Rows at the top or at the bottom that are old or blank, as `stale_rows` counts them, (T,)."""
    histogram: NDArray[np.int64] | None
    """How often each count occurs in frames that are not dead, (65536,); None for 8 bits."""
    quantiles: NDArray[np.float32] | None
    """Of the counts of every frame, (T, shares); None for 8 bits."""
    common_counts: NDArray[np.float64]
    """Change of the whole picture since the last frame that is not dead, (T,)."""
    first_alive: NDArray[np.float32] | None = None
    """A small picture of the first frame that is not dead, grey levels, (h, w); None: all are."""
    last_alive: NDArray[np.float32] | None = None
    """The same of the last one; of the first frame where all are dead, None where none is."""


def measure(
    frames: Iterable[Frame], shares: NDArray[np.float64], before: Frame | None = None
) -> Signals:
    """Motion by region, faults and counts of a stream, in constant memory per frame.

    Args:
        frames: grey (H, W) or RGB (H, W, 3), all of one size.
        shares: of a 16-bit frame's samples, at which its quantiles are taken, increasing.
        before: the frame before the first one; None: it is the stream's first.
    """
    motion, measured = bytearray(), bytearray()  # small arrays between large ones scatter the heap
    repeated: list[bool] = []
    dead: list[bool] = []
    stale: list[int] = []
    common: list[float] = []
    histogram: NDArray[np.int64] | None = None
    small_before = None if before is None else _small_grey(before)
    first_alive, small_alive = None, small_before
    for frame in frames:
        small = _small_grey(frame)
        is_first = before is None
        if before is None or small_before is None or small_alive is None:
            before, small_before, small_alive = frame, small, small
        change = np.abs(small - small_before)
        motion += cv2.resize(change, GRID[::-1], interpolation=cv2.INTER_AREA).tobytes()
        is_still = not is_first and not change.any()  # cheap, and no repeated frame moves
        repeated.append(is_still and np.array_equal(frame, before))
        dead.append(int(frame.min()) == int(frame.max()))
        stale.append(0 if repeated[-1] or is_first else stale_rows(frame, before))
        common.append(0.0 if dead[-1] else common_since(small, small_alive))
        if frame.dtype == np.uint16:
            counted = np.bincount(frame.ravel(), minlength=COUNTS)
            measured += quantiles(counted, shares).tobytes()
            histogram = np.zeros(COUNTS, np.int64) if histogram is None else histogram
            histogram += 0 if dead[-1] else counted
        before, small_before = frame, small
        if not dead[-1]:
            small_alive = small
            first_alive = small if first_alive is None else first_alive
    return Signals(
        motion=np.frombuffer(motion, np.float32).reshape(-1, *GRID),
        repeated=np.array(repeated, bool),
        dead=np.array(dead, bool),
        stale=np.array(stale, np.int64),
        histogram=histogram,
        quantiles=np.frombuffer(measured, np.float32).reshape(-1, shares.size)
        if measured
        else None,
        common_counts=np.array(common, np.float64),
        first_alive=first_alive,
        last_alive=small_alive,
    )


def common_since(small: NDArray[np.float32], alive: NDArray[np.float32]) -> float:
    """Change of the whole picture between two small ones, counts."""
    return common_change(small - alive) * COUNTS_PER_LEVEL


def stale_rows(frame: Frame, before: Frame) -> int:
    """Rows at the top, or at the bottom, that are old or blank: the longer run of the two.

    Old means equal to the frame before, as when a buffer is read out while it is filled; blank
    means of one single value, as when a transfer breaks off.
    """
    if not _stale(frame[[0, -1]], before[[0, -1]]).any():
        return 0
    fresh = np.flatnonzero(~_stale(frame, before))
    return max(int(fresh[0]), frame.shape[0] - 1 - int(fresh[-1])) if fresh.size else 0


def _stale(frame: Frame, before: Frame) -> NDArray[np.bool_]:
    """Which rows are old or blank, (H,)."""
    rows, old = frame.reshape(len(frame), -1), before.reshape(len(before), -1)
    return np.asarray((rows == old).all(axis=1) | (rows.min(axis=1) == rows.max(axis=1)))


def torn_frames(
    stale: NDArray[np.int64], is_alive: NDArray[np.bool_], height: int
) -> NDArray[np.bool_]:
    """Which frames of a lossless stream are torn: they have stale rows, and others have none.

    Not to be asked of lossy codecs: they repeat what does not move, up to 32 rows at the border in
    one frame of a hundred of M3SVD.

    Args:
        stale: rows of every frame as `stale_rows` counts them, (T,).
        is_alive: frames that are neither dead nor repeated, (T,).
        height: rows of a frame.

    Returns:
        (T,).
    """
    known = stale[is_alive]
    if not known.size or (known > np.median(known)).mean() > SKIPPED_SHARE:
        return np.zeros(stale.shape, bool)
    least = np.median(known) + TORN_SHARE * height
    return np.asarray(is_alive & (stale >= least))


def _small_grey(frame: Frame) -> NDArray[np.float32]:
    """A small grey image of a frame, grey levels of 8 bits."""
    scale = min(1.0, MOTION_PX / min(frame.shape[:2]))
    height, width = (round(side * scale) for side in frame.shape[:2])
    size = (max(GRID[1], width), max(GRID[0], height))
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim > 2 else frame
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    per_level = COUNTS_PER_LEVEL if frame.dtype == np.uint16 else 1.0
    return np.asarray(small / per_level, np.float32)
