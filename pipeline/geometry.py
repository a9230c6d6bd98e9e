"""From raw pixels of both cameras to one common grid: undistortion and homography in one step.

The common grid is the infrared image without its lens distortion. A homography maps undistorted
visible pixels to undistorted infrared pixels; centres of pixels lie at integers.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.video_files import Frame
from schemas.base import Matrix3x3
from schemas.catalog import Camera, Lens, Rig

Crop = tuple[int, int, int, int]
"""x, y, width, height inside the infrared image, pixels."""

Points = NDArray[np.float64]
"""(..., 2), x then y, pixels."""


LEAST_SPACING = 1.1
"""Raw pixels a grid pixel must span to be smoothed: below, the blur is less than 0.25 px wide."""

ROUNDING_PX = 1e-4
"""What arithmetic may put a pixel beyond the edge on which it lies."""


TRIANGLES = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
"""Of four points."""

LEAST_TRIANGLE = 0.01
"""Twice the area of a triangle over the squared extent of the points; below, a click that is off by
a pixel moves the far corners by dozens."""


@dataclass(frozen=True)
class Resampling:
    """Where each pixel of the clip comes from in a raw frame."""

    map_x: NDArray[np.float32]
    map_y: NDArray[np.float32]
    """Raw pixels, (H, W)."""
    inside: NDArray[np.bool_]
    """Whether the camera sees that place at all, (H, W)."""
    smoothing_px: float
    """Deviation of the blur that keeps finer raw pixels from aliasing; 0: none."""


def matrix_of(homography: Matrix3x3) -> NDArray[np.float64]:
    """The homography as an array, (3, 3)."""
    return np.array(homography, np.float64)


def inverse_of(homography: Matrix3x3) -> NDArray[np.float64]:
    """The way back as an array, (3, 3)."""
    return np.asarray(np.linalg.inv(matrix_of(homography)), np.float64)


def project(points: Points, homography: NDArray[np.float64]) -> Points:
    """Points through a homography."""
    flat = points.reshape(-1, 1, 2).astype(np.float64)
    return np.asarray(cv2.perspectiveTransform(flat, homography), np.float64).reshape(points.shape)


def homography_through(
    points: NDArray[np.float64], moved: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The homography that takes four points to four others, (3, 3).

    Args:
        points: (4, 2), no three of them on a line.
        moved: (4, 2), the same.
    """
    found, _ = cv2.findHomography(points, moved)
    return np.asarray(found, np.float64)


def is_degenerate(points: NDArray[np.float64]) -> bool:
    """Whether three of four points lie on a line, by the areas of their triangles.

    Args:
        points: (4, 2).
    """
    spread = float(np.ptp(points, axis=0).max())
    first, second, third = points[TRIANGLES[:, 0]], points[TRIANGLES[:, 1]], points[TRIANGLES[:, 2]]
    one, other = second - first, third - first
    areas = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0])
    return float(areas.min()) < LEAST_TRIANGLE * spread**2


def corners_of(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The corners of an image of that height and width, clockwise from the upper left, (4, 2)."""
    right, bottom = shape[1] - 1, shape[0] - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)


def distance_of_corners(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Mean distance of an image's corners under two homographies, pixels of their target.

    Args:
        one: a homography, (3, 3).
        other: another.
        shape: height and width of the image they start from.
    """
    corners = corners_of(shape)
    return float(np.linalg.norm(project(corners, one) - project(corners, other), axis=-1).mean())


def distorted(points: Points, lens: Lens | None) -> Points:
    """Where the lens images what an ideal one would image at `points`."""
    if lens is None:
        return points
    flat = points.reshape(-1, 2)
    rays = (flat - (lens.cx, lens.cy)) / (lens.fx, lens.fy)
    solid = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    still = np.zeros(3)
    raw, _ = cv2.projectPoints(solid, still, still, camera_matrix(lens), coefficients(lens))
    return np.asarray(raw, np.float64).reshape(points.shape)


def undistorted(points: Points, lens: Lens | None) -> Points:
    """Where an ideal lens would image what this one images at `points`."""
    if lens is None:
        return points
    ends = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
    flat = points.reshape(-1, 1, 2).astype(np.float64)
    matrix, still = camera_matrix(lens), np.eye(3)
    ideal = cv2.undistortPoints(flat, matrix, coefficients(lens), R=still, P=matrix, criteria=ends)
    return np.asarray(ideal, np.float64).reshape(points.shape)


def camera_matrix(lens: Lens) -> NDArray[np.float64]:
    """K, (3, 3)."""
    return np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]], np.float64)


def coefficients(lens: Lens) -> NDArray[np.float64]:
    """k1, k2, p1, p2, k3, as OpenCV orders them."""
    return np.array([lens.k1, lens.k2, lens.p1, lens.p2, lens.k3], np.float64)


def grid(crop: Crop) -> Points:
    """The centres of the pixels of a crop, (H, W, 2)."""
    x, y, width, height = crop
    columns, rows = np.meshgrid(np.arange(x, x + width), np.arange(y, y + height))
    return np.stack([columns, rows], axis=-1).astype(np.float64)


def full_frame(camera: Camera) -> Crop:
    """The whole image of a camera."""
    return 0, 0, camera.width, camera.height


def infrared_maps(camera: Camera, crop: Crop) -> Resampling | None:
    """How the clip's infrared pixels come from raw frames; None: raw frames are the clip's."""
    if camera.lens is None and crop == full_frame(camera):
        return None
    return _resampling(grid(crop), camera)


def visible_maps(rig: Rig, homography: Matrix3x3, crop: Crop) -> Resampling | None:
    """How the clip's visible pixels come from raw frames; None: raw frames are the clip's.

    Lens and homography act in one resampling, so that nothing is blurred twice.
    """
    inverse = inverse_of(homography)
    is_same = np.allclose(inverse / inverse[2, 2], np.eye(3), rtol=0, atol=1e-12)
    if rig.visible.lens is None and is_same and crop == full_frame(rig.visible):
        return None
    points = grid(crop)
    resampling = _resampling(project(points, inverse), rig.visible)
    in_front = _before_horizon(points, matrix_of(homography), rig.visible)
    return replace(resampling, inside=resampling.inside & in_front)


def _resampling(ideal: Points, camera: Camera) -> Resampling:
    """Maps from undistorted pixels to raw ones, with the smoothing their spacing asks for.

    A pixel of the grid that covers s raw pixels needs a blur of 0.5 * sqrt(s^2 - 1) of them: with
    the half pixel of the sensor itself, it is then as sharp as the grid can hold.
    """
    raw = distorted(ideal, camera.lens)
    across = np.linalg.norm(np.diff(raw, axis=1), axis=-1)
    spacing = float(np.median(across)) if across.size else 1.0
    last = np.array([camera.width - 1, camera.height - 1])
    in_frame = ((raw >= -ROUNDING_PX) & (raw <= last + ROUNDING_PX)).all(axis=-1)
    return Resampling(
        map_x=raw[..., 0].astype(np.float32),
        map_y=raw[..., 1].astype(np.float32),
        inside=np.asarray(in_frame & _before_fold(ideal, camera.lens), np.bool_),
        smoothing_px=0.5 * float(np.sqrt(spacing**2 - 1)) if spacing > LEAST_SPACING else 0.0,
    )


def _before_fold(ideal: Points, lens: Lens | None) -> NDArray[np.bool_]:
    """Where a lens model still moves outwards; further out it folds back and shows ghosts.

    The radius r * (1 + k1 r^2 + k2 r^4 + k3 r^6) grows up to the first root of its derivative.
    """
    if lens is None:
        return np.ones(ideal.shape[:-1], np.bool_)
    roots = np.roots([7 * lens.k3, 5 * lens.k2, 3 * lens.k1, 1.0])  # of the squared radius
    folds = roots.real[(np.abs(roots.imag) < ROUNDING_PX) & (roots.real > 0)]
    rays = (ideal - (lens.cx, lens.cy)) / (lens.fx, lens.fy)
    return np.asarray((rays**2).sum(axis=-1) < folds.min(initial=np.inf), np.bool_)


def _before_horizon(
    points: Points, homography: NDArray[np.float64], visible: Camera
) -> NDArray[np.bool_]:
    """Where a homography shows what lies before the visible camera, not behind it.

    The third coordinate of the way back changes its sign at the horizon; the middle of the visible
    image is before it.
    """
    middle = np.array([(visible.width - 1) / 2, (visible.height - 1) / 2, 1.0])
    back = np.linalg.inv(homography)[2]
    depth = points @ back[:2] + back[2]
    return np.asarray(depth * float(homography[2] @ middle) > 0, np.bool_)


def resample(frame: Frame, resampling: Resampling) -> Frame:
    """A frame on the clip's grid: cubic, the sharpest of OpenCV's fast kernels; black outside.

    At the frame's edge the kernel sees the edge go on, so that no pixel inside is darkened by what
    lies outside.

    Args:
        frame: (H, W) or (H, W, 3), raw.
        resampling: from `infrared_maps` or `visible_maps`.
    """
    smooth = (
        cv2.GaussianBlur(frame, (0, 0), resampling.smoothing_px, borderType=cv2.BORDER_REPLICATE)
        if resampling.smoothing_px > 0
        else frame
    )
    resampled = cv2.remap(
        smooth,
        resampling.map_x,
        resampling.map_y,
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    resampled[~resampling.inside] = 0
    if frame.dtype == np.uint16:
        return np.asarray(resampled, np.uint16)
    return np.asarray(resampled, np.uint8)


def valid_mask(rig: Rig, homography: Matrix3x3) -> NDArray[np.bool_]:
    """Which pixels of the undistorted infrared image both cameras see, (H, W)."""
    frame = full_frame(rig.infrared)
    mask = np.ones((rig.infrared.height, rig.infrared.width), np.bool_)
    for resampling in (infrared_maps(rig.infrared, frame), visible_maps(rig, homography, frame)):
        if resampling is not None:
            mask &= resampling.inside
    return mask


def largest_rectangle(mask: NDArray[np.bool_]) -> Crop:
    """The largest rectangle of True pixels as x, y, width, height; the first of equal ones.

    Row by row, each column knows how many True pixels stand above it; a stack finds the largest
    rectangle under these heights.
    """
    best, area = (0, 0, 0, 0), 0
    heights = np.zeros(mask.shape[1] + 1, np.int64)
    for row, line in enumerate(mask):
        heights[:-1] = np.where(line, heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []  # first column, height
        for column, height in enumerate(heights.tolist()):
            start = column
            while stack and stack[-1][1] >= height:
                start, high = stack.pop()
                if high * (column - start) > area:
                    area = high * (column - start)
                    best = (start, row - high + 1, column - start, high)
            stack.append((start, height))
    return best
