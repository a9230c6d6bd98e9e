"""Scores of fused videos, frame by frame, and what they come to over clips."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.metrics import fusion_metrics, grey, restoration_metrics
from model.metrics_flow import (
    Direction,
    OpticalFlow,
    flow_distance,
    motion_smoothness,
    self_warping_error,
)
from schemas.base import BANDS
from schemas.errors import EvaluateError
from schemas.evaluation import ClipScores, Scores, TagScores

RESAMPLES = 2000
"""Draws of clips for an interval; enough that its ends repeat to a hundredth of its width."""

INTERVAL = (2.5, 97.5)
"""Percentiles of 95 %."""


@dataclass(frozen=True)
class ScoredFrame:
    """One instant: the fused frame, and both sources that it is compared with."""

    fused: Tensor
    """uint8 RGB, (3, H, W)."""
    infrared: Tensor
    """uint8, (1, H, W)."""
    visible: Tensor
    """uint8 RGB, (3, H, W)."""
    restored: "Bands | None" = None
    """What was made of the degraded bands; None: not known."""
    clean: "Bands | None" = None
    """What they were before."""


@dataclass(frozen=True)
class Bands:
    """Both bands at one instant, uint8."""

    infrared: Tensor
    """(1, H, W)."""
    visible: Tensor
    """RGB, (3, H, W)."""


@dataclass(frozen=True)
class Scoring:
    """How videos are scored."""

    flow: OpticalFlow
    direction: Direction = "backward"
    has_smoothness: bool = False
    """Whether BiSWE and MS2R are measured too, which take most of the time."""


def score_frames(frames: Iterable[ScoredFrame], scoring: Scoring) -> Iterator[Scores]:
    """The scores of every frame of a video, in constant memory.

    What needs the frame before or both neighbours is None where there are none.

    Raises:
        EvaluateError: a frame cannot be scored.
    """
    seen: deque[ScoredFrame] = deque(maxlen=3)
    held: Scores | None = None
    for index, frame in enumerate(frames):
        seen.append(frame)
        try:
            scores = _still(frame)
            scores["flowD"] = _flow_distance(list(seen)[-2:], scoring)
        except ValueError as error:
            raise EvaluateError(f"frame {index}: {error}") from error
        if scoring.has_smoothness:
            scores |= {"BiSWE": None, "MS2R": None}
            if held is not None and len(seen) == 3:
                held |= _smoothness(list(seen), scoring)
        if held is not None:
            yield held
        held = scores
    if held is not None:
        yield held


def _still(frame: ScoredFrame) -> Scores:
    fused, infrared, visible = (
        grey(each[None]) for each in (frame.fused, frame.infrared, frame.visible)
    )
    found = fusion_metrics(fused, infrared, visible)
    if frame.restored is not None and frame.clean is not None:
        for band in BANDS:
            restored, clean = getattr(frame.restored, band), getattr(frame.clean, band)
            for name, value in restoration_metrics(restored[None], clean[None]).items():
                found[f"{name}_{band}"] = value
    return {name: finite(value.item()) for name, value in found.items()}


def _flow_distance(frames: Sequence[ScoredFrame], scoring: Scoring) -> float | None:
    if len(frames) < 2:
        return None
    fused = torch.stack([frame.fused for frame in frames])
    visible = torch.stack([frame.visible for frame in frames])
    return flow_distance(fused, visible, scoring.flow, scoring.direction).item()


def _smoothness(frames: Sequence[ScoredFrame], scoring: Scoring) -> Scores:
    fused = torch.stack([frame.fused for frame in frames])
    infrared = torch.stack([frame.infrared.expand_as(frame.fused) for frame in frames])
    sources = (infrared, torch.stack([frame.visible for frame in frames]))
    return {
        "BiSWE": self_warping_error(fused, sources, scoring.flow).item(),
        "MS2R": motion_smoothness(fused, sources, scoring.flow).item(),
    }


def finite(value: float) -> float | None:
    """None for infinity and what is no number, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def mean_scores(rows: Sequence[Scores]) -> Scores:
    """The mean of every metric over the rows that have it; None where none has."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _mean([row.get(name) for row in rows]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def intervals(clips: Mapping[str, Sequence[Scores]]) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of the mean over all frames, from clips drawn anew with replacement.

    Frames of a clip resemble each other, so clips are what is independent (the percentile
    bootstrap; Efron and Tibshirani, "An introduction to the bootstrap", 1993). The draws are the
    same at every call.
    """
    names = dict.fromkeys(name for rows in clips.values() for row in rows for name in row)
    return {name: _interval(name, list(clips.values())) for name in names}


def _interval(name: str, clips: Sequence[Sequence[Scores]]) -> tuple[float, float] | None:
    known = [[row[name] for row in rows if row.get(name) is not None] for rows in clips]
    sums = np.array([math.fsum(v for v in values if v is not None) for values in known if values])
    counts = np.array([len(values) for values in known if values])
    if len(counts) < 2:
        return None
    drawn = np.random.default_rng(0).integers(0, len(counts), (RESAMPLES, len(counts)))
    found = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), INTERVAL)
    return float(found[0]), float(found[1])


def by_tag(
    clips: Sequence[ClipScores], rows: Mapping[str, Sequence[Scores]]
) -> tuple[TagScores, ...]:
    """Means over the frames of all clips with each tag, sorted by tag."""
    tags = sorted({tag for clip in clips for tag in clip.tags})
    return tuple(
        TagScores(
            tag=tag,
            clips=sum(tag in clip.tags for clip in clips),
            scores=mean_scores(
                [row for clip in clips if tag in clip.tags for row in rows[clip.clip]]
            ),
        )
        for tag in tags
    )
