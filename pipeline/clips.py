"""Cuts the pair list of a recording into clips: gap-free runs of pairs."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from schemas.facts import LeftOut

GAP_SPACINGS = 1.5
"""A spacing beyond so many median ones has lost a pair; a jitter of half a period stays below."""


def cut_clips(
    infrared_frames: NDArray[np.int64], infrared_times_s: NDArray[np.float64], *, min_pairs: int
) -> tuple[list[range], list[LeftOut]]:
    """Cut pairs where instants are missing between them.

    Args:
        infrared_frames: frame of the infrared video behind each pair, increasing, (P,).
        infrared_times_s: instant of each pair, increasing, (P,).
        min_pairs: shortest run that becomes a clip.

    Returns:
        The runs as ranges of pair indices, in order, and the runs that are too short to be kept.
    """
    if infrared_times_s.size == 0:
        return [], []
    spacing_s = np.diff(infrared_times_s)
    longest_s = GAP_SPACINGS * float(np.median(spacing_s)) if spacing_s.size else 0.0
    cuts = np.flatnonzero(spacing_s > longest_s) + 1
    bounds = [0, *(int(cut) for cut in cuts), infrared_times_s.size]
    runs = [range(start, stop) for start, stop in pairwise(bounds)]
    left_out = [
        LeftOut(
            first_infrared_frame=int(infrared_frames[run.start]),
            pairs=len(run),
            reason=f"{len(run)} pairs without a gap, fewer than shard.min_pairs {min_pairs}",
        )
        for run in runs
        if len(run) < min_pairs
    ]
    return [run for run in runs if len(run) >= min_pairs], left_out
