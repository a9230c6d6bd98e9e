"""Cuts the pair list of a recording into clips: gap-free runs of pairs."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from schemas.catalog import Span
from schemas.facts import LeftOut, Stretch

GAP_SPACINGS = 1.5
"""A spacing beyond so many median ones has lost a pair; a jitter of half a period stays below."""


def cut_clips(
    infrared_frames: NDArray[np.int64],
    infrared_times_s: NDArray[np.float64],
    *,
    min_pairs: int,
    stretches: Sequence[Stretch] = (),
    leave_out: Sequence[Span] = (),
    start_s: float = 0.0,
) -> tuple[list[range], list[LeftOut]]:
    """Cut pairs where instants are missing between them, and where the rig moved.

    Args:
        infrared_frames: frame of the infrared video behind each pair, increasing, (P,).
        infrared_times_s: instant of each pair, increasing, (P,).
        min_pairs: shortest run that becomes a clip.
        stretches: over which the rig kept still, in order; none: it always did.
        leave_out: parts of the recording that are not wanted.
        start_s: instant of the recording's first infrared frame, which those parts count from.

    Returns:
        The runs as ranges of pair indices, in order, and the runs that are left out: unwanted and
        too short ones, and pairs during which the rig moved.
    """
    count = infrared_times_s.size
    if count == 0:
        return [], []
    spacing_s = np.diff(infrared_times_s)
    longest_s = GAP_SPACINGS * float(np.median(spacing_s)) if spacing_s.size else 0.0
    cuts = {int(cut) + 1 for cut in np.flatnonzero(spacing_s > longest_s)}
    moves = {bound for each in stretches for bound in (each.first_pair, each.end_pair)}
    parts = [np.searchsorted(infrared_times_s - start_s, (s.from_s, s.to_s)) for s in leave_out]
    moves |= {int(bound) for part in parts for bound in part}
    bounds = sorted({0, count} | cuts | {bound for bound in moves if 0 < bound < count})
    kept: list[range] = []
    left_out: list[LeftOut] = []
    for run in (range(start, stop) for start, stop in pairwise(bounds)):
        unwanted = [s for s, (a, b) in zip(leave_out, parts, strict=True) if a <= run.start < b]
        reason = None
        if unwanted:
            reason = f"the catalog leaves {len(run)} pairs out: {unwanted[0].reason}"
        elif stretches and not any(e.first_pair <= run.start < e.end_pair for e in stretches):
            reason = f"the rig moved during these {len(run)} pairs"
        elif len(run) < min_pairs:
            reason = f"{len(run)} pairs without a gap, fewer than shard.min_pairs {min_pairs}"
        if reason is None:
            kept.append(run)
        else:
            first = int(infrared_frames[run.start])
            left_out.append(LeftOut(first_infrared_frame=first, pairs=len(run), reason=reason))
    return kept, left_out


def stretch_of(run: range, stretches: Sequence[Stretch]) -> Stretch | None:
    """The stretch that a run lies in; None where there are none."""
    return next((each for each in stretches if each.first_pair <= run.start < each.end_pair), None)
