"""Figures by which people judge a clip, gathered frame by frame while it streams past."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from schemas.facts import ClipQuality


@dataclass(frozen=True)
class QualitySums:
    """Sums over the frames of a clip seen so far; grey levels, over the valid pixels alone."""

    pairs: int = 0
    infrared_mean: float = 0.0
    infrared_deviation: float = 0.0
    visible_mean: float = 0.0
    visible_deviation: float = 0.0
    visible_laplacian_variance: float = 0.0


def with_block(
    sums: QualitySums,
    infrared: NDArray[np.uint8],
    visible: NDArray[np.uint8],
    valid: NDArray[np.bool_],
) -> QualitySums:
    """`sums` with the pairs of one block added, in order.

    Args:
        sums: of the pairs before.
        infrared: (T, H, W), grey levels.
        visible: (T, H, W, 3), RGB; judged by its luma (ITU-R BT.601, as OpenCV weighs it).
        valid: (H, W), where both cameras see the scene.
    """
    inside = valid.astype(np.uint8)
    # A Laplacian next to the border of the view measures the border, not the scene.
    inner = cv2.erode(inside, np.ones((3, 3), np.uint8))
    for infrared_frame, visible_frame in zip(infrared, visible, strict=True):
        luma = cv2.cvtColor(visible_frame, cv2.COLOR_RGB2GRAY)
        infrared_mean, infrared_deviation = _mean_and_deviation(infrared_frame, inside)
        visible_mean, visible_deviation = _mean_and_deviation(luma, inside)
        _, edges = _mean_and_deviation(cv2.Laplacian(luma, cv2.CV_16S), inner)
        sums = replace(
            sums,
            pairs=sums.pairs + 1,
            infrared_mean=sums.infrared_mean + infrared_mean,
            infrared_deviation=sums.infrared_deviation + infrared_deviation,
            visible_mean=sums.visible_mean + visible_mean,
            visible_deviation=sums.visible_deviation + visible_deviation,
            visible_laplacian_variance=sums.visible_laplacian_variance + edges**2,
        )
    return sums


def clip_quality(
    sums: QualitySums,
    *,
    residual_s: NDArray[np.float64],
    sync_confidence: float,
    registration_confidence: float,
) -> ClipQuality:
    """The figures of a whole clip.

    Args:
        sums: over all its pairs, at least one.
        residual_s: distance in time of each pair's two frames, either sign, (pairs,).
        sync_confidence: of the recording, 0..1.
        registration_confidence: of the recording, 0..1.
    """
    return ClipQuality(
        infrared_mean_levels=sums.infrared_mean / sums.pairs,
        infrared_contrast_levels=sums.infrared_deviation / sums.pairs,
        visible_mean_levels=sums.visible_mean / sums.pairs,
        visible_contrast_levels=sums.visible_deviation / sums.pairs,
        visible_sharpness=sums.visible_laplacian_variance / sums.pairs,
        mean_residual_s=float(np.abs(residual_s).mean()),
        sync_confidence=sync_confidence,
        registration_confidence=registration_confidence,
    )


def _mean_and_deviation(image: MatLike, inside: MatLike) -> tuple[float, float]:
    """Over the pixels where `inside` is not 0."""
    mean, deviation = cv2.meanStdDev(image, mask=inside)
    return float(mean[0, 0]), float(deviation[0, 0])
