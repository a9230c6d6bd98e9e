"""Views of a checkerboard with every truth known, filmed or worked out, for calibration's tests."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.calibrate_corners import Corners, find_corners
from pipeline.calibrate_fit import View
from pipeline.geometry import distorted, undistorted
from pipeline.simulate_board import board_corners, film_board, place, seen_pixels
from pipeline.simulate_cameras import Take, rotation_of, rows_of
from pipeline.simulate_truth import calibration_takes, calibration_truth
from schemas.base import Band
from schemas.catalog import Lens
from schemas.facts import Checkerboard
from schemas.simulation import BoardPose, CalibrationBoard, SimulationSettings

RIG = SimulationSettings()
FILMED = CalibrationBoard(frames_per_pose=1)
BOARD = Checkerboard(columns=FILMED.columns, rows=FILMED.rows, square_mm=1000 * FILMED.square_m)
SIZES: dict[Band, tuple[int, int]] = {"infrared": (320, 256), "visible": (640, 480)}
PLACES = [(x, y) for x in (95.0, 130.0, 160.0, 190.0, 225.0) for y in (75.0, 100.0, 150.0, 180.0)]
"""Where the board's middle may lie so that the infrared camera sees it wholly."""


@cache
def take_of(band: Band) -> Take:
    return calibration_takes(RIG)[band]


@cache
def filmed_views(band: Band) -> tuple[View, ...]:
    """What is found in 25 frames of simulated footage, noise and blur included."""
    frames = film_board(FILMED, calibration_truth(RIG, FILMED).poses, take_of(band))
    found = [(index, find_corners(frame, BOARD)) for index, frame in enumerate(frames)]
    return tuple(View(f"frame {index}", corners) for index, corners in found if corners is not None)


def posed(
    tilts_deg: tuple[float, float], middle_px: tuple[float, float], distance_m: float
) -> BoardPose:
    """The board so tilted about x and y, its middle at an infrared pixel."""
    lens = take_of("infrared").camera.lens
    rotation = rotation_of((*tilts_deg, 0.0))
    aim = np.array([(middle_px[0] - lens.cx) / lens.fx, (middle_px[1] - lens.cy) / lens.fy, 1.0])
    corner = aim * distance_m - rotation @ board_corners(FILMED).mean(axis=0)
    return BoardPose(
        rotation=rows_of(rotation),
        translation_m=(float(corner[0]), float(corner[1]), float(corner[2])),
    )


def true_corners(pose: BoardPose, band: Band = "infrared") -> Corners:
    return seen_pixels(place(board_corners(FILMED), pose), take_of(band))


def noisy_views(poses: Sequence[BoardPose], *, noise_px: float = 0.05, seed: int = 0) -> list[View]:
    """Infrared views without filming them: true corners with Gaussian noise."""
    rng = np.random.default_rng(seed)
    corners = [true_corners(pose) for pose in poses]
    return [
        View(f"frame {index}", seen + noise_px * rng.standard_normal(seen.shape))
        for index, seen in enumerate(corners)
    ]


def tilted_everywhere(seed: int = 0, *, most_tilt_deg: float = 34.0) -> list[BoardPose]:
    rng = np.random.default_rng(seed)
    tilts: NDArray[np.float64] = rng.uniform(-most_tilt_deg, most_tilt_deg, (len(PLACES), 2))
    return [
        posed((tilt[0], tilt[1]), middle, rng.uniform(1.9, 2.6))
        for tilt, middle in zip(tilts.tolist(), PLACES, strict=True)
    ]


def bent_px(truth: Lens, found: Lens, size: tuple[int, int]) -> float:
    """How far straight lines of the world are from straight once undistorted, at worst, pixels.

    The lines run along the rim, through the middle and from corner to corner of the image.

    Args:
        truth: the lens that images them.
        found: the one by which they are undistorted.
        size: width and height of the image.
    """
    right, bottom = size[0] - 1.0, size[1] - 1.0
    raw_ends = [
        (0, 0),
        (right, 0),
        (right, bottom),
        (0, bottom),
        (right / 2, 0),
        (right, bottom / 2),
    ]
    ends = undistorted(np.array(raw_ends), truth)
    worst_px = 0.0
    for one, other in [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3), (4, 2), (5, 3)]:
        raw = distorted(np.linspace(ends[one], ends[other], 200), truth)
        seen = (raw > -0.5).all(axis=1) & (raw < np.array(size) - 0.5).all(axis=1)
        straightened = undistorted(raw[seen], found)
        off = straightened - straightened.mean(axis=0)
        _, _, directions = np.linalg.svd(off, full_matrices=False)
        worst_px = max(worst_px, float(np.abs(off @ directions[1]).max()))
    return worst_px
