"""Finds where a registration may begin: similarities, then homographies that blocks agree on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import corners_of, distance_of_corners
from pipeline.register_consensus import (
    Surfaces,
    agree,
    agreeing,
    match_blocks,
    through,
)
from pipeline.register_descriptors import Descriptors, Image, View, describe, turned, warped
from pipeline.register_fit import Described, Homography, described, on_grid, refine, scaling


@dataclass(frozen=True)
class Attempt:
    """One way of looking for the right similarity."""

    width_px: int
    """Of both images in the search."""
    candidates: int
    """Similarities whose surroundings are searched by blocks."""
    finalists: int
    """Of these, how many are searched closely, refined and judged."""
    eager: int = 3
    """First of the candidates, which are judged as they are, and the best homography around them
    before the others are looked at."""


ATTEMPTS = (Attempt(128, 10, 5), Attempt(64, 20, 8))
"""The second, on whose small images perspective shows less, is made where the first leads nowhere.
Of 24 warps of two M3SVD clips by up to 90 px at the corners, 19, 18 and together 21 were in reach
of one of ten candidates."""

BLOCKS_PX = 160
"""Width of the infrared image whose blocks are matched."""

RANKING_PX = 320
"""Width at which homographies are told apart; coarser, wrong ones agree nearly as well."""

SCALES = np.geomspace(0.5, 1.43, 19)
ROTATIONS_DEGREES = np.arange(-9, 9.1, 3.0)
"""Similarities tried, after both images are brought to one width. The scales begin below
CAPTURE.md's 0.70, for visible cameras that see twice as wide as the infrared one."""

MIN_SHARE = 0.25
"""Smallest share of either image covered by the other at a place that the search considers."""

APART = 1 / 40
"""Mean distance of corners, in infrared widths, from which two similarities are worth a try."""

WIDE_REACH_PX, WIDE_GENERATIONS = 20, 50
CLOSE_REACH_PX, CLOSE_GENERATIONS = 12, 40
"""Pixels by which blocks are matched and generations of evolution; the close round works on an
image that the wide one has straightened."""

VISIBLE_PX = 640
"""Width of the visible image that all this works on: enough for one that sees twice as wide."""

CHECK_REACH_PX = 10
"""Pixels by which blocks are free to prefer another place when a homography is judged."""

LEAST_BLOCKS = 8
"""Fewer blocks with texture would fit any homography."""

CLEAR_CONFIDENCE = 0.4
"""At which the search may end: twice what wrong homographies reach (docs/benchmarks.md)."""

TILT = 1 / 10
"""Of the infrared width, by which one side is moved: half of it leads back to the same place."""

SEED = 0
"""Of the hypotheses: equal frames give equal homographies."""


@dataclass(frozen=True)
class Start:
    """A homography from which refinement at full size can begin."""

    homography: Homography
    confidence: float
    """As `trust` counts it."""


def find_start(
    infrared: View, visible: View, *, enough: float, proposals: Iterable[Homography] = ()
) -> Start:
    """The most trusted homography from which refinement at full size can begin.

    Args:
        infrared: frames.
        visible: frames of the same instants.
        enough: confidence from which no further search is needed.
        proposals: to be tried first.
    """
    small = visible.resized(min(1.0, VISIBLE_PX / visible.seen.shape[1]))
    to_small = scaling(small.seen.shape[1] / visible.seen.shape[1])
    judges, best = judges_of(infrared), Start(np.eye(3), -1.0)
    given = (proposal @ np.linalg.inv(to_small) for proposal in proposals)
    best = _best_of(judges, small, given, best)
    for attempt, satisfying in zip(ATTEMPTS, (CLEAR_CONFIDENCE, enough), strict=True):
        if best.confidence < satisfying:
            rough = _candidates(infrared, small, judges[0], attempt)
            best = _best_of(judges, small, rough, best, enough=enough)
    if enough / 2 <= best.confidence < CLEAR_CONFIDENCE:
        rough = _tilted(best.homography, infrared.seen.shape)
        best = _best_of(judges, small, rough, best, enough=enough)
    return Start(normal(best.homography @ to_small), best.confidence)


def _best_of(
    judges: Sequence[Described],
    visible: View,
    rough: Iterable[Homography],
    best: Start,
    *,
    enough: float = 0.0,
) -> Start:
    """The most trusted of `best` and what the rough ones lead to, up to the first clear one."""
    for homography in rough:
        start = refined(judges, visible, homography, enough=enough)
        best = max(best, start, key=lambda each: each.confidence)
        if best.confidence >= CLEAR_CONFIDENCE:
            break
    return best


def _tilted(homography: Homography, shape: tuple[int, ...]) -> Iterator[Homography]:
    """The same with one side of the infrared image moved, while the opposite one stays.

    A homography that is right along one side may have another side on edges that only look alike,
    and blocks prefer these as long as the image is stretched to suit them.
    """
    corners = corners_of(shape)
    for side, move in product(range(4), ((0, -1), (0, 1), (-1, 0), (1, 0))):
        moved = corners.copy()
        moved[[side, (side + 1) % 4]] += TILT * shape[1] * np.array(move)
        yield normal(through(corners[None], moved[None])[0] @ homography)


def follow(judges: Sequence[Described], visible: View, homography: Homography) -> Start:
    """The best homography within reach of one that held at another time.

    Args:
        judges: the infrared frames, from `judges_of`.
        visible: frames of the same instants.
        homography: visible pixels to infrared pixels.
    """
    rng = np.random.default_rng(SEED)
    rough, _ = _agreed(judges[0], visible, homography, CLOSE_REACH_PX, CLOSE_GENERATIONS, rng)
    return refined(judges, visible, rough)


def refined(
    judges: Sequence[Described], visible: View, homography: Homography, *, enough: float = 0.0
) -> Start:
    """A homography improved at the scales of the judges, and how far to trust it.

    Args:
        judges: the infrared frames, from `judges_of`.
        visible: frames of the same instants.
        homography: where to start.
        enough: confidence that is sought; what the coarse judge gives less than half of it to is
            not worth a look at the finer scale.
    """
    for judge in judges:
        homography = refine(judge, visible, homography).homography
        if enough > 0 and judge is judges[0]:
            share = trust([judge], visible, homography)
            if share < enough / 2:
                return Start(homography, share)
    return Start(homography, trust(judges, visible, homography))


def _candidates(
    infrared: View, visible: View, blocks: Described, attempt: Attempt
) -> Iterator[Homography]:
    """The best similarities as they are, then what blocks agree on around all of them, best first.

    Blocks see so far around that one strong likeness elsewhere may draw all of them there.
    """
    rng = np.random.default_rng(SEED)
    similar = search(infrared, visible, width_px=attempt.width_px, keep=attempt.candidates)
    yield from similar[: attempt.eager]
    apart_px = APART / 2 * infrared.seen.shape[1]
    wide: list[tuple[Homography, float]] = []
    tried: list[Homography] = []
    for first, end, wanted in (
        (0, attempt.eager, 1),
        (attempt.eager, len(similar), attempt.finalists),
    ):
        wide += [
            _agreed(blocks, visible, similarity, WIDE_REACH_PX, WIDE_GENERATIONS, rng)
            for similarity in similar[first:end]
        ]
        for rough in distinct(_best_first(wide), visible, apart_px)[:wanted]:
            close, _ = _agreed(blocks, visible, rough, CLOSE_REACH_PX, CLOSE_GENERATIONS, rng)
            if len(distinct([*tried, close], visible, apart_px)) > len(tried):
                tried.append(close)
                yield close


def _best_first(scored: Iterable[tuple[Homography, float]]) -> list[Homography]:
    return [homography for homography, _ in sorted(scored, key=lambda each: -each[1])]


def normal(homography: Homography) -> Homography:
    """The same homography with 1 as its last number."""
    return np.asarray(homography / homography[2, 2], np.float64)


def _agreed(
    infrared: Described,
    visible: View,
    homography: Homography,
    reach_px: int,
    generations: int,
    rng: np.random.Generator,
) -> tuple[Homography, float]:
    """The homography around the given one on which blocks agree best, and how well they do."""
    to_grid = scaling(infrared.scale) @ homography
    surfaces = surfaces_of(infrared, visible, to_grid, reach_px)
    if len(surfaces.centres) < LEAST_BLOCKS:
        return homography, -1.0
    shifts, score = agree(surfaces, rng, generations)
    corners = corners_of((surfaces.height, surfaces.width))
    improved = through(corners[None], (corners + shifts)[None])[0] @ to_grid
    return normal(np.linalg.inv(scaling(infrared.scale)) @ improved), score


def judges_of(infrared: View) -> tuple[Described, Described]:
    """Infrared descriptors at the two scales by which homographies are judged, coarse first."""
    fine = described(infrared, min(1.0, RANKING_PX / infrared.seen.shape[1]))
    return coarse_judge(infrared), fine


def coarse_judge(infrared: View) -> Described:
    """The coarser of them alone."""
    return described(infrared, min(1.0, BLOCKS_PX / infrared.seen.shape[1]))


def trust(judges: Sequence[Described], visible: View, homography: Homography) -> float:
    """How far to trust a homography: the share of texture that agrees with it, 0 to 1.

    The mean over the judges' scales, since noise hides fine edges and a coarse image has few
    blocks.

    Args:
        judges: the infrared frames, from `judges_of`.
        visible: frames of the same instants.
        homography: visible pixels to infrared pixels.
    """
    return float(np.mean([agreeing(checked(judge, visible, homography)) for judge in judges]))


def checked(judge: Described, visible: View, homography: Homography) -> Surfaces:
    """Where the blocks of the infrared image would rather lie than where a homography puts them."""
    return surfaces_of(judge, visible, scaling(judge.scale) @ homography, CHECK_REACH_PX)


def surfaces_of(infrared: Described, visible: View, to_grid: Homography, reach: int) -> Surfaces:
    """Matches of the blocks of the infrared image within reach of where a homography puts them."""
    height, width = infrared.cover.shape
    padded = np.array([[1, 0, reach], [0, 1, reach], [0, 0, 1]]) @ to_grid
    there, cover = on_grid(visible, padded, (height + 2 * reach, width + 2 * reach))
    return match_blocks(infrared.channels, infrared.cover, there, cover)


def search(infrared: View, visible: View, *, width_px: int, keep: int) -> list[Homography]:
    """The most promising distinct similarities, best first, from visible pixels to infrared pixels.

    Tries every scale and rotation, and every shift at once by masked normalised correlation in the
    Fourier domain.

    Args:
        infrared: frames.
        visible: frames of the same instants.
        width_px: width that both are resized to.
        keep: number of similarities wanted.
    """
    scale_here, scale_there = (width_px / view.seen.shape[1] for view in (infrared, visible))
    small_here, small_there = infrared.resized(scale_here), visible.resized(scale_there)
    here, there = describe(small_here.frames), describe(small_there.frames)
    canvas = (
        cv2.getOptimalDFTSize(2 * max(here.shape[1], there.shape[1])),
        cv2.getOptimalDFTSize(2 * max(here.shape[2], there.shape[2])),
    )
    placed_here = _centred(here.shape[1:], canvas, 1.0, 0.0)
    target = _spectra(*warped(here, small_here.seen, placed_here, canvas))
    found: list[tuple[float, Homography]] = []
    for scale, rotation in product(SCALES, ROTATIONS_DEGREES):
        placed = _centred(there.shape[1:], canvas, float(scale), float(rotation))
        pointed = turned(there, float(rotation))
        moved = _spectra(*warped(pointed, small_there.seen, placed, canvas))
        scores = _masked_correlation(target, moved)
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        down, right = (
            int(shift) - side if shift > side // 2 else int(shift)
            for shift, side in zip((row, column), canvas, strict=True)
        )
        shifted = np.array([[1, 0, right], [0, 1, down], [0, 0, 1]]) @ placed
        between = np.linalg.inv(placed_here) @ shifted
        found.append(
            (
                float(scores[row, column]),
                np.linalg.inv(scaling(scale_here)) @ between @ scaling(scale_there),
            )
        )
    found.sort(key=lambda each: -each[0])
    ranked = (homography / homography[2, 2] for _, homography in found)
    return distinct(ranked, visible, APART * infrared.seen.shape[1])[:keep]


def distinct(
    homographies: Iterable[Homography], visible: View, apart_px: float
) -> list[Homography]:
    """Those that lie apart from all before them, by the mean distance of the corners."""
    kept: list[Homography] = []
    for homography in homographies:
        shape = visible.seen.shape
        if all(distance_of_corners(homography, other, shape) > apart_px for other in kept):
            kept.append(homography)
    return kept


def _centred(
    shape: tuple[int, ...], canvas: tuple[int, int], scale: float, rotation_degrees: float
) -> Homography:
    """Put an image of that shape in the middle of a larger canvas, scaled and turned."""
    height, width = shape
    turned = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rotation_degrees, scale)
    middle = np.array(
        [[1, 0, (canvas[1] - width) / 2], [0, 1, (canvas[0] - height) / 2], [0, 0, 1]]
    )
    return np.asarray(middle @ np.vstack([turned, [0, 0, 1]]), np.float64)


@dataclass(frozen=True)
class _Spectra:
    channels: NDArray[np.complex64]
    energy: NDArray[np.complex64]
    cover: NDArray[np.complex64]
    area_px: float


def _spectra(channels: Descriptors, cover: Image) -> _Spectra:
    masked = channels * cover
    return _Spectra(
        channels=np.fft.rfft2(masked).astype(np.complex64),
        energy=np.fft.rfft2((masked**2).sum(axis=0)).astype(np.complex64),
        cover=np.fft.rfft2(cover).astype(np.complex64),
        area_px=float(cover.sum()),
    )


def _masked_correlation(here: _Spectra, there: _Spectra) -> NDArray[np.float64]:
    """Correlation for every shift of `there` over the area that both cover, weighed by its root."""
    products = np.fft.irfft2((here.channels * np.conj(there.channels)).sum(axis=0))
    energy_here = np.fft.irfft2(here.energy * np.conj(there.cover))
    energy_there = np.fft.irfft2(here.cover * np.conj(there.energy))
    overlap = np.fft.irfft2(here.cover * np.conj(there.cover))
    energy = np.maximum(energy_here, 0) * np.maximum(energy_there, 0)
    enough = overlap >= MIN_SHARE * min(here.area_px, there.area_px)
    floor = max(1e-6 * float(energy.max()), 1e-30)
    scores = products / np.sqrt(np.maximum(energy, floor))
    share = np.maximum(overlap, 0) / min(here.area_px, there.area_px)
    return np.asarray(np.where(enough, scores * np.sqrt(share), -1.0), np.float64)
