"""The board's corners are found in what infrared cameras make of it."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.calibrate_corners import find_corners
from pipeline.simulate_board import film_board
from schemas.facts import Checkerboard
from tests.pipeline.board_views import (
    BOARD,
    FILMED,
    posed,
    take_of,
    tilted_everywhere,
    true_corners,
)

Counts = NDArray[np.float32]

POSES = tilted_everywhere(2)[:12:4]
RNG_SEED = 5


@cache
def filmed() -> tuple[Counts, ...]:
    frames = film_board(FILMED, POSES, take_of("infrared"))
    return tuple(frame.astype(np.float32) for frame in frames)


def error_px(frame: NDArray[np.uint8] | NDArray[np.uint16], index: int, shrunk: int = 1) -> float:
    found = find_corners(frame, BOARD)
    if found is None:
        return np.inf
    expected = (true_corners(POSES[index]) + 0.5) / shrunk - 0.5
    return float(np.linalg.norm(found - expected, axis=1).mean())


def as_filmed(counts: Counts) -> Counts:
    return counts


def cooled(counts: Counts) -> Counts:
    return np.asarray(16000 - counts, np.float32)


def blurred(counts: Counts) -> Counts:
    return np.asarray(cv2.GaussianBlur(counts, (0, 0), 2.0), np.float32)


def noisy(counts: Counts) -> Counts:
    rng = np.random.default_rng(RNG_SEED)
    stripes = rng.normal(0, 40, (1, counts.shape[1]))
    return np.asarray(counts + rng.normal(0, 60, counts.shape) + stripes, np.float32)


def warmed_on_one_side(counts: Counts) -> Counts:
    rows, columns = np.mgrid[: counts.shape[0], : counts.shape[1]]
    distance = np.hypot(columns / counts.shape[1] - 0.3, rows / counts.shape[0] - 0.4)
    warmth = 0.15 + 0.85 * np.exp(-(distance**2) / 0.125)
    cold = np.median(counts)
    return np.asarray(cold + (counts - cold) * warmth + 900 * warmth, np.float32)


def beside_a_lamp(counts: Counts) -> Counts:
    lit = counts.copy()
    lit[:35, :55] += 12000
    return lit


@pytest.mark.parametrize(
    ("spoil", "most_px"),
    [
        (as_filmed, 0.1),
        (cooled, 0.1),
        (blurred, 0.15),
        (noisy, 0.3),
        (warmed_on_one_side, 0.3),
        (beside_a_lamp, 0.1),
    ],
)
def test_corners_are_found_where_they_are(
    spoil: Callable[[Counts], Counts], most_px: float
) -> None:
    for index, counts in enumerate(filmed()):
        frame = np.clip(np.rint(spoil(counts)), 0, 65535).astype(np.uint16)

        assert error_px(frame, index) < most_px


def test_corners_are_found_at_a_quarter_of_the_pixels() -> None:
    for index, counts in enumerate(filmed()):
        small = cv2.resize(counts, (160, 128), interpolation=cv2.INTER_AREA)

        assert error_px(small.astype(np.uint16), index, shrunk=2) < 0.1


def test_eight_bits_do() -> None:
    for index, counts in enumerate(filmed()):
        levels = np.clip((counts - 7000) / 8, 0, 255).astype(np.uint8)

        assert error_px(levels, index) < 0.1


def test_equal_poses_give_corners_in_equal_order_whatever_their_contrast() -> None:
    counts = filmed()[0].astype(np.uint16)

    one, other = find_corners(counts, BOARD), find_corners(16000 - counts, BOARD)

    assert one is not None
    assert other is not None
    assert np.abs(one - other).max() < 0.1


def test_a_board_of_other_size_is_not_taken_for_this_one() -> None:
    frame = filmed()[0].astype(np.uint16)

    assert find_corners(frame, Checkerboard(columns=10, rows=7)) is None


def test_a_board_half_out_of_view_is_not_found() -> None:
    pose = posed((0.0, 0.0), (20.0, 126.0), 2.0)
    frame = next(film_board(FILMED, [pose], take_of("infrared")))

    assert find_corners(frame, BOARD) is None


def test_a_blank_frame_holds_no_board() -> None:
    assert find_corners(np.zeros((256, 320), np.uint16), BOARD) is None
    assert find_corners(np.full((48, 64, 3), 255, np.uint8), BOARD) is None
