"""Sync: planted clocks are found from motion, and what cannot be trusted is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.sync import pair_frames
from pipeline.sync_clock import Start, estimate_clock, settled
from pipeline.sync_fit import Clock
from pipeline.sync_motion import Motion, without_rhythm
from pipeline.sync_resting import frames_at_once, view_through
from pipeline.sync_views import View
from schemas.errors import SyncError
from schemas.recipe import SyncRecipe

ROWS, COLUMNS = 24, 32
MOVER_SIZE = 0.04
"""Of a mover, in parts of the image: a person ten metres away."""

Times = NDArray[np.float64]


def walk(times_s: Times, rng: np.random.Generator, reach: float) -> Times:
    """Where someone is who walks, stops and turns at random instants, -0.5 to 0.5, (T,)."""
    turns_s = np.cumsum(rng.uniform(0.4, 2, 80)) - 4
    paces = rng.uniform(0, reach, 80) * rng.choice([-1, 0, 1], 80)
    walked = np.concatenate([[0], np.cumsum(paces[1:] * np.diff(turns_s))])
    place = rng.uniform(-0.4, 0.4) + np.interp(times_s, turns_s, walked)
    return np.asarray(np.abs((place + 0.4) % 1.6 - 0.8) - 0.4, np.float64)  # turns at the borders


def scene(
    times_s: Times, seed: int, *, scale: float = 1.0, movers: int = 5, bend: float = 0.0
) -> Motion:
    """Who walks before a camera that shows things `scale` times as small, bent by its lens."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(
        (np.arange(ROWS) + 0.5) / ROWS - 0.5, (np.arange(COLUMNS) + 0.5) / COLUMNS - 0.5,
        indexing="ij",
    )  # fmt: skip
    images = np.zeros((times_s.size, ROWS, COLUMNS))
    for _ in range(movers):
        down, right = walk(times_s, rng, 0.1), walk(times_s, rng, 0.5)
        shown = (1 + bend * (down**2 + right**2)) / scale
        down, right = down * shown, right * shown
        away = (y - down[:, None, None]) ** 2 + (x - right[:, None, None]) ** 2
        images += 60 * np.exp(-away * scale**2 / (2 * MOVER_SIZE**2))
    noise = np.random.default_rng(seed + 1000 + round(100 * scale))
    levels = np.abs(np.diff(images, axis=0, prepend=images[:1]))
    return Motion(times_s, levels + noise.normal(1, 0.1, levels.shape))


def filmed(
    seed: int,
    *,
    offset_s: float,
    duration_s: float,
    drift_ppm: float = 0.0,
    bend: float = 0.0,
) -> tuple[Motion, Motion]:
    """Infrared at 25 and visible at 30 frames a second, each stamped by its own clock."""
    rng = np.random.default_rng(seed)
    infrared_s = np.arange(0, duration_s, 1 / 25) + rng.normal(0, 1e-3, round(duration_s * 25))
    visible_s = np.arange(0, duration_s, 1 / 30) + rng.normal(0, 1e-3, round(duration_s * 30))
    kept = np.delete(np.arange(infrared_s.size), [40, 90])  # two dropped frames
    here, there = scene(infrared_s[kept], seed), scene(visible_s, seed, scale=1.2, bend=bend)
    # infrared time = visible time * (1 + drift) + offset, and the visible clock is the world's.
    stamped_s = here.times_s * (1 + drift_ppm * 1e-6) + offset_s
    return Motion(stamped_s, here.levels), there


@pytest.mark.parametrize(("seed", "offset_s"), [(1, 0.35), (2, -0.817), (3, 1.234)])
def test_a_planted_offset_is_found_to_a_tenth_of_a_frame(seed: int, offset_s: float) -> None:
    fit = estimate_clock(*filmed(seed, offset_s=offset_s, duration_s=12), SyncRecipe())

    assert fit.offset_s == pytest.approx(offset_s, abs=0.1 / 30)
    assert fit.drift_ppm == 0
    assert fit.confidence > 0.5


@pytest.mark.parametrize("drift_ppm", [-150.0, 30.0])
def test_a_planted_drift_is_found_in_a_minute(
    drift_ppm: float,
) -> None:
    found = estimate_clock(
        *filmed(4, offset_s=0.5, duration_s=60, drift_ppm=drift_ppm), SyncRecipe()
    )

    assert found.drift_ppm == pytest.approx(drift_ppm, abs=20)
    assert found.offset_s == pytest.approx(0.5, abs=0.1 / 30)


@pytest.mark.parametrize("seed", [4, 5])
def test_a_lens_that_bends_one_view_does_not_hide_the_drift(seed: int) -> None:
    found = estimate_clock(
        *filmed(seed, offset_s=0.5, duration_s=60, drift_ppm=-80, bend=0.4), SyncRecipe()
    )

    assert found.drift_ppm == pytest.approx(-80, abs=10)
    assert found.offset_s == pytest.approx(0.5, abs=0.05 / 30)


def test_what_one_band_alone_shows_does_not_move_the_offset() -> None:
    here, there = filmed(3, offset_s=0.4, duration_s=12)
    lights = np.zeros_like(there.levels)
    for frame in range(60, 240):  # headlights ahead of a car that infrared sees later
        lights[frame, 12:15, (frame - 60) // 8 : (frame - 60) // 8 + 3] = 6
    lit = Motion(there.times_s, there.levels + lights)

    found = estimate_clock(here, lit, SyncRecipe())

    assert found.offset_s == pytest.approx(0.4, abs=0.25 / 30)


def test_videos_of_different_places_are_refused() -> None:
    here, _ = filmed(5, offset_s=0, duration_s=12)
    _, there = filmed(6, offset_s=0, duration_s=12)

    with pytest.raises(SyncError, match="give the recording an offset_s, or a span"):
        estimate_clock(here, there, SyncRecipe())


def test_a_still_scene_is_refused_with_the_band_and_the_remedy() -> None:
    here, there = filmed(7, offset_s=0, duration_s=12)
    still = Motion(there.times_s, np.zeros_like(there.levels))

    with pytest.raises(
        SyncError, match=r"visible video shows no motion in 12.0 s; give .*offset_s"
    ):
        estimate_clock(here, still, SyncRecipe())


def test_two_still_scenes_with_noise_are_refused_with_the_remedy() -> None:
    rng = np.random.default_rng(9)
    here, there = (
        Motion(np.arange(240) / fps, np.abs(rng.normal(0, 1, (240, ROWS, COLUMNS))))
        for fps in (25, 30)
    )

    with pytest.raises(SyncError, match="give the recording an offset_s, or a span"):
        estimate_clock(here, there, SyncRecipe())


def test_frames_that_were_lost_behind_even_timestamps_show_as_a_clock_that_wanders() -> None:
    here, there = filmed(3, offset_s=0.4, duration_s=20)
    kept = np.delete(np.arange(there.times_s.size), 300)
    lying = Motion(there.times_s[:-1], there.levels[kept])

    honest, found = (estimate_clock(here, each, SyncRecipe()).evidence for each in (there, lying))

    assert honest is not None
    assert found is not None
    assert honest.wander_s() < 0.1 / 30
    assert found.wander_s() > 0.3 / 30


def test_motion_that_leaves_doubt_is_settled_by_the_view_of_what_rests() -> None:
    here, there = filmed(2, offset_s=-0.817, duration_s=12)
    strict = SyncRecipe(min_confidence=0.75)
    true_view = View((1 / 1.2, 0, 0), (0, 1 / 1.2, 0))

    asked: list[float] = []

    def resting(clock: Clock) -> View:
        asked.append(clock.offset_s)
        return true_view

    with pytest.raises(SyncError):
        estimate_clock(here, there, strict)
    found = estimate_clock(here, there, strict, resting)

    assert found.offset_s == pytest.approx(-0.817, abs=0.1 / 30)
    assert asked == [pytest.approx(-0.817, abs=2 / 30)]  # so that frames show the same instants


@given(
    st.integers(2, 200),
    st.integers(2, 200),
    st.floats(10, 60),
    st.floats(10, 60),
    st.floats(-3, 3),
    st.integers(1, 12),
)
def test_frames_at_once_are_neighbours_in_time_spread_over_the_overlap(
    here_count: int,
    there_count: int,
    here_fps: float,
    there_fps: float,
    offset_s: float,
    count: int,
) -> None:
    here_s, there_s = np.arange(here_count) / here_fps, np.arange(there_count) / there_fps

    here, there = frames_at_once(here_s, there_s, Clock(0.0, offset_s), count)

    apart_s = here_s[here] - offset_s - there_s[there]
    assert (np.abs(apart_s) <= 0.5 / there_fps + 1e-9).all()
    assert (np.diff(here) > 0).all()
    shared = [t for t in here_s - offset_s if there_s[0] <= t <= there_s[-1]]
    assert len(here) == min(count, len(shared))
    if len(here) > 1:
        part_s = (shared[-1] - shared[0]) / len(here)
        assert (np.diff(here_s[here]) <= part_s + 2 / here_fps).all()


def test_two_answers_that_are_one_are_trusted_more_and_others_not() -> None:
    view = View()

    def start(offset_s: float, confidence: float) -> Start:
        return Start(Clock(0.0, offset_s), view, confidence)

    shown = start(0.51, 0.4)

    both = settled(start(0.5, 0.3), shown, 1 / 30)
    assert both.clock == shown.clock
    assert both.confidence == pytest.approx(1 - 0.7 * 0.6)
    assert settled(start(0.6, 0.3), shown, 1 / 30) == shown
    assert settled(start(0.6, 0.45), shown, 1 / 30) == start(0.6, 0.45)


def test_a_video_of_a_second_is_refused() -> None:
    here, there = filmed(8, offset_s=0, duration_s=4)
    short = Motion(there.times_s[:30], there.levels[:30])

    with pytest.raises(SyncError, match=r"the visible video lasts 1\.0 s, less than the 2 s"):
        estimate_clock(here, short, SyncRecipe())


def test_a_rhythm_of_keyframes_is_removed_and_nothing_else() -> None:
    rng = np.random.default_rng(9)
    movement = rng.normal(0, 1, (240, 3)).astype(np.float32)
    rhythm = np.zeros((240, 3), np.float32)
    rhythm[::12] = 20

    freed = without_rhythm(movement + rhythm)

    assert np.abs(freed - freed.mean(axis=0) - (movement - movement.mean(axis=0))).mean() < 0.3
    assert np.array_equal(without_rhythm(movement), movement)


def test_the_view_through_a_homography_is_where_infrared_pixels_lie() -> None:
    homography = np.array([[0.5, 0, 10.0], [0, 0.5, -6.0], [0, 0, 1]])

    view = view_through(homography, (320, 240), (640, 480))

    assert view.right == pytest.approx((1, 0, -20 / 640), abs=2e-3)
    assert view.down == pytest.approx((0, 1, 12 / 480), abs=2e-3)


increasing = st.lists(st.floats(0.001, 0.1, allow_nan=False), min_size=1, max_size=60).map(
    lambda spacings: np.cumsum(np.array(spacings))
)


@given(increasing, increasing, st.floats(-0.2, 0.2), st.floats(0.001, 0.1))
def test_pairs_are_mutual_neighbours_in_order(
    infrared_s: Times, visible_s: Times, offset_s: float, bound_s: float
) -> None:
    pairs = pair_frames(
        infrared_s, visible_s, offset_s=offset_s, drift_ppm=0, max_residual_s=bound_s
    )

    moved_s = visible_s + offset_s
    distances_s = np.abs(infrared_s[:, None] - moved_s[None, :])
    assert (np.diff(pairs.infrared_frames) > 0).all()
    assert (np.diff(pairs.visible_frames) > 0).all()
    for here, there in zip(pairs.infrared_frames, pairs.visible_frames, strict=True):
        assert distances_s[here, there] <= bound_s
        assert distances_s[here, there] <= distances_s[here].min() + 1e-12
        assert distances_s[here, there] <= distances_s[:, there].min() + 1e-12


def test_frames_are_paired_by_time_and_not_by_their_place_in_the_list() -> None:
    infrared_s = np.arange(10) / 25
    visible_s = np.delete(np.arange(12) / 30, 3) - 0.5  # its fourth frame was dropped

    pairs = pair_frames(infrared_s, visible_s, offset_s=0.5, drift_ppm=0, max_residual_s=0.011)

    assert dict(zip(pairs.infrared_frames, pairs.visible_frames, strict=True))[5] == 5
    assert 3 not in pairs.infrared_frames[pairs.visible_frames == 2]
    assert np.abs(pairs.residual_s).max() <= 0.011
