"""Fusing two registered videos, or a clip, into an mp4."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.process_memory import return_memory_at_once
from flows.progress import Show, silence
from model.checkpoint import BUNDLED_WEIGHTS, load_checkpoint
from model.fuse import Pair, compiled, fuse_stream
from model.network import device_at_hand
from pipeline.clip_stores import open_clip, read_pairs
from pipeline.shard_blocks import frames_at
from pipeline.sync import Pairs, pair_frames
from pipeline.video_encoding import open_video
from pipeline.video_files import StreamProbe, probe, read_frames
from schemas.base import BANDS
from schemas.errors import FuseError
from schemas.evaluation import Stretch
from schemas.store import CHUNK_PAIRS
from schemas.training import Precision

HALF_PERIOD = 0.5
"""Frames of registered videos belong together within half a period of the slower camera."""


@dataclass(frozen=True)
class Fusing:
    """How videos are fused."""

    weights: Path = BUNDLED_WEIGHTS
    restored: Path | None = None
    """Folder for infrared.mp4 and visible.mp4, both restored; None: not wanted."""
    precision: Precision = "float32"
    is_compiled: bool = False
    stretch: Stretch = "none"


def fuse_videos(
    infrared: Path,
    visible: Path,
    out: Path,
    fusing: Fusing,
    *,
    fps: float | None = None,
    report: Show = silence,
) -> int:
    """Fuse two registered 8-bit videos of one size into the mp4 `out`; returns its frames.

    Frames are paired by their presentation times; an infrared frame without a visible one within
    half a frame period is left out.

    Args:
        infrared: a video or a folder of numbered frames.
        visible: the same.
        out: an mp4, without sound.
        fusing: how.
        fps: of folders of frames, which have no times.
        report: told of every frame.

    Raises:
        VideoError, CheckpointError: a file cannot be read or written.
        FuseError: the videos are not registered to each other, or have no instant in common.
    """
    found = {path: probe(path, fps=fps) for path in (infrared, visible)}
    _check_registered(found)
    times_s = [one.times_s for one in found.values()]
    period_s = max(float(np.median(np.diff(times))) for times in times_s)
    pairs = pair_frames(*times_s, offset_s=0, drift_ppm=0, max_residual_s=HALF_PERIOD * period_s)
    if not pairs.residual_s.size:
        raise FuseError(f"{infrared} and {visible} have no instant in common; fuse a built clip")
    frames = _paired(infrared, visible, pairs)
    total = pairs.residual_s.size
    return _fuse(frames, total, out, fusing, fps=1 / period_s, report=report)


def fuse_clip(store: Path, out: Path, weights: Path, *, pairs: int, report: Show = silence) -> int:
    """Fuse the first pairs of a clip store, degraded as the network is trained to see them.

    Raises:
        StoreError, CheckpointError: a file cannot be read.
        VideoError: `out` cannot be written.
    """
    group, attributes = open_clip(store)
    wanted = min(pairs, attributes.pairs)
    names = [f"{b}_degraded" if f"{b}_degraded" in group else b for b in BANDS]

    def frames() -> Iterator[Pair]:
        for first in range(0, wanted, CHUNK_PAIRS):
            last = min(first + CHUNK_PAIRS, wanted)
            infrared, visible = (read_pairs(group, name, first, last) for name in names)
            yield from zip(infrared, visible, strict=True)

    return _fuse(frames(), wanted, out, Fusing(weights), fps=attributes.fps, report=report)


def _check_registered(found: dict[Path, StreamProbe]) -> None:
    sizes = {path: f"{one.width}x{one.height}" for path, one in found.items()}
    if len(set(sizes.values())) > 1:
        shown = " and ".join(f"{path} is {size}" for path, size in sizes.items())
        raise FuseError(f"{shown}: they are not registered; build them into clips first")
    for path, one in found.items():
        if one.bit_depth > 8:
            raise FuseError(f"{path} has 16 bits a pixel; build it into clips first")
        if one.times_s.size < 2:
            raise FuseError(f"{path} holds a single frame; give a video")


def _paired(infrared: Path, visible: Path, pairs: Pairs) -> Iterator[Pair]:
    """The frames of both videos at the pairs' indices, each video read once."""
    here = frames_at(
        read_frames(infrared, "infrared"), pairs.infrared_frames, first=0, stream=str(infrared)
    )
    there = frames_at(
        read_frames(visible, "visible"), pairs.visible_frames, first=0, stream=str(visible)
    )
    return zip(here, there, strict=True)


def _fuse(
    frames: Iterable[Pair], total: int, out: Path, fusing: Fusing, *, fps: float, report: Show
) -> int:
    """Fuse pairs into the mp4 `out`, telling `report` of every frame; returns how many."""
    return_memory_at_once()
    paths = {"fused": out}
    if fusing.restored is not None:
        paths |= {band: fusing.restored / f"{band}.mp4" for band in BANDS}
    network = load_checkpoint(fusing.weights).to(device_at_hand())
    made = fuse_stream(
        compiled(network) if fusing.is_compiled else network,
        frames,
        restore=fusing.restored is not None,
        precision=fusing.precision,
        stretch=fusing.stretch,
    )
    done = 0
    with ExitStack() as opened:
        videos = {
            name: opened.enter_context(open_video(path, fps=fps, codec="h264"))
            for name, path in paths.items()
        }
        for done, instant in enumerate(made, 1):
            for name, video in videos.items():
                video.write(getattr(instant, name))
            report(done, total, "")
    return done
