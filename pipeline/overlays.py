"""Both bands in one picture: the one's outlines over the other, or tiles of each in turn."""

import cv2
import numpy as np
from numpy.typing import NDArray

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Share of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""

GROUND_SHARE = 0.9
"""How bright the visible image lies under the infrared edges, so that both are told apart."""

EDGE_COLOR = (255, 120, 0)
"""Orange: no grey of the visible image can be taken for it."""

EDGE_PERCENTILES = (80.0, 99.0)
"""Gradients below the first are texture and noise and stay clear; the second is full colour."""

EDGE_SIGMA_PX = 1.0
"""Smoothing before the gradient: sensor noise is white, outlines are not."""

TILES = 8
"""Tiles across; each is wide enough to hold a person and its outline's way into the next."""


def overlay(infrared: NDArray[np.uint8], visible: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The outlines of warm and cold things in orange over the visible image in grey.

    Where both images are registered, orange lines run along grey ones; where they are not, every
    outline stands twice.

    Args:
        infrared: grey levels, (H, W).
        visible: RGB of the same size, (H, W, 3).

    Returns:
        RGB, (H, W, 3).

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes(infrared, visible)
    ground = GROUND_SHARE * (visible @ np.array(LUMA_WEIGHTS))  # (H, W)
    strength = _edge_strength(infrared)[..., np.newaxis]  # (H, W, 1)
    mixed = (1 - strength) * ground[..., np.newaxis] + strength * np.array(EDGE_COLOR)
    picture: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return picture


def _edge_strength(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much of an outline each pixel is, 0..1, (H, W)."""
    smooth = cv2.GaussianBlur(
        image.astype(np.float64), (0, 0), EDGE_SIGMA_PX, borderType=cv2.BORDER_REPLICATE
    )
    across = cv2.Sobel(smooth, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(smooth, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    gradient = np.hypot(across, down)
    faint, full = np.percentile(gradient, EDGE_PERCENTILES)
    if full <= faint:
        return np.zeros(image.shape)
    strength: NDArray[np.float64] = np.clip((gradient - faint) / (full - faint), 0, 1)
    return strength


def checkerboard(infrared: NDArray[np.uint8], visible: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles of the infrared image and of the visible one in turn, as on a checkerboard.

    Where both images are registered, outlines go on from tile to tile.

    Args:
        infrared: grey levels, (H, W).
        visible: RGB of the same size, (H, W, 3).

    Returns:
        RGB, (H, W, 3).

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes(infrared, visible)
    side = max(1, round(infrared.shape[1] / TILES))
    rows, columns = np.indices(infrared.shape) // side
    is_infrared = (rows + columns) % 2 == 0
    return np.where(is_infrared[..., np.newaxis], infrared[..., np.newaxis], visible)


def _check_sizes(infrared: NDArray[np.uint8], visible: NDArray[np.uint8]) -> None:
    if infrared.shape != visible.shape[:2] or visible.shape[2:] != (3,):
        raise ValueError(f"{infrared.shape=} must be the height and width of {visible.shape=}")
