"""Counts become grey levels that do not flicker, in an order that is never turned round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.ingest_measure import measure
from pipeline.quality import QualitySums, flicker, with_block
from pipeline.simulate_filming import film
from pipeline.simulate_truth import takes_of
from pipeline.tone import (
    INTERVALS,
    common_change,
    levels_of,
    quantiles,
    tone_curves,
    tone_mapped,
    tone_shares,
)
from schemas.facts import ToneMapping
from schemas.recipe import IngestRecipe
from schemas.simulation import SimulatedRecording, small_simulation
from tests.benchmarks.bench_tone import Effort, measured, ours, section

TONE = ToneMapping(low_counts=7000, high_counts=8020)
RECIPE = IngestRecipe()
SHARES = tone_shares(RECIPE)
FRAMES, FPS = 60, 25.0
TIMES_S = np.arange(FRAMES) / FPS

Counts = NDArray[np.uint16]


@pytest.fixture(scope="module")
def street() -> Counts:
    """A small recording of the simulated rig without any change of the camera, (T, H, W)."""
    recording = SimulatedRecording(id="noon", site="street")
    take = takes_of(small_simulation(recording), recording)["infrared"]
    return np.stack([np.asarray(frame, np.uint16) for frame in film(take, TIMES_S)])


def curves_of(counts: Counts, recipe: IngestRecipe = RECIPE) -> NDArray[np.float32]:
    signals = measure(counts, tone_shares(recipe))
    assert signals.quantiles is not None
    times_s = np.arange(len(counts)) / FPS
    return tone_curves(signals.quantiles, signals.common_counts, times_s, ~signals.dead, recipe)


def test_the_ends_of_the_range_become_black_and_white() -> None:
    counts = np.array([0, 7000, 7004, 8020, 65535], np.uint16)

    assert tone_mapped(counts, TONE).tolist() == [0, 0, 1, 255, 255]


@given(st.integers(0, 65534))
def test_more_counts_are_never_darker(counts: int) -> None:
    pair = np.array([counts, counts + 1], np.uint16)

    darker, brighter = tone_mapped(pair, TONE).tolist()

    assert darker <= brighter


def test_a_level_stands_for_the_counts_nearest_to_it() -> None:
    levels = np.arange(256)
    counts = (7000 + 4 * levels).astype(np.uint16)

    assert tone_mapped(counts, TONE).tolist() == levels.tolist()


def test_a_slow_change_of_the_camera_does_not_flicker_and_detail_is_that_of_clahe(
    street: Counts,
) -> None:
    figures = measured(street, TIMES_S)

    mine, clahe = figures["twinband"], figures["CLAHE by frame, clip limit 3"]
    assert mine.flicker_levels <= 1
    assert mine.flicker_levels < clahe.flicker_levels
    assert mine.detail_levels >= clahe.detail_levels
    assert mine.noise_levels < clahe.noise_levels


def test_a_jump_of_the_camera_at_its_shutter_is_followed_at_once(street: Counts) -> None:
    jumping = street + np.where(np.arange(FRAMES) >= 30, 150, 0)[:, None, None].astype(np.uint16)

    still, jumped = ours(street, TIMES_S, RECIPE), ours(jumping, TIMES_S, RECIPE)

    assert np.abs(jumped.mean(axis=(1, 2)) - still.mean(axis=(1, 2))).max() <= 1


def test_a_hot_thing_that_comes_and_goes_leaves_the_rest_as_it_was(street: Counts) -> None:
    visited = street.copy()
    visited[20:40, 30:60, 20:50] = 12_000
    away = np.ones(street.shape[1:], bool)
    away[30:60, 20:50] = False

    levels = ours(visited, TIMES_S, RECIPE)[:, away].mean(axis=1)

    assert np.abs(np.diff(levels)).max() <= 1


def test_dead_frames_have_no_say_in_the_curves(street: Counts) -> None:
    blinded = street.copy()
    blinded[10:13] = 0

    found, expected = curves_of(blinded), curves_of(street)

    np.testing.assert_allclose(
        np.delete(found, range(10, 13), 0), np.delete(expected, range(10, 13), 0), atol=12
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 999), plateau=st.floats(1, 64), spread=st.integers(1, 20_000))
def test_more_counts_are_never_darker_in_one_frame(seed: int, plateau: float, spread: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, spread, (3, 16, 16)).astype(np.uint16)
    counts[0, 0, 0] = spread

    curves = curves_of(counts, IngestRecipe(tone_plateau=plateau))

    assert curves.shape == (3, INTERVALS + 1)
    assert (np.diff(curves, axis=1) >= 0).all()
    for frame, curve in zip(counts, curves, strict=True):
        levels = levels_of(frame, curve).ravel()[np.argsort(frame, axis=None)]
        assert (np.diff(levels.astype(int)) >= 0).all()


def test_no_curve_is_steeper_than_its_plateau(street: Counts) -> None:
    for plateau in (1.0, 2.0, 5.0):
        curves = curves_of(street, IngestRecipe(tone_plateau=plateau)).astype(np.float64)

        steepest = (np.ptp(curves, axis=1) / INTERVALS) / np.diff(curves, axis=1).min(axis=1)
        assert steepest.max() <= plateau * 1.01


def test_a_plateau_of_one_is_a_straight_line(street: Counts) -> None:
    curves = curves_of(street, IngestRecipe(tone_plateau=1.0))

    lines = np.linspace(curves[:, 0], curves[:, -1], INTERVALS + 1, axis=1)
    np.testing.assert_allclose(curves, lines, atol=0.1)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=30))
def test_quantiles_are_counts_that_occur(counts: list[int]) -> None:
    found = quantiles(np.bincount(counts, minlength=2**16), np.array([0.001, 0.5, 0.999]))

    assert set(found.astype(int)) <= set(counts)
    assert found[0] <= np.median(counts) <= found[2]


@given(common=st.integers(-50, 50), seed=st.integers(0, 99))
def test_the_common_change_is_found_below_what_moves(common: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    change = rng.normal(common, 1, (40, 40))
    change[:6] += rng.choice([-500, 500])  # a seventh of the picture

    assert common_change(change) == pytest.approx(common, abs=0.5)


def test_flicker_is_the_largest_common_change_of_a_clip() -> None:
    scene = np.random.default_rng(0).integers(40, 200, (6, 24, 32)).astype(np.int16)
    scene[:] = scene[0]
    shift = np.array([0, 0, 3, 3, -4, -4])
    infrared = (scene + shift[:, None, None]).astype(np.uint8)
    visible = np.zeros((6, 24, 32, 3), np.uint8)
    valid = np.ones((24, 32), bool)

    whole = with_block(QualitySums(), infrared, visible, valid)
    halves = with_block(
        with_block(QualitySums(), infrared[:3], visible[:3], valid),
        infrared[3:],
        visible[3:],
        valid,
    )

    assert whole.infrared_flicker_levels == halves.infrared_flicker_levels == 7
    assert flicker(infrared[2], infrared[1], valid) == 3
    assert flicker(infrared[2], None, valid) == 0
    assert flicker(infrared[2], infrared[1], ~valid) == 0


def test_every_way_is_measured_for_the_page() -> None:
    recording = SimulatedRecording(id="noon", site="street")

    found = section(Effort(("noon",), 10, small_simulation(recording)))

    assert len(found.claims) == 2
    assert {"twinband", "percentiles by frame"} <= {row[0] for row in found.tables[0].rows}
