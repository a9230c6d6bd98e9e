"""Clips are gap-free runs of pairs; nothing is lost without a reason."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clips import cut_clips, stretch_of
from schemas.base import Matrix3x3
from schemas.catalog import Span
from schemas.facts import Stretch


@given(st.lists(st.sampled_from([0.04, 0.04, 0.04, 0.04, 0.2]), max_size=80), st.integers(2, 9))
def test_every_pair_is_in_one_clip_or_left_out_with_its_reason(
    spacings_s: list[float], min_pairs: int
) -> None:
    times_s = np.concatenate([[0.0], np.cumsum(spacings_s)])
    frames = np.arange(times_s.size) * 2

    runs, left_out = cut_clips(frames, times_s, min_pairs=min_pairs)

    covered = [pair for run in runs for pair in run]
    covered += [
        run.first_infrared_frame // 2 + place for run in left_out for place in range(run.pairs)
    ]
    assert sorted(covered) == list(range(times_s.size))
    assert all(len(run) >= min_pairs for run in runs)
    assert all(run.pairs < min_pairs and str(min_pairs) in run.reason for run in left_out)


def test_a_dropped_frame_cuts_and_jitter_does_not() -> None:
    times_s = np.delete(np.arange(30) / 25, 12)
    times_s[5] += 0.012

    runs, left_out = cut_clips(np.delete(np.arange(30), 12), times_s, min_pairs=7)

    assert runs == [range(12), range(12, 29)]
    assert left_out == []


def test_no_pairs_give_no_clips() -> None:
    assert cut_clips(np.zeros(0, np.int64), np.zeros(0), min_pairs=7) == ([], [])


SQUARE: Matrix3x3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def stretch(first: int, end: int) -> Stretch:
    return Stretch(
        first_pair=first, end_pair=end, homography=SQUARE, confidence=1, mean_residual_px=None
    )


def test_a_moved_rig_cuts_and_what_it_saw_while_moving_is_left_out() -> None:
    times_s = np.delete(np.arange(61) / 25, 50)
    stretches = (stretch(0, 20), stretch(24, 60))

    runs, left_out = cut_clips(np.arange(60), times_s, min_pairs=11, stretches=stretches)

    assert runs == [range(20), range(24, 50)]
    assert [(run.first_infrared_frame, run.pairs) for run in left_out] == [(20, 4), (50, 10)]
    assert "the rig moved" in left_out[0].reason
    assert [stretch_of(run, stretches) for run in runs] == list(stretches)


def test_parts_that_the_catalog_leaves_out_become_no_clip() -> None:
    times_s = 100 + np.arange(50) / 25
    unwanted = (
        Span(from_s=0, to_s=0.2, reason="a hand before the lens"),
        Span(from_s=1.0, to_s=1.2, reason="a flash"),
    )

    runs, left_out = cut_clips(
        np.arange(50), times_s, min_pairs=7, leave_out=unwanted, start_s=100.0
    )

    assert runs == [range(5, 25), range(30, 50)]
    assert [(run.first_infrared_frame, run.pairs) for run in left_out] == [(0, 5), (25, 5)]
    assert "a hand before the lens" in left_out[0].reason
