"""Degradations of visible cameras: light, exposure, motion, weather, lens and white balance.

Each function takes frames, uint8, shape (T, C, h, w), the step and its draws, and gives frames of
the same shape.
"""

import math
import operator
from bisect import bisect_left
from functools import partial

import torch
from torch import Tensor

from pipeline.degrade_draws import StepDraw, normal_draws, rank_below, ranks
from pipeline.degrade_filters import (
    GAIN_UNIT,
    filtered,
    level_table,
    looked_up,
    rounded,
    sigma_units,
    whole_kernel,
    with_gain,
    with_noise,
)
from schemas.degradations import (
    ColourCast,
    ExposureFlicker,
    GainAndOffset,
    Haze,
    LowLight,
    MotionBlur,
    OverExposure,
    Rain,
    ToneCurve,
    TonePoints,
    Vignetting,
)

RAIN_DEPTHS = ((0.6, 0.3, 0.5), (0.3, 0.6, 0.75), (0.1, 1.0, 1.0))
"""Share of the drops, and their length and light beside the nearest: both fall with the distance,
and the same angle of view holds more of the far ones (Garg and Nayar, IJCV 2007, section 3)."""

PATH_POINTS = 65
"""Points of a motion path that become a kernel: several a pixel for every path allowed."""


def to_light(level: float) -> float:
    """Linear light, 0 to 1, of a grey level (IEC 61966-2-1, sRGB)."""
    value = level / 255
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def to_level(light: float) -> float:
    """Grey level of linear light (IEC 61966-2-1, sRGB); beyond white it is held."""
    light = min(1.0, max(0.0, light))
    return 255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


def low_light(frames: Tensor, step: LowLight, drawn: StepDraw) -> Tensor:
    """Darker by whole stops of light, with shot noise and read noise."""
    share = 2 ** -drawn.scaled(step.stops, "stops")
    read_sigma_levels = drawn.scaled(step.read_sigma_levels, "read")
    dark = looked_up(frames, level_table(lambda level: to_level(to_light(level) * share)))
    sigmas = [
        _shot_sigma_levels(to_light(level) * share, step.electrons_at_white, read_sigma_levels)
        for level in range(256)
    ]
    table = torch.tensor([sigma_units(min(64.0, drawn.strength * s)) for s in sigmas])
    sigma = table.to(torch.int32).to(frames.device)[frames.to(torch.int64)]
    grid = drawn.view.grid(frames)
    noise = torch.stack(
        [normal_draws(drawn.key(f"noise-{n}"), grid) for n in range(frames.shape[1])], dim=1
    )
    return with_noise(dark, (noise, sigma))


def _shot_sigma_levels(light: float, electrons_at_white: float, read_sigma_levels: float) -> float:
    """Deviation in grey levels of Poisson electrons behind the sRGB curve, with read noise."""
    electrons = light * electrons_at_white
    spread = (electrons + math.sqrt(electrons)) / electrons_at_white
    return math.hypot(to_level(spread) - to_level(light), read_sigma_levels)


def over_exposure(frames: Tensor, step: OverExposure, drawn: StepDraw) -> Tensor:
    """Brighter by stops of light, cut off at white."""
    factor = 2 ** drawn.scaled(step.stops, "stops")
    return looked_up(frames, level_table(lambda level: to_level(to_light(level) * factor)))


def motion_blur(frames: Tensor, step: MotionBlur, drawn: StepDraw) -> Tensor:
    """Frames smeared along a bent path of their own, which turns slowly over the clip."""
    length_px = drawn.scaled(step.path_px, "path")
    reach = math.ceil(length_px / 2) + 1
    kernels = [
        whole_kernel(_path(length_px, reach, _turn(drawn, index / step.turn_frames)))
        for index in drawn.view.indices
    ]
    return filtered(frames, torch.stack(kernels))


def _turn(drawn: StepDraw, time: float) -> tuple[float, float]:
    """Direction of the path and its bend, radians: linear between values drawn once a turn."""
    before, share = math.floor(time), time - math.floor(time)
    values = []
    for name, span in (("direction", 2 * math.pi), ("bend", 1.5)):
        early, late = drawn.at(name, before), drawn.at(name, before + 1)
        values.append(span * (early + (late - early) * share - 0.5))
    return values[0], values[1]


def _path(length_px: float, reach: int, turn: tuple[float, float]) -> list[list[float]]:
    """Time spent over each pixel along an arc, (2 reach + 1) squared, linear between pixels."""
    direction, bend = turn
    heights = [[0.0] * (2 * reach + 1) for _ in range(2 * reach + 1)]
    y, x, points = 0.0, 0.0, []
    for number in range(PATH_POINTS):
        angle = direction + bend * (number / (PATH_POINTS - 1) - 0.5)
        points.append((y, x))
        y += length_px / (PATH_POINTS - 1) * math.sin(angle)
        x += length_px / (PATH_POINTS - 1) * math.cos(angle)
    middle_y, middle_x = points[PATH_POINTS // 2]
    for point_y, point_x in points:
        row, column = point_y - middle_y + reach, point_x - middle_x + reach
        top, left = math.floor(row), math.floor(column)
        for dy, weight_y in ((0, top + 1 - row), (1, row - top)):
            for dx, weight_x in ((0, left + 1 - column), (1, column - left)):
                if weight_y * weight_x > 0:
                    heights[top + dy][left + dx] += weight_y * weight_x
    return heights


def haze(frames: Tensor, step: Haze, drawn: StepDraw) -> Tensor:
    """Every row drawn towards the airlight, most at the top."""
    top = drawn.scaled(step.transmission_top, "top", identity=1.0)
    bottom = drawn.scaled(step.transmission_bottom, "bottom", identity=1.0)
    airlight = rounded(drawn.uniform(step.airlight_levels, "airlight"))
    last = max(1, drawn.view.window.frame_height - 1)
    rows = range(drawn.view.window.y, drawn.view.window.y + frames.shape[-2])
    kept = [rounded(GAIN_UNIT * (top + (bottom - top) * row / last)) for row in rows]
    gains = torch.tensor(kept, dtype=torch.int32, device=frames.device)[:, None]
    return with_gain(frames, gains, level=airlight)


def rain(frames: Tensor, step: Rain, drawn: StepDraw) -> Tensor:
    """Streaks at new places in every frame: far drops many, short and faint, near ones the reverse.

    The light of a streak rises and falls along it and spreads to the columns beside it.
    """
    share = drawn.scaled(step.drops_per_megapixel, "drops") / 1_000_000
    length_px, slant = drawn.uniform(step.length_px, "length"), drawn.uniform(step.slant, "slant")
    levels = drawn.scaled(step.brightness_levels, "brightness")
    light = torch.zeros_like(frames[:, 0], dtype=torch.int32)
    for depth, (part_of_drops, part_of_length, part_of_light) in enumerate(RAIN_DEPTHS):
        found = ranks(drawn.key(f"drops-{depth}"), drawn.view.grid(frames))
        below = rank_below(share * part_of_drops)
        # the ranks that strike are even again below that number: half to full brightness
        brightest = rounded(levels * part_of_light)
        bright = (found + below) * (found < below) * brightest // max(1, 2 * below)
        _add_streaks(light, bright, max(2, rounded(length_px * part_of_length)), slant)
    beside = torch.nn.functional.pad(light, (1, 1))
    light = (2 * light + beside[..., :-2] + beside[..., 2:]) >> 1
    return (frames.to(torch.int32) + light[:, None]).clamp_(0, 255).to(torch.uint8)


def _add_streaks(light: Tensor, bright: Tensor, length: int, slant: float) -> None:
    """Draw a streak down from every place that is not 0; where several meet the brightest shows."""
    height, width = bright.shape[-2:]
    for row in range(min(length, height)):
        shift = rounded(row * slant)
        if abs(shift) >= width:
            break
        share = rounded(256 * math.sin(math.pi * (row + 0.5) / length))
        to_x = slice(max(0, shift), width + min(0, shift))
        from_x = slice(max(0, -shift), width + min(0, -shift))
        shown = light[:, row:, to_x]
        torch.maximum(shown, bright[:, : height - row, from_x] * share >> 8, out=shown)


def exposure_flicker(frames: Tensor, step: ExposureFlicker, drawn: StepDraw) -> Tensor:
    """Dark bands that wander over the frames."""
    depth = drawn.scaled(step.depth, "depth")
    bands, drift = drawn.uniform(step.bands, "bands"), drawn.uniform(step.drift, "drift")
    phase = drawn.at("phase", 0)
    rows = range(drawn.view.window.y, drawn.view.window.y + frames.shape[-2])
    gains = [
        [
            rounded(
                GAIN_UNIT * (1 - depth * (1 + math.sin(2 * math.pi * (wave + drift * index))) / 2)
            )
            for wave in (phase + bands * row / drawn.view.window.frame_height for row in rows)
        ]
        for index in drawn.view.indices
    ]
    table = torch.tensor(gains, dtype=torch.int32, device=frames.device)
    return with_gain(frames, table[:, None, :, None])


def vignetting(frames: Tensor, step: Vignetting, drawn: StepDraw) -> Tensor:
    """Darker towards the corners: cos^4 of the angle is (1 + r^2 / f^2) ** -2."""
    corner = max(1e-3, drawn.scaled(step.corner_share, "corner", identity=1.0))
    window, (height, width) = drawn.view.window, frames.shape[-2:]
    y = 2 * torch.arange(window.y, window.y + height, device=frames.device) + 1
    x = 2 * torch.arange(window.x, window.x + width, device=frames.device) + 1
    squares = ((y - window.frame_height) ** 2)[:, None] + ((x - window.frame_width) ** 2)[None, :]
    scale = (corner**-0.5 - 1) / (window.frame_height**2 + window.frame_width**2)
    # float64, one operation at a time: each is rounded the same for every shape
    fallen = squares.to(torch.float64).mul(scale).add(1)
    gains = fallen.mul(fallen).reciprocal().mul(GAIN_UNIT).add(0.5).floor()
    return with_gain(frames, gains.to(torch.int32))


def colour_cast(frames: Tensor, step: ColourCast, drawn: StepDraw) -> Tensor:
    """Red and blue multiplied; frames of one channel stay as they are."""
    if frames.shape[1] != 3:
        return frames
    gains = (
        drawn.scaled(step.red_gain, "red", identity=1.0),
        1.0,
        drawn.scaled(step.blue_gain, "blue", identity=1.0),
    )
    channels = [
        looked_up(frames[:, channel], level_table(partial(operator.mul, gain)))
        for channel, gain in enumerate(gains)
    ]
    return torch.stack(channels, dim=1)


def tone_curve(frames: Tensor, step: ToneCurve, drawn: StepDraw) -> Tensor:
    """A gamma curve."""
    gamma = drawn.scaled(step.gamma, "gamma", identity=1.0)
    return looked_up(frames, level_table(lambda level: 255 * (level / 255) ** gamma))


def tone_points(frames: Tensor, step: TonePoints, drawn: StepDraw) -> Tensor:
    """A tone curve by its points."""

    def curve(level: int) -> float:
        (first, low), (last, high) = step.points[0], step.points[-1]
        if not first < level < last:
            return low if level <= first else high
        after = bisect_left(step.points, (level, 0.0))
        (x0, y0), (x1, y1) = step.points[after - 1], step.points[after]
        return y0 + (y1 - y0) * (level - x0) / (x1 - x0)

    table = level_table(lambda level: level + (curve(level) - level) * drawn.strength)
    return looked_up(frames, table)


def gain_and_offset(frames: Tensor, step: GainAndOffset, drawn: StepDraw) -> Tensor:
    """A straight line through the grey levels."""
    gain = drawn.scaled(step.gain, "gain", identity=1.0)
    offset_levels = drawn.scaled(step.offset_levels, "offset")
    return looked_up(frames, level_table(lambda level: gain * level + offset_levels))
