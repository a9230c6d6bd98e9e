"""Degrades single frames as arrays."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.degrade import degrade_block, frames_for_window, reach
from pipeline.degrade_draws import DegradationDraw, Window
from schemas.base import Band
from schemas.store import ClipAttributes


def degraded_frame(
    read: Callable[[int, int], NDArray[np.uint8]], band: Band, about: ClipAttributes, pair: int
) -> NDArray[np.uint8]:
    """One whole frame as a loader degrades it while reading.

    Args:
        read: gives clean frames of the clip, from the first to the second number (left out):
            infrared (T, H, W), or visible RGB (T, H, W, 3).
        band: which of the two.
        about: names the clip, the seed and the chain of degradations.
        pair: which pair of the clip is wanted.

    Returns:
        Infrared (H, W), or visible RGB (H, W, 3).
    """
    chain = about.degrade.infrared if band == "infrared" else about.degrade.visible
    draw = DegradationDraw(about.seed, about.clip, band)
    indices = frames_for_window(reach(chain, draw), [pair])
    clean = torch.from_numpy(read(indices[0], pair + 1))
    block = clean[:, None] if band == "infrared" else clean.permute(0, 3, 1, 2)  # (T, C, H, W)
    whole = Window(0, 0, about.height, about.width)
    degraded = degrade_block(block, chain, draw, indices=indices, window=whole)[-1]
    shown = degraded[0] if band == "infrared" else degraded.permute(1, 2, 0)
    return np.asarray(shown.numpy(), np.uint8)
