"""What the m3svd preset costs a loader, beside the same in NumPy and OpenCV."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.degrade import degrade_block, reach, read_for_crop
from pipeline.degrade_draws import Band, DegradationDraw, Window
from schemas.recipe import DegradeRecipe
from tests.benchmarks.measuring import Spread, alternating, calls_per_cpu_s
from tests.benchmarks.tables import Claim, Section, Table

OURS, SAME, FRESH = "ours", "NumPy and OpenCV", "NumPy and OpenCV, fresh noise"
WHO, OTHERS, BANDS = (OURS, SAME, FRESH), (SAME, FRESH), ("infrared", "visible")

PAIRS, CROP, HEIGHT, WIDTH = 7, 128, 480, 640

STRIPE_SIGMA_LEVELS, WHITE_SIGMA_LEVELS, BLUR_SIGMA_PX = 9.5, 11.5, 1.5
"""Middles of the preset's ranges."""

HALO_PX = 6
"""Of the blur in OpenCV: four sigmas, as its kernels for float32 have."""


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
        f"{OURS} infrared": lambda _: _ours(infrared, "infrared"),
        f"{OURS} visible": lambda _: _ours(visible, "visible"),
        f"{SAME} infrared": lambda _: _noise_of_whole_frames(infrared),
        f"{FRESH} infrared": lambda _: _noise(infrared, rng),
        f"{FRESH} visible": lambda _: _blur(visible),
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
            f"of {WIDTH} x {HEIGHT} in memory, one thread. The alternatives draw noise by NumPy "
            "and blur by OpenCV in float32 (its 8-bit blur takes longer). The first keeps our "
            "promise, that any crop and window of a clip get the same noise, in the plain way: a "
            "generator seeded by clip and frame draws the noise of the whole frame, which is then "
            "cut. The second draws fresh noise for the crop and promises nothing. Ours promises it "
            "to the bit."
        ),
        claims=(
            Claim(
                f"both bands, over {SAME} that keep the promise",
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


def _ours(frames: NDArray[np.uint8], band: Band) -> torch.Tensor:
    recipe, draw = DegradeRecipe(), DegradationDraw(0, "clip", band)
    chain = recipe.infrared if band == "infrared" else recipe.visible
    clip = torch.from_numpy(frames)
    clip = clip[:, None] if band == "infrared" else clip.permute(0, 3, 1, 2)
    crop, halo_px = Window(100, 100, HEIGHT, WIDTH), reach(chain, draw).halo_px
    read = read_for_crop(crop, height=CROP, width=CROP, halo_px=halo_px)
    block = clip[..., read.rows, read.columns]
    made = degrade_block(block, chain, draw, indices=range(PAIRS), window=read.window)
    return read.keep(made)


def _noise(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    crop = frames[:, 100 : 100 + CROP, 100 : 100 + CROP].astype(np.float32)
    crop += rng.normal(0, STRIPE_SIGMA_LEVELS, (1, 1, CROP))
    crop += rng.normal(0, WHITE_SIGMA_LEVELS, crop.shape)
    return np.clip(np.round(crop), 0, 255).astype(np.uint8)


def _noise_of_whole_frames(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = columns = slice(100, 100 + CROP)
    crop = frames[:, rows, columns].astype(np.float32)
    crop += np.random.default_rng([0, 0]).normal(0, STRIPE_SIGMA_LEVELS, WIDTH)[columns]
    for number in range(PAIRS):
        white = np.random.default_rng([0, 0, number]).normal(0, WHITE_SIGMA_LEVELS, (HEIGHT, WIDTH))
        crop[number] += white[rows, columns]
    return np.clip(np.round(crop), 0, 255).astype(np.uint8)


def _blur(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    part = slice(100 - HALO_PX, 100 + CROP + HALO_PX)
    kept = slice(HALO_PX, HALO_PX + CROP)
    blurred = [
        cv2.GaussianBlur(frame[part, part].astype(np.float32), (0, 0), BLUR_SIGMA_PX)[kept, kept]
        for frame in frames
    ]
    return np.clip(np.round(np.stack(blurred)), 0, 255).astype(np.uint8)
