"""Exact filters of 8-bit frames: no shape, thread or order of summation can move a grey level.

Sums are of integers, in int32 or in float32 below 2**24, where every sum is exact. One rounding
rule holds throughout: to the nearest grey level, halves upwards, then held within 0..255. (Between
the passes of a blur, halves of 1/32 level go to the even side.)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.degrade_draws import (
    NORMAL_UNIT,
    Window,
    drawn_from,
    normal_quantiles,
)

SIGMA_UNIT = 1 << 8
"""Noise is drawn for the sigma's nearest 1/256 grey level. Recipes stop at 64 levels; a draw in
units of 1 / (NORMAL_UNIT * SIGMA_UNIT) then stays below 2**29."""

NOISE_UNIT = 1 << 5
"""Noise is added in steps of 1/32 grey level: a grey level and two draws of 4.3 sigmas of 64 levels
then fit int16, of which a processor adds twice as many at once as of int32."""

NOISE_SHIFT = (NORMAL_UNIT * SIGMA_UNIT // NOISE_UNIT).bit_length() - 1

KERNEL_UNIT = 1 << 11
"""A kernel's weights are multiples of 1/2048: 8 bits of pixel, 5 bits of BETWEEN_UNIT and 11 bits
of weight are the 24 bits of which float32 holds every sum exactly."""

BETWEEN_UNIT = 1 << 5
"""Between its two passes a blur keeps 1/32 grey level."""

KERNEL_REACH_SIGMAS = 5
"""Weights further out are below half of 1/2048 for every sigma, so they round to nothing."""

DISC_PARTS = 16
"""A disc's share of a pixel is counted on 16 x 16 points of it."""

BAND_PIXELS = 32
"""Rows or columns that one product of a blur makes: fewer make calls that are too small, more
make most of the band matrix zeros."""

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


def noise_steps(draws: Tensor) -> Tensor:
    """Draws times a sigma, int32 in 1 / (NORMAL_UNIT * SIGMA_UNIT) levels, as NOISE_UNITs, int16.

    Overwrites `draws`.
    """
    draws += 1 << NOISE_SHIFT >> 1
    draws >>= NOISE_SHIFT
    return draws.to(torch.int16)


def noise_offsets(drawn: Tensor, sigma_levels: float) -> Tensor:
    """Normal noise in NOISE_UNITs, int16, that ranks draw.

    The quantiles are scaled before they are drawn from, unless fewer are drawn than there are.
    """
    quantiles, sigma = normal_quantiles(drawn.device), rounded(sigma_levels * SIGMA_UNIT)
    if drawn.numel() < quantiles.numel():
        return noise_steps(drawn_from(quantiles, drawn).mul_(sigma))
    return drawn_from(noise_steps(quantiles * sigma), drawn)


def with_noise(frames: Tensor, *offsets: Tensor) -> Tensor:
    """Frames plus offsets in NOISE_UNITs.

    Args:
        frames: uint8, shape (T, C, h, w).
        offsets: int16, broadcasting against (T, C, h, w); at most two.
    """
    levels = frames.to(torch.int16).mul_(NOISE_UNIT)
    for offset in offsets:
        levels += offset
    levels += NOISE_UNIT // 2
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


def blur(frames: Tensor, weights: Sequence[int], window: Window) -> Tensor:
    """Frames blurred along y, then along x; beyond the whole frame's edges they are mirrored.

    Where the block ends inside the frame, its outermost pixels, as many as the weights reach, lack
    context and are left as they are. Both passes are products with a band matrix, a few rows or
    columns at a time: with the copies that they need, on a CPU twice as fast as torch's depth-wise
    convolution, to which kornia's filters come down.

    Args:
        frames: uint8, shape (T, C, h, w).
        weights: symmetric, not negative, adding up to 2048.
        window: where they lie in the whole frame.
    """
    reach = len(weights) // 2
    if reach == 0:
        return frames
    height, width = frames.shape[-2:]
    above, below = _mirrored_px(reach, window.y, height, window.frame_height)
    left, right = _mirrored_px(reach, window.x, width, window.frame_width)
    rows = max(0, height + above + below - 2 * reach)
    columns = max(0, width + left + right - 2 * reach)
    if rows * columns == 0:
        return frames
    image = _by_rows(frames, (above, below), (left, right))  # (h', T, C, w')
    band = _band(weights, image)
    with torch.autocast(frames.device.type, enabled=False):
        image = _along_rows(image, band / (KERNEL_UNIT // BETWEEN_UNIT), rows).round_()
        image = _along_columns(image, band / (KERNEL_UNIT * BETWEEN_UNIT), columns).add_(0.5)
    y, x = slice(reach - above, reach - above + rows), slice(reach - left, reach - left + columns)
    made = torch.empty_like(frames, memory_format=torch.contiguous_format)
    _put(made[..., y, x], image.permute(1, 2, 0, 3))
    for part in (slice(None, y.start), slice(y.stop, None)):
        _put(made[:, :, part], frames[:, :, part])
    for part in (slice(None, x.start), slice(x.stop, None)):
        _put(made[..., y, part], frames[..., y, part])
    return made


def _mirrored_px(reach: int, first: int, size: int, whole: int) -> tuple[int, int]:
    """Pixels to be mirrored before and after a side of the block: none where it is cut."""
    return (reach if first == 0 else 0), (reach if first + size == whole else 0)


def _band(weights: Sequence[int], like: Tensor) -> Tensor:
    """What takes BAND_PIXELS and the weights' reach around them to those pixels filtered."""
    size = BAND_PIXELS + len(weights) - 1
    # every row is the one above moved on by one, so the rows are one long text cut into pieces
    text = np.zeros((BAND_PIXELS, size + 1))
    text[:, : len(weights)] = weights
    band = text.ravel()[: BAND_PIXELS * size].reshape(BAND_PIXELS, size)
    return torch.from_numpy(band).to(like)


def _along_rows(image: Tensor, band: Tensor, rows: int) -> Tensor:
    """The filter along the first axis of (h', T, C, w'), giving `rows`."""
    reach, flat = band.shape[1] - band.shape[0], image.flatten(1)
    made = flat.new_empty(rows, flat.shape[1])
    for start in range(0, rows, BAND_PIXELS):
        size = min(BAND_PIXELS, rows - start)
        seen = flat[start : start + size + reach]
        torch.mm(band[:size, : size + reach], seen, out=made[start : start + size])
    return made.view(rows, *image.shape[1:])


def _along_columns(image: Tensor, band: Tensor, columns: int) -> Tensor:
    """The filter along the last axis of (h, T, C, w'), giving `columns`."""
    reach, flat = band.shape[1] - band.shape[0], image.flatten(0, 2)
    made = flat.new_empty(flat.shape[0], columns)
    for start in range(0, columns, BAND_PIXELS):
        size = min(BAND_PIXELS, columns - start)
        seen = flat[:, start : start + size + reach]
        torch.mm(seen, band[:size, : size + reach].T, out=made[:, start : start + size])
    return made.view(*image.shape[:3], columns)


def filtered(frames: Tensor, kernels: Tensor) -> Tensor:
    """Frames filtered by a kernel each, mirrored beyond the edges.

    Args:
        frames: uint8, shape (T, C, h, w).
        kernels: int32, not negative, adding up to 2048; shape (T, rows, columns), odd sizes.
    """
    _, rows, columns = kernels.shape
    image = _by_rows(frames, (rows // 2,) * 2, (columns // 2,) * 2).permute(1, 2, 0, 3)
    image = image.flatten(0, 1)[None]  # (1, T*C, h', w')
    each = (kernels.to(image) / KERNEL_UNIT)[:, None]
    each = each.repeat_interleave(frames.shape[1], 0)  # (T*C, 1, rows, columns)
    half = image.new_full((image.shape[1],), 0.5)
    with torch.autocast(frames.device.type, enabled=False):
        image = torch.nn.functional.conv2d(image, each, half, groups=image.shape[1])
    return image.to(torch.uint8).view(frames.shape)


def _by_rows(frames: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Frames as (h', T, C, w') in the type of exact sums, with so many mirrored before and after.

    The edge pixels themselves are not repeated.
    """
    count, channels, height, width = frames.shape
    image = torch.empty(
        (height + sum(rows), count, channels, width + sum(columns)),
        dtype=_exact_type(frames.device),
        device=frames.device,
    )
    inner = image[rows[0] : rows[0] + height, ..., columns[0] : columns[0] + width]
    _put(inner, frames.permute(2, 0, 1, 3))
    for turned, size, (before, after) in (
        (image, height, rows),
        (image.movedim(-1, 0), width, columns),
    ):
        if before or after:
            source = _mirrored(size, before, after).to(frames.device) + before
            turned[:before] = turned[source[:before]]
            turned[before + size :] = turned[source[before + size :]]
    return image


def _exact_type(device: torch.device) -> torch.dtype:
    """What holds the sums exactly: float32, unless torch was told to multiply it less precisely.

    The TensorFloat-32 of convolutions on GPUs, which is torch's default, has the 11 bits that
    pixels and weights of `filtered` need.
    """
    cpu: Any = torch.backends.mkldnn  # its type hints leave these attributes out
    used = (
        [torch.backends.cuda.matmul.fp32_precision]
        if device.type == "cuda"
        else [cpu.matmul.fp32_precision, cpu.conv.fp32_precision]
    )
    return torch.float32 if set(used) <= {"none", "ieee"} else torch.float64


def _put(target: Tensor, source: Tensor) -> None:
    """Copy between types, fractions cut off; numpy does it two to eight times as fast as torch."""
    if target.device.type == "cpu":
        np.copyto(target.numpy(), source.numpy(), casting="unsafe")
    else:
        target.copy_(source)


def _mirrored(size: int, before: int, after: int) -> Tensor:
    """Indices -before .. size + after - 1, folded back into 0 .. size - 1 at the edge pixels."""
    period = max(1, 2 * (size - 1))
    folded = torch.arange(-before, size + after) % period
    return torch.minimum(folded, period - folded) if size > 1 else folded * 0


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
