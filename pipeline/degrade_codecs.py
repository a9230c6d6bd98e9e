"""Degradations by lossy codecs: the transforms and quantisers of JPEG and H.264, in whole numbers.

Each function takes frames, uint8, shape (T, C, h, w), the step and its draws, and gives frames of
the same shape. Real encoders decide by the whole picture; these work block by block, so that a crop
of a coded frame is the coded crop.
"""

import math

import torch
from torch import Tensor

from pipeline.degrade_draws import StepDraw
from pipeline.degrade_filters import in_blocks, rounded
from schemas.degradations import JpegCompression, VideoCompression

LUMA_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""ITU-T T.81, table K.1."""

CHROMA_TABLE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
"""ITU-T T.81, table K.2."""

BASIS_UNIT = 1 << 13
"""The cosines of the DCT are multiples of 1/8192; all sums are whole numbers below 2**53, which
float64 adds exactly in any order."""

FORWARD = ((1, 1, 1, 1), (2, 1, -1, -2), (1, -1, -1, 1), (1, -2, 2, -1))
"""The core transform of ITU-T H.264."""

MULTIPLIERS = (
    (13107, 5243, 8066),
    (11916, 4660, 7490),
    (10082, 4194, 6554),
    (9362, 3647, 5825),
    (8192, 3355, 5243),
    (7282, 2893, 4559),
)
"""Of the quantiser for QP mod 6, by place in the block (Malvar et al., IEEE TCSVT 13(7), 2003)."""

SCALES = ((10, 16, 13), (11, 18, 14), (13, 20, 16), (14, 23, 18), (16, 25, 20), (18, 29, 23))
"""Of the scaling for QP mod 6 (ITU-T H.264, section 8.5.9)."""

PLACE_CLASS = ((0, 2, 0, 2), (2, 1, 2, 1), (0, 2, 0, 2), (2, 1, 2, 1))
"""Which of the three numbers belongs to a coefficient."""

UNSEEN_QUANTISER = 18
"""What x264's guide calls visually lossless; half of the scale lies below it."""

COLOUR_UNIT = 1 << 16


def jpeg_compression(frames: Tensor, step: JpegCompression, drawn: StepDraw) -> Tensor:
    """Coefficients of 8 x 8 blocks rounded to multiples of the scaled tables."""
    quality = drawn.scaled(step.quality, "quality", identity=100.0)
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality  # libjpeg's
    padded, top, left = in_blocks(frames, drawn.view.window, 8)
    planes = _to_planes(padded).to(torch.float64) - 128
    tables = [LUMA_TABLE] + [CHROMA_TABLE] * (frames.shape[1] - 1)
    steps = torch.tensor(
        [[min(255, max(1, rounded(entry * scale / 100))) for entry in table] for table in tables],
        dtype=torch.float64,
        device=frames.device,
    ).view(1, frames.shape[1], 1, 1, 8, 8)
    basis = _cosines(frames.device)
    blocks = _blocks(planes, 8)
    coefficients = basis @ blocks @ basis.T
    unit = float(BASIS_UNIT**2)
    kept = (coefficients / (unit * steps)).add(0.5).floor() * steps
    restored = basis.T @ kept @ basis
    levels = (restored / unit).add(128.5).floor().clamp_(0, 255).to(torch.int32)
    coded = _to_frames(_joined(levels))
    return coded[..., top : top + frames.shape[-2], left : left + frames.shape[-1]]


def video_compression(frames: Tensor, step: VideoCompression, drawn: StepDraw) -> Tensor:
    """Differences to the last coded frame, rounded in 4 x 4 blocks.

    The frame that begins a group is predicted from the means of its own 8 x 8 blocks, which stand
    for what an encoder predicts from the neighbours that it has coded already.
    """
    quantiser = rounded(drawn.scaled(step.quantiser, "quantiser", identity=UNSEEN_QUANTISER))
    padded, top, left = in_blocks(frames, drawn.view.window, 8)
    planes = _to_planes(padded)
    coded, last = [], torch.full_like(planes[0], 128)
    for place, index in enumerate(drawn.view.indices):
        stands_alone = index % step.group_frames == 0
        predicted = _block_means(planes[place]) if stands_alone else last
        difference = _quantised(planes[place] - predicted, quantiser, alone=stands_alone)
        last = (predicted + difference).clamp_(0, 255)
        coded.append(last)
    made = _to_frames(torch.stack(coded))
    return made[..., top : top + frames.shape[-2], left : left + frames.shape[-1]]


def _block_means(planes: Tensor) -> Tensor:
    """The mean of every 8 x 8 block in all of its pixels, int32 (C, h, w)."""
    blocks = _blocks(planes, 8)
    sums = blocks.sum((-2, -1), dtype=torch.int32)
    return _joined(((sums + 32) >> 6)[..., None, None].expand(blocks.shape))


def _quantised(planes: Tensor, quantiser: int, *, alone: bool) -> Tensor:
    """What is left of differences, int32 (C, h, w), after transform, rounding and the way back."""
    place = torch.tensor(PLACE_CLASS, device=planes.device)
    multipliers = torch.tensor(MULTIPLIERS[quantiser % 6], device=planes.device)[place]
    scales = torch.tensor(SCALES[quantiser % 6], device=planes.device)[place]
    forward = torch.tensor(FORWARD, dtype=torch.float64, device=planes.device)
    blocks = _blocks(planes.to(torch.float64), 4)
    coefficients = (forward @ blocks @ forward.T).to(torch.int64)
    bits = 15 + quantiser // 6
    margin = (1 << bits) // (3 if alone else 6)  # as the reference software rounds
    levels = coefficients.sign() * ((coefficients.abs() * multipliers + margin) >> bits)
    scaled = levels * scales << (quantiser // 6)
    for axis in (-1, -2):
        scaled = _inverse(scaled.movedim(axis, 0)).movedim(0, axis)
    return _joined((scaled + 32) >> 6).to(torch.int32)


def _inverse(w: Tensor) -> Tensor:
    """One pass of the inverse core transform over the first axis (ITU-T H.264, 8.5.12.2)."""
    even, odd = w[0] + w[2], w[0] - w[2]
    low, high = (w[1] >> 1) - w[3], w[1] + (w[3] >> 1)
    return torch.stack([even + high, odd + low, odd - low, even - high])


def _cosines(device: torch.device) -> Tensor:
    """The 8-point DCT as whole multiples of 1/8192, float64 (frequency, place)."""
    return torch.tensor(
        [
            [
                rounded(
                    BASIS_UNIT
                    * (math.sqrt(1 / 8) if k == 0 else 0.5)
                    * math.cos((2 * n + 1) * k * math.pi / 16)
                )
                for n in range(8)
            ]
            for k in range(8)
        ],
        dtype=torch.float64,
        device=device,
    )


def _blocks(planes: Tensor, side: int) -> Tensor:
    """(..., h, w) as (..., h / side, w / side, side, side)."""
    *outer, height, width = planes.shape
    split = planes.reshape(*outer, height // side, side, width // side, side)
    return split.transpose(-3, -2)


def _joined(blocks: Tensor) -> Tensor:
    """The way back from `_blocks`."""
    *outer, rows, columns, side, _ = blocks.shape
    return blocks.transpose(-3, -2).reshape(*outer, rows * side, columns * side)


def _to_planes(frames: Tensor) -> Tensor:
    """Full-range YCbCr of RGB frames, int32 (T, 3, h, w); grey frames as they are (T.871)."""
    levels = frames.to(torch.int32)
    if frames.shape[1] != 3:
        return levels
    red, green, blue = levels.unbind(1)
    half = COLOUR_UNIT // 2
    luma = (19595 * red + 38470 * green + 7471 * blue + half) >> 16
    toward_blue = ((-11059 * red - 21709 * green + 32768 * blue + half - 1) >> 16) + 128
    toward_red = ((32768 * red - 27439 * green - 5329 * blue + half - 1) >> 16) + 128
    return torch.stack([luma, toward_blue, toward_red], dim=1)


def _to_frames(planes: Tensor) -> Tensor:
    """The way back from `_to_planes`, uint8."""
    if planes.shape[1] != 3:
        return planes.clamp(0, 255).to(torch.uint8)
    luma, toward_blue, toward_red = planes.unbind(1)
    toward_blue, toward_red = toward_blue - 128, toward_red - 128
    half = COLOUR_UNIT // 2
    red = luma + ((91881 * toward_red + half) >> 16)
    green = luma + ((-22554 * toward_blue - 46802 * toward_red + half) >> 16)
    blue = luma + ((116130 * toward_blue + half) >> 16)
    return torch.stack([red, green, blue], dim=1).clamp_(0, 255).to(torch.uint8)
