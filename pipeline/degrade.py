"""Degraded frames from clean ones: seeded, the same for any crop, block, order and machine.

A chain of steps is done in its order; each takes and gives whole grey levels. What a step draws
belongs to the recipe's seed, the clip, the band, the step's place in the chain and, where it
changes, the frame; what it needs around a crop or a window is told by `reach`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pipeline.degrade_blur import gaussian_weights
from pipeline.degrade_codecs import jpeg_compression, video_compression
from pipeline.degrade_draws import (
    MAX_FRAMES,
    MAX_PIXELS_A_SIDE,
    DegradationDraw,
    StepDraw,
    View,
    Window,
)
from pipeline.degrade_infrared import (
    bad_pixels,
    defocus,
    fixed_pattern_drift,
    gaussian_blur,
    impulse_noise,
    low_contrast,
    low_resolution,
    row_noise,
    stripe_noise,
    thermal_bloom,
)
from pipeline.degrade_timing import (
    LONGEST_REPEAT,
    dropped_frames,
    misregistration,
    repeated_frames,
)
from pipeline.degrade_visible import (
    colour_cast,
    exposure_flicker,
    gain_and_offset,
    haze,
    low_light,
    motion_blur,
    over_exposure,
    rain,
    tone_curve,
    tone_points,
    vignetting,
)
from schemas import degradations as kinds
from schemas.degradations import Degradation

STAGE_VERSION = 5
"""Raised whenever the same recipe gives other pixels; part of every clip's fingerprint."""

STEPS: dict[type[kinds.Step], Callable[[Tensor, Any, StepDraw], Tensor]] = {
    kinds.StripeNoise: stripe_noise,
    kinds.RowNoise: row_noise,
    kinds.LowContrast: low_contrast,
    kinds.FixedPatternDrift: fixed_pattern_drift,
    kinds.BadPixels: bad_pixels,
    kinds.ImpulseNoise: impulse_noise,
    kinds.GaussianBlur: gaussian_blur,
    kinds.Defocus: defocus,
    kinds.LowResolution: low_resolution,
    kinds.ThermalBloom: thermal_bloom,
    kinds.LowLight: low_light,
    kinds.OverExposure: over_exposure,
    kinds.MotionBlur: motion_blur,
    kinds.Haze: haze,
    kinds.Rain: rain,
    kinds.JpegCompression: jpeg_compression,
    kinds.VideoCompression: video_compression,
    kinds.ExposureFlicker: exposure_flicker,
    kinds.RepeatedFrames: repeated_frames,
    kinds.DroppedFrames: dropped_frames,
    kinds.Misregistration: misregistration,
    kinds.ToneCurve: tone_curve,
    kinds.TonePoints: tone_points,
    kinds.GainAndOffset: gain_and_offset,
    kinds.Vignetting: vignetting,
    kinds.ColourCast: colour_cast,
}
"""What does each kind of step."""


@dataclass(frozen=True)
class Reach:
    """What a chain looks at around the pixels and frames that it makes."""

    halo_px: int = 0
    """On each side."""
    frames_before: int = 0


def _kernel_reach_px(sigma_px: float) -> int:
    return len(gaussian_weights(sigma_px)) // 2


HALOS_PX: dict[type[kinds.Step], Callable[[Any, StepDraw], float]] = {
    kinds.GaussianBlur: lambda step, drawn: _kernel_reach_px(drawn.scaled(step.sigma_px, "sigma")),
    kinds.ThermalBloom: lambda step, drawn: _kernel_reach_px(drawn.uniform(step.sigma_px, "sigma")),
    kinds.Defocus: lambda step, drawn: drawn.scaled(step.radius_px, "radius"),
    kinds.LowResolution: lambda step, drawn: 2 * drawn.scaled(step.factor, "factor", 1.0) + 1,
    kinds.MotionBlur: lambda step, drawn: drawn.scaled(step.path_px, "path") / 2 + 2,
    kinds.Rain: lambda step, drawn: drawn.uniform(step.length_px, "length") + 2,
    kinds.Misregistration: lambda step, drawn: (
        2 * (drawn.scaled(step.corners_px, "corners") + step.jitter_px * drawn.strength) + 2
    ),
}
"""How far those kinds look whose reach depends on what is drawn."""

BLOCK_HALOS_PX: dict[type[kinds.Step], int] = {kinds.JpegCompression: 7, kinds.VideoCompression: 7}
"""Blocks of 8 pixels lie on the frame's own grid, so a crop may begin seven pixels into one."""

FRAMES_BEFORE: dict[type[kinds.Step], Callable[[Any], int]] = {
    kinds.VideoCompression: lambda step: step.group_frames - 1,
    kinds.FixedPatternDrift: lambda step: step.shutter_frames,
    kinds.RepeatedFrames: lambda _: LONGEST_REPEAT,
    kinds.DroppedFrames: lambda step: step.recovery_frames,
}
"""How far back those kinds look that show or use earlier frames."""


@dataclass(frozen=True)
class CropRead:
    """What to read so that a crop can be degraded, and what to keep of it afterwards."""

    rows: slice
    columns: slice
    window: Window
    kept_rows: slice
    kept_columns: slice

    def keep(self, degraded: Tensor) -> Tensor:
        """The crop itself, out of the degraded block (..., h, w) that was read for it."""
        return degraded[..., self.kept_rows, self.kept_columns]


def read_for_crop(crop: Window, *, height: int, width: int, halo_px: int) -> CropRead:
    """The part of the frame that decides the pixels of a crop: the crop and a halo round it.

    Args:
        crop: where the crop lies.
        height: of the crop, pixels.
        width: of the crop, pixels.
        halo_px: context needed on each side, as `reach` gives it; ends at the frame's edges.
    """
    top, left = max(0, crop.y - halo_px), max(0, crop.x - halo_px)
    return CropRead(
        rows=slice(top, min(crop.frame_height, crop.y + height + halo_px)),
        columns=slice(left, min(crop.frame_width, crop.x + width + halo_px)),
        window=Window(top, left, crop.frame_height, crop.frame_width),
        kept_rows=slice(crop.y - top, crop.y - top + height),
        kept_columns=slice(crop.x - left, crop.x - left + width),
    )


def frames_for_window(reach: Reach, indices: Sequence[int]) -> tuple[int, ...]:
    """The frames that decide those at `indices`, increasing.

    Args:
        reach: of the chain.
        indices: frames wanted, in any order.
    """
    if reach.frames_before == 0:
        return tuple(sorted(set(indices)))
    return tuple(range(max(0, min(indices) - reach.frames_before), max(indices) + 1))


def reach(chain: Sequence[Degradation], draw: DegradationDraw) -> Reach:
    """What the chain looks at around the pixels and frames of this clip that it makes."""
    halo_px = frames_before = 0
    for step, drawn in _drawn(chain, draw):
        kind = type(step)
        halo_px += BLOCK_HALOS_PX.get(kind, 0)
        halo_px += math.ceil(HALOS_PX[kind](step, drawn)) if kind in HALOS_PX else 0
        frames_before += FRAMES_BEFORE[kind](step) if kind in FRAMES_BEFORE else 0
    return Reach(halo_px, frames_before)


def degrade_block(
    frames: Tensor,
    chain: Sequence[Degradation],
    draw: DegradationDraw,
    *,
    indices: Sequence[int],
    window: Window,
) -> Tensor:
    """Frames with the chain's degradations, in their order; `frames` itself for an empty chain.

    Pixels nearer than the chain's halo to a side of the block that is no side of the frame, and
    frames with fewer before them than the chain looks at, lack context and are to be cut off:
    `read_for_crop` and `frames_for_window` say what to read.

    Args:
        frames: clean frames, uint8, shape (T, C, h, w); the same noise goes to all channels.
        chain: what is done, in this order; each step takes and gives whole grey levels.
        draw: the seed, the clip and the band.
        indices: of the frames inside the clip, increasing; without gaps where the chain looks at
            other frames.
        window: where the block, halo included, lies inside the whole frame.

    Raises:
        ValueError: the frames are not such a block, or do not lie inside the frame or the clip.
    """
    _check_block(frames, window, indices)
    view = View(tuple(indices), window, frames.device)
    for step, drawn in _drawn(chain, draw, view):
        frames = STEPS[type(step)](frames, step, drawn)
    return frames


def degrade_batch(
    frames: Tensor,
    chain: Sequence[Degradation],
    draws: Sequence[DegradationDraw],
    *,
    indices: Sequence[Sequence[int]],
    windows: Sequence[Window],
) -> Tensor:
    """Blocks of one size out of several clips, each as `degrade_block` degrades it by itself.

    Args:
        frames: clean frames, uint8, shape (B, T, C, h, w), on a CPU or a GPU.
        chain: the same for all.
        draws: of each block.
        indices: of each block's frames inside its clip.
        windows: where each block lies inside its frame.

    Returns:
        uint8, shape (B, T, C, h, w).

    Raises:
        ValueError: blocks, draws, indices and windows differ in number, or a block is none.
    """
    if not len(frames) == len(draws) == len(indices) == len(windows) > 0:
        raise ValueError(
            f"{len(frames)} blocks, {len(draws)} draws, {len(indices)} rows of indices and "
            f"{len(windows)} windows: as many of each are needed"
        )
    made = [
        degrade_block(block, chain, draw, indices=own, window=window)
        for block, draw, own, window in zip(frames, draws, indices, windows, strict=True)
    ]
    return torch.stack(made)


def _drawn(
    chain: Sequence[Degradation], draw: DegradationDraw, view: View | None = None
) -> list[tuple[Degradation, StepDraw]]:
    """The steps that this clip gets, with what they draw."""
    view = view or View((), Window(0, 0, 0, 0), torch.device("cpu"))
    steps = []
    for position, step in enumerate(chain):
        place = f"{position}/{step.kind}"
        strength = draw.uniform(step.strength, f"{place}/strength")
        is_taken = step.probability == 1 or draw.share(f"{place}/taken") < step.probability
        if strength > 0 and is_taken:
            steps.append((step, StepDraw(draw, place, strength, view)))
    return steps


def _check_block(frames: Tensor, window: Window, indices: Sequence[int]) -> None:
    if frames.dtype != torch.uint8 or frames.dim() != 4 or frames.numel() == 0:
        raise ValueError(
            f"frames are {frames.dtype} of shape {tuple(frames.shape)}; "
            "they must be torch.uint8 of shape (T, C, h, w), none of them 0"
        )
    height, width = frames.shape[-2:]
    fits_rows = 0 <= window.y <= window.frame_height - height
    fits_columns = 0 <= window.x <= window.frame_width - width
    if not (fits_rows and fits_columns):
        raise ValueError(f"a block of {height} x {width} pixels at {window} leaves the frame")
    if max(window.frame_height, window.frame_width) > MAX_PIXELS_A_SIDE:
        raise ValueError(f"{window}: frames have at most {MAX_PIXELS_A_SIDE} pixels a side")
    increasing = all(a < b for a, b in pairwise(indices))
    if len(indices) != len(frames) or not increasing or indices[0] < 0 or indices[-1] >= MAX_FRAMES:
        raise ValueError(
            f"{len(frames)} frames with the indices {list(indices)}; one each, increasing, "
            f"within 0 and {MAX_FRAMES - 1}"
        )
