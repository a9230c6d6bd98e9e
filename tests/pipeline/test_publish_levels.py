"""Statistics of many clips are those of all their samples at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.publish_levels import statistics_of
from pipeline.quality import added, deviation_levels, mean_levels, sums_of
from schemas.facts import ClipFacts, ClipQuality, LevelSums

SEEDS = st.integers(0, 2**32)


def counted(levels: list[int]) -> LevelSums:
    return LevelSums(
        samples=len(levels), levels=sum(levels), squared_levels=sum(level**2 for level in levels)
    )


def clip_of(levels: list[int]) -> ClipFacts:
    return ClipFacts(
        clip="dock-000000",
        fingerprint="1" * 32,
        pairs=7,
        fps=25,
        width=32,
        height=24,
        root_hash="2" * 64,
        homography=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        offset_s=0,
        drift_ppm=0,
        quality=ClipQuality(**dict.fromkeys(ClipQuality.model_fields, 0.5)),
        infrared_levels=counted(levels),
        visible_levels=counted(levels[::-1]),
    )


@given(
    seed=SEEDS,
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    low=st.integers(0, 255),
    seen=st.floats(0, 1),
)
def test_the_sums_of_a_frame_are_exact(
    seed: int, height: int, width: int, low: int, seen: float
) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(low, 256, (height, width), np.uint8)
    inside = (rng.random((height, width)) < seen).astype(np.uint8)

    found = sums_of(frame, inside)

    assert found == counted(frame[inside > 0].astype(int).tolist())


def test_the_sums_of_a_large_bright_frame_are_exact() -> None:
    frame = np.full((4000, 5000), 255, np.uint8)
    frame[0, 0] = 254

    found = sums_of(frame, np.ones_like(frame))

    samples = frame.size - 1
    assert found == added(
        counted([254]),
        LevelSums(samples=samples, levels=255 * samples, squared_levels=255**2 * samples),
    )


@given(st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=20), min_size=1, max_size=8))
def test_statistics_are_those_of_all_samples_whatever_the_clips(clips: list[list[int]]) -> None:
    found = statistics_of(clip_of(levels) for levels in clips)

    pooled = np.concatenate([np.array(levels, np.float64) for levels in clips])
    assert found is not None
    for band in (found.infrared, found.visible):
        assert band.mean_levels == pytest.approx(pooled.mean())
        assert band.deviation_levels == pytest.approx(pooled.std(), abs=1e-9)


@given(st.permutations([clip_of([3, 7]), clip_of([200]), clip_of([0, 0, 255])]))
def test_the_order_of_the_clips_changes_no_digit(clips: list[ClipFacts]) -> None:
    assert statistics_of(clips) == statistics_of(sorted(clips, key=str))


def test_no_sample_has_no_statistics() -> None:
    assert statistics_of([]) is None
    assert mean_levels(LevelSums()) == deviation_levels(LevelSums()) == 0
