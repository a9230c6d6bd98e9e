"""Fusing two videos, or a clip, into an mp4."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.progress import Show, silence
from model.checkpoint import load_checkpoint
from model.clips import open_clip_store
from model.fuse import Pair, fuse_windows
from model.network import VideoFusion
from pipeline.sync import pair_frames
from pipeline.video_files import StreamProbe, probe, read_frames, write_video
from schemas.errors import FuseError

HALF_PERIOD = 0.5
"""Frames of two registered videos belong together within half a frame period."""


def fuse_videos(
    infrared: Path, visible: Path, out: Path, weights: Path, report: Show = silence
) -> int:
    """Fuse two registered 8-bit videos of one size into the mp4 `out`; returns its frames.

    Frames are paired by their presentation times; an infrared frame without a visible one within
    half a frame period is left out.

    Raises:
        VideoError, CheckpointError: a file cannot be read or written.
        FuseError: the videos are not registered to each other.
    """
    network = load_checkpoint(weights)
    found = probe(infrared), probe(visible)
    _check_registered(infrared, visible, found)
    times_s = found[0].times_s, found[1].times_s
    period_s = max(float(np.median(np.diff(times))) for times in times_s)
    ...
