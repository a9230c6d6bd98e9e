"""The inner corners of a checkerboard, in frames of either band."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.video_files import Frame
from schemas.facts import Checkerboard

Corners = NDArray[np.float64]
"""Inner corners row by row, (rows * columns, 2), x then y, pixels."""

STRETCHED_SHARES = (0.5, 5.0)
"""Percent of the pixels cut off at either end before the search.

The second share finds boards beside a lamp or a hand that is far hotter than they are: 13 of 13
simulated views, where the first finds none.
"""

LOCAL_CONTRAST = 3.0
LOCAL_TILES = (8, 8)
"""CLAHE: finds boards warmed on one side alone, 13 of 13 views; without it 5 of 13 are found."""

SMALL_PX, LARGE_PX = 480, 1280
"""Images narrower are searched at twice their size: of 13 views blurred by 3 px, 13 are found and
not 10. Broader ones are searched smaller; their corners are refined at full size all the same."""

WINDOW_SHARE = 0.35
"""Half the refinement window, in squares: it must not reach the next corner."""

WINDOW_PX = (2, 12)
"""Least and largest half window; blurred infrared corners gain little beyond."""

REFINED_AT_MOST = 0.5
"""Squares that a corner may move when refined; beyond, it was no corner."""

REFINEMENT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-4)


def find_corners(frame: Frame, board: Checkerboard) -> Corners | None:
    """The inner corners of the board in a frame, or None where it is not wholly seen.

    OpenCV's sector-based detector sees light squares on dark as well as dark ones on light, so that
    heated and cooled boards need no inversion. It seeks in the frame as it is, then with local
    contrast, then with its extremes cut off. The order starts at the upper or left end, so that
    equal poses give equal corners.

    Args:
        frame: grey (H, W) or RGB (H, W, 3), 8 or 16 bits.
        board: what to look for.
    """
    grey = luma(frame)
    for picture, scale in _pictures(grey):
        found, rough = cv2.findChessboardCornersSB(
            picture, (board.columns, board.rows), flags=cv2.CALIB_CB_EXHAUSTIVE
        )
        if found:
            corners = (rough.reshape(-1, 2).astype(np.float64) + 0.5) / scale - 0.5
            return _refined(grey, corners, board)
    return None


def luma(frame: Frame) -> NDArray[np.float32]:
    """A frame's brightness in its own units, (H, W)."""
    grey = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.float32)


def _pictures(grey: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Renderings to search one after the other, with their pixels per pixel of the frame."""
    width = grey.shape[1]
    scale = min(1.0, LARGE_PX / width)
    plain = _levels(grey, STRETCHED_SHARES[0])
    local = np.asarray(cv2.createCLAHE(LOCAL_CONTRAST, LOCAL_TILES).apply(plain), np.uint8)
    yield _resized(plain, scale), scale
    larger = 2.0 if width < SMALL_PX else scale
    yield _resized(local, larger), larger
    yield _resized(_levels(grey, STRETCHED_SHARES[1]), scale), scale
    if larger != scale:
        yield _resized(plain, larger), larger


def _levels(grey: NDArray[np.float32], cut_off_percent: float) -> NDArray[np.uint8]:
    low, high = np.percentile(grey, [cut_off_percent, 100 - cut_off_percent])
    stretched = (grey - low) * (255 / max(float(high - low), 1e-6))
    return np.asarray(np.clip(stretched, 0, 255), np.uint8)


def _resized(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return picture
    kind = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=kind), np.uint8)


def _refined(grey: NDArray[np.float32], corners: Corners, board: Checkerboard) -> Corners | None:
    """Corners to a fraction of a pixel, or None where one of them runs away."""
    square_px = least_spacing_px(corners, board)
    half = int(np.clip(round(WINDOW_SHARE * square_px), *WINDOW_PX))
    start = corners.astype(np.float32)[:, None]
    found = cv2.cornerSubPix(grey, start.copy(), (half, half), (-1, -1), REFINEMENT)
    refined = np.asarray(found, np.float64).reshape(-1, 2)
    if (np.linalg.norm(refined - corners, axis=1) > REFINED_AT_MOST * square_px).any():
        return None
    return refined if refined[0].sum() <= refined[-1].sum() else refined[::-1]


def least_spacing_px(corners: Corners, board: Checkerboard) -> float:
    """The shortest distance between neighbouring corners."""
    grid = corners.reshape(board.rows, board.columns, 2)
    return min(float(np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min()) for axis in (0, 1))
