"""What an alignment rests on is read back as it was found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.align_evidence import Clocks, lively_frames
from pipeline.sync import evidence_arrays, kept_evidence
from pipeline.sync_clock import Evidence

MOVING = 17


@given(
    offset_s=st.floats(-60, 60),
    drift_ppm=st.floats(-500, 500),
    visible_s=st.floats(0, 1e5),
)
def test_the_offset_at_an_instant_is_what_parts_the_two_clocks(
    offset_s: float, drift_ppm: float, visible_s: float
) -> None:
    clocks = Clocks(None, offset_s, drift_ppm, middle_s=0, period_s=0.04)
    infrared_s = visible_s * (1 + drift_ppm * 1e-6) + offset_s

    told_s = clocks.offset_at(np.array([infrared_s]))

    assert told_s[0] == pytest.approx(infrared_s - visible_s, abs=1e-6)


def test_the_evidence_that_sync_keeps_is_read_back() -> None:
    offsets_s, scores, block_times_s, block_offsets_s, block_errors_s = np.arange(25.0).reshape(
        5, 5
    )
    evidence = Evidence(
        offsets_s, scores, block_times_s, block_offsets_s, block_errors_s, offset_s=0.25
    )

    back = kept_evidence(evidence_arrays(evidence))

    assert back is not None
    assert back.offset_s == evidence.offset_s
    for name in ("offsets_s", "scores", "block_times_s", "block_offsets_s", "block_errors_s"):
        np.testing.assert_array_equal(getattr(back, name), getattr(evidence, name))


def test_a_declared_clock_has_no_evidence() -> None:
    assert kept_evidence({"infrared_frames": np.arange(3)}) is None


def signals() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """Of two cameras of which one starts later and films faster; ten frames hold movement."""
    motion = np.zeros((100, 3, 4), np.float32)
    motion[MOVING : MOVING + 11] = np.linspace(5, 6, 11)[:, None, None]
    motion[70] = 200  # a flash
    return {
        "infrared_motion": motion,
        "infrared_usable": np.ones(100, np.bool_),
        "infrared_times_s": 3 + np.arange(100) / 25,
        "visible_times_s": 8 + np.arange(120) / 30,
    }


def test_a_lively_instant_is_shown_and_no_flash() -> None:
    infrared = np.arange(5, 95)

    shown, partner = lively_frames(
        signals(), {"infrared_frames": infrared, "visible_frames": infrared + 2}
    )

    assert MOVING <= shown <= MOVING + 10
    assert partner == shown + 2


def test_without_pairs_the_frame_of_the_same_file_time_stands_beside_it() -> None:
    shown, partner = lively_frames(signals(), None)

    assert MOVING <= shown <= MOVING + 10
    assert partner / 30 == pytest.approx(shown / 25, abs=1 / 30)
