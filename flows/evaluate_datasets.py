"""Scoring methods and networks on the datasets that the field compares on."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.evaluate import (
    Choices,
    DegradedPair,
    Scored,
    fusing,
    scored,
    scored_frames,
    tensor_of,
)
from flows.evaluate_views import ClipViews
from flows.progress import Show, silence
from model.baselines import Method
from model.evaluate import Bands, ScoredFrame
from pipeline.image_files import IMAGE_SUFFIXES, read_image
from pipeline.importers_pairs import PairDataset, SourcePair, run_find_pairs
from pipeline.video_files import read_frames
from schemas.errors import EvaluateError
from schemas.evaluation import Scores


def evaluate_dataset(
    dataset: PairDataset,
    root: Path,
    fuser: Method | Path,
    choices: Choices,
    *,
    split: str = "test",
    report: Show = silence,
) -> Scored:
    """Score what a method or a network makes of a dataset's pairs, as they are: nothing degraded.

    An image is a clip of one frame, so that what needs several is not told of it.

    Args:
        dataset: whose layout `root` has.
        root: the dataset's folder.
        fuser: a method of model/baselines.py, or a checkpoint.
        choices: how.
        split: where the dataset has splits.
        report: told of every pair.

    Raises:
        EvaluateError: the folder is not laid out so, or a pair cannot be scored.
        CheckpointError: the checkpoint is none.
        VideoError: a file cannot be read.
    """
    pairs = run_find_pairs(dataset, root, split)
    fused = fusing(fuser, choices, restore=False)
    scoring, follow = choices.scoring(), choices.follow()
    rows: dict[str, list[Scores]] = {}
    views: dict[str, ClipViews] = {}
    for done, pair in enumerate(pairs, 1):
        made = fused(_sources(pair))
        frames = [ScoredFrame(out, p.clean.infrared, p.clean.visible) for out, _, p in made]
        views[pair.name] = ClipViews(len(frames), follow)
        shown = map(views[pair.name].add, frames)
        rows[pair.name] = list(scored_frames(shown, pair.name, scoring))
        report(done, len(pairs), pair.name)
    return scored(str(fuser), choices, rows, views)


def _sources(pair: SourcePair) -> Iterator[DegradedPair]:
    """Both bands of every instant, as they are."""
    streams = [_frames(pair.infrared, "infrared"), _frames(pair.visible, "visible")]
    for number, (infrared, visible) in enumerate(zip_longest(*streams)):
        if infrared is None or visible is None:
            longer = pair.visible if infrared is None else pair.infrared
            raise EvaluateError(
                f"{longer} has more than the {number} frames of its partner; they must be of the "
                "same instants"
            )
        if infrared.shape[:2] != visible.shape[:2]:
            sizes = [f"{frame.shape[1]}x{frame.shape[0]}" for frame in (infrared, visible)]
            raise EvaluateError(
                f"{pair.infrared} is {sizes[0]} and {pair.visible} {sizes[1]} (frame {number}); "
                "they must be registered to each other, of one size"
            )
        bands = Bands(tensor_of(infrared), tensor_of(visible))
        yield DegradedPair(bands, bands)


def _frames(path: Path, band: str) -> Iterator[NDArray[np.uint8]]:
    read = (
        [read_image(path)]
        if path.suffix.lower() in IMAGE_SUFFIXES
        else read_frames(path, "infrared" if band == "infrared" else "visible")
    )
    for frame in read:
        if frame.dtype != np.uint8:
            raise EvaluateError(f"{path}: has 16 bits a sample; metrics are defined for 8")
        levels = np.asarray(frame, np.uint8)
        if band == "infrared" and levels.ndim == 3:
            levels = levels[..., 0]
        if band == "visible" and levels.ndim == 2:
            levels = np.repeat(levels[..., None], 3, axis=2)
        yield levels
