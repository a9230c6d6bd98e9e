"""Residuals: blocks tell where they would rather lie, and how far that spreads."""

import cv2
import numpy as np
import pytest

from pipeline.register_consensus import Surfaces
from pipeline.register_residuals import MIN_BLOCKS, residuals_of

REACH = 10


def surfaces(moves: list[tuple[float, float]], *, height: float = 0.8) -> Surfaces:
    """Blocks in a row, each of which matches best at its own shift."""
    rows, columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    scores = [
        height * np.exp(-((columns - right) ** 2 + (rows - down) ** 2) / 8) for right, down in moves
    ]
    return Surfaces(
        centres=np.array([(16.0 * block, 20.0) for block in range(len(moves))]),
        scores=np.array(scores, np.float32),
        weights=np.full(len(moves), 1 / len(moves)),
        height=100,
        width=200,
    )


def test_blocks_say_where_they_would_rather_lie_to_fractions_of_a_pixel() -> None:
    moves = [(0.3, -1.7), (-4.25, 2.0), (0.0, 0.0)]

    found = residuals_of(surfaces(moves), 0.5)

    assert found.moves_px / 2 == pytest.approx(np.array(moves), abs=0.06)
    assert found.is_trusted.all()
    assert found.centres_px[1] == pytest.approx((32.5, 40.5))


def test_blocks_without_a_distinct_place_are_not_trusted() -> None:
    faint = surfaces([(0.0, 0.0)] * 4, height=0.2)
    edge = surfaces([(0.0, 0.0)] * 4)
    along = np.stack([cv2.blur(score, (1, 2 * REACH + 1)) for score in edge.scores])
    outside = surfaces([(REACH + 2.0, 0.0)] * 4)

    for doubtful in (faint, Surfaces(**vars(edge) | {"scores": along}), outside):
        assert not residuals_of(doubtful, 1.0).is_trusted.any()


def test_parallax_is_the_spread_along_one_direction_and_needs_blocks() -> None:
    spread = [(0.6 * step, 0.8 * step) for step in np.linspace(-3, 3, 40)]

    found = residuals_of(surfaces(spread), 0.5)

    assert found.parallax_px() == pytest.approx(2 * 6 * 0.94, rel=0.05)
    assert found.mean_px() == pytest.approx(2 * 1.5, rel=0.1)
    few = residuals_of(surfaces(spread[: MIN_BLOCKS - 1]), 0.5)
    assert few.parallax_px() is None
    assert few.mean_px() is None
