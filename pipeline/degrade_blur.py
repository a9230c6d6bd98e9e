"""Gaussian blur of 8-bit frames by sums of whole numbers, one pass along each axis.

Narrow kernels, which the preset m3svd draws, have weights of 1/256 and whole levels between the
two passes, so that sums fit 16 bits; wide ones have weights of 1/2048 and 1/32 level between them.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from pipeline.degrade_draws import Window, put
from pipeline.degrade_filters import (
    KERNEL_UNIT,
    by_rows,
    laid_out,
    put_mirrored,
    rounded,
)

NARROW_UNIT = 1 << 8
"""The weights of narrow kernels are multiples of 1/256, as those of OpenCV's blur of 8-bit images:
a sum of them times pixels fits uint16, of which a processor adds twice as many at once as of
int32."""

NARROW_SIGMA_PX = 2.5
"""Up to here weights of 1/256 have the sigma asked for within 2 %, from 0.6 px."""

BETWEEN_UNIT = 1 << 5
"""Between its two passes a wide blur keeps 1/32 grey level: 8 bits of pixel, these 5 and 11 of
weight are the 24 bits of which float32 holds every sum exactly."""

KERNEL_REACH_SIGMAS = 5
"""Of a Gaussian, 3 parts in ten million lie further out on either side, which round to nothing."""

SHIFTED_PIXELS = 1 << 11
"""Pixels that all weights are summed for before the next are: they and their sums stay in the
first-level cache of a processor."""

BAND_PIXELS = 32
"""Rows or columns that one product of a blur makes: fewer make calls that are too small, more
make most of the band matrix zeros."""


def gaussian_weights(sigma_px: float) -> tuple[int, ...]:
    """A sampled Gaussian as whole numbers that add up to 256, or to 2048 where it is wide.

    Odd in length. The sum of every tail is the Gaussian's, to half a unit: what one weight loses
    in becoming whole, the next one inwards gains.

    Args:
        sigma_px: standard deviation, pixels, from 0 (which gives the kernel that changes nothing).
    """
    unit = NARROW_UNIT if sigma_px <= NARROW_SIGMA_PX else KERNEL_UNIT
    if sigma_px == 0:
        return (unit,)
    distances = [i / sigma_px for i in range(math.ceil(KERNEL_REACH_SIGMAS * sigma_px) + 1)]
    heights = [math.exp(-0.5 * distance * distance) for distance in distances]
    total = 2 * sum(heights) - heights[0]
    tails = [rounded(unit * tail / total) for tail in accumulate(reversed(heights[1:]))]
    side = [tail - before for before, tail in pairwise([0, *tails]) if tail > 0]
    return (*side, unit - 2 * sum(side), *reversed(side))


def blur(frames: Tensor, weights: Sequence[int], window: Window) -> Tensor:
    """Frames blurred along y, then along x; beyond the whole frame's edges they are mirrored.

    Where the block ends inside the frame, its outermost pixels, as many as the weights reach, lack
    context and are left as they are.

    Args:
        frames: uint8, shape (T, C, h, w).
        weights: symmetric, not negative, as `gaussian_weights` gives them.
        window: where they lie in the whole frame.

    Returns:
        uint8, shape (T, C, h, w), with channels last in memory where `frames` have them there.
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
    is_quick = frames.device.type == "cpu" and sum(weights) == NARROW_UNIT
    pass_both_ways = _by_shifts if is_quick else _by_bands
    blurred = pass_both_ways(frames, weights, (above, below), (left, right))
    y, x = slice(reach - above, reach - above + rows), slice(reach - left, reach - left + columns)
    memory = torch.empty(frames.numel(), dtype=torch.uint8, device=frames.device)
    made = laid_out(memory, frames, height, width)
    put(made[..., y, x], blurred[..., :rows, :columns])
    for part in (slice(None, y.start), slice(y.stop, None)):
        put(made[:, :, part], frames[:, :, part])
    for part in (slice(None, x.start), slice(x.stop, None)):
        put(made[..., y, part], frames[..., y, part])
    return made


def _mirrored_px(reach: int, first: int, size: int, whole: int) -> tuple[int, int]:
    """Pixels to be mirrored before and after a side of the block: none where it is cut."""
    return (reach if first == 0 else 0), (reach if first + size == whole else 0)


def _by_shifts(
    frames: Tensor, weights: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
) -> Tensor:
    """Levels of a narrow blur, made by adding up the pixels and themselves moved on.

    All pixels lie in one line of memory. What is added up across the end of a row or of a frame
    falls on pixels that lack context. For narrow kernels, on a CPU, half the time of `_by_bands`.

    Args:
        frames: uint8, on a CPU, shape (T, C, h, w).
        weights: adding up to 256.
        rows: mirrored before and after.
        columns: mirrored before and after.

    Returns:
        uint16, shape (T, C, h', w'), of which the first rows and columns are the blurred ones.
    """
    count, channels, height, width = frames.shape
    height, width = height + sum(rows), width + sum(columns)
    size = count * channels * height * width
    memory = torch.empty(size + SHIFTED_PIXELS, dtype=torch.uint16)
    image = laid_out(memory[:size], frames, height, width)
    put_mirrored(image, frames, rows, columns)
    between = torch.empty_like(memory)
    kernel, steps = np.array(weights, np.uint16), image.stride()[2:]
    size -= (len(weights) - 1) * steps[0]
    _add_shifted(memory.numpy(), kernel, steps[0], between.numpy(), size)
    size -= (len(weights) - 1) * steps[1]
    _add_shifted(between.numpy(), kernel, steps[1], memory.numpy(), size)
    return image


def _add_shifted(
    pixels: NDArray[np.uint16],
    weights: NDArray[np.uint16],
    step: int,
    made: NDArray[np.uint16],
    size: int,
) -> None:
    """Write the rounded sums of pixels, each `step` further on, times weights.

    Args:
        pixels: levels; `SHIFTED_PIXELS` more of any value behind the last that is needed.
        weights: adding up to 256.
        step: between one weight's pixel and the next one's.
        made: where `size` levels are written, and up to `SHIFTED_PIXELS` more of no use.
        size: how many are needed.
    """
    blocks = -(-size // SHIFTED_PIXELS)
    shape, item = (blocks, len(weights), SHIFTED_PIXELS), pixels.itemsize
    shifted = as_strided(pixels, shape, (SHIFTED_PIXELS * item, step * item, item))
    sums = made[: blocks * SHIFTED_PIXELS]
    np.einsum("k,bkp->bp", weights, shifted, out=sums.reshape(blocks, SHIFTED_PIXELS))
    sums += NARROW_UNIT // 2
    sums >>= NARROW_UNIT.bit_length() - 1


def _by_bands(
    frames: Tensor, weights: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
) -> Tensor:
    """Levels of a blur, made by products with a band matrix, a few rows or columns at a time.

    With the copies that they need, on a CPU twice as fast as torch's depth-wise convolution, to
    which kornia's filters come down.

    Args:
        frames: uint8, shape (T, C, h, w).
        weights: adding up to 256 or 2048.
        rows: mirrored before and after.
        columns: mirrored before and after.

    Returns:
        Of the type of exact sums, shape (T, C, rows, columns), fractions not cut off.
    """
    unit, lost = sum(weights), len(weights) - 1
    between = 1 if unit == NARROW_UNIT else BETWEEN_UNIT
    image = by_rows(frames, rows, columns)  # (h', T, C, w')
    band = _band(weights, image)
    with torch.autocast(frames.device.type, enabled=False):
        image = _along_rows(image, band / (unit // between), image.shape[0] - lost)
        image = image.add_(0.5).floor_()
        image = _along_columns(image, band / (unit * between), image.shape[-1] - lost).add_(0.5)
    return image.permute(1, 2, 0, 3)


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
