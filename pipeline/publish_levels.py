"""Grey levels counted exactly, and what follows from the counts."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.release import BandStatistics

LEVELS = 256
"""Grey levels of an 8-bit sample."""


def level_statistics(counts: NDArray[np.int64]) -> BandStatistics:
    """Mean and deviation of samples counted by grey level.

    Args:
        counts: samples of each level, (256,); at least one sample.
    """
    levels = np.arange(LEVELS)
    samples = int(counts.sum())
    mean = float(counts @ levels) / samples
    variance = float(counts @ (levels - mean) ** 2) / samples
    return BandStatistics(mean_levels=mean, deviation_levels=float(np.sqrt(variance)))


def count_levels(
    frames: NDArray[np.uint8], valid: NDArray[np.bool_], *, is_color: bool
) -> NDArray[np.int64]:
    """How often each grey level stands where both cameras see the scene, (256,).

    Args:
        frames: (T, H, W) grey levels, or (T, H, W, 3) RGB counted by its luma (ITU-R BT.601).
        valid: (H, W).
        is_color: whether `frames` are RGB.
    """
    counts = np.zeros(LEVELS, np.int64)
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if is_color else frame
        counts += np.bincount(grey[valid], minlength=LEVELS)
    return counts
