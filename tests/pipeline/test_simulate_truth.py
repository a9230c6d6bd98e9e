"""Planted clocks, faults and mappings are what they say."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulate_truth import Schedule, recording_truth, schedule_frames
from schemas.base import Band
from schemas.errors import SimulateError
from schemas.recipe import Range
from schemas.simulation import FrameFaults, RecordingTruth, SimulatedRecording, SimulationSettings

RIG = SimulationSettings()


def recording(**planted: object) -> SimulatedRecording:
    return SimulatedRecording.model_validate({"id": "walk", "site": "market-street", **planted})


@given(
    offset_s=st.floats(-5, 5),
    drift_ppm=st.floats(-500, 500),
    jitter_s=st.floats(0, 0.005),
    dropped=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_stamps_tell_the_planted_clock_within_the_jitter(
    offset_s: float, drift_ppm: float, jitter_s: float, dropped: int, seed: int
) -> None:
    planted = recording(
        offset_s=offset_s,
        drift_ppm=drift_ppm,
        jitter_s=jitter_s,
        infrared={"dropped": dropped},
    )

    schedule = schedule_frames(planted, RIG.infrared, "infrared", seed)

    true_s, stamps_s = np.array(schedule.true_times_s), np.array(schedule.stamps_s)
    own_s = true_s * (1 + drift_ppm * 1e-6) + offset_s
    assert np.abs(stamps_s - own_s).max() <= 3 * jitter_s + 1e-6
    assert (np.diff(stamps_s) > 0).all()
    assert (np.diff(true_s) > 0).all()
    assert len(stamps_s) == 8 * 25 - dropped


@given(dropped=st.integers(0, 30), seed=st.integers(0, 99))
def test_a_dropped_frame_leaves_a_gap_where_the_truth_says(dropped: int, seed: int) -> None:
    planted = recording(visible={"dropped": dropped})

    schedule = schedule_frames(planted, RIG.visible, "visible", seed)

    missing = np.rint(np.diff(schedule.true_times_s) * RIG.visible.fps).astype(int) - 1
    gaps = [frame for frame, lost in enumerate(missing) for _ in range(lost)]
    assert tuple(gaps) == schedule.dropped_after
    assert len(gaps) == dropped


@given(repeated=st.integers(0, 8), dead=st.integers(0, 8), seed=st.integers(0, 99))
def test_faulty_frames_keep_apart(repeated: int, dead: int, seed: int) -> None:
    planted = recording(infrared={"repeated": repeated, "dead": dead})

    schedule = schedule_frames(planted, RIG.infrared, "infrared", seed)

    faulty = sorted(schedule.repeated + schedule.dead)
    assert (len(schedule.repeated), len(schedule.dead)) == (repeated, dead)
    assert all(later - earlier >= 3 for earlier, later in pairwise(faulty))


def test_more_faults_than_frames_are_refused_with_the_numbers() -> None:
    planted = recording(duration_s=1, infrared=FrameFaults(dropped=20))

    with pytest.raises(SimulateError, match=r"walk: infrared: 20 dropped.*25.*plant fewer"):
        schedule_frames(planted, RIG.infrared, "infrared", 0)


def truth_at(depth_m: Range) -> RecordingTruth:
    planted = recording(depth_m=depth_m)
    schedules: dict[Band, Schedule] = {
        "infrared": schedule_frames(planted, RIG.infrared, "infrared", 0),
        "visible": schedule_frames(planted, RIG.visible, "visible", 0),
    }
    return recording_truth(RIG, planted, schedules)


def test_parallax_grows_as_things_come_nearer() -> None:
    figures = [truth_at((nearest_m, 1000.0)).parallax_px for nearest_m in (150.0, 20.0, 5.0)]

    assert figures == sorted(figures)
    assert figures[0] < 0.2
    assert figures[2] == pytest.approx(343 * 0.06 / 5, rel=0.1)


def test_truth_survives_its_file() -> None:
    truth = truth_at((150.0, 1000.0))

    assert RecordingTruth.model_validate_json(truth.model_dump_json()) == truth
    assert {thing.name: thing.band for thing in truth.objects} == {
        "poster": "visible",
        "hot-pipe": "infrared",
    }
