"""Fusing videos of any length in constant memory: overlapping windows, centres kept."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import VideoFusion
from schemas.errors import FuseError

Frame = NDArray[np.uint8]
Pair = tuple[Frame, Frame]
"""Infrared (H, W) and visible RGB (H, W, 3), of one instant."""

DEFAULT_WINDOW = 16
"""Frames the network sees at once. Each takes about half a gigabyte at 640x480 (float32, published
network); a longer window spends less on overlap."""

DEFAULT_CONTEXT = 4
"""Frames each side that are seen but not kept: errors of 0.015 grey levels against fusing the whole
video at once; 14 are exact (MODEL.md section 4)."""


def fuse_windows(
    network: VideoFusion,
    frames: Iterable[Pair],
    *,
    window: int = DEFAULT_WINDOW,
    context: int = DEFAULT_CONTEXT,
) -> Iterator[Frame]:
    """Fuse a video, frame by frame, while holding no more than a window of it.

    Only frames with `context` neighbours on both sides, or at an end of the video, are kept of each
    window. [0, 1] maps to [0, 255] for every frame alike: no stretch, so no flicker.

    Args:
        network: its device and precision are used.
        frames: pairs in time order, all of one size.
        window: frames the network sees at once, more than twice the context.
        context: frames seen beyond those kept, each side.

    Returns:
        As many fused frames as pairs came in, RGB (H, W, 3).

    Raises:
        FuseError: window and context do not fit, or frames differ in size or kind.
    """
    if context < 0 or window <= 2 * context:
        raise FuseError(
            f"a window of {window} frames has none left to keep with a context of {context} each "
            f"side; make the window at least {2 * max(context, 0) + 1}"
        )
    return _fused(network, _checked(frames), window, context)


def _fused(
    network: VideoFusion, frames: Iterator[Pair], window: int, context: int
) -> Iterator[Frame]:
    held: list[Pair] = []
    first_kept = 0
    for pair in frames:
        if len(held) == window:
            yield from _fuse(network, held)[first_kept : window - context]
            held = held[window - 2 * context :]
            first_kept = context
        held.append(pair)
    if held:
        yield from _fuse(network, held)[first_kept:]


def _checked(frames: Iterable[Pair]) -> Iterator[Pair]:
    """The same pairs, each refused unless it fits its band and the first pair's size."""
    size: tuple[int, ...] | None = None
    for index, (infrared, visible) in enumerate(frames):
        size = size or infrared.shape
        for band, frame, shape in (
            ("infrared", infrared, size),
            ("visible", visible, (*size, 3)),
        ):
            if frame.dtype != np.uint8 or frame.shape != shape or len(size) != 2:
                raise FuseError(
                    f"pair {index}: the {band} frame is {frame.dtype} {frame.shape}, expected "
                    f"uint8 {shape}; register the videos, or give frames of one size"
                )
        yield infrared, visible


@torch.inference_mode()
def _fuse(network: VideoFusion, pairs: list[Pair]) -> Frame:
    """Fused frames of one window, (T, H, W, 3)."""
    like = next(network.parameters())
    infrared = _unit_range([infrared[..., None] for infrared, _ in pairs], like)
    visible = _unit_range([visible for _, visible in pairs], like)
    fused = network(infrared, visible, restore=False).fused[0]  # (T, 3, H, W)
    levels = (fused * 255).round().clamp(0, 255).to(torch.uint8)
    fused_frames: Frame = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return fused_frames


def _unit_range(frames: list[Frame], like: Tensor) -> Tensor:
    """uint8 (H, W, C) frames as (1, T, C, H, W) in [0, 1], of the device and dtype of `like`."""
    levels = torch.from_numpy(np.stack(frames)).to(like.device)
    return (levels.to(like.dtype) / 255).permute(0, 3, 1, 2).unsqueeze(0)
