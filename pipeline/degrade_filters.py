"""Exact filters of 8-bit frames: no shape, thread or order of summation can move a grey level.

Sums are of integers, in int32 or in float32 below 2**24, where every sum is exact. One rounding
rule holds throughout: to the nearest grey level, halves upwards, then held within 0..255.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.degrade_draws import NORMAL_UNIT, Window

SIGMA_UNIT = 1 << 8
"""Noise is drawn for the sigma's nearest 1/256 grey level. Recipes stop at 64 levels; a grey level
and two draws, in units of 1 / (NORMAL_UNIT * SIGMA_UNIT), then stay below 2**30."""

NOISE_UNIT = NORMAL_UNIT * SIGMA_UNIT

KERNEL_UNIT = 1 << 11
"""A kernel's weights are multiples of 1/2048: 8 bits of pixel, 5 bits of BETWEEN_UNIT and 11 bits
of weight are the 24 bits of which float32 holds every sum exactly."""

BETWEEN_UNIT = 1 << 5
"""Between its two passes a blur keeps 1/32 grey level."""

KERNEL_REACH_SIGMAS = 5
"""Weights further out are below half of 1/2048 for every sigma, so they round to nothing."""

DISC_PARTS = 16
"""A disc's share of a pixel is counted on 16 x 16 points of it."""

GAIN_UNIT = 1 << 10
"""Gains that differ from pixel to pixel are multiples of 1/1024."""


def rounded(value: float) -> int:
    """The nearest whole number, halves upwards."""
    return math.floor(value + 0.5)


def level_table(curve: Callable[[int], float]) -> Tensor:
    """The grey level that each grey level becomes, uint8, shape (256,)."""
    levels = [min(255, max(0, rounded(curve(level)))) for level in range(256)]
    return torch.tensor(levels, dtype=torch.uint8)


def looked_up(frames: Tensor, table: Tensor) -> Tensor:
    """Every grey level replaced as `table` (256,) says."""
    table = table.to(frames.device)
    return table.index_select(0, frames.flatten().to(torch.int32)).view(frames.shape)


def with_noise(frames: Tensor, offsets: Tensor) -> Tensor:
    """Frames plus offsets in units of 1 / NOISE_UNIT grey levels.

    Args:
        frames: uint8, shape (T, C, h, w).
        offsets: int32, broadcasting against (T, C, h, w).
    """
    levels = frames.to(torch.int32).mul_(NOISE_UNIT).add_(NOISE_UNIT // 2)
    levels = levels + offsets
    levels >>= NOISE_UNIT.bit_length() - 1
    return levels.clamp_(0, 255).to(torch.uint8)


def with_gain(frames: Tensor, gains: Tensor, level: int = 0) -> Tensor:
    """Frames drawn towards a level, or away from it: level + gain (frames - level) in each pixel.

    Args:
        frames: uint8, shape (T, C, h, w).
        gains: int32 in units of 1/1024, at most 4, broadcasting against (T, C, h, w).
        level: the grey level that stays as it is.
    """
    scaled = (frames.to(torch.int32) - level) * gains + GAIN_UNIT // 2
    return (level + (scaled >> (GAIN_UNIT.bit_length() - 1))).clamp_(0, 255).to(torch.uint8)


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


def disc_weights(radius_px: float) -> Tensor:
    """A disc of even weight as whole numbers that add up to 2048, int32, odd in both sizes."""
    reach = max(0, math.ceil(radius_px - 0.5))
    points = [(part + 0.5) / DISC_PARTS - 0.5 for part in range(DISC_PARTS)]
    counts = [
        [
            sum((y + dy) ** 2 + (x + dx) ** 2 <= radius_px**2 for dy in points for dx in points)
            for x in range(-reach, reach + 1)
        ]
        for y in range(-reach, reach + 1)
    ]
    return whole_kernel([[float(count) for count in row] for row in counts])


def whole_kernel(heights: Sequence[Sequence[float]]) -> Tensor:
    """Heights scaled to whole numbers that add up to 2048; the middle one takes the remainder."""
    total = sum(map(sum, heights))
    if total == 0:
        return torch.tensor([[KERNEL_UNIT]], dtype=torch.int32)
    kernel = torch.tensor(
        [[rounded(KERNEL_UNIT * height / total) for height in row] for row in heights],
        dtype=torch.int32,
    )
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] += KERNEL_UNIT - int(kernel.sum())
    return kernel


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
    image, images = _as_channels(frames, reach, reach)
    kernel = torch.tensor(weights, dtype=torch.float32, device=frames.device)
    along_y = (kernel * (BETWEEN_UNIT / KERNEL_UNIT)).view(1, 1, -1, 1).repeat(images, 1, 1, 1)
    along_x = (kernel / (BETWEEN_UNIT * KERNEL_UNIT)).view(1, 1, 1, -1).repeat(images, 1, 1, 1)
    half = torch.full((images,), 0.5, dtype=torch.float32, device=frames.device)
    with torch.autocast(frames.device.type, enabled=False):
        image = torch.nn.functional.conv2d(image, along_y, half, groups=images).floor_()
        image = torch.nn.functional.conv2d(image, along_x, half, groups=images)
    return image.to(torch.uint8).view(frames.shape)  # the conversion cuts the fraction off


def filtered(frames: Tensor, kernels: Tensor) -> Tensor:
    """Frames filtered by a kernel each, mirrored beyond the edges.

    Args:
        frames: uint8, shape (T, C, h, w).
        kernels: int32, not negative, adding up to 2048; shape (T, rows, columns), odd sizes.
    """
    _, rows, columns = kernels.shape
    image, images = _as_channels(frames, rows // 2, columns // 2)
    each = (kernels.to(frames.device).to(torch.float32) / KERNEL_UNIT)[:, None]
    each = each.repeat_interleave(frames.shape[1], 0)  # (T*C, 1, rows, columns)
    half = torch.full((images,), 0.5, dtype=torch.float32, device=frames.device)
    with torch.autocast(frames.device.type, enabled=False):
        image = torch.nn.functional.conv2d(image, each, half, groups=images)
    return image.to(torch.uint8).view(frames.shape)


def _as_channels(frames: Tensor, reach_y: int, reach_x: int) -> tuple[Tensor, int]:
    """All frames as one channels-last image with mirrored borders, (1, T*C, h + 2r, w + 2r).

    numpy turns bytes round and makes floats of them in one pass, eight times as fast as torch.
    """
    count, channels, height, width = frames.shape
    images, device = count * channels, frames.device
    rows = np.empty((height + 2 * reach_y, width + 2 * reach_x, count, channels), np.float32)
    inner = rows[reach_y : reach_y + height, reach_x : reach_x + width]
    inner[...] = frames.cpu().permute(2, 3, 0, 1).numpy()
    for axis, size, reach in ((0, height, reach_y), (1, width, reach_x)):
        if reach:
            turned = rows.swapaxes(0, axis)
            mirrored = _mirrored(size, reach) + reach
            turned[:reach] = turned[mirrored[:reach]]
            turned[reach + size :] = turned[mirrored[reach + size :]]
    placed = torch.from_numpy(rows).to(device)
    strides = (rows.size, 1, rows.shape[1] * images, images)
    return placed.as_strided((1, images, *rows.shape[:2]), strides), images


def _mirrored(size: int, reach: int) -> NDArray[np.int64]:
    """Indices -reach .. size + reach - 1, folded back into 0 .. size - 1 at the edge pixels."""
    period = max(1, 2 * (size - 1))
    folded = np.arange(-reach, size + reach) % period
    return np.minimum(folded, period - folded) if size > 1 else folded * 0


def in_blocks(frames: Tensor, window: Window, side: int) -> tuple[Tensor, int, int]:
    """Frames padded to whole squares of the frame's own grid, and the rows and columns put before.

    Args:
        frames: shape (T, C, h, w).
        window: where they lie in the whole frame.
        side: of a square, pixels.

    Returns:
        Shape (T, C, rows, columns), multiples of `side`, borders repeated; the padding at the top
        and at the left.
    """
    height, width = frames.shape[-2:]
    top, left = window.y % side, window.x % side
    bottom, right = -(top + height) % side, -(left + width) % side
    rows = torch.arange(-top, height + bottom, device=frames.device).clamp(0, height - 1)
    columns = torch.arange(-left, width + right, device=frames.device).clamp(0, width - 1)
    return frames.index_select(-2, rows).index_select(-1, columns), top, left
