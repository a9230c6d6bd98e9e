"""Scoring fused videos that lie in folders."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flows.evaluate import (
    Choices,
    DegradedPair,
    FusedPair,
    Scored,
    choose,
    score_clips,
    scored,
    scored_frames,
    tensor_of,
)
from flows.evaluate_views import ClipViews
from flows.progress import Show, silence
from model.evaluate import ScoredFrame
from model.stores import open_clip
from pipeline.image_files import FRAME_NAME
from pipeline.video_files import VIDEO_SUFFIXES, probe, read_frames
from schemas.catalog import Split
from schemas.errors import EvaluateError
from schemas.evaluation import Scores


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
    scoring, follow = choices.scoring(), choices.follow()
    views = {video.clip: ClipViews(video.frames, follow) for video in videos}
    for video in videos:
        rows[video.clip] = []
        frames = map(views[video.clip].add, _frames(video))
        for scores in scored_frames(frames, video.clip, scoring):
            rows[video.clip].append(scores)
            done += 1
            report(done, total, video.clip)
    return scored(str(paths["fused"]), choices, rows, views)


def evaluate_outputs(
    release: str,
    work: Path | str,
    folder: Path,
    choices: Choices,
    *,
    split: Split = "test",
    report: Show = silence,
) -> Scored:
    """Score fused videos that somebody made of a release's clips, by the names of the clips.

    Args:
        release: as `evaluate_release` takes it.
        work: the workspace: a folder, or an address of an object store.
        folder: laid out as those of `evaluate_folders`.
        choices: how.
        split: whose clips.
        report: told of every frame.

    Raises:
        EvaluateError: clips are missing or have other frames, every problem at once, or a frame
            cannot be scored.
        VideoError, ReleaseError, StoreError: a file cannot be read.
    """
    chosen = choose(release, work, split)
    found = _clips_of(folder)
    if len(found) == len(chosen.clips) == 1:
        found = {chosen.clips[0].clip: next(iter(found.values()))}
    problems = [
        f"{folder} has no {clip.clip}, a clip of the split {split}; add it"
        for clip in chosen.clips
        if clip.clip not in found
    ]
    for clip in chosen.clips:
        if (path := found.get(clip.clip)) is not None:
            about, known = open_clip(chosen.place, clip).attributes, probe(path)
            shape = _shape(len(known.times_s), known.width, known.height)
            if shape != (expected := _shape(clip.pairs, about.width, about.height)):
                problems.append(f"{path} has {shape}, the clip {expected}; fuse it whole")
    if problems:
        raise EvaluateError("\n".join(problems))
    return score_clips(
        str(folder), chosen, lambda clip: partial(_given, clip, found[clip]), choices, report
    )


def _given(clip: str, path: Path, pairs: Iterator[DegradedPair]) -> Iterator[FusedPair]:
    """Pairs with the fused frames of a video; what was restored is not known."""
    for number, (frame, pair) in enumerate(zip(read_frames(path, "visible"), pairs, strict=True)):
        yield _eight_bit(frame, f"{clip}: fused frame {number}"), None, pair


def _shape(frames: int, width: int, height: int) -> str:
    return f"{frames} frames of {width}x{height}"


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
            stream: _shape(len(each.times_s), each.width, each.height)
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
        if not each.name.startswith(".")
        and (each.is_dir() or each.suffix.lower() in VIDEO_SUFFIXES)
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
        fused, infrared, visible = (
            _eight_bit(frame, f"{video.clip}: {stream} frame {number}")
            for stream, frame in zip(("fused", "infrared", "visible"), frames, strict=True)
        )
        yield ScoredFrame(fused, infrared, visible)


def _eight_bit(frame: NDArray[np.uint8] | NDArray[np.uint16], what: str) -> Tensor:
    """A frame as (C, H, W)."""
    if frame.dtype != np.uint8:
        raise EvaluateError(
            f"{what} has 16 bits a sample; metrics are defined for 8, export it again"
        )
    return tensor_of(np.asarray(frame, np.uint8))
