"""Calibration footage: a heated checkerboard held in many poses before both simulated cameras."""

from collections.abc import Iterator, Sequence
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.simulate_cameras import (
    Matrix,
    Optics,
    Take,
    camera_matrix_of,
    distortion_of,
    optics_of,
    rotation_of,
    rows_of,
)
from pipeline.simulate_filming import (
    LEVELS_PER_C,
    Canvas,
    Frame,
    expose,
    look_at,
    paint,
    paint_panorama,
    sensor_fields,
)
from pipeline.simulate_scene import generator
from schemas.simulation import BoardPose, CalibrationBoard

PAPER_COLOUR, INK_COLOUR = (232, 232, 228), (26, 26, 28)

PAPER_C, INK_C = 24.0, 34.0
"""Under a heating lamp ink takes up more warmth than paper: infrared contrast is inverted."""

RIM_SQUARES = 0.4
"""Paper around the squares, in squares; detectors need a quiet rim."""

VIEW_SHARES = (0.42, 0.62)
"""The board's share of the infrared image's width in a pose: whole, yet with room to move."""

TILT_DEG = 34.0
"""Largest tilt about x and y; steeper boards bend focal length less but corners blur (Zhang)."""

ROLL_DEG = 18.0
EDGE_PX = 2.0
"""Room left between the board and the edge of an image."""


def hold_board(
    board: CalibrationBoard, infrared: Take, visible: Take, rng: np.random.Generator
) -> tuple[BoardPose, ...]:
    """Poses that carry the board to every part of the view, wholly inside both images.

    Args:
        board: what is held.
        infrared: the camera whose axes the poses are given in.
        visible: the camera beside it.
        rng: draws tilts and distances.
    """
    side = int(np.ceil(np.sqrt(board.poses)))
    targets = [
        (2 * column / max(side - 1, 1) - 1, 2 * row / max(side - 1, 1) - 1)
        for row, column in product(range(side), repeat=2)
    ]
    return tuple(
        _pose_towards(target, board, (infrared, visible), rng) for target in targets[: board.poses]
    )


def _pose_towards(
    target: tuple[float, float],
    board: CalibrationBoard,
    takes: tuple[Take, Take],
    rng: np.random.Generator,
) -> BoardPose:
    """A pose as far towards `target` (-1..1 across and down the view) as the board fits."""
    lens, camera = takes[0].camera.lens, takes[0].camera.camera
    tilt = rng.uniform(-TILT_DEG, TILT_DEG, size=2)
    rotation = rotation_of((tilt[0], tilt[1], rng.uniform(-ROLL_DEG, ROLL_DEG)))
    width_m = (board.columns + 1 + 2 * RIM_SQUARES) * board.square_m
    distance = lens.fx * width_m / (rng.uniform(*VIEW_SHARES) * camera.width)
    middle = np.array([board.columns - 1, board.rows - 1, 0]) / 2 * board.square_m
    edge = np.array([camera.width / 2 / lens.fx, camera.height / 2 / lens.fy]) * distance
    while True:
        for share in np.linspace(1, 0, 41):
            centre = np.array([*(np.array(target) * edge * share), distance])
            translation = centre - rotation @ middle
            if all(_is_inside(board_rim(board) @ rotation.T + translation, take) for take in takes):
                return BoardPose(
                    rotation=rows_of(rotation),
                    translation_m=(translation[0], translation[1], translation[2]),
                )
        distance *= 1.1


def board_rim(board: CalibrationBoard) -> NDArray[np.float64]:
    """The four corners of the paper in the board's axes, metres, shape (4, 3)."""
    low = -(1 + RIM_SQUARES)
    right, bottom = board.columns + RIM_SQUARES, board.rows + RIM_SQUARES
    corners = np.array([(low, low, 0), (right, low, 0), (right, bottom, 0), (low, bottom, 0)])
    return corners * board.square_m


def board_corners(board: CalibrationBoard) -> NDArray[np.float64]:
    """The inner corners in the board's axes, metres, row by row, shape (rows * columns, 3)."""
    rows, columns = np.mgrid[0 : board.rows, 0 : board.columns]
    corners = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).reshape(-1, 3)
    return np.asarray(corners * board.square_m, np.float64)


def place(points_m: NDArray[np.float64], pose: BoardPose) -> NDArray[np.float64]:
    """Points of the board in the infrared camera's axes, metres, shape (N, 3)."""
    return np.asarray(points_m @ np.array(pose.rotation).T + np.array(pose.translation_m))


def seen_pixels(points_m: NDArray[np.float64], take: Take) -> NDArray[np.float64]:
    """Where a camera sees points of the rig's axes, distorted pixels, shape (N, 2)."""
    seen = (points_m - np.array(take.position_m)) @ rotation_of(take.camera.rotation_deg).T
    pixels, _ = cv2.projectPoints(
        seen[:, None],
        np.zeros(3),
        np.zeros(3),
        camera_matrix_of(take.camera.lens),
        distortion_of(take.camera.lens),
    )
    return np.asarray(pixels.reshape(-1, 2), np.float64)


def _is_inside(points_m: NDArray[np.float64], take: Take) -> bool:
    pixels = seen_pixels(points_m, take)
    size = np.array([take.camera.camera.width, take.camera.camera.height])
    return bool((pixels > EDGE_PX).all() and (pixels < size - 1 - EDGE_PX).all())


def film_board(board: CalibrationBoard, poses: Sequence[BoardPose], take: Take) -> Iterator[Frame]:
    """Frames of the board in every pose, each held for `frames_per_pose` frames."""
    optics = optics_of(take)
    still = np.eye(3)
    behind = look_at(paint_panorama(take), take, optics, still)
    fields = sensor_fields(take)
    for index, pose in enumerate(poses):
        canvas = behind.copy()
        _paint_board(canvas, board, pose, take, optics)
        for repeat in range(board.frames_per_pose):
            number = index * board.frames_per_pose + repeat
            rng = generator(take.seed, take.recording, take.band, "noise", number)
            yield expose(canvas, take, optics, fields, (number / board.fps, still), rng)


def _paint_board(
    canvas: Canvas, board: CalibrationBoard, pose: BoardPose, take: Take, optics: Optics
) -> None:
    infrared = take.band == "infrared"
    paper = (round(PAPER_C * LEVELS_PER_C),) if infrared else PAPER_COLOUR
    ink = (round(INK_C * LEVELS_PER_C),) if infrared else INK_COLOUR
    rays = optics.canvas_from_view(np.eye(3))
    paint(canvas, _on_canvas(board_rim(board), pose, take, rays), paper)
    square = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], np.float64)
    for row, column in product(range(-1, board.rows), range(-1, board.columns)):
        if (row + column) % 2 == 0:
            outline = (square + np.array([column, row, 0])) * board.square_m
            paint(canvas, _on_canvas(outline, pose, take, rays), ink)


def _on_canvas(
    points_m: NDArray[np.float64], pose: BoardPose, take: Take, rays: Matrix
) -> NDArray[np.float64]:
    seen = (place(points_m, pose) - np.array(take.position_m)) @ rays.T
    return np.asarray(seen[:, :2] / seen[:, 2:], np.float64)
