"""Degraded frames from clean ones: seeded, the same for any crop, block, order and machine.

Random numbers are counter-based: each is a hash of what it belongs to, never the next of a stream.
All pixel arithmetic is on integers, in int32 or in float32 below 2**24 where every sum is exact,
so that neither shapes nor threads nor the order of summation can move a grey level. One rounding
rule holds throughout: to the nearest grey level, halves upwards, then held within 0..255.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from schemas.base import canonical_json
from schemas.recipe import Degradation, GaussianBlur, StripeNoise

STAGE_VERSION = 1
"""Raised whenever the same recipe gives other pixels; part of every clip's fingerprint."""

MAX_PIXELS_A_SIDE = 1 << 16
MAX_FRAMES = 1 << 31
"""Rows, groups of columns and frames each have bits of their own in the counter of a draw."""

HASH_STEP = 0x9E3779B97F4A7C15 - (1 << 64)
HASH_FACTORS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
HASH_SHIFTS = (30, 27, 31)
"""SplitMix64 as signed 64-bit numbers: Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014, figure 17 (variant 13 of Stafford's finalisers)."""

DRAWS_A_HASH = 4
"""Draws of 16 bits taken from one hash of 64, for four neighbouring columns."""

QUANTILES = 1 << 16
QUANTILE_UNIT = 1 << 12
"""A normal draw is one of 65,536 quantiles (at most 4.3 sigma) in steps of 1/4096 sigma."""

SIGMA_UNIT = 1 << 8
"""Noise is drawn for the sigma's nearest 1/256 grey level. Recipes stop at 64 levels; a grey level
and two draws, in units of 1 / (QUANTILE_UNIT * SIGMA_UNIT), then stay below 2**30."""

KERNEL_UNIT = 1 << 11
"""A blur's weights are multiples of 1/2048: 8 bits of pixel, 5 bits of BETWEEN_UNIT and 11 bits of
weight are the 24 bits of which float32 holds every sum exactly."""

BETWEEN_UNIT = 1 << 5
"""Between its two passes a blur keeps 1/32 grey level."""

KERNEL_REACH_SIGMAS = 5
"""Weights further out are below half of 1/2048 for every sigma, so they round to nothing."""

Band = Literal["infrared", "visible"]


@dataclass(frozen=True)
class DegradationDraw:
    """Which of all possible draws: the recipe's seed, the clip and the band."""

    seed: int
    clip: str
    band: Band

    def key(self, place: str) -> int:
        """A signed 64-bit key for what is drawn at `place`."""
        text = canonical_json(["degrade", self.seed, self.clip, self.band, place])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)

    def uniform(self, bounds: tuple[float, float], place: str) -> float:
        """A number between the bounds, one a clip, the same whenever it is asked for."""
        low, high = bounds
        return low + (high - low) * ((self.key(place) >> 11) / (1 << 53) + 0.5)


@dataclass(frozen=True)
class Window:
    """Where a block of pixels lies inside the whole frame, pixels."""

    y: int
    x: int
    frame_height: int
    frame_width: int


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
        halo_px: context needed on each side, as `halo_px` gives it; ends at the frame's edges.
    """
    top, left = max(0, crop.y - halo_px), max(0, crop.x - halo_px)
    return CropRead(
        rows=slice(top, min(crop.frame_height, crop.y + height + halo_px)),
        columns=slice(left, min(crop.frame_width, crop.x + width + halo_px)),
        window=Window(top, left, crop.frame_height, crop.frame_width),
        kept_rows=slice(crop.y - top, crop.y - top + height),
        kept_columns=slice(crop.x - left, crop.x - left + width),
    )


def halo_px(chain: Sequence[Degradation], draw: DegradationDraw) -> int:
    """Context a crop needs on each side to be degraded as the whole frame is, pixels."""
    return sum(
        len(gaussian_weights(_blur_sigma_px(item, draw, place))) // 2
        for place, item in _places(chain)
        if isinstance(item, GaussianBlur)
    )


def degrade_block(
    frames: Tensor,
    chain: Sequence[Degradation],
    draw: DegradationDraw,
    *,
    first_frame: int,
    window: Window,
    frame_step: int = 1,
) -> Tensor:
    """Frames with the chain's degradations, in their order; `frames` itself for an empty chain.

    Pixels nearer than `halo_px` to a side of the block that is no side of the frame lack context
    and are to be cut off: `read_for_crop` says what to read and what to keep.

    Args:
        frames: clean frames, uint8, shape (T, C, h, w); the same noise goes to all channels.
        chain: what is done, in this order; each step takes and gives whole grey levels.
        draw: the seed, the clip and the band.
        first_frame: index inside the clip of the pair in `frames[0]`.
        window: where the block, halo included, lies inside the whole frame.
        frame_step: how far apart in the clip neighbouring frames are; negative runs backwards.

    Raises:
        ValueError: the frames are not such a block, or do not lie inside the frame or the clip.
    """
    _check_block(frames, window, first_frame, first_frame + frame_step * (len(frames) - 1))
    indices = first_frame + frame_step * torch.arange(len(frames), device=frames.device)
    for place, item in _places(chain):
        if isinstance(item, StripeNoise):
            white_sigma_levels = draw.uniform(item.white_sigma_levels, f"{place}/white-sigma")
            stripe_sigma_levels = draw.uniform(item.stripe_sigma_levels, f"{place}/stripe-sigma")
            white = normal_draws(draw.key(f"{place}/white"), indices, window, frames.shape[-2:])
            first_row = Window(0, window.x, 1, window.frame_width)
            stripes = normal_draws(
                draw.key(f"{place}/stripes"), indices[:1] * 0, first_row, (1, frames.shape[-1])
            )
            frames = _add_noise(
                frames,
                white.mul_(round(white_sigma_levels * SIGMA_UNIT)),
                stripes.mul_(round(stripe_sigma_levels * SIGMA_UNIT)),
            )
        else:
            frames = blur(frames, gaussian_weights(_blur_sigma_px(item, draw, place)))
    return frames


def normal_draws(
    key: int, frame_indices: Tensor, window: Window, size: tuple[int, int] | torch.Size
) -> Tensor:
    """Standard normal draws in units of 1/4096, each a function of (key, frame, y, x) alone.

    Four columns share a hash; its 16-bit quarters, lowest first (as little-endian machines lie
    them out, which all that torch is released for are), pick quantiles of the normal distribution.

    Args:
        key: names the set of draws; 64 bits, signed.
        frame_indices: int64, shape (T,), 0 to 2**31 - 1.
        window: where the first row and column of the draws lie.
        size: rows and columns wanted.

    Returns:
        int32, shape (T, h, w).
    """
    height, width = size
    device = frame_indices.device
    rows = torch.arange(window.y, window.y + height, device=device)
    first_group = window.x // DRAWS_A_HASH
    groups = torch.arange(first_group, (window.x + width - 1) // DRAWS_A_HASH + 1, device=device)
    state = (
        ((frame_indices << 32) * HASH_STEP)[:, None, None]
        + ((rows << 16) * HASH_STEP + key)[:, None]
        + groups * HASH_STEP
    )
    ranks = _mix(state).view(torch.uint16)  # (T, h, 4 * groups)
    skipped = window.x - first_group * DRAWS_A_HASH
    ranks = ranks[..., skipped : skipped + width].to(torch.int32)
    return _normal_quantiles(device).index_select(0, ranks.flatten()).view(ranks.shape)


def _mix(state: Tensor) -> Tensor:
    """The SplitMix64 hash of each 64-bit number; overwrites `state`."""
    for shift, factor in zip(HASH_SHIFTS, (*HASH_FACTORS, 1), strict=True):
        # int64 is shifted with its sign: the mask makes it the shift of an unsigned number
        state ^= (state >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        if factor != 1:
            state *= factor
    return state


@cache
def _normal_quantiles(device: torch.device) -> Tensor:
    """Normal quantiles in units of 1/4096, int32, shape (65536,), mirrored about zero."""
    probability = (torch.arange(QUANTILES // 2, dtype=torch.float64) + 0.5) / QUANTILES
    lower = torch.special.ndtri(probability).mul(QUANTILE_UNIT).round().to(torch.int32)
    return torch.cat([lower, -lower.flip(0)]).to(device)


def _add_noise(frames: Tensor, white: Tensor, stripes: Tensor) -> Tensor:
    """Frames plus noise in units of 1 / (QUANTILE_UNIT * SIGMA_UNIT) grey levels.

    Args:
        frames: uint8, shape (T, C, h, w).
        white: int32, shape (T, h, w); overwritten.
        stripes: int32, shape (1, 1, w).
    """
    unit = QUANTILE_UNIT * SIGMA_UNIT
    white += stripes + unit // 2
    levels = frames.to(torch.int32).mul_(unit)
    levels += white[:, None]
    levels >>= unit.bit_length() - 1
    return levels.clamp_(0, 255).to(torch.uint8)


def gaussian_weights(sigma_px: float) -> tuple[int, ...]:
    """A sampled Gaussian as whole numbers that add up to 2048; odd in length, no zeros outside.

    Args:
        sigma_px: standard deviation, pixels, from 0 (which gives the kernel that changes nothing).
    """
    if sigma_px == 0:
        return (KERNEL_UNIT,)
    distances = [i / sigma_px for i in range(math.ceil(KERNEL_REACH_SIGMAS * sigma_px) + 1)]
    heights = [math.exp(-0.5 * distance * distance) for distance in distances]
    total = 2 * sum(heights) - heights[0]
    side = [round(KERNEL_UNIT * height / total) for height in heights[1:]]
    side = [weight for weight in side if weight > 0]
    return (*reversed(side), KERNEL_UNIT - 2 * sum(side), *side)


def blur(frames: Tensor, weights: Sequence[int]) -> Tensor:
    """Frames blurred along y, then along x; beyond the edges they are mirrored, edge not repeated.

    Mixed precision would round the weights, so it is switched off here. All frames together are
    one image of T*C channels, laid out channels-last: on a CPU torch's depth-wise convolution is
    then 3 times (128x128) to 6 times (640x480) as fast as over (T, C, h, w), which is also what
    kornia's filters come down to.

    Args:
        frames: uint8, shape (T, C, h, w).
        weights: symmetric, not negative, adding up to 2048.
    """
    reach = len(weights) // 2
    if reach == 0:
        return frames
    count, channels, height, width = frames.shape
    images, device = count * channels, frames.device
    rows = frames.permute(2, 3, 0, 1).reshape(height, width, images)
    rows = rows.index_select(0, _mirrored(height, reach, device))
    rows = rows.index_select(1, _mirrored(width, reach, device)).to(torch.float32)
    strides = (rows.numel(), 1, rows.stride(0), images)
    image = rows.as_strided((1, images, *rows.shape[:2]), strides)  # (1, T*C, h + 2r, w + 2r)
    kernel = torch.tensor(weights, dtype=torch.float32, device=device)
    along_y = (kernel * (BETWEEN_UNIT / KERNEL_UNIT)).view(1, 1, -1, 1).repeat(images, 1, 1, 1)
    along_x = (kernel / (BETWEEN_UNIT * KERNEL_UNIT)).view(1, 1, 1, -1).repeat(images, 1, 1, 1)
    half = torch.full((images,), 0.5, dtype=torch.float32, device=device)
    with torch.autocast(device.type, enabled=False):
        image = torch.nn.functional.conv2d(image, along_y, half, groups=images).floor_()
        image = torch.nn.functional.conv2d(image, along_x, half, groups=images)
    return image.to(torch.uint8).view(frames.shape)  # the conversion cuts the fraction off


def _mirrored(size: int, reach: int, device: torch.device) -> Tensor:
    """Indices -reach .. size + reach - 1, folded back into 0 .. size - 1 at the edge pixels."""
    period = max(1, 2 * (size - 1))
    folded = torch.arange(-reach, size + reach, device=device).remainder(period)
    return torch.minimum(folded, period - folded) if size > 1 else folded


def _places(chain: Sequence[Degradation]) -> list[tuple[str, Degradation]]:
    """Every item with the name of its place, which all of its draws share."""
    return [(f"{position}/{item.kind}", item) for position, item in enumerate(chain)]


def _blur_sigma_px(item: GaussianBlur, draw: DegradationDraw, place: str) -> float:
    return draw.uniform(item.sigma_px, f"{place}/sigma")


def _check_block(frames: Tensor, window: Window, first_frame: int, last_frame: int) -> None:
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
    if not (0 <= first_frame < MAX_FRAMES and 0 <= last_frame < MAX_FRAMES):
        raise ValueError(
            f"frames {first_frame} to {last_frame} must lie within 0 and {MAX_FRAMES - 1}"
        )
