"""Fusing videos of any length in constant memory, part after part without a seam."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.blocks import CrossBlock, GatedMix, ResidualBlock, SelfBlock
from model.network import FusedVideo, VideoFusion, arithmetic, temporal_reach
from model.timeline import Timeline
from schemas.errors import FuseError
from schemas.evaluation import Stretch
from schemas.training import Precision

Frame = NDArray[np.uint8]
Pair = tuple[Frame, Frame]
"""Infrared (H, W) and visible RGB (H, W, 3), of one instant."""

DEFAULT_WINDOW = 8
"""Frames the network takes at once after the first part, which has one more than its reach; more
take more memory and, on a processor, no less time."""


CODE_VERSIONS = 64
"""Three widths and sizes, of frames and of their sums, times the kinds of block, and to spare."""


class FusedFrame(NamedTuple):
    """One instant, RGB (H, W, 3) each."""

    fused: Frame
    infrared: Frame | None
    """Restored; None unless asked for."""
    visible: Frame | None
    """Restored; None unless asked for."""


def fuse_stream(
    network: VideoFusion,
    frames: Iterable[Pair],
    *,
    window: int = DEFAULT_WINDOW,
    restore: bool = False,
    precision: Precision = "float32",
    stretch: Stretch = "none",
) -> Iterator[FusedFrame]:
    """Fuse a video, frame by frame, as the network would the whole of it at once.

    The layers along time keep the few frames that they still need, so that no part is computed
    twice and none is seen by less than its neighbours. [0, 1] maps to [0, 255] for every frame
    alike, unless a stretch is asked for.

    Args:
        network: its device and weights are used.
        frames: pairs in time order, all of one size.
        window: frames that the network takes at once, once it has seen as many as it looks ahead.
        restore: whether the restored bands are wanted too.
        precision: of the arithmetic; bfloat16 differs by about a grey level and pays on processors
            with units for it (AMX); on an H200 it took longer (docs/benchmarks.md, On a GPU).
        stretch: of the fused frames; restored ones always keep their range.

    Returns:
        As many as pairs came in.

    Raises:
        FuseError: the window holds no frame, or frames differ in size or kind.
    """
    if window < 1:
        raise FuseError(f"a window of {window} frames holds none; make it at least 1")

    def part(pairs: list[Pair], timeline: Timeline) -> Iterator[FusedFrame]:
        made = _fused_part(network, pairs, timeline, precision, restore=restore)
        if stretch == "frame":
            made = made._replace(fused=stretched(made.fused))
        return _levels(made)

    return _parts(_checked(frames), temporal_reach(network.recipe) + 1, window, part)


def stretched(video: Tensor) -> Tensor:
    """Every frame stretched to [0, 1] by its own least and greatest value.

    Args:
        video: (B, T, C, H, W); a frame of one single value becomes 0.
    """
    low, high = video.amin((-3, -2, -1), keepdim=True), video.amax((-3, -2, -1), keepdim=True)
    return (video - low) / (high - low).clamp_min(torch.finfo(video.dtype).tiny)


def compiled(network: VideoFusion) -> VideoFusion:
    """The same network, whose blocks on single frames torch.compile turns into machine code.

    They are compiled when the first frames come, which takes up to a minute, so that it pays for
    long videos alone: on a processor in bfloat16, by a tenth, and in float32 not at all.

    Raises:
        FuseError: the network is on a processor and there is no C++ compiler.
    """
    if next(network.parameters()).device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise FuseError(
                f"there is no C++ compiler {compiler}, which compiling a network takes; install "
                "one, name it in CXX, or fuse without --compile"
            )
    # Each size and width of a block is a version of its code; beyond the limit torch gives up.
    # Two seconds to import, so not before it is wanted.
    limits: Any = import_module("torch._dynamo.config")
    limits.recompile_limit = max(limits.recompile_limit, CODE_VERSIONS)
    for block in network.modules():
        if isinstance(block, (SelfBlock, CrossBlock, ResidualBlock, GatedMix)):
            block.compile(dynamic=False)
    return network


def _parts(
    frames: Iterator[Pair],
    first: int,
    window: int,
    fused: Callable[[list[Pair], Timeline], Iterator[FusedFrame]],
) -> Iterator[FusedFrame]:
    """All of a video through `fused`, in parts of which only the last knows that it is."""
    timeline = Timeline()
    timeline.ends = False
    held: list[Pair] = []
    wanted = max(first, window)
    for pair in frames:
        if len(held) == wanted:
            yield from fused(held, timeline)
            held, wanted = [], window
        held.append(pair)
    if held:
        timeline.ends = True
        yield from fused(held, timeline)


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
def _fused_part(
    network: VideoFusion,
    pairs: list[Pair],
    timeline: Timeline,
    precision: Precision,
    *,
    restore: bool,
) -> FusedVideo:
    like = next(network.parameters())
    infrared = _unit_range([infrared[..., None] for infrared, _ in pairs], like)
    visible = _unit_range([visible for _, visible in pairs], like)
    try:
        with arithmetic(like.device.type, precision):
            output: FusedVideo = network(infrared, visible, restore=restore, timeline=timeline)
    except torch.OutOfMemoryError as error:
        height, width = pairs[0][0].shape
        raise FuseError(
            f"the GPU's memory does not hold the work on {len(pairs)} pairs of {width} x {height} "
            "pixels; free it of other programs, or set CUDA_VISIBLE_DEVICES to nothing, so that "
            "the processor fuses"
        ) from error
    return output


def _levels(output: FusedVideo) -> Iterator[FusedFrame]:
    """Frames of one part, uint8."""
    videos = [None if video is None else _frames(video[0]) for video in output]
    fused, infrared, visible = videos
    if fused is None:
        raise ValueError("the network has put out no fused video")
    for index, frame in enumerate(fused):
        yield FusedFrame(
            frame,
            None if infrared is None else infrared[index],
            None if visible is None else visible[index],
        )


def _frames(video: Tensor) -> Frame:
    """(T, 3, H, W) in [0, 1] as uint8 (T, H, W, 3)."""
    video = video.to(torch.promote_types(video.dtype, torch.float32))
    levels = (video * 255).round().clamp(0, 255).to(torch.uint8)
    frames: Frame = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return frames


def _unit_range(frames: list[Frame], like: Tensor) -> Tensor:
    """uint8 (H, W, C) frames as (1, T, C, H, W) in [0, 1], of the device and dtype of `like`."""
    levels = torch.from_numpy(np.stack(frames)).to(like.device)
    return (levels.to(like.dtype) / 255).permute(0, 3, 1, 2).unsqueeze(0)
