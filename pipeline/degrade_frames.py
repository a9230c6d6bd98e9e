"""Degrades single frames as arrays."""

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.degrade import degrade_block
from pipeline.degrade_draws import DegradationDraw, Window
from schemas.base import Band
from schemas.store import ClipAttributes


def degraded_frame(
    clean: NDArray[np.uint8], band: Band, about: ClipAttributes, pair: int
) -> NDArray[np.uint8]:
    """One whole frame as a loader degrades it while reading.

    Args:
        clean: infrared (H, W), or visible RGB (H, W, 3).
        band: which of the two.
        about: names the clip, the seed and the chain of degradations.
        pair: which pair of the clip it belongs to.

    Returns:
        As `clean`.
    """
    chain = about.degrade.infrared if band == "infrared" else about.degrade.visible
    whole = Window(0, 0, about.height, about.width)
    block = torch.from_numpy(np.atleast_3d(clean).copy()).permute(2, 0, 1)  # (C, H, W)
    draw = DegradationDraw(about.seed, about.clip, band)
    (degraded,) = degrade_block(block[None], chain, draw, indices=[pair], window=whole)
    pixels: NDArray[np.uint8] = degraded.permute(1, 2, 0).numpy().squeeze()
    return pixels
