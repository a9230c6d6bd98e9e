"""Scoring what methods and networks make of a release's clips."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from flows.evaluate_views import ClipViews, Follow, detections_of
from flows.optical_flow import FlowMethod, flow_name, optical_flow
from flows.progress import Show, silence
from flows.release import release_place
from flows.torchvision_parts import import_part
from model.baselines import Method, fuse_classically
from model.checkpoint import load_checkpoint
from model.clips import Placement, read_band
from model.evaluate import (
    Bands,
    ScoredFrame,
    Scoring,
    by_tag,
    intervals,
    mean_scores,
    score_frames,
)
from model.fuse import Pair as FusingPair
from model.fuse import fuse_stream
from model.metrics_flow import Direction
from model.network import VideoFusion, device_at_hand
from model.places import Place
from model.releases import open_release
from model.stores import OpenClip, open_clip
from schemas.base import BANDS
from schemas.catalog import Split
from schemas.errors import EvaluateError
from schemas.evaluation import (
    DEFINITIONS,
    ClipScores,
    DetectedStream,
    Evaluation,
    EvaluationSettings,
    Scores,
    Sources,
    Stretch,
)
from schemas.release import ReleaseClip
from schemas.store import CHUNK_PAIRS
from schemas.training import Precision

QUIET_ULTRALYTICS = {
    "ULTRALYTICS_SAFE_LOAD": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_OFFLINE": "1",
    "YOLO_VERBOSE": "0",
}
"""Its settings, read where it is imported: weights run no code of theirs, nothing is installed or
fetched, and the terminal is ours."""


@dataclass(frozen=True)
class Choices:
    """How fused videos are scored."""

    flow: FlowMethod = "dis"
    flow_weights: Path | None = None
    """Of RAFT."""
    direction: Direction = "backward"
    sources: Sources = "clean"
    has_smoothness: bool = False
    stretch: Stretch = "none"
    precision: Precision = "float32"
    detector: Path | None = None
    """Whose objects are followed in both sources and in the fused frames."""

    def scoring(self) -> Scoring:
        """The same for the model's functions; reads the weights of the flow."""
        flow = optical_flow(self.flow, self.flow_weights)
        return Scoring(flow, self.direction, self.has_smoothness)

    def follow(self) -> Follow | None:
        """What follows objects, where a detector is given, which is read."""
        if self.detector is None:
            return None
        os.environ.update(QUIET_ULTRALYTICS)
        part = import_part("flows.object_tracking", option="--detect", extra="detect")
        follower = part.Follower(self.detector, get_args(DetectedStream))
        return lambda stream, frame, first: follower.follow(stream, frame, is_first=first)


@dataclass(frozen=True)
class Scored:
    """An evaluation and the scores of every frame that it comes from."""

    evaluation: Evaluation
    rows: Mapping[str, list[Scores]] = field(repr=False)
    """By clip, in the order of the frames."""
    views: Mapping[str, ClipViews] = field(default_factory=dict, repr=False)
    """By clip: what pictures are made of."""


def evaluate_release(
    release: str,
    work: Path | str,
    fuser: Method | Path,
    choices: Choices,
    *,
    split: Split = "test",
    report: Show = silence,
) -> Scored:
    """Score what a method or a network makes of the degraded frames of a release's clips.

    Args:
        release: a version of the workspace, a folder with a release.json, or an address.
        work: the workspace: a folder, or an address of an object store.
        fuser: a method of model/baselines.py, or a checkpoint.
        choices: how; `sources` says which frames the result is compared with.
        split: whose clips.
        report: told of every frame.

    Raises:
        EvaluateError: the split has no clip, or frames cannot be scored.
        CheckpointError: the checkpoint is none.
        ReleaseError, StoreError: the release or a clip cannot be read.
    """
    chosen = choose(release, work, split)
    fused = fusing(fuser, choices)
    return score_clips(str(fuser), chosen, lambda _: fused, choices, report)


@dataclass(frozen=True)
class ChosenClips:
    """Clips of a release."""

    place: Place
    clips: tuple[ReleaseClip, ...]


def choose(release: str, work: Path | str, split: Split) -> ChosenClips:
    """The clips of one split.

    Args:
        release: a version of the workspace, a folder with a release.json, or an address.
        work: the workspace.
        split: whose clips.

    Raises:
        EvaluateError: the split has no clip.
        ReleaseError: the release cannot be read.
    """
    opened, place = open_release(release_place(release, work))
    chosen = tuple(clip for clip in opened.clips if clip.split == split)
    if not chosen:
        raise EvaluateError(
            f"release {opened.version} has no clip in the split {split}; "
            f"choose one of {', '.join(opened.split_counts())}"
        )
    return ChosenClips(place, chosen)


def score_clips(
    name: str,
    chosen: ChosenClips,
    fused_by: Callable[[str], "Fuser"],
    choices: Choices,
    report: Show = silence,
) -> Scored:
    """Score what becomes of the pairs of clips.

    Args:
        name: what is scored.
        chosen: the clips.
        fused_by: what fuses the pairs of the clip of that name.
        choices: how.
        report: told of every frame.

    Raises:
        EvaluateError: a frame cannot be scored.
        StoreError: a clip cannot be read.
    """
    scoring, follow = choices.scoring(), choices.follow()
    total, done = sum(clip.pairs for clip in chosen.clips), 0
    rows: dict[str, list[Scores]] = {}
    views = {clip.clip: ClipViews(clip.pairs, follow) for clip in chosen.clips}
    for clip in chosen.clips:
        made = fused_by(clip.clip)(pairs_of(open_clip(chosen.place, clip), clip.pairs))
        frames = (views[clip.clip].add(_instant(*each, choices.sources)) for each in made)
        rows[clip.clip] = []
        for scores in scored_frames(frames, clip.clip, scoring):
            rows[clip.clip].append(scores)
            done += 1
            report(done, total, clip.clip)
    tags = {clip.clip: clip.tags for clip in chosen.clips}
    return scored(name, choices, rows, views, tags)


@dataclass(frozen=True)
class DegradedPair:
    """One instant of a clip."""

    clean: Bands
    degraded: Bands


def pairs_of(clip: OpenClip, pairs: int) -> Iterator[DegradedPair]:
    """Every instant of a clip, clean and degraded, a chunk at a time."""
    about = clip.attributes
    for first in range(0, pairs, CHUNK_PAIRS):
        count = min(CHUNK_PAIRS, pairs - first)
        whole = Placement(about.clip, first, 1, 0, 0, about.height, about.width, 0, about.clip)
        infrared, visible = (read_band(clip, b, whole, count) for b in BANDS)
        for index in range(count):
            yield DegradedPair(
                *(Bands(infrared[kind][index], visible[kind][index]) for kind in (0, 1)),
            )


FusedPair = tuple[Tensor, Bands | None, DegradedPair]
"""A fused frame, uint8 RGB (3, H, W), the restored bands where known, and the pair that they are
made of."""

Fuser = Callable[[Iterator[DegradedPair]], Iterator[FusedPair]]


def fusing(fuser: Method | Path, choices: Choices, *, restore: bool = True) -> Fuser:
    """What a method or a network makes of the degraded bands of pairs.

    Args:
        fuser: a method of model/baselines.py, or a checkpoint.
        choices: how a network is used.
        restore: whether a network's restored bands are wanted; otherwise, and of methods, they are
            the degraded ones.

    Raises:
        CheckpointError: the checkpoint is none.
    """
    if isinstance(fuser, Path):
        network = load_checkpoint(fuser).to(device_at_hand())
        return partial(_by_network, network, choices, restore=restore)
    return partial(_by_method, fuser)


def _by_method(method: Method, pairs: Iterator[DegradedPair]) -> Iterator[FusedPair]:
    """Each pair fused; nothing is restored."""
    for pair in pairs:
        degraded = pair.degraded
        fused = fuse_classically(method, degraded.infrared[None], degraded.visible[None])[0]
        yield fused, degraded, pair


def _by_network(
    network: VideoFusion, choices: Choices, pairs: Iterator[DegradedPair], *, restore: bool
) -> Iterator[FusedPair]:
    """The same of a network, which restores where that is wanted."""
    waiting: deque[DegradedPair] = deque()

    def shown() -> Iterator[FusingPair]:
        for pair in pairs:
            waiting.append(pair)
            degraded = pair.degraded
            yield degraded.infrared[0].numpy(), degraded.visible.permute(1, 2, 0).numpy()

    fused_frames = fuse_stream(
        network, shown(), restore=restore, precision=choices.precision, stretch=choices.stretch
    )
    for made in fused_frames:
        pair = waiting.popleft()
        restored = pair.degraded
        if made.infrared is not None and made.visible is not None:
            grey = tensor_of(made.infrared).float().mean(0, keepdim=True).round()
            restored = Bands(grey.to(torch.uint8), tensor_of(made.visible))
        yield tensor_of(made.fused), restored, pair


def _instant(
    fused: Tensor, restored: Bands | None, pair: DegradedPair, sources: Sources
) -> ScoredFrame:
    compared = pair.clean if sources == "clean" else pair.degraded
    return ScoredFrame(fused, compared.infrared, compared.visible, restored, pair.clean)


def scored_frames(frames: Iterator[ScoredFrame], clip: str, scoring: Scoring) -> Iterator[Scores]:
    """The scores of every frame; names the clip where one cannot be scored."""
    try:
        yield from score_frames(frames, scoring)
    except EvaluateError as error:
        raise EvaluateError(f"{clip}: {error}") from error


def scored(
    fused: str,
    choices: Choices,
    rows: Mapping[str, list[Scores]],
    views: Mapping[str, ClipViews],
    tags: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Scored:
    """What the scores and views of all frames come to.

    Args:
        fused: what was scored.
        choices: how.
        rows: by clip.
        views: likewise.
        tags: of clips that have some.
    """
    overall = mean_scores([row for found in rows.values() for row in found])
    clips = tuple(
        ClipScores(
            clip=clip,
            frames=len(found),
            tags=tags.get(clip, ()),
            scores=mean_scores(found),
            detections=views[clip].detections(),
        )
        for clip, found in rows.items()
    )
    evaluation = Evaluation(
        overall=overall,
        intervals=intervals(rows),
        settings=EvaluationSettings(
            fused=fused,
            sources=choices.sources,
            flow=flow_name(choices.flow, choices.flow_weights),
            direction=choices.direction,
            stretch=choices.stretch,
            precision=choices.precision,
            detector=choices.detector.name if choices.detector else None,
            metrics={name: DEFINITIONS[name] for name in overall},
        ),
        clips=clips,
        tags=by_tag(clips, rows),
        detections=detections_of(views.values()),
    )
    return Scored(evaluation, rows, views)


def tensor_of(frame: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    """A frame as (C, H, W)."""
    return torch.from_numpy(frame if frame.ndim == 3 else frame[..., None]).permute(2, 0, 1)
