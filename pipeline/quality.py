"""Figures by which people judge a clip, gathered frame by frame while it streams past."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from pipeline.tone import common_change
from schemas.facts import ClipQuality, LevelSums

FLICKER_STEP = 2
"""Every second row and column tells as much of the whole picture, at a quarter of the cost."""


@dataclass(frozen=True)
class QualitySums:
    """Sums over the frames of a clip seen so far; grey levels, over the valid pixels alone."""

    pairs: int = 0
    infrared: LevelSums = field(default_factory=LevelSums)
    visible: LevelSums = field(default_factory=LevelSums)
    infrared_deviation: float = 0.0
    visible_deviation: float = 0.0
    visible_laplacian_variance: float = 0.0
    infrared_flicker_levels: float = 0.0
    infrared_before: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
    """The last frame seen, (H, W)."""


@dataclass(frozen=True)
class PairFigures:
    """What one pair adds to the sums."""

    infrared: LevelSums
    visible: LevelSums
    visible_laplacian_variance: float
    infrared_flicker_levels: float


def with_block(
    sums: QualitySums,
    infrared: NDArray[np.uint8],
    visible: NDArray[np.uint8],
    valid: NDArray[np.bool_],
) -> QualitySums:
    """`sums` with the pairs of one block added, in order; arguments as for `figures_of`."""
    figures = figures_of(infrared, visible, valid, sums.infrared_before)
    sums = with_figures(sums, figures)
    return replace(sums, infrared_before=infrared[-1].copy()) if len(infrared) else sums


def with_figures(sums: QualitySums, figures: Iterable[PairFigures]) -> QualitySums:
    """`sums` with the figures of pairs added, in order: the same however they were gathered."""
    for pair in figures:
        sums = replace(
            sums,
            pairs=sums.pairs + 1,
            infrared=added(sums.infrared, pair.infrared),
            visible=added(sums.visible, pair.visible),
            infrared_deviation=sums.infrared_deviation + deviation_levels(pair.infrared),
            visible_deviation=sums.visible_deviation + deviation_levels(pair.visible),
            visible_laplacian_variance=sums.visible_laplacian_variance
            + pair.visible_laplacian_variance,
            infrared_flicker_levels=max(sums.infrared_flicker_levels, pair.infrared_flicker_levels),
        )
    return sums


def figures_of(
    infrared: NDArray[np.uint8],
    visible: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    before: NDArray[np.uint8] | None,
) -> list[PairFigures]:
    """The figures of every pair of a block.

    Args:
        infrared: (T, H, W), grey levels.
        visible: (T, H, W, 3), RGB; judged by its luma (ITU-R BT.601, as OpenCV weighs it).
        valid: (H, W), where both cameras see the scene.
        before: the infrared frame before the block, (H, W); None: there is none.
    """
    inside = valid.astype(np.uint8)
    # A Laplacian next to the border of the view measures the border, not the scene.
    inner = cv2.erode(inside, np.ones((3, 3), np.uint8))
    found: list[PairFigures] = []
    for infrared_frame, visible_frame in zip(infrared, visible, strict=True):
        luma = cv2.cvtColor(visible_frame, cv2.COLOR_RGB2GRAY)
        _, edges = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S), mask=inner)
        found.append(
            PairFigures(
                sums_of(infrared_frame, inside),
                sums_of(luma, inside),
                float(edges[0, 0]) ** 2,
                flicker(infrared_frame, before, valid),
            )
        )
        before = infrared_frame
    return found


def flicker(
    frame: NDArray[np.uint8], before: NDArray[np.uint8] | None, valid: NDArray[np.bool_]
) -> float:
    """By how many grey levels the whole picture became brighter or darker, whatever moves in it.

    Args:
        frame: (H, W).
        before: the frame before it, (H, W); None: there is none.
        valid: (H, W), where samples count.
    """
    if before is None:
        return 0.0
    sparse = (slice(None, None, FLICKER_STEP),) * 2
    change = (frame[sparse].astype(np.int16) - before[sparse])[valid[sparse]]
    return abs(common_change(change)) if change.size else 0.0


def sums_of(frame: MatLike, inside: MatLike) -> LevelSums:
    """The sums of one frame, exact.

    OpenCV gives the sum of squares as a float64 that was rounded twice, which is off by far less
    than a half below 1e15: the squares of 15 thousand million samples.

    Args:
        frame: (H, W), uint8 grey levels.
        inside: (H, W), uint8; where it is not 0, the samples count.
    """
    return LevelSums(
        samples=cv2.countNonZero(inside),
        levels=round(cv2.norm(frame, cv2.NORM_L1, mask=inside)),
        squared_levels=round(cv2.norm(frame, cv2.NORM_L2SQR, mask=inside)),
    )


def added(one: LevelSums, other: LevelSums) -> LevelSums:
    """The sums over the samples of both."""
    return LevelSums(
        samples=one.samples + other.samples,
        levels=one.levels + other.levels,
        squared_levels=one.squared_levels + other.squared_levels,
    )


def mean_levels(sums: LevelSums) -> float:
    """Of the samples; 0 without any."""
    return sums.levels / sums.samples if sums.samples else 0.0


def deviation_levels(sums: LevelSums) -> float:
    """Standard deviation of the samples; 0 without any."""
    if not sums.samples:
        return 0.0
    return math.sqrt(sums.samples * sums.squared_levels - sums.levels**2) / sums.samples


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
        infrared_mean_levels=mean_levels(sums.infrared),
        infrared_contrast_levels=sums.infrared_deviation / sums.pairs,
        infrared_flicker_levels=sums.infrared_flicker_levels,
        visible_mean_levels=mean_levels(sums.visible),
        visible_contrast_levels=sums.visible_deviation / sums.pairs,
        visible_sharpness=sums.visible_laplacian_variance / sums.pairs,
        mean_residual_s=float(np.abs(residual_s).mean()),
        sync_confidence=sync_confidence,
        registration_confidence=registration_confidence,
    )
