"""Planted warps of real M3SVD clips, and what ours and the alternatives make of them."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import distance_of_corners
from pipeline.image_files import as_infrared, as_visible, read_image
from pipeline.register_estimate import estimate_homography
from pipeline.video_files import Frame, probe, read_frames_at
from schemas.errors import RegisterError
from schemas.recipe import RegisterRecipe
from tests.benchmarks.registration_alternatives import ALTERNATIVES, Register

FRAMES = 8
"""Pooled for one estimate, as RegisterRecipe does."""

OURS = "twinband"

Grey = NDArray[np.uint8]
Warp = NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """Frames of the same instants of a real recording."""

    name: str
    infrared: tuple[Grey, ...]
    visible: tuple[Grey, ...]
    """RGB."""


@dataclass(frozen=True)
class Draw:
    """One estimate. Errors are mean distances of corners, pixels; None where it was refused."""

    method: str
    level: str
    clip: str
    error_px: float | None
    release_px: float | None
    seconds: float
    confidence: float | None = None
    """Of ours, also of what was refused for it."""


@dataclass(frozen=True)
class Level:
    """A kind of warp."""

    name: str
    plant: Callable[[np.random.Generator, int, int], Warp]
    is_degraded: bool = False
    border: int = cv2.BORDER_REFLECT_101
    """What the warped frame shows where the camera saw nothing; a real one sees something there."""
    most_draws: int = 100


def by_corners(reach_px: float) -> Callable[[np.random.Generator, int, int], Warp]:
    """Every corner moves by up to `reach_px` in both directions."""

    def plant(rng: np.random.Generator, height: int, width: int) -> Warp:
        corners = _corners(height, width)
        return _between(corners, corners + rng.uniform(-reach_px, reach_px, (4, 2)))

    return plant


def by_view(rng: np.random.Generator, height: int, width: int) -> Warp:
    """Another field of view: scale 0.8 to 1.25, shift up to 40 px."""
    corners = _corners(height, width)
    middle = corners.mean(axis=0)
    scale, shift = rng.uniform(0.8, 1.25), rng.uniform(-40, 40, 2)
    return _between(corners, (corners - middle) * scale + middle + shift)


def _corners(height: int, width: int) -> NDArray[np.float64]:
    return np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)


def _between(corners: NDArray[np.float64], moved: NDArray[np.float64]) -> Warp:
    return np.asarray(
        cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32)),
        np.float64,
    )


NEAR = Level("±32 px", by_corners(32))
VIEW = Level("scale, shift", by_view)
FAR = Level("±64 px", by_corners(64))
DEGRADED = Level("±32 px, noise and blur", by_corners(32), is_degraded=True)
LEVELS = (
    NEAR,
    VIEW,
    FAR,
    Level("±32 px, black margins", by_corners(32), border=cv2.BORDER_CONSTANT, most_draws=3),
    DEGRADED,
)
UNTOUCHED = Level("untouched", by_corners(0))
FOREIGN = Level("another clip", by_corners(32))


def real_clips(source: Path) -> list[Clip]:
    """Every clip of the sample, whole videos before folders of frames."""
    clips = {}
    for path in sorted((source / "Video" / "test" / "infrared").glob("*.mp4")):
        places = _spread(len(probe(path).times_s))
        frames = [
            read_frames_at(path.parents[1] / band / path.name, band, places)
            for band in ("infrared", "visible")
        ]
        clips[path.stem] = _clip(path.stem, *frames)
    for folder in sorted((source / "val" / "infrared_Enhance").iterdir()):
        if folder.name not in clips:
            clips[folder.name] = _from_folders(source, folder.name, ("Enhance", "Enhance"))
    return list(clips.values())


def degraded_clips(source: Path) -> dict[str, Clip]:
    """The authors' noisy infrared and blurred visible frames, by clip."""
    names = sorted(path.name for path in (source / "val" / "infrared_noise").iterdir())
    return {name: _from_folders(source, name, ("noise", "Blur")) for name in names}


def _from_folders(source: Path, name: str, kinds: tuple[str, str]) -> Clip:
    files = [
        sorted((source / "val" / f"{band}_{kind}" / name).glob("*.png"))
        for band, kind in zip(("infrared", "visible"), kinds, strict=True)
    ]
    places = _spread(len(files[0]))
    return _clip(
        name,
        [as_infrared(read_image(files[0][place])) for place in places],
        [as_visible(read_image(files[1][place]), files[1][place]) for place in places],
    )


def _spread(count: int) -> list[int]:
    return [int((part + 0.5) * count / FRAMES) for part in range(FRAMES)]


def _clip(name: str, infrared: Sequence[Frame], visible: Sequence[Frame]) -> Clip:
    return Clip(
        name,
        tuple(np.asarray(frame, np.uint8) for frame in infrared),
        tuple(np.asarray(frame, np.uint8) for frame in visible),
    )


Estimate = Callable[[Sequence[Grey], Sequence[Grey]], tuple[Warp | None, float | None]]
"""Infrared and visible frames -> visible pixels to infrared pixels, or None; and a confidence."""

CONFIDENCE = re.compile(r"confidence of (\d\.\d+)")


def _ours(infrared: Sequence[Grey], visible: Sequence[Grey]) -> tuple[Warp | None, float | None]:
    try:
        fit = estimate_homography(infrared, visible, RegisterRecipe())
    except RegisterError as error:
        told = CONFIDENCE.search(str(error))
        return None, float(told.group(1)) if told else None
    return np.array(fit.homography), fit.confidence


def _grey(register: Register) -> Estimate:
    def estimate(
        infrared: Sequence[Grey], visible: Sequence[Grey]
    ) -> tuple[Warp | None, float | None]:
        found = register(
            [frame.astype(np.float32) for frame in infrared],
            [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(np.float32) for f in visible],
        )
        return found, None

    return estimate


METHODS: dict[str, Estimate] = {
    OURS: _ours,
    **{name: _grey(register) for name, register in ALTERNATIVES.items()},
}


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    draws: int = 10
    """Planted warps of every clip and level."""
    compared: int = 2
    """The first of them on which the alternatives, slower together than ours, are measured too."""
    foreign: int = 5
    """Clips whose visible frames are put beside the infrared ones of every other."""
    clips: tuple[str, ...] = ()
    """By name; none: all."""
    methods: tuple[str, ...] = tuple(METHODS)
    seed: int = 0


def measured(source: Path, effort: Effort) -> Iterator[Draw]:
    """Every draw of every clip, level and method; each round holds one of every kind.

    Args:
        source: the sample of M3SVD.
        effort: how many.
    """
    clips = [clip for clip in real_clips(source) if not effort.clips or clip.name in effort.clips]
    degraded = degraded_clips(source)
    anchors: dict[tuple[str, str], Warp | None] = {}
    for clip, method in product(clips, effort.methods):
        anchors[clip.name, method], draw = _drawn(method, UNTOUCHED, clip, np.eye(3), None)
        yield draw
    for turn in range(effort.draws):
        methods = [each for each in effort.methods if each == OURS or turn < effort.compared]
        for level, (number, clip) in product(LEVELS, enumerate(clips)):
            shown = degraded.get(clip.name) if level.is_degraded else clip
            if shown is None or turn >= level.most_draws:
                continue
            rng = np.random.default_rng([effort.seed, number, LEVELS.index(level), turn])
            warp = level.plant(rng, *clip.visible[0].shape[:2])
            for method in methods:
                yield _drawn(method, level, shown, warp, anchors[clip.name, method])[1]
        if turn < effort.foreign:
            yield from _foreign(clips, turn, methods, effort.seed)


def _foreign(clips: Sequence[Clip], turn: int, methods: Sequence[str], seed: int) -> Iterator[Draw]:
    """The infrared frames of every clip beside the visible ones of another."""
    for number, clip in enumerate(clips):
        other = clips[(number + 1 + turn % max(len(clips) - 1, 1)) % len(clips)]
        if other.name == clip.name:
            continue
        rng = np.random.default_rng([seed, number, len(LEVELS), turn])
        warp = FOREIGN.plant(rng, *other.visible[0].shape[:2])
        mixed = Clip(clip.name, clip.infrared, other.visible)
        for method in methods:
            yield _drawn(method, FOREIGN, mixed, warp, None)[1]


def _drawn(
    method: str, level: Level, clip: Clip, warp: Warp, anchor: Warp | None
) -> tuple[Warp | None, Draw]:
    """An estimate of the clip with that warp of its visible frames, in unwarped pixels, judged."""
    height, width = clip.visible[0].shape[:2]
    moved = [
        np.asarray(
            cv2.warpPerspective(frame, warp, (width, height), borderMode=level.border), np.uint8
        )
        for frame in clip.visible
    ]
    begin = time.process_time()
    found, confidence = METHODS[method](clip.infrared, moved)
    seconds = time.process_time() - begin
    draw = Draw(method, level.name, clip.name, None, None, seconds, confidence)
    if found is None:
        return None, draw
    back = found @ warp
    shape = (height, width)
    error_px = 0.0 if level == UNTOUCHED else float("inf")
    if anchor is not None:
        error_px = distance_of_corners(back, anchor, shape)
    release_px = distance_of_corners(back, np.eye(3), shape)
    if level == FOREIGN:
        release_px = float("inf")
    return back, replace(draw, error_px=error_px, release_px=release_px)
