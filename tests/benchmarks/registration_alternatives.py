"""Registrations to compare with: features, ECC, phase correlation, mutual information."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.register_descriptors import Image, resized
from pipeline.register_fit import Homography, scaling
from pipeline.register_search import ROTATIONS_DEGREES, SCALES

MIN_INLIERS = 15
"""Matches that must agree before features count as registered; 4 always do."""

MAX_FEATURES = 2000
RATIO = 0.85
"""Lowe's ratio of the best to the second best match; looser than his 0.8, as bands differ."""

INLIER_PX = 4.0

ECC_LEVELS = (
    (80, cv2.MOTION_TRANSLATION),
    (80, cv2.MOTION_EUCLIDEAN),
    (160, cv2.MOTION_AFFINE),
    (320, cv2.MOTION_HOMOGRAPHY),
    (640, cv2.MOTION_HOMOGRAPHY),
)
"""Widths of the pyramid with the motion sought at each; all eight numbers at 80 px diverge."""

ECC_STEPS = 100

LOG_POLAR_PX = 256

BINS = 32
"""Of each axis of the joint histogram."""

PATTERN_STEPS = 40

Cells = NDArray[np.intp]
"""The bin of every pixel, (H, W)."""

Register = Callable[[Sequence[Image], Sequence[Image]], Homography | None]
"""Grey frames of both bands -> visible pixels to infrared pixels; None: refused."""


def sift(infrared: Sequence[Image], visible: Sequence[Image]) -> Homography | None:
    """SIFT, ratio test, MAGSAC over the matches of all frames."""
    return _by_features(cv2.SIFT.create(MAX_FEATURES), cv2.NORM_L2, infrared, visible)


def orb(infrared: Sequence[Image], visible: Sequence[Image]) -> Homography | None:
    """ORB, ratio test, MAGSAC over the matches of all frames."""
    return _by_features(cv2.ORB.create(MAX_FEATURES), cv2.NORM_HAMMING, infrared, visible)


def _by_features(
    detector: cv2.Feature2D,
    norm: int,
    infrared: Sequence[Image],
    visible: Sequence[Image],
) -> Homography | None:
    matcher = cv2.BFMatcher(norm)
    here: list[Sequence[float]] = []
    there: list[Sequence[float]] = []
    for one, other in zip(infrared, visible, strict=True):
        points_here, described_here = detector.detectAndCompute(one.astype(np.uint8), None)
        points_there, described_there = detector.detectAndCompute(other.astype(np.uint8), None)
        if not points_here or not points_there:
            continue
        for pair in matcher.knnMatch(described_there, described_here, k=2):
            if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance:
                there.append(points_there[pair[0].queryIdx].pt)
                here.append(points_here[pair[0].trainIdx].pt)
    if len(here) < MIN_INLIERS:
        return None
    homography, inliers = cv2.findHomography(
        np.array(there), np.array(here), cv2.USAC_MAGSAC, INLIER_PX
    )
    if homography is None or int(inliers.sum()) < MIN_INLIERS:
        return None
    return np.asarray(homography, np.float64)


def _edges(frames: Sequence[Image]) -> Image:
    """Mean gradient magnitude over the frames."""
    total = np.zeros(frames[0].shape, np.float32)
    for frame in frames:
        smooth = cv2.GaussianBlur(frame, (0, 0), 1.5)
        across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        total += cv2.magnitude(across, down)
    return np.asarray(total / len(frames), np.float32)


def pyramid_ecc(infrared: Sequence[Image], visible: Sequence[Image]) -> Homography | None:
    """OpenCV's ECC on gradient magnitude, coarse to fine."""
    here, there = _edges(infrared), _edges(visible)
    found: Homography = np.eye(3)
    is_found = False
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_STEPS, 1e-5)
    for width, motion in ECC_LEVELS:
        to_small = scaling(width / here.shape[1])
        back = np.linalg.inv(to_small)
        # ECC warps infrared coordinates to visible ones.
        start = to_small @ np.linalg.inv(found) @ back
        start = (start / start[2, 2]).astype(np.float32)
        small = [np.log1p(resized(image, width / here.shape[1])) for image in (here, there)]
        rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
        try:
            _, warp = cv2.findTransformECC(
                small[0],
                small[1],
                start[:rows],
                motion,
                ends,
                np.ones(small[1].shape, np.uint8),
                5,
            )
        except cv2.error:  # it does not converge here; a finer level may
            continue
        full = np.vstack([warp, [[0, 0, 1]]]) if rows == 2 else warp
        found = np.asarray(np.linalg.inv(back @ full @ to_small), np.float64)
        is_found = True
    return np.asarray(found / found[2, 2], np.float64) if is_found else None


def phase_correlation(infrared: Sequence[Image], visible: Sequence[Image]) -> Homography | None:
    """Scale and rotation from log-polar spectra, then the shift (Reddy and Chatterji, 1996).

    Only scales and rotations that our own search tries are considered; without that bound, spectra
    of different bands mostly agree somewhere absurd.
    """
    here, there = _edges(infrared), _edges(visible)
    height, width = here.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    reach = min(height, width) / 2
    polar = [_log_polar(image * window, reach) for image in (here, there)]
    outwards, turn = _peak(
        polar[1],
        polar[0],
        round(float(np.log(max(SCALES))) * LOG_POLAR_PX / np.log(reach)),
        round(max(ROTATIONS_DEGREES) / 360 * LOG_POLAR_PX),
    )
    scale = float(np.exp(-outwards * np.log(reach) / LOG_POLAR_PX))
    middle = ((width - 1) / 2, (height - 1) / 2)
    similar = np.vstack(
        [cv2.getRotationMatrix2D(middle, -turn * 360 / LOG_POLAR_PX, scale), [0, 0, 1]]
    )
    moved = cv2.warpPerspective(there, similar, (width, height))
    right, down = _peak(moved * window, here * window, width // 4, height // 4)
    shift = np.array([[1, 0, right], [0, 1, down], [0, 0, 1]])
    return np.asarray(shift @ similar, np.float64)


def _peak(one: Image, other: Image, across: int, down: int) -> tuple[float, float]:
    """The shift that takes `one` to `other`, by the peak of the cross-power spectrum within reach.

    Args:
        one: (H, W).
        other: the same.
        across: columns within reach, in both directions.
        down: rows.
    """
    cross = np.fft.rfft2(other) * np.conj(np.fft.rfft2(one))
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), one.shape)
    near = np.roll(surface, (down, across), axis=(0, 1))[: 2 * down + 1, : 2 * across + 1]
    near = np.asarray(cv2.GaussianBlur(near, (0, 0), 1.0), np.float64)
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    around = near[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].clip(0)
    rows, columns = np.mgrid[
        max(0, row - 2) : max(0, row - 2) + around.shape[0],
        max(0, column - 2) : max(0, column - 2) + around.shape[1],
    ]
    total = max(float(around.sum()), 1e-12)
    return (
        float((columns * around).sum()) / total - across,
        float((rows * around).sum()) / total - down,
    )


def _log_polar(image: Image, reach: float) -> Image:
    spectrum = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(image)))).astype(np.float32)
    height, width = image.shape
    square = cv2.resize(spectrum, (height, height)) if width != height else spectrum
    flags = cv2.WARP_POLAR_LOG | cv2.INTER_LINEAR
    size = (LOG_POLAR_PX, LOG_POLAR_PX)
    found = cv2.warpPolar(square, size, (height / 2, height / 2), reach, flags)
    return np.asarray(found - cv2.GaussianBlur(found, (0, 0), LOG_POLAR_PX / 16), np.float32)


def mutual_information(infrared: Sequence[Image], visible: Sequence[Image]) -> Homography | None:
    """Mutual information of grey levels, climbed coarse to fine by a pattern search of corners."""
    height, width = infrared[0].shape
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    moved = corners.copy()
    for scale, first_px in ((0.125, 32.0), (0.25, 8.0), (0.5, 2.0)):
        here = [_binned(resized(frame, scale)) for frame in infrared[::4]]
        there = [resized(frame, scale) for frame in visible[::4]]
        moved = _climbed(here, there, corners, moved, scale=scale, first_px=first_px)
    found = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    return np.asarray(found, np.float64)


def _climbed(
    here: Sequence[Cells],
    there: Sequence[Image],
    corners: NDArray[np.float64],
    moved: NDArray[np.float64],
    *,
    scale: float,
    first_px: float,
) -> NDArray[np.float64]:
    """Corners moved all together or one by one as long as information grows; steps then halve."""
    together = [np.tile(each, (4, 1)) for each in np.kron(np.eye(2), [[1], [-1]])]
    single = [np.eye(8)[index].reshape(4, 2) * sign for index in range(8) for sign in (1, -1)]
    best, step_px = _information(here, there, corners, moved, scale), first_px
    for _ in range(PATTERN_STEPS):
        before = best
        for direction in (*together, *single):
            tried = moved + step_px * direction
            score = _information(here, there, corners, tried, scale)
            if score > best:
                best, moved = score, tried
        if best == before:
            step_px /= 2
            if step_px < first_px / 16:
                break
    return moved


def _information(
    here: Sequence[Cells],
    there: Sequence[Image],
    corners: NDArray[np.float64],
    moved: NDArray[np.float64],
    scale: float,
) -> float:
    full = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    homography = scaling(scale) @ full @ np.linalg.inv(scaling(scale))
    height, width = here[0].shape
    joint = np.zeros(BINS * BINS)
    for one, other in zip(here, there, strict=True):
        placed = cv2.warpPerspective(other, homography, (width, height), borderValue=-1)
        seen = placed >= 0
        cells = one[seen] * BINS + _binned(np.asarray(placed, np.float32))[seen]
        joint += np.bincount(cells, minlength=BINS * BINS)
    table = joint.reshape(BINS, BINS) / max(joint.sum(), 1)
    apart = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True)
    full_bins = table > 0
    return float((table[full_bins] * np.log(table[full_bins] / apart[full_bins])).sum())


def _binned(image: Image) -> Cells:
    return np.asarray(np.clip(image * (BINS / 256), 0, BINS - 1), np.intp)


ALTERNATIVES: dict[str, Register] = {
    "SIFT + MAGSAC": sift,
    "ORB + MAGSAC": orb,
    "pyramid ECC on gradients": pyramid_ecc,
    "phase correlation": phase_correlation,
    "mutual information": mutual_information,
}
