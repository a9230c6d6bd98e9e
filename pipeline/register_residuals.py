"""What one homography leaves unexplained: where each block of the image would rather lie."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.register_consensus import Surfaces

PEAK_SIGMA_PX = 0.7
"""Blur of the surfaces before their peaks are placed between pixels."""

MIN_CORRELATION = 0.35
"""Of a block's best shift, for the block to be trusted; of chance alone 0.2 to 0.3 is usual."""

MIN_TEXTURE = 0.35
"""Weight of a block, of the largest one of all, for the block to be trusted: skies and walls match
by their noise, and with no less correlation."""

MIN_LEAD = 0.05
"""By how much that must lead over any shift further than NEIGHBOUR_PX from it; blocks of one long
edge, which slide along it, do not."""

NEIGHBOUR_PX = 3

MIN_BLOCKS = 8
"""Trusted ones, without which nothing is said about the whole."""

OUTLYING = 0.05
"""Share of blocks at either end that count as much as the next ones: chance places a few
anywhere."""

NINE_TENTHS = 3.29
"""Standard deviations between which nine tenths of a normal distribution lie."""


@dataclass(frozen=True)
class Residuals:
    """How far each block is from where a homography puts it; arrays have one row per block."""

    centres_px: NDArray[np.float64]
    """Of the blocks, infrared pixels, x then y, (B, 2)."""
    moves_px: NDArray[np.float64]
    """What the visible block must still move by, infrared pixels, x then y, (B, 2)."""
    correlation: NDArray[np.float64]
    """Of descriptors at that place, (B,)."""
    is_trusted: NDArray[np.bool_]
    """Whether the block shows structure and its place is distinct, (B,)."""

    def mean_px(self) -> float | None:
        """Mean length of the trusted moves; None: too few are."""
        moves = self.moves_px[self.is_trusted]
        if len(moves) < MIN_BLOCKS:
            return None
        return float(np.linalg.norm(moves, axis=1).mean())

    def parallax_px(self) -> float | None:
        """How far the trusted moves spread along the direction in which they spread most.

        Between cameras side by side, things at different depths shift along one direction. One
        homography holds for one plane, so that this is the parallax between the nearest and the
        farthest things off it, outlying ones left out; None: too few blocks are trusted.
        """
        moves = self.moves_px[self.is_trusted]
        if len(moves) < MIN_BLOCKS:
            return None
        moves = moves - np.median(moves, axis=0)
        _, _, directions = np.linalg.svd(moves, full_matrices=False)
        along = moves @ directions[0]
        low, high = np.quantile(along, (OUTLYING, 1 - OUTLYING))
        return float(NINE_TENTHS * np.clip(along, low, high).std())


def residuals_of(surfaces: Surfaces, scale: float) -> Residuals:
    """Where blocks match best, between pixels.

    Args:
        surfaces: matches of blocks around the places where a homography puts them.
        scale: of their grid, to the infrared image.
    """
    count, reach = len(surfaces.centres), surfaces.reach_px
    moves, correlation = np.zeros((count, 2)), np.zeros(count)
    trusted = np.zeros(count, np.bool_)
    textured = surfaces.weights >= MIN_TEXTURE * surfaces.weights.max(initial=0)
    for block, scores in enumerate(surfaces.scores):
        smooth = cv2.GaussianBlur(scores, (0, 0), PEAK_SIGMA_PX)
        row, column = (int(each) for each in np.unravel_index(int(smooth.argmax()), smooth.shape))
        correlation[block] = smooth[row, column]
        if not (0 < row < 2 * reach and 0 < column < 2 * reach):
            continue  # the best place lies further off
        moves[block] = (
            column - reach + _summit(smooth[row, column - 1 : column + 2]),
            row - reach + _summit(smooth[row - 1 : row + 2, column]),
        )
        rest = smooth.copy()
        rest[
            max(0, row - NEIGHBOUR_PX) : row + NEIGHBOUR_PX + 1,
            max(0, column - NEIGHBOUR_PX) : column + NEIGHBOUR_PX + 1,
        ] = -1
        lead = correlation[block] - float(rest.max())
        is_distinct = correlation[block] >= MIN_CORRELATION and lead >= MIN_LEAD
        trusted[block] = textured[block] and is_distinct
    return Residuals(
        centres_px=(surfaces.centres + 0.5) / scale - 0.5,
        moves_px=moves / scale,
        correlation=correlation,
        is_trusted=trusted,
    )


def kept_residuals(kept: Mapping[str, NDArray[np.generic]]) -> Residuals:
    """What register kept of how well each block matches."""
    return Residuals(
        centres_px=kept["centres_px"].astype(np.float64),
        moves_px=kept["moves_px"].astype(np.float64),
        correlation=kept["correlation"].astype(np.float64),
        is_trusted=kept["is_trusted"].astype(np.bool_),
    )


def _summit(three: NDArray[np.float32]) -> float:
    """Where a parabola through three values is highest, in steps from the middle one."""
    before, middle, after = (float(value) for value in three)
    bend = before - 2 * middle + after
    return 0.0 if bend >= 0 else 0.5 * (before - after) / bend
