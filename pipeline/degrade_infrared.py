"""Degradations of infrared cameras: noise, fixed patterns, bad pixels, contrast, resolution, bloom.

Each function takes frames, uint8, shape (T, C, h, w), the step and its draws, and gives frames of
the same shape.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.degrade_blur import blur, gaussian_weights
from pipeline.degrade_draws import StepDraw, line_normals, lines, normal_draws, rank_below, ranks
from pipeline.degrade_filters import (
    disc_weights,
    filtered,
    in_blocks,
    level_table,
    looked_up,
    rounded,
    sigma_units,
    with_noise,
)
from pipeline.degrade_timing import shown
from schemas.degradations import (
    BadPixels,
    Defocus,
    FixedPatternDrift,
    GaussianBlur,
    ImpulseNoise,
    LowContrast,
    LowResolution,
    RowNoise,
    StripeNoise,
    ThermalBloom,
)


def stripe_noise(frames: Tensor, step: StripeNoise, drawn: StepDraw) -> Tensor:
    """White noise new in every frame, and a column pattern that stays."""
    grid, top = drawn.view.grid(frames), replace(drawn.view.still(frames), y=0, height=1)
    starts = np.concatenate([lines(drawn.key("white"), grid), lines(drawn.key("stripes"), top)])
    found = line_normals(starts, grid)  # of both at once, since a call costs as much as 3,000 draws
    white = found[:-1].view(len(frames), 1, grid.height, grid.width)
    return with_noise(
        frames,
        (white, sigma_units(drawn.scaled(step.white_sigma_levels, "white-sigma"))),
        (found[-1:], sigma_units(drawn.scaled(step.stripe_sigma_levels, "stripe-sigma"))),
    )


def row_noise(frames: Tensor, step: RowNoise, drawn: StepDraw) -> Tensor:
    """An offset a row, new in every frame."""
    left = replace(drawn.view.grid(frames), x=0, width=1)
    found = normal_draws(drawn.key("rows"), left)[:, None]
    sigma = sigma_units(drawn.scaled(step.sigma_levels, "sigma"))
    return with_noise(frames, (found, sigma))


def low_contrast(frames: Tensor, step: LowContrast, drawn: StepDraw) -> Tensor:
    """Grey levels drawn towards one in the middle."""
    kept = drawn.scaled(step.kept_contrast, "kept", identity=1.0)
    middle = drawn.uniform(step.middle_levels, "middle")
    return looked_up(frames, level_table(lambda level: middle + kept * (level - middle)))


def fixed_pattern_drift(frames: Tensor, step: FixedPatternDrift, drawn: StepDraw) -> Tensor:
    """A pattern that grows and is reset by the shutter, behind which the image stands still."""
    sigma_levels = drawn.scaled(step.sigma_levels, "sigma")
    phase = int(drawn.at("phase", 0) * step.period_frames)
    ages = [(index + phase) % step.period_frames for index in drawn.view.indices]
    corrections = [(index + phase) // step.period_frames for index in drawn.view.indices]
    pattern = normal_draws(
        drawn.key("pattern"), replace(drawn.view.grid(frames), frames=corrections)
    )
    sigmas = [sigma_units(sigma_levels * age / step.period_frames) for age in ages]
    sigma = torch.tensor(sigmas, dtype=torch.int32, device=frames.device).view(-1, 1, 1, 1)
    drifted = with_noise(frames, (pattern[:, None], sigma))
    closed = round(step.shutter_frames * drawn.strength)
    sources = [
        index - age - 1 if age < closed and correction > 0 else index
        for index, age, correction in zip(drawn.view.indices, ages, corrections, strict=True)
    ]
    return shown(drifted, drawn.view, sources)


def bad_pixels(frames: Tensor, step: BadPixels, drawn: StepDraw) -> Tensor:
    """Dead, hot and blinking pixels at places that stay."""
    dead = rank_below(drawn.scaled(step.dead_share, "dead"))
    hot = dead + rank_below(drawn.scaled(step.hot_share, "hot"))
    blinking = hot + rank_below(drawn.scaled(step.blinking_share, "blinking"))
    fate = ranks(drawn.key("fate"), drawn.view.still(frames))[:, None]  # (1, 1, h, w)
    coins = ranks(drawn.key("coins"), drawn.view.grid(frames))[:, None]
    bright = ((fate >= dead) & (fate < hot)) | ((fate >= hot) & (fate < blinking) & (coins % 2 > 0))
    return frames.masked_fill(bright, 255).masked_fill(fate < dead, 0)


def impulse_noise(frames: Tensor, step: ImpulseNoise, drawn: StepDraw) -> Tensor:
    """Pixels at either end of the scale for one frame."""
    struck = rank_below(drawn.scaled(step.share, "share"))
    fate = ranks(drawn.key("fate"), drawn.view.grid(frames))[:, None]
    return frames.masked_fill(fate < struck, 255).masked_fill(fate < struck // 2, 0)


def gaussian_blur(frames: Tensor, step: GaussianBlur, drawn: StepDraw) -> Tensor:
    """An isotropic blur."""
    weights = gaussian_weights(drawn.scaled(step.sigma_px, "sigma"))
    return blur(frames, weights, drawn.view.window)


def defocus(frames: Tensor, step: Defocus, drawn: StepDraw) -> Tensor:
    """Every point a disc."""
    kernel = disc_weights(drawn.scaled(step.radius_px, "radius"))
    return filtered(frames, kernel.expand(len(frames), *kernel.shape))


def low_resolution(frames: Tensor, step: LowResolution, drawn: StepDraw) -> Tensor:
    """Means over squares of the frame's own grid, brought back linearly between their centres."""
    side = rounded(drawn.scaled(step.factor, "factor", identity=1.0))
    if side == 1:
        return frames
    padded, top, left = in_blocks(frames, drawn.view.window, side)
    count, channels, rows, columns = padded.shape
    squares = padded.view(count, channels, rows // side, side, columns // side, side)
    sums = squares.to(torch.int32).sum((3, 5), dtype=torch.int32)
    sums = _between(sums, 2, side)
    sums = _between(sums, 3, side)  # times (2 side)^2 side^2, below 2**26 for sides up to 16
    unit = 4 * side**4
    levels = (sums + unit // 2).div(unit, rounding_mode="floor").to(torch.uint8)
    return levels[..., top : top + frames.shape[-2], left : left + frames.shape[-1]]


def _between(squares: Tensor, axis: int, side: int) -> Tensor:
    """Values of squares at every pixel along `axis`, linear between centres, times 2 side."""
    count = squares.shape[axis]
    places = 2 * torch.arange(count * side, device=squares.device) + 1 - side
    lower, weight = places.div(2 * side, rounding_mode="floor"), places.remainder(2 * side)
    shape = [-1 if number == axis else 1 for number in range(squares.dim())]
    weight = weight.to(torch.int32).view(shape)
    below = squares.index_select(axis, lower.clamp(0, count - 1))
    above = squares.index_select(axis, (lower + 1).clamp(0, count - 1))
    return below * (2 * side - weight) + above * weight


def thermal_bloom(frames: Tensor, step: ThermalBloom, drawn: StepDraw) -> Tensor:
    """What is hotter than a threshold shines on its surroundings."""
    threshold = rounded(drawn.uniform(step.threshold_levels, "threshold"))
    gain = drawn.scaled(step.gain, "gain")
    excess = (frames.to(torch.int32) - threshold).clamp_(0).to(torch.uint8)
    weights = gaussian_weights(drawn.uniform(step.sigma_px, "sigma"))
    spilled = blur(excess, weights, drawn.view.window)
    added = looked_up(spilled, level_table(lambda level: gain * level))
    return (frames.to(torch.int32) + added).clamp_(0, 255).to(torch.uint8)
