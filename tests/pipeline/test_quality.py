"""The quality figures are those of the whole clip, whatever the blocks it came in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.quality import QualitySums, clip_quality, with_block
from schemas.facts import ClipQuality

PAIRS, HEIGHT, WIDTH = 7, 24, 32


def quality(sums: QualitySums) -> ClipQuality:
    return clip_quality(
        sums,
        residual_s=np.array([0.002, -0.004]),
        sync_confidence=0.75,
        registration_confidence=0.5,
    )


def clip(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    infrared = rng.integers(0, 256, (PAIRS, HEIGHT, WIDTH), dtype=np.uint8)
    visible = rng.integers(0, 256, (PAIRS, HEIGHT, WIDTH, 3), dtype=np.uint8)
    valid = np.ones((HEIGHT, WIDTH), np.bool_)
    valid[:5, :7] = False
    return infrared, visible, valid


def test_finds_the_mean_and_contrast_of_the_infrared_frames() -> None:
    infrared, visible, valid = clip(0)

    found = quality(with_block(QualitySums(), infrared, visible, valid))

    inside = infrared[:, valid].astype(np.float64)  # (T, pixels)
    assert found.infrared_mean_levels == pytest.approx(inside.mean())
    assert found.infrared_contrast_levels == pytest.approx(inside.std(axis=1).mean())


def test_grey_visible_frames_have_their_own_mean_and_contrast() -> None:
    infrared, _, valid = clip(1)
    visible = np.repeat(infrared[..., None], 3, axis=-1)

    found = quality(with_block(QualitySums(), infrared, visible, valid))

    assert found.visible_mean_levels == pytest.approx(found.infrared_mean_levels)
    assert found.visible_contrast_levels == pytest.approx(found.infrared_contrast_levels)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    infrared, _, _ = clip(2)
    checkers = (np.indices((HEIGHT, WIDTH)).sum(axis=0) % 2 * 10).astype(np.uint8)
    visible = np.broadcast_to(checkers[None, ..., None], (PAIRS, HEIGHT, WIDTH, 3))

    found = quality(
        with_block(
            QualitySums(), infrared, np.ascontiguousarray(visible), np.ones_like(checkers, np.bool_)
        )
    )

    # Every pixel differs from its four neighbours by 10 levels, up and down in turn.
    assert found.visible_sharpness == pytest.approx(40**2)


def test_what_only_one_camera_sees_does_not_count() -> None:
    infrared, visible, valid = clip(3)
    before = quality(with_block(QualitySums(), infrared, visible, valid))
    infrared[:, ~valid] = 255
    visible[:, ~valid] = 0

    after = quality(with_block(QualitySums(), infrared, visible, valid))

    assert after == before


@given(cut=st.integers(0, PAIRS), seed=st.integers(0, 9))
def test_blocks_do_not_change_the_figures(cut: int, seed: int) -> None:
    infrared, visible, valid = clip(seed)
    whole = with_block(QualitySums(), infrared, visible, valid)

    sums = with_block(QualitySums(), infrared[:cut], visible[:cut], valid)
    sums = with_block(sums, infrared[cut:], visible[cut:], valid)

    assert sums == whole


def test_residuals_count_by_their_size() -> None:
    infrared, visible, valid = clip(4)

    found = quality(with_block(QualitySums(), infrared, visible, valid))

    assert found.mean_residual_s == pytest.approx(0.003)
    assert (found.sync_confidence, found.registration_confidence) == (0.75, 0.5)
