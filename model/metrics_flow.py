"""Metrics of how steadily a fused video moves, by optical flow (MODEL.md sections 1.3 and 1.4).

Values of different flow methods are not comparable, and a constant video has the best of them all:
name the method, and never report these alone.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

OpticalFlow = Callable[[Tensor, Tensor], Tensor]
"""Two RGB frames, uint8 (3, H, W), to the flow from the first to the second, floating (2, H, W):
for each pixel of the first how far right and down its content lies in the second, pixels."""

Direction = Literal["backward", "literal"]

STEADY_PX = 1.0
"""BiSWE leaves out pixels whose flow there and back misses by more (VF-Bench)."""

TINY = 1e-10


def warped(frames: Tensor, flow: Tensor) -> Tensor:
    """Frames read where the flow points, linear between pixels, borders repeated.

    Args:
        frames: floating, (N, C, H, W).
        flow: floating, (N, 2, H, W), right and down, pixels.
    """
    places = frames.new_empty(len(flow), *frames.shape[-2:], 2)
    for axis, size in enumerate((frames.shape[-1], frames.shape[-2])):
        line = torch.arange(size, device=flow.device, dtype=flow.dtype)
        along = line if axis == 0 else line[:, None]
        scaled = places[..., axis].copy_(flow[:, axis]).add_(along)
        scaled.mul_(2 / max(size - 1, 1)).sub_(1)
    return functional.grid_sample(
        frames, places, mode="bilinear", padding_mode="border", align_corners=True
    )


def flow_distance(
    fused: Tensor, visible: Tensor, flow: OpticalFlow, direction: Direction = "backward"
) -> Tensor:
    """flowD: how far each fused frame is from the one before, moved as the visible video moves.

    The mean over pixels of the distance in RGB, grey levels; lower is steadier. TemCoCo's public
    text reads the earlier frame through the flow towards the later one (`literal`), which is worse
    than not to move it at all; `backward` uses the flow from the later to the earlier frame, which
    aligns them, and whose values are of the size that the papers report.

    Args:
        fused: uint8 RGB, (T, 3, H, W), two frames at least.
        visible: the same, of the same instants.
        flow: the method.
        direction: of the flow that is used.

    Returns:
        float64, (T - 1,).
    """
    if fused.shape != visible.shape or fused.dim() != 4 or fused.shape[1] != 3:
        raise ValueError(
            f"fused frames {tuple(fused.shape)} and visible ones {tuple(visible.shape)} "
            "must have one shape (T, 3, H, W)"
        )
    distances = []
    for before, after, seen_before, seen_after in zip(
        fused, fused[1:], visible, visible[1:], strict=False
    ):
        path = (
            flow(seen_after, seen_before)
            if direction == "backward"
            else flow(seen_before, seen_after)
        )
        squares = warped(before[None].double(), path[None])[0].sub_(after).square_()
        distances.append(squares[0].add_(squares[1]).add_(squares[2]).sqrt_().mean())
    return torch.stack(distances) if distances else torch.empty(0, dtype=torch.float64)


def self_warping_error(fused: Tensor, sources: tuple[Tensor, Tensor], flow: OpticalFlow) -> Tensor:
    """BiSWE: how far each frame is from both its neighbours, moved by its own flow.

    Pixels count where the flow of both sources, there and back, ends within a pixel of where it
    began. The sum over both neighbours of the mean absolute difference, grey levels; lower is
    steadier.

    Args:
        fused: uint8 RGB, (T, 3, H, W), three frames at least.
        sources: two of the same.
        flow: the method.

    Returns:
        float64, (T - 2,), of the frames that have two neighbours.
    """
    errors = []
    for middle in range(1, len(fused) - 1):
        error = torch.zeros((), dtype=torch.float64)
        for neighbour in (middle - 1, middle + 1):
            steady = torch.ones(fused.shape[-2:], dtype=torch.bool)
            for source in sources:
                there = flow(source[middle], source[neighbour]).double()
                back = flow(source[neighbour], source[middle]).double()
                missed = there + warped(back[None], there[None])[0]
                steady &= missed.square().sum(0).sqrt() < STEADY_PX
            own = flow(fused[middle], fused[neighbour]).double()
            moved = warped(fused[neighbour][None].double(), own[None])[0]
            difference = (fused[middle].double() - moved).abs().mean(0)
            error = error + (difference * steady).sum() / (steady.sum() + TINY)
        errors.append(error)
    return torch.stack(errors) if errors else torch.empty(0, dtype=torch.float64)


def motion_smoothness(fused: Tensor, sources: tuple[Tensor, Tensor], flow: OpticalFlow) -> Tensor:
    """MS2R: how much the fused video's motion changes otherwise than that of its sources.

    Of three frames, the change of flow from the first step to the second; its mean absolute
    difference to the sources', pixels; lower is steadier.

    Args:
        fused: uint8 RGB, (T, 3, H, W), three frames at least.
        sources: two of the same.
        flow: the method.

    Returns:
        float64, (T - 2,), of the frames in the middle of three.
    """
    changes = [_changes_of_flow(video, flow) for video in (fused, *sources)]
    if not len(changes[0]):
        return torch.empty(0, dtype=torch.float64)
    apart = [(changes[0] - other).abs().mean((1, 2, 3)) for other in changes[1:]]
    return (apart[0] + apart[1]) / 2


def _changes_of_flow(video: Tensor, flow: OpticalFlow) -> Tensor:
    """From each step to the next, (T - 2, 2, H, W)."""
    steps = [flow(one, other).double() for one, other in pairwise(video)]
    if len(steps) < 2:
        return torch.empty(0, 2, *video.shape[-2:], dtype=torch.float64)
    return torch.stack(steps).diff(dim=0)
