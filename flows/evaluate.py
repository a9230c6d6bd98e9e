"""Scoring fused videos: those of folders, or what a method makes of a release's clips."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flows.optical_flow import FlowMethod, optical_flow
from flows.progress import Show, silence
from flows.release import release_folder
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
from model.network import VideoFusion
from model.places import is_address
from model.releases import open_release
from model.stores import OpenClip, open_clip
from pipeline.image_files import FRAME_NAME
from pipeline.video_files import probe, read_frames
from schemas.catalog import Split
from schemas.errors import EvaluateError
from schemas.evaluation import (
    DEFINITIONS,
    ClipScores,
    Evaluation,
    EvaluationSettings,
    Scores,
    Sources,
    Stretch,
)
from schemas.store import CHUNK_PAIRS
from schemas.training import Precision

VIDEO_ENDINGS = {".mp4", ".mkv", ".avi", ".mov", ".webm"}


@dataclass(frozen=True)
class Choices:
    """How fused videos are scored."""

    flow: FlowMethod = "dis"
    direction: Direction = "backward"
    sources: Sources = "clean"
    has_smoothness: bool = False
    stretch: Stretch = "none"
    precision: Precision = "float32"

    @property
    def scoring(self) -> Scoring:
        """The same for the model's functions."""
        return Scoring(optical_flow(self.flow), self.direction, self.has_smoothness)


@dataclass(frozen=True)
class Scored:
    """An evaluation and the scores of every frame that it comes from."""

    evaluation: Evaluation
    rows: Mapping[str, list[Scores]] = field(repr=False)
    """By clip, in the order of the frames."""
    views: Mapping[str, "ClipViews"] = field(default_factory=dict, repr=False)
    """By clip: what pictures are made of."""


@dataclass
class ClipViews:
    """Of a clip: one column of every fused frame, and the frame in its middle."""

    pairs: int
    columns: list[NDArray[np.uint8]] = field(default_factory=list)
    """RGB, (H, 3) each."""
    middle: ScoredFrame | None = None

    def add(self, frame: ScoredFrame) -> ScoredFrame:
        """Look at the next frame and pass it on."""
        if len(self.columns) == self.pairs // 2:
            self.middle = frame
        column = frame.fused[:, :, frame.fused.shape[-1] // 2]
        self.columns.append(column.T.contiguous().numpy())
        return frame


@dataclass(frozen=True)
class _Video:
    """Three streams of one clip."""

    clip: str
    frames: int
    paths: dict[str, Path]


def evaluate_folders(paths: Mapping[str, Path], choices: Choices, report: Show = silence) -> Scored:
    """Score fused videos that lie in a folder against their sources.

    Each path is a video, a folder of numbered frames, or a folder of such by clip; the clips of all
    three must have the same names, and a single one may have any.

    Args:
        paths: of the three streams, `fused`, `infrared` and `visible`.
        choices: how.
        report: told of every frame.

    Raises:
        EvaluateError: names, counts or sizes do not fit, every problem at once, or frames cannot be
            scored.
        VideoError: a file cannot be read.
    """
    videos = _videos(paths)
    total, done = sum(video.frames for video in videos), 0
    rows: dict[str, list[Scores]] = {}
    views = {video.clip: ClipViews(video.frames) for video in videos}
    for video in videos:
        rows[video.clip] = []
        frames = map(views[video.clip].add, _frames(video))
        for scores in scored_frames(frames, video.clip, choices.scoring):
            rows[video.clip].append(scores)
            done += 1
            report(done, total, video.clip)
    clips = [clip_scores(clip, found) for clip, found in rows.items()]
    return Scored(evaluation_of(str(paths["fused"]), choices, clips, rows), rows, views)


def evaluate_release(
    release: str,
    root: Path,
    fuser: Method | Path,
    choices: Choices,
    *,
    split: Split = "test",
    report: Show = silence,
) -> Scored:
    """Score what a method or a network makes of the degraded frames of a release's clips.

    Args:
        release: a version of the workspace, a folder with a release.json, or an address.
        root: the workspace's folder.
        fuser: a method of model/baselines.py, or a checkpoint.
        choices: how; `sources` says which frames the result is compared with.
        split: whose clips.
        report: told of every frame.

    Raises:
        EvaluateError: the split has no clip, or frames cannot be scored.
        CheckpointError: the checkpoint is none.
        ReleaseError, StoreError: the release or a clip cannot be read.
    """
    opened, place = open_release(release if is_address(release) else release_folder(release, root))
    chosen = [clip for clip in opened.clips if clip.split == split]
    if not chosen:
        raise EvaluateError(
            f"release {opened.version} has no clip in the split {split}; "
            f"choose one of {', '.join(opened.split_counts())}"
        )
    fused = fusing(fuser, choices)
    total, done = sum(clip.pairs for clip in chosen), 0
    rows: dict[str, list[Scores]] = {}
    views = {clip.clip: ClipViews(clip.pairs) for clip in chosen}
    clips = []
    for clip in chosen:
        made = fused(pairs_of(open_clip(place, clip), clip.pairs))
        frames = (views[clip.clip].add(_instant(*each, choices.sources)) for each in made)
        rows[clip.clip] = []
        for scores in scored_frames(frames, clip.clip, choices.scoring):
            rows[clip.clip].append(scores)
            done += 1
            report(done, total, clip.clip)
        clips.append(clip_scores(clip.clip, rows[clip.clip], clip.tags))
    return Scored(evaluation_of(str(fuser), choices, clips, rows), rows, views)


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
        infrared, visible = (read_band(clip, b, whole, count) for b in ("infrared", "visible"))
        for index in range(count):
            yield DegradedPair(
                *(Bands(infrared[kind][index], visible[kind][index]) for kind in (0, 1)),
            )


FusedPair = tuple[Tensor, Bands, DegradedPair]
"""A fused frame, uint8 RGB (3, H, W), the restored bands, and the pair that they are made of."""

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
        return partial(_by_network, load_checkpoint(fuser), choices, restore=restore)
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


def _instant(fused: Tensor, restored: Bands, pair: DegradedPair, sources: Sources) -> ScoredFrame:
    compared = pair.clean if sources == "clean" else pair.degraded
    return ScoredFrame(fused, compared.infrared, compared.visible, restored, pair.clean)


def scored_frames(frames: Iterator[ScoredFrame], clip: str, scoring: Scoring) -> Iterator[Scores]:
    """The scores of every frame; names the clip where one cannot be scored."""
    try:
        yield from score_frames(frames, scoring)
    except EvaluateError as error:
        raise EvaluateError(f"{clip}: {error}") from error


def evaluation_of(
    fused: str, choices: Choices, clips: list[ClipScores], rows: Mapping[str, list[Scores]]
) -> Evaluation:
    """What the scores of all frames come to."""
    overall = mean_scores([row for found in rows.values() for row in found])
    return Evaluation(
        overall=overall,
        intervals=intervals(rows),
        settings=EvaluationSettings(
            fused=fused,
            sources=choices.sources,
            flow=choices.flow,
            direction=choices.direction,
            stretch=choices.stretch,
            precision=choices.precision,
            metrics={name: DEFINITIONS[name] for name in overall},
        ),
        clips=tuple(clips),
        tags=by_tag(clips, rows),
    )


def clip_scores(clip: str, rows: list[Scores], tags: tuple[str, ...] = ()) -> ClipScores:
    """The means of one clip."""
    return ClipScores(clip=clip, frames=len(rows), tags=tags, scores=mean_scores(rows))


def _videos(paths: Mapping[str, Path]) -> list[_Video]:
    """The clips of all three streams; every problem at once."""
    found = {stream: _clips_of(path) for stream, path in paths.items()}
    if all(len(clips) == 1 for clips in found.values()):
        (name,) = found["fused"]
        found = {stream: {name: next(iter(clips.values()))} for stream, clips in found.items()}
    names = sorted(set().union(*found.values()))
    problems = [
        f"{paths[stream]} has no {name}, which another stream has; add or remove it"
        for name in names
        for stream, clips in found.items()
        if name not in clips
    ]
    videos = []
    for name in names:
        here = {stream: clips[name] for stream, clips in found.items() if name in clips}
        known = {stream: probe(path) for stream, path in here.items()}
        shapes = {
            stream: f"{len(each.times_s)} frames of {each.width}x{each.height}"
            for stream, each in known.items()
        }
        if len(set(shapes.values())) > 1:
            shown = ", ".join(f"{here[stream]} has {shape}" for stream, shape in shapes.items())
            problems.append(f"{shown}; they must be of the same instants and size")
        videos.append(_Video(name, len(next(iter(known.values())).times_s), here))
    if problems:
        raise EvaluateError("\n".join(problems))
    return videos


def _clips_of(path: Path) -> dict[str, Path]:
    """Videos by the name of their clip: `path` itself, or what lies in it."""
    if not path.exists():
        raise EvaluateError(f"{path}: does not exist; check the path")
    if not path.is_dir() or any(FRAME_NAME.fullmatch(inner.name) for inner in path.iterdir()):
        return {path.stem: path}
    inner = {
        each.stem: each
        for each in sorted(path.iterdir())
        if not each.name.startswith(".") and (each.is_dir() or each.suffix in VIDEO_ENDINGS)
    }
    if not inner:
        raise EvaluateError(
            f"{path}: holds neither numbered frames, such as 0001.png, nor videos or folders of "
            "frames by clip"
        )
    return inner


def _frames(video: _Video) -> Iterator[ScoredFrame]:
    streams = (
        read_frames(video.paths["fused"], "visible"),
        read_frames(video.paths["infrared"], "infrared"),
        read_frames(video.paths["visible"], "visible"),
    )
    for number, frames in enumerate(zip(*streams, strict=True)):
        for stream, frame in zip(("fused", "infrared", "visible"), frames, strict=True):
            if frame.dtype != np.uint8:
                raise EvaluateError(
                    f"{video.clip}: {stream} frame {number} has 16 bits a sample; metrics are "
                    "defined for 8, export it again"
                )
        fused, infrared, visible = (tensor_of(np.asarray(frame, np.uint8)) for frame in frames)
        yield ScoredFrame(fused, infrared, visible)


def tensor_of(frame: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    """A frame as (C, H, W)."""
    return torch.from_numpy(frame if frame.ndim == 3 else frame[..., None]).permute(2, 0, 1)
