"""What pictures of an evaluation are made of, and the objects that a detector follows in it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from model.evaluate import ScoredFrame
from schemas.evaluation import DetectedStream, Detections, StreamDetections

SAME_OBJECT = 0.5
"""Boxes of neighbouring frames that share at least this of their union show one object: the
threshold of the MOT challenges (Milan et al., "MOT16", 2016), whose ID switches these are, with
overlap in the place of the annotation that is not there."""


@dataclass(frozen=True)
class Followed:
    """The objects of one frame that are followed."""

    boxes_px: NDArray[np.float32]
    """Left, top, right, bottom, (N, 4)."""
    confidence: NDArray[np.float32]
    """0 to 1, (N,)."""
    tracks: NDArray[np.int64]
    """The number of each one's track, (N,)."""
    kinds: tuple[str, ...]


Follow = Callable[[DetectedStream, NDArray[np.uint8], bool], Followed]
"""A stream's next frame, RGB (H, W, 3), and whether it is its clip's first."""


@dataclass
class ClipViews:
    """Of a clip: one column of every fused frame, the frame in its middle, objects followed."""

    pairs: int
    follow: Follow | None = None
    columns: list[NDArray[np.uint8]] = field(default_factory=list)
    """RGB, (H, 3) each."""
    middle: ScoredFrame | None = None
    followed: dict[DetectedStream, list[Followed]] = field(default_factory=dict)
    """By stream, frame after frame; empty where no detector is asked for."""

    def add(self, frame: ScoredFrame) -> ScoredFrame:
        """Look at the next frame and pass it on."""
        if self.follow is not None:
            for stream in get_args(DetectedStream):
                image = getattr(frame, stream).permute(1, 2, 0).numpy()
                rgb = image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
                found = self.follow(stream, rgb, not self.columns)
                self.followed.setdefault(stream, []).append(found)
        if len(self.columns) == self.pairs // 2:
            self.middle = frame
        column = frame.fused[:, :, frame.fused.shape[-1] // 2]
        self.columns.append(column.T.contiguous().numpy())
        return frame

    def detections(self) -> Detections:
        """What was followed in each stream."""
        return detections_of([self])


def detections_of(clips: Iterable[ClipViews]) -> Detections:
    """What was followed in each stream of all clips."""
    followed = [clip.followed for clip in clips]
    return {
        stream: summed([each[stream] for each in followed])
        for stream in get_args(DetectedStream)
        if all(stream in each for each in followed)
    }


def summed(clips: Sequence[Sequence[Followed]]) -> StreamDetections:
    """What the objects followed in one stream of several clips come to."""
    frames = [frame for clip in clips for frame in clip]
    confidence = np.concatenate([np.empty(0), *(frame.confidence for frame in frames)])
    lengths = [
        count
        for clip in clips
        for count in np.unique(
            np.concatenate([np.empty(0, int), *(frame.tracks for frame in clip)]),
            return_counts=True,
        )[1]
    ]
    return StreamDetections(
        frames=len(frames),
        boxes=len(confidence),
        confidence=float(confidence.mean()) if len(confidence) else None,
        tracks=len(lengths),
        track_frames=float(np.mean(lengths)) if lengths else None,
        id_switches=sum(
            id_switches(before, after) for clip in clips for before, after in pairwise(clip)
        ),
    )


def id_switches(before: Followed, after: Followed) -> int:
    """How many objects of two neighbouring frames are followed under another number than before."""
    shared = overlaps(before.boxes_px, after.boxes_px)
    if not shared.size:
        return 0
    partners = shared.argmax(1)
    mutual = shared.argmax(0)[partners] == np.arange(len(shared))
    is_same = mutual & (shared.max(1) >= SAME_OBJECT)
    return int((is_same & (before.tracks != after.tracks[partners])).sum())


def overlaps(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) with boxes (M, 4), as in `Followed`; (N, M)."""
    first, second = one[:, None].astype(float), other[None].astype(float)
    low, high = (
        np.maximum(first[..., :2], second[..., :2]),
        np.minimum(first[..., 2:], second[..., 2:]),
    )
    inside = np.clip(high - low, 0, None).prod(-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(-1) for each in (first, second)]
    return np.asarray(inside / np.maximum(areas[0] + areas[1] - inside, 1e-12))
