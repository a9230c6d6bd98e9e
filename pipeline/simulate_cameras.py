"""The simulated cameras' geometry: where they sit, how their lenses bend, what maps onto what."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.simulate_figures import Nearness
from pipeline.simulate_scene import Scene
from schemas.base import Band, Matrix3x3
from schemas.catalog import Lens
from schemas.simulation import SimulatedCamera

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Take:
    """A camera in its place before a scene.

    Attributes:
        position_m: the camera's centre in the rig's axes (x right, y down, z ahead), metres.
        depth_m: depth of nearness 1 and of nearness 0.
        rig_motion: how the rig turns while it films.
        seed: of the simulation.
        recording: whose noise this is.
        oversampling: canvas pixels per sensor pixel.
    """

    scene: Scene
    camera: SimulatedCamera
    band: Band
    position_m: tuple[float, float, float]
    depth_m: tuple[float, float]
    rig_motion: Literal["still", "shake", "pan"]
    seed: int
    recording: str
    oversampling: int


@dataclass(frozen=True)
class Optics:
    """A camera made ready to render.

    Attributes:
        camera_matrix: pinhole matrix K of the sensor.
        rotation: from the rig's axes to the camera's.
        canvas_from_sensor: undistorted sensor pixels to canvas pixels.
        canvas_size: width and height of the undistorted canvas that holds all the sensor sees.
        x: canvas column seen by every sensor pixel, shape (H, W); `y`: the row.
    """

    camera_matrix: Matrix
    rotation: Matrix
    canvas_from_sensor: Matrix
    canvas_size: tuple[int, int]
    x: NDArray[np.float32]
    y: NDArray[np.float32]

    def canvas_from_view(self, turned: Matrix) -> Matrix:
        """From view angles seen from the camera's centre to canvas pixels, the rig so turned."""
        return self.canvas_from_sensor @ self.camera_matrix @ self.rotation @ turned


def rig_rotation(motion: Literal["still", "shake", "pan"], time_s: float) -> Matrix:
    """From the world's axes to those of the rig, which turns about each camera's own centre."""
    if motion == "still":
        return np.eye(3)
    yaw = 0.16 * np.sin(2.3 * time_s) + 0.09 * np.sin(7.7 * time_s + 1.0)
    pitch = 0.12 * np.sin(3.1 * time_s + 2.0) + 0.06 * np.sin(9.1 * time_s)
    roll = 0.08 * np.sin(1.9 * time_s + 0.5)
    if motion == "pan":
        yaw = 0.3 * yaw + 4.5 * np.sin(0.41 * time_s)
    return rotation_of((pitch, yaw, roll))


def rotation_of(degrees: tuple[float, float, float]) -> Matrix:
    """Turn about x, then y, then z, shape (3, 3)."""
    turns = []
    for axis, angle in enumerate(np.radians(degrees)):
        vector = np.zeros(3)
        vector[axis] = angle
        turns.append(cv2.Rodrigues(vector)[0])
    return np.asarray(turns[2] @ turns[1] @ turns[0], np.float64)


def camera_matrix_of(lens: Lens) -> Matrix:
    """The pinhole matrix K, shape (3, 3)."""
    return np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]], np.float64)


def distortion_of(lens: Lens) -> NDArray[np.float64]:
    """OpenCV's five coefficients k1, k2, p1, p2, k3."""
    return np.array([lens.k1, lens.k2, lens.p1, lens.p2, lens.k3], np.float64)


def plane_seen_from(
    position_m: tuple[float, float, float], nearness: Nearness, depth_m: tuple[float, float]
) -> Matrix:
    """From view angles (u, v, 1) at the rig's origin to rays from a camera beside it, (3, 3).

    A point of a plane with inverse depth w.(u, v, 1) lies at (u, v, 1) / w.(u, v, 1); seen from c
    it has the direction (u, v, 1) - c w.(u, v, 1).
    """
    nearest, farthest = depth_m
    plane = np.array(nearness) * (1 / nearest - 1 / farthest) + (0, 0, 1 / farthest)
    return np.eye(3) - np.outer(position_m, plane)


def image_from_plane(take: Take, nearness: Nearness) -> Matrix:
    """From view angles on a plane to the camera's undistorted pixels, rig at rest, (3, 3)."""
    optics_matrix = camera_matrix_of(take.camera.lens) @ rotation_of(take.camera.rotation_deg)
    return np.asarray(
        optics_matrix @ plane_seen_from(take.position_m, nearness, take.depth_m), np.float64
    )


def homography_between(visible: Take, infrared: Take, nearness: Nearness = (0, 0, 0)) -> Matrix:
    """Visible to infrared pixels, both undistorted, exact on one plane; (3, 3), last entry 1."""
    matrix = image_from_plane(infrared, nearness) @ np.linalg.inv(
        image_from_plane(visible, nearness)
    )
    return np.asarray(matrix / matrix[2, 2], np.float64)


def transform(points: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    """Points (N, 2) through a homography."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:], np.float64)


def optics_of(take: Take) -> Optics:
    """What rendering with a camera needs, worked out once."""
    simulated = take.camera
    width, height = simulated.camera.width, simulated.camera.height
    matrix = camera_matrix_of(simulated.lens)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
    seen = cv2.undistortPoints(
        pixels,
        matrix,
        distortion_of(simulated.lens),
        P=matrix,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9),
    ).reshape(height, width, 2)
    scale = take.oversampling
    low = np.floor(seen.min(axis=(0, 1))) - 2
    high = np.ceil(seen.max(axis=(0, 1))) + 2
    size = scale * (high - low) + 1
    return Optics(
        camera_matrix=matrix,
        rotation=rotation_of(simulated.rotation_deg),
        canvas_from_sensor=np.array(
            [[scale, 0, -scale * low[0]], [0, scale, -scale * low[1]], [0, 0, 1]], np.float64
        ),
        canvas_size=(int(size[0]), int(size[1])),
        x=np.asarray(scale * (seen[..., 0] - low[0]), np.float32),
        y=np.asarray(scale * (seen[..., 1] - low[1]), np.float32),
    )


def rows_of(matrix: Matrix) -> Matrix3x3:
    """A matrix as the schemas hold it."""
    first, second, third = ((float(a), float(b), float(c)) for a, b, c in matrix)
    return first, second, third
