"""How 16-bit infrared looks in 8 bits: flicker, detail and noise, beside what is done by frame."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.ingest import tone_mapping
from pipeline.ingest_measure import measure
from pipeline.simulate_filming import film
from pipeline.simulate_truth import takes_of
from pipeline.tone import levels_of, tone_curves, tone_mapped, tone_shares
from schemas.recipe import IngestRecipe
from schemas.simulation import SimulationSettings
from tests.benchmarks.measuring import Spread, significant
from tests.benchmarks.tables import Claim, Section, Table

FPS = 25.0

AMBIENT_COUNTS, AMBIENT_PERIOD_S = 400.0, 20.0
"""The slow change: a swing of as many counts as the whole scene spans, within a shot."""

CLAHE_TILES = (8, 8)
CLAHE_LIMITS = (2.0, 3.0, 40.0)
"""What OpenCV's tutorial shows, what is often taken for infrared, and what OpenCV begins with."""

REFERENCE = "CLAHE by frame, clip limit 3"

DETAIL_PX = 4.0
"""Detail is the deviation under a Gaussian window of this standard deviation, as CLAHE's tiles."""

WARM_PX = 1.5
"""The same inside of warm things, whose outlines shall not count."""

WARM_PERCENTILE = 94.0
"""A pixel warmer than so many is part of a warm thing: people, cars, lamps, windows."""

AVERAGED_FRAMES = 8
"""A third of a second: noise averages out of them, and what moves is hardly blurred."""

Counts = NDArray[np.uint16]
Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class Effort:
    """What to film, by recording of the default simulation."""

    recordings: tuple[str, ...] = (
        "market-noon", "market-film", "park-walk", "park-night", "depot-dusk", "gate-glare",
    )  # fmt: skip
    frames: int = 200
    settings: SimulationSettings | None = None


@dataclass(frozen=True)
class Figures:
    """What one way makes of one recording; grey levels."""

    flicker_levels: float
    """Largest change of the mean from frame to frame beyond that of the scene."""
    detail_levels: float
    warm_detail_levels: float
    noise_levels: float


def section(effort: Effort) -> Section:
    """Every way on every recording, under a slow change of all counts."""
    ways: dict[str, list[Figures]] = {}
    settings = effort.settings or SimulationSettings()
    for session in settings.sessions:
        for recording in session.recordings:
            if recording.id in effort.recordings:
                take = takes_of(settings, recording)["infrared"]
                times_s = np.arange(effort.frames) / FPS
                still = np.stack([np.asarray(f, np.uint16) for f in film(take, times_s)])
                for name, figures in measured(still, times_s).items():
                    ways.setdefault(name, []).append(figures)
    ours, reference = ways["twinband"], ways[REFERENCE]
    worst = Spread((max(figures.flicker_levels for figures in ours),))
    header = (
        "way", "flicker, worst, levels", "detail, of CLAHE 3", "detail in warm things, of CLAHE 3",
        "noise, of CLAHE 3", "detail by noise, of CLAHE 3",
    )  # fmt: skip
    rows = [
        (
            name,
            significant(max(figures.flicker_levels for figures in found)),
            str(_ratio(found, reference, lambda f: f.detail_levels)),
            str(_ratio(found, reference, lambda f: f.warm_detail_levels)),
            str(_ratio(found, reference, lambda f: f.noise_levels)),
            str(_ratio(found, reference, lambda f: f.detail_levels / f.noise_levels)),
        )
        for name, found in ways.items()
    ]
    return Section(
        title="16-bit infrared to 8 bits",
        method=(
            f"{len(ours)} recordings of the simulated rig, {effort.frames} frames of 16 bits each, "
            f"to all of whose counts a swing of {AMBIENT_COUNTS:g} counts in "
            f"{AMBIENT_PERIOD_S:g} s is added, as a camera's body does that warms and cools. "
            "Flicker is how much the mean changes from frame to frame beyond what it does under "
            "one straight line without the swing. Detail is the local deviation of the average of "
            f"{AVERAGED_FRAMES} frames, noise what changes from one to the next. Ratios are taken "
            "by recording, to CLAHE of percentile-stretched frames (8 x 8 tiles). Claims are those "
            "of the default recipe."
        ),
        claims=(
            Claim("flicker of the worst recording", worst, "<=", 1, "levels"),
            Claim(
                "detail, of CLAHE by frame with a clip limit of 3",
                Spread((min(_ratio(ours, reference, lambda f: f.detail_levels).values),)),
                ">=",
                1,
            ),
        ),
        tables=(Table(header, tuple(rows)),),
    )


def measured(still: Counts, times_s: NDArray[np.float64]) -> dict[str, Figures]:
    """Every way on one recording.

    Args:
        still: counts without any common change, (T, H, W).
        times_s: instants of the frames, (T,).
    """
    swing = AMBIENT_COUNTS * np.sin(2 * np.pi * times_s / AMBIENT_PERIOD_S)
    counts = (still + np.rint(swing)[:, None, None]).astype(np.uint16)
    scene = np.diff(straight(still).mean(axis=(1, 2), dtype=np.float64))
    made: dict[str, Levels] = {
        "twinband": ours(counts, times_s, IngestRecipe()),
        "twinband, tone_plateau 1": ours(counts, times_s, IngestRecipe(tone_plateau=1)),
        "one straight line for all frames": straight(counts),
        "percentiles by frame": stretched(counts),
    }
    for limit in CLAHE_LIMITS:
        made[f"CLAHE by frame, clip limit {limit:g}"] = equalised(counts, limit)
    return {name: figures_of(levels, still, scene) for name, levels in made.items()}


def ours(counts: Counts, times_s: NDArray[np.float64], recipe: IngestRecipe) -> Levels:
    """As ingest and shard do it."""
    signals = measure(counts, tone_shares(recipe))
    if signals.quantiles is None:
        raise TypeError("counts of 16 bits have quantiles")
    curves = tone_curves(signals.quantiles, signals.common_counts, times_s, ~signals.dead, recipe)
    return np.stack([levels_of(*pair) for pair in zip(counts, curves, strict=True)])


def straight(counts: Counts) -> Levels:
    """One mapping for the whole recording, as registration looks at it."""
    histogram = np.bincount(counts.ravel(), minlength=2**16)
    return tone_mapped(counts, tone_mapping(histogram, IngestRecipe()))


def stretched(counts: Counts) -> Levels:
    """Each frame between its own percentiles."""
    return np.stack([straight(frame) for frame in counts])


def equalised(counts: Counts, limit: float) -> Levels:
    """Contrast-limited adaptive equalisation of each stretched frame."""
    clahe = cv2.createCLAHE(limit, CLAHE_TILES)
    return np.stack([np.asarray(clahe.apply(frame), np.uint8) for frame in stretched(counts)])


def figures_of(levels: Levels, still: Counts, scene: NDArray[np.float64]) -> Figures:
    """What a way made of a recording.

    Args:
        levels: what it made, (T, H, W).
        still: the counts without the common change, (T, H, W).
        scene: change of the mean from frame to frame that the scene itself causes, (T - 1,).
    """
    change = np.diff(levels.mean(axis=(1, 2), dtype=np.float64)) - scene
    starts = range(0, len(levels) - AVERAGED_FRAMES + 1, 5 * AVERAGED_FRAMES)
    stretches = [slice(start, start + AVERAGED_FRAMES) for start in starts]
    everywhere = np.ones(levels.shape[1:], np.uint8)
    detail, warm, noise = [], [], []
    for stretch in stretches:
        some = levels[stretch].astype(np.float32)
        warmth = still[stretch].mean(axis=0, dtype=np.float32)
        is_warm = (warmth > np.percentile(warmth, WARM_PERCENTILE)).astype(np.uint8)
        inside = np.asarray(cv2.erode(is_warm, np.ones((3, 3), np.uint8)), np.uint8)
        mean = some.mean(axis=0)
        detail.append(local_deviation(mean, everywhere, DETAIL_PX))
        warm.append(local_deviation(mean, inside, WARM_PX))
        noise.append(float(np.abs(np.diff(some, axis=0)).mean()))
    return Figures(
        flicker_levels=float(np.abs(change).max()),
        detail_levels=float(np.mean(detail)),
        warm_detail_levels=float(np.mean(warm)),
        noise_levels=float(np.mean(noise)),
    )


def local_deviation(
    image: NDArray[np.float32], inside: NDArray[np.uint8], spread_px: float
) -> float:
    """Mean over the pixels `inside` of the deviation from those around them.

    Args:
        image: (H, W).
        inside: (H, W), 0 where samples neither count nor are counted among those around.
        spread_px: standard deviation of the window.
    """
    weights = inside.astype(np.float32)
    share, first, second = (
        cv2.GaussianBlur(weighted, (0, 0), spread_px)
        for weighted in (weights, weights * image, weights * image * image)
    )
    kept = inside > 0
    variance = second[kept] / share[kept] - (first[kept] / share[kept]) ** 2
    return float(np.sqrt(np.maximum(variance, 0)).mean())


def _ratio(
    found: Iterable[Figures], reference: Iterable[Figures], figure: Callable[[Figures], float]
) -> Spread:
    pairs = zip(found, reference, strict=True)
    return Spread(tuple(figure(one) / figure(other) for one, other in pairs))
