"""Degradations on a GPU: the pixels of the CPU, however they are cut."""

from typing import Any

import pytest
import torch

from pipeline.degrade import degrade_block, frames_for_window, reach, read_for_crop
from pipeline.degrade_draws import DegradationDraw, Window
from schemas import degradations as kinds
from schemas.recipe import DegradeRecipe
from tests.pipeline.test_degrade_kinds import (
    DRAW,
    FRAMES,
    HEIGHT,
    KINDS,
    PAIRS,
    WIDTH,
    degraded,
    step_of,
)


def furthest(made: torch.Tensor, expected: torch.Tensor) -> int:
    """The largest difference of two blocks of uint8, grey levels."""
    return int((made.cpu().int() - expected.int()).abs().max())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_makes_the_pixels_of_the_cpu(
    kind: type[kinds.Step], channels: int, gpu: torch.device
) -> None:
    frames = FRAMES[:, :channels]

    made = degraded(step_of(kind), frames=frames.to(gpu))

    assert made.device.type == gpu.type
    assert made.dtype == torch.uint8
    assert furthest(made, degraded(step_of(kind), frames=frames)) == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_crop_of_a_window_on_a_gpu_is_that_of_the_degraded_clip(
    kind: type[kinds.Step], gpu: torch.device
) -> None:
    chain: tuple[Any, ...] = (step_of(kind), kinds.StripeNoise())
    y, x, height, width, wanted = 7, 13, 31, 40, [9, 10, 11]
    needed = reach(chain, DRAW)
    indices = frames_for_window(needed, wanted)
    read = read_for_crop(
        Window(y, x, HEIGHT, WIDTH), height=height, width=width, halo_px=needed.halo_px
    )

    block = FRAMES[list(indices)][..., read.rows, read.columns].to(gpu)
    made = degrade_block(block, chain, DRAW, indices=indices, window=read.window)

    kept = read.keep(made)[[indices.index(frame) for frame in wanted]]
    expected = degraded(*chain)[wanted][..., y : y + height, x : x + width]
    assert furthest(kept, expected) == 0


@pytest.mark.parametrize("clip", range(8))
def test_the_preset_of_every_clip_is_equal_in_mixed_precision_too(
    clip: int, gpu: torch.device
) -> None:
    recipe, whole = DegradeRecipe(), Window(0, 0, HEIGHT, WIDTH)
    for chain, channels, band in ((recipe.infrared, 1, "infrared"), (recipe.visible, 3, "visible")):
        draw = DegradationDraw(3, f"clip-{clip}", "infrared" if channels == 1 else "visible")
        frames, indices = FRAMES[:, :channels], range(PAIRS)
        expected = degrade_block(frames, chain, draw, indices=indices, window=whole)

        with torch.autocast("cuda", torch.bfloat16):
            made = degrade_block(frames.to(gpu), chain, draw, indices=indices, window=whole)

        assert furthest(made, expected) == 0, band
