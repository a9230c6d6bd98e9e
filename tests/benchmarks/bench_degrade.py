"""What the m3svd preset costs a loader, beside the same in NumPy and OpenCV."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.degrade import degrade_block, reach, read_for_crop
from pipeline.degrade_draws import DegradationDraw, StepDraw, View, Window
from schemas.base import Band
from schemas.degradations import Degradation
from schemas.recipe import DegradeRecipe
from tests.benchmarks.measuring import Spread, alternating, calls_per_cpu_s
from tests.benchmarks.tables import Claim, Section, Table

OURS, SAME, FRESH = "ours", "NumPy and OpenCV", "NumPy and OpenCV, fresh noise"
WHO, OTHERS, BANDS = (OURS, SAME, FRESH), (SAME, FRESH), ("infrared", "visible")

PAIRS, CROP, HEIGHT, WIDTH = 7, 128, 480, 640

CLIPS = 64
"""Clips in turn, each with parameters of its own."""

RECIPE = DegradeRecipe()


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 3
    cpu_s: float = 1.5


def section(effort: Effort) -> Section:
    """Both bands of a sample, and the two together."""
    rng = np.random.default_rng(0)
    infrared = rng.integers(40, 200, (PAIRS, HEIGHT, WIDTH)).astype(np.uint8)
    visible = rng.integers(40, 200, (PAIRS, HEIGHT, WIDTH, 3)).astype(np.uint8)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    jobs: dict[str, Callable[[int], object]] = {
        f"{OURS} infrared": lambda call: _ours(infrared, "infrared", call % CLIPS),
        f"{OURS} visible": lambda call: _ours(visible, "visible", call % CLIPS),
        f"{SAME} infrared": lambda call: _noise_of_whole_frames(infrared, call % CLIPS),
        f"{FRESH} infrared": lambda call: _noise(infrared, rng, call % CLIPS),
        f"{FRESH} visible": lambda call: _blur(visible, call % CLIPS),
    }
    rates = alternating({name: _rate(job, effort) for name, job in jobs.items()}, effort.rounds)
    rates[f"{SAME} visible"] = rates[f"{FRESH} visible"]  # a blur draws nothing
    whole = {who: _together(rates[f"{who} infrared"], rates[f"{who} visible"]) for who in WHO}
    rows = [
        (
            band,
            *(f"{cells[who]}" for who in WHO),
            *(str(cells[OURS].over(cells[o])) for o in OTHERS),
        )
        for band, cells in (
            *((band, {who: rates[f"{who} {band}"] for who in WHO}) for band in BANDS),
            ("both", whole),
        )
    ]
    header = (
        "band",
        *(f"{who}, samples per CPU-second" for who in WHO),
        *(f"over {o}" for o in OTHERS),
    )
    return Section(
        title="Degrading",
        method=(
            f"The preset m3svd on {PAIRS} pairs of {CROP} x {CROP} pixels, cut from random frames "
            f"of {WIDTH} x {HEIGHT} in memory, one thread; {CLIPS} clips in turn, each with sigmas "
            "of its own, the same for all. The alternatives draw noise by NumPy in float32 and "
            "blur by OpenCV in float32 (its 8-bit blur takes longer). The first does the same as "
            "ours, whose crop of a degraded frame is the degraded crop, in the plain way: a "
            "generator seeded by clip and frame draws the noise of the whole frame, which is then "
            "cut. The second does less: it draws fresh noise for the crop, which no other crop, "
            "window or epoch of the clip shares, and which a store could not have held."
        ),
        claims=(
            Claim(
                f"both bands, over {SAME} that do the same",
                whole[OURS].over(whole[SAME]),
                ">=",
                3,
            ),
            Claim(
                f"both bands, over {FRESH} for the crop", whole[OURS].over(whole[FRESH]), ">=", 3
            ),
        ),
        tables=(Table(header, tuple(rows)),),
    )


def _together(one: Spread, other: Spread) -> Spread:
    """Samples of both per CPU-second."""
    pairs = zip(one.values, other.values, strict=True)
    return Spread(tuple(1 / (1 / a + 1 / b) for a, b in pairs))


def _rate(job: Callable[[int], object], effort: Effort) -> Callable[[], Mapping[str, float]]:
    def measure() -> Mapping[str, float]:
        rate = calls_per_cpu_s(job, min_cpu_s=effort.cpu_s, warm_cpu_s=0.2, warm_calls=50)
        return {"": rate}

    return measure


def _ours(frames: NDArray[np.uint8], band: Band, clip: int) -> torch.Tensor:
    chain, draw = _chain(band), DegradationDraw(0, f"clip-{clip}", band)
    whole = torch.from_numpy(frames)
    whole = whole[:, None] if band == "infrared" else whole.permute(0, 3, 1, 2)
    crop, halo_px = Window(100, 100, HEIGHT, WIDTH), reach(chain, draw).halo_px
    read = read_for_crop(crop, height=CROP, width=CROP, halo_px=halo_px)
    block = whole[..., read.rows, read.columns]
    made = degrade_block(block, chain, draw, indices=range(PAIRS), window=read.window)
    return read.keep(made)


def _chain(band: Band) -> tuple[Degradation, ...]:
    return RECIPE.infrared if band == "infrared" else RECIPE.visible


@cache
def _drawn(band: Band, clip: int, name: str, field: str) -> float:
    """What the preset's only step of a band draws for a clip."""
    (step,) = _chain(band)
    view = View(tuple(range(PAIRS)), Window(0, 0, HEIGHT, WIDTH), torch.device("cpu"))
    draw = DegradationDraw(0, f"clip-{clip}", band)
    return StepDraw(draw, f"0/{step.kind}", 1.0, view).scaled(getattr(step, field), name)


def sigmas(clip: int) -> tuple[float, float]:
    """Of the stripes and of the white noise, grey levels."""
    return (
        _drawn("infrared", clip, "stripe-sigma", "stripe_sigma_levels"),
        _drawn("infrared", clip, "white-sigma", "white_sigma_levels"),
    )


def blur_sigma(clip: int) -> float:
    """Of the visible frames' blur, pixels."""
    return _drawn("visible", clip, "sigma", "sigma_px")


def _noise(frames: NDArray[np.uint8], rng: np.random.Generator, clip: int) -> NDArray[np.uint8]:
    stripe_sigma, white_sigma = sigmas(clip)
    noisy = rng.standard_normal((PAIRS, CROP, CROP), np.float32)
    noisy *= np.float32(white_sigma)
    noisy += rng.standard_normal((1, 1, CROP), np.float32) * np.float32(stripe_sigma)
    noisy += frames[:, 100 : 100 + CROP, 100 : 100 + CROP]
    return _levels(noisy)


def _noise_of_whole_frames(frames: NDArray[np.uint8], clip: int) -> NDArray[np.uint8]:
    rows = columns = slice(100, 100 + CROP)
    stripe_sigma, white_sigma = sigmas(clip)
    noisy = frames[:, rows, columns].astype(np.float32)
    stripes = np.random.default_rng([0, clip]).standard_normal(WIDTH, np.float32)
    noisy += stripes[columns] * np.float32(stripe_sigma)
    for number in range(PAIRS):
        white = np.random.default_rng([0, clip, number]).standard_normal(
            (HEIGHT, WIDTH), np.float32
        )
        noisy[number] += white[rows, columns] * np.float32(white_sigma)
    return _levels(noisy)


def _blur(frames: NDArray[np.uint8], clip: int) -> NDArray[np.uint8]:
    sigma_px = blur_sigma(clip)
    halo_px = (round(8 * sigma_px + 1) | 1) // 2  # as OpenCV's kernels for float32: four sigmas
    part, kept = slice(100 - halo_px, 100 + CROP + halo_px), slice(halo_px, halo_px + CROP)
    blurred = np.empty((PAIRS, CROP, CROP, 3), np.float32)
    for frame, made in zip(frames, blurred, strict=True):
        seen = cv2.GaussianBlur(frame[part, part].astype(np.float32), (0, 0), sigma_px)
        made[:] = seen[kept, kept]
    return _levels(blurred)


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Rounded and held within the grey levels; overwrites `values`."""
    np.rint(values, out=values)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)
