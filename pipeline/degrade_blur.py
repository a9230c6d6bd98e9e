"""Gaussian blur of 8-bit frames by sums of whole numbers, one pass along each axis.

Narrow kernels, which the preset m3svd draws, have weights of 1/256, so that their sums in both
directions are exact in float32; wide ones have weights of 1/2048 and 1/32 level between the passes.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.degrade_draws import Window, put
from pipeline.degrade_filters import KERNEL_UNIT, by_rows, laid_out, rounded

NARROW_UNIT = 1 << 8
"""The weights of narrow kernels are multiples of 1/256: with 8 bits of pixel and 8 of the other
axis' weight these are the 24 bits of which float32 holds every sum exactly, in whatever order a
library adds them up."""

NARROW_SIGMA_PX = 2.5
"""Up to here weights of 1/256 have the sigma asked for within 2 %, from 0.6 px."""

BETWEEN_UNIT = 1 << 5
"""Between its two passes a wide blur keeps 1/32 grey level: 8 bits of pixel, these 5 and 11 of
weight are the same 24 bits."""

KERNEL_REACH_SIGMAS = 5
"""Of a Gaussian, 3 parts in ten million lie further out on either side, which round to nothing."""

BAND_PIXELS = {"cpu": 32, "cuda": 256}
"""Rows or columns that one product of a blur makes on a type of device: fewer make calls that are
too small, more make most of the band matrix zeros."""


@lru_cache(maxsize=256)
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
    y = _with_context(reach, window.y, height, window.frame_height)
    x = _with_context(reach, window.x, width, window.frame_width)
    if y.start >= y.stop or x.start >= x.stop:
        return frames
    memory = torch.empty(frames.numel(), dtype=torch.uint8, device=frames.device)
    made = laid_out(memory, frames, height, width)
    put(made, frames)
    if frames.device.type == "cpu" and sum(weights) == NARROW_UNIT:
        blurred = _by_opencv(frames, weights)[..., y, x]
    else:
        rows = (reach - y.start, reach - (height - y.stop))
        columns = (reach - x.start, reach - (width - x.stop))
        blurred = _by_bands(frames, weights, rows, columns)
    put(made[..., y, x], blurred)
    return made


def _with_context(reach: int, first: int, size: int, whole: int) -> slice:
    """What of a side of the block can be blurred: all but the ends where it is cut."""
    start = 0 if first == 0 else reach
    return slice(start, size if first + size == whole else size - reach)


def _by_opencv(frames: Tensor, weights: Sequence[int]) -> Tensor:
    """Levels of a narrow blur, on a CPU; half the time of `_by_bands`.

    Args:
        frames: uint8, on a CPU, shape (T, C, h, w).
        weights: adding up to 256.

    Returns:
        float32, shape (T, C, h, w), halves added and fractions not cut off; as if all four sides
        were the frame's.
    """
    count, channels, height, width = frames.shape
    kernel = np.array(weights, np.float32) / NARROW_UNIT
    is_interleaved = channels > 1 and frames.stride(1) == 1
    images = frames.permute(0, 2, 3, 1) if is_interleaved else frames.flatten(0, 1)
    made = np.empty(images.shape, np.float32)
    for image, blurred in zip(images.numpy(), made, strict=True):
        cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, dst=blurred, delta=0.5)
    levels = torch.from_numpy(made)
    if is_interleaved:
        return levels.permute(0, 3, 1, 2)
    return levels.view(count, channels, height, width)


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
    between = unit if unit == NARROW_UNIT else BETWEEN_UNIT
    image = by_rows(frames, rows, columns)  # (h', T, C, w')
    band = _band(weights, image)
    with torch.autocast(frames.device.type, enabled=False):
        image = _along_rows(image, band / (unit // between), image.shape[0] - lost)
        if between < unit:
            image = image.add_(0.5).floor_()
        image = _along_columns(image, band / (unit * between), image.shape[-1] - lost).add_(0.5)
    return image.permute(1, 2, 0, 3)


def _band(weights: Sequence[int], like: Tensor) -> Tensor:
    """What takes so many pixels and the weights' reach around them to those pixels filtered."""
    pixels = BAND_PIXELS.get(like.device.type, BAND_PIXELS["cuda"])
    size = pixels + len(weights) - 1
    # every row is the one above moved on by one, so the rows are one long text cut into pieces
    text = np.zeros((pixels, size + 1))
    text[:, : len(weights)] = weights
    band = text.ravel()[: pixels * size].reshape(pixels, size)
    return torch.from_numpy(band).to(like)


def _along_rows(image: Tensor, band: Tensor, rows: int) -> Tensor:
    """The filter along the first axis of (h', T, C, w'), giving `rows`."""
    pixels, reach = band.shape[0], band.shape[1] - band.shape[0]
    flat = image.flatten(1)
    made = flat.new_empty(rows, flat.shape[1])
    for start in range(0, rows, pixels):
        size = min(pixels, rows - start)
        seen = flat[start : start + size + reach]
        torch.mm(band[:size, : size + reach], seen, out=made[start : start + size])
    return made.view(rows, *image.shape[1:])


def _along_columns(image: Tensor, band: Tensor, columns: int) -> Tensor:
    """The filter along the last axis of (h, T, C, w'), giving `columns`."""
    pixels, reach = band.shape[0], band.shape[1] - band.shape[0]
    flat = image.flatten(0, 2)
    made = flat.new_empty(flat.shape[0], columns)
    for start in range(0, columns, pixels):
        size = min(pixels, columns - start)
        seen = flat[:, start : start + size + reach]
        torch.mm(seen, band[:size, : size + reach].T, out=made[:, start : start + size])
    return made.view(*image.shape[:3], columns)
