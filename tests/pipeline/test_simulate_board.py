"""The calibration footage shows the board where the truth says, all over the view."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.simulate_board import board_corners, film_board, place, seen_pixels
from pipeline.simulate_cameras import Take
from pipeline.simulate_truth import calibration_takes, calibration_truth
from schemas.base import Band
from schemas.simulation import CalibrationBoard, CalibrationTruth, SimulationSettings

RIG = SimulationSettings()
BOARD = CalibrationBoard(poses=6, frames_per_pose=1)


@pytest.fixture(scope="module")
def truth() -> CalibrationTruth:
    return calibration_truth(RIG, BOARD)


def true_corners(truth: CalibrationTruth, take: Take) -> list[NDArray[np.float64]]:
    return [seen_pixels(place(board_corners(truth.board), pose), take) for pose in truth.poses]


@pytest.mark.parametrize("band", ["infrared", "visible"])
def test_both_cameras_see_every_corner_where_it_is(truth: CalibrationTruth, band: Band) -> None:
    take = calibration_takes(RIG)[band]
    expected = true_corners(truth, take)

    for frame, corners in zip(film_board(BOARD, truth.poses, take), expected, strict=True):
        grey = _paper_bright(frame)
        found, seen = cv2.findChessboardCornersSB(grey, (BOARD.columns, BOARD.rows))
        assert found
        refined = cv2.cornerSubPix(grey, seen, (4, 4), (-1, -1), (3, 40, 1e-3)).reshape(-1, 2)
        error_px = min(
            float(np.linalg.norm(order - corners, axis=1).mean())
            for order in (refined, refined[::-1])
        )
        assert error_px < 0.15


def _paper_bright(frame: NDArray[np.generic]) -> NDArray[np.uint8]:
    if frame.ndim == 3:
        return np.asarray(np.asarray(frame, np.float32).mean(axis=2), np.uint8)
    counts = np.asarray(frame, np.float32)
    return np.asarray(np.clip(255 - (counts - 7000) * 255 / 1800, 0, 255), np.uint8)


def test_the_poses_reach_every_part_of_the_infrared_view() -> None:
    everything = calibration_truth(RIG, CalibrationBoard())
    corners = np.concatenate(true_corners(everything, calibration_takes(RIG)["infrared"]))

    assert len(everything.poses) == 25
    assert corners.min() >= 0
    assert (np.ptp(corners, axis=0) > (0.82 * 320, 0.78 * 256)).all()


def test_poses_differ_in_tilt(truth: CalibrationTruth) -> None:
    facing = [np.array(pose.rotation)[2, 2] for pose in truth.poses]

    assert min(facing) < 0.93
