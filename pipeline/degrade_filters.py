"""Exact filters of 8-bit frames: no shape, thread or order of summation can move a grey level.

Sums are of integers, in int32 or in float32 below 2**24, where every sum is exact. One rounding
rule holds throughout: to the nearest grey level, halves upwards, then held within 0..255.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.degrade_draws import NORMAL_UNIT, Window, as_type, put

SIGMA_UNIT = 1 << 8
"""Noise is drawn for the sigma's nearest 1/256 grey level. Recipes stop at 64 levels, so a draw in
units of 1 / (NORMAL_UNIT * SIGMA_UNIT) levels stays below 2**29, and two draws fit int32."""

KERNEL_UNIT = 1 << 11
"""Kernels' weights are multiples of 1/2048, but those of narrow blurs."""

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


def sigma_units(sigma_levels: float) -> int:
    """A sigma of at most 64 grey levels as `with_noise` takes it."""
    return rounded(sigma_levels * SIGMA_UNIT)


def with_noise(frames: Tensor, *noises: tuple[Tensor, int | Tensor]) -> Tensor:
    """Frames plus normal noise.

    Args:
        frames: uint8, shape (T, C, h, w).
        noises: at most two, of draws and their sigma: int32 in units of 1 / NORMAL_UNIT, and one
            number in units of 1 / SIGMA_UNIT levels or int32; all broadcast against (T, C, h, w).
    """
    unit = NORMAL_UNIT * SIGMA_UNIT
    noise = torch.tensor(unit // 2, dtype=torch.int32, device=frames.device)
    for draws, sigma in sorted(noises, key=lambda one: (one[0].numel(), one[0].dim())):
        # the smaller first, so that the larger has room for the sum
        noise = (draws * sigma).add_(noise)
    noise >>= unit.bit_length() - 1
    levels = as_type(frames, torch.int16).add_(as_type(noise, torch.int16))
    return as_type(levels.clamp_(0, 255), torch.uint8)


def with_gain(frames: Tensor, gains: Tensor, level: int = 0) -> Tensor:
    """Frames drawn towards a level, or away from it: level + gain (frames - level) in each pixel.

    Args:
        frames: uint8, shape (T, C, h, w).
        gains: int32 in units of 1/1024, at most 4, broadcasting against (T, C, h, w).
        level: the grey level that stays as it is.
    """
    scaled = (frames.to(torch.int32) - level) * gains + GAIN_UNIT // 2
    return (level + (scaled >> (GAIN_UNIT.bit_length() - 1))).clamp_(0, 255).to(torch.uint8)


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


def filtered(frames: Tensor, kernels: Tensor) -> Tensor:
    """Frames filtered by a kernel each, mirrored beyond the edges.

    Args:
        frames: uint8, shape (T, C, h, w).
        kernels: int32, not negative, adding up to 2048; shape (T, rows, columns), odd sizes.
    """
    _, rows, columns = kernels.shape
    image = by_rows(frames, (rows // 2,) * 2, (columns // 2,) * 2).permute(1, 2, 0, 3)
    image = image.flatten(0, 1)[None]  # (1, T*C, h', w')
    each = (kernels.to(image) / KERNEL_UNIT)[:, None]
    each = each.repeat_interleave(frames.shape[1], 0)  # (T*C, 1, rows, columns)
    half = image.new_full((image.shape[1],), 0.5)
    with torch.autocast(frames.device.type, enabled=False):
        image = torch.nn.functional.conv2d(image, each, half, groups=image.shape[1])
    return image.to(torch.uint8).view(frames.shape)


def by_rows(frames: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Frames as (h', T, C, w') in the type of exact sums, with so many mirrored before and after.

    The edge pixels themselves are not repeated.
    """
    count, channels, height, width = frames.shape
    image = torch.empty(
        (height + sum(rows), count, channels, width + sum(columns)),
        dtype=_exact_type(frames.device),
        device=frames.device,
    )
    put_mirrored(image.permute(1, 2, 0, 3), frames, rows, columns)
    return image


def put_mirrored(
    image: Tensor, frames: Tensor, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    """Copy frames (T, C, h, w) into (T, C, h', w'), with so many mirrored before and after."""
    height, width = frames.shape[-2:]
    put(image[..., rows[0] : rows[0] + height, columns[0] : columns[0] + width], frames)
    for axis, size, (before, after) in ((2, height, rows), (3, width, columns)):
        if before or after:
            source = _mirrored(size, before, after) + before
            turned = image.movedim(axis, 0)
            for part in (slice(None, before), slice(before + size, None)):
                put(turned[part], turned[source[part].to(image.device)])


def laid_out(memory: Tensor, frames: Tensor, height: int, width: int) -> Tensor:
    """Memory as (T, C, height, width), with channels last where `frames` (T, C, h, w) have them."""
    count, channels = frames.shape[:2]
    if frames.stride(1) == 1:
        return memory.view(count, height, width, channels).permute(0, 3, 1, 2)
    return memory.view(count, channels, height, width)


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
