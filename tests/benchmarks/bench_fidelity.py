"""How like the authors' own degraded frames the imitated ones are, clip by clip."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from flows.degrade import FIT_FRAMES, fit_degradation
from pipeline.degrade import degrade_block
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.degrade_fit import (
    InfraredFit,
    VisibleFit,
    fit_infrared,
    fit_visible,
)
from pipeline.importers import LAYOUTS
from pipeline.video_files import read_frames
from schemas.base import Band
from schemas.degradations import Degradation
from schemas.recipe import DegradeRecipe
from tests.benchmarks.measuring import Spread
from tests.benchmarks.tables import Claim, Section, Table

STREAMS = LAYOUTS["frames"]

MEASURED_STRIPE_LEVELS, MEASURED_WHITE_LEVELS = (7.3, 11.7), (8.9, 13.9)
MEASURED_BLUR_PX = (1.08, 1.94)
"""Ranges over M3SVD's nine validation clips (CAPTURE.md section 1)."""

DRAWS = 200

HEADER = (
    "clip",
    "stripe sigma, levels",
    "white sigma, levels",
    "blur sigma, px",
    "stripe sigma",
    "white sigma",
    "stripe correlation",
    "spectrum, dB",
    "W1, levels",
    "visible, dB",
)
"""What was fitted, then how far the imitation is off."""


@dataclass(frozen=True)
class InfraredLikeness:
    """Of imitated infrared frames to the authors'."""

    stripe_sigma_ratio: float
    white_sigma_ratio: float
    correlation_difference: float
    """Of the stripes over time."""
    spectrum_db: float
    """Median over the rings of `high_pass_spectrum_db`."""
    histogram_levels: float


def section(split: Path) -> Section:
    """Every clip of a split folder of M3SVD's frames, such as `val`, and the preset's draws."""
    clips = sorted(path.name for path in (split / STREAMS["infrared"]).iterdir())
    noises, blurs, rows = [], [], []
    for clip in clips:
        noise_fit, noise = _infrared(split, clip)
        blur_fit, psnr_db = _visible(split, clip)
        noises.append(noise)
        blurs.append(psnr_db)
        rows.append((clip, *_fitted(noise_fit, blur_fit), *_figures(noise, psnr_db)))
    rng = np.random.default_rng(3)
    shares = shares_within_measured(
        texture(rng, (3, 480, 640)), texture(rng, (2, 120, 160, 3)), DRAWS
    )
    worst = InfraredLikeness(
        _furthest([noise.stripe_sigma_ratio for noise in noises]),
        _furthest([noise.white_sigma_ratio for noise in noises]),
        *(max(astuple(noise)[place] for noise in noises) for place in (2, 3, 4)),
    )
    median_db = float(np.median([noise.spectrum_db for noise in noises]))
    return Section(
        title="Likeness to the authors' degradations",
        method=(
            "The parameters of each clip are fitted by the code of `twinband degrade --fit` on "
            f"its {FIT_FRAMES} first frames or all that it has; its clean frames, degraded by them "
            "with draws of their own, are compared with the authors' degraded frames. Ratios, the "
            "difference of the stripes' correlation over time, the distance of the histograms (W1) "
            "and the peak signal-to-noise ratio are those of the worst clip, the spectrum's the "
            f"median. At the end, {DRAWS} clips degraded by the preset `m3svd` are measured again."
        ),
        claims=(
            _claim("stripe sigma, off by", abs(worst.stripe_sigma_ratio - 1) * 100, "<=", 10, "%"),
            _claim("white sigma, off by", abs(worst.white_sigma_ratio - 1) * 100, "<=", 5, "%"),
            _claim("stripe correlation, off by", worst.correlation_difference, "<=", 0.005, ""),
            _claim("high-pass spectrum, off by", median_db, "<=", 1, "dB"),
            _claim("grey levels, W1", worst.histogram_levels, "<=", 1.5, "levels"),
            _claim("blurred visible", min(blurs), ">=", 32, "dB"),
            _claim("noise as M3SVD has it", 100 * shares.noise, ">=", 95, "% of draws"),
            _claim("blur as M3SVD has it", 100 * shares.blur, ">=", 95, "% of draws"),
        ),
        tables=(Table(HEADER, tuple(rows)),),
    )


def _infrared(split: Path, clip: str) -> tuple[InfraredFit, InfraredLikeness]:
    clean, noisy = (split / STREAMS[name] / clip for name in ("infrared", "infrared_degraded"))
    fit = fit_degradation(clean, noisy, "infrared")
    assert isinstance(fit, InfraredFit)
    frames = (load(path, "infrared", FIT_FRAMES) for path in (clean, noisy))
    return fit, infrared_likeness(fit, *frames)


def _visible(split: Path, clip: str) -> tuple[VisibleFit, float]:
    clean, blurred = (split / STREAMS[name] / clip for name in ("visible", "visible_degraded"))
    fit = fit_degradation(clean, blurred, "visible")
    assert isinstance(fit, VisibleFit)
    frames = (load(path, "visible", FIT_FRAMES) for path in (clean, blurred))
    return fit, visible_psnr_db(fit, *frames)


def _fitted(noise: InfraredFit, blur: VisibleFit) -> tuple[str, ...]:
    return (
        f"{noise.noise.stripe_sigma_levels[0]:.2f}",
        f"{noise.noise.white_sigma_levels[0]:.2f}",
        f"{blur.blur.sigma_px[0]:.2f}",
    )


def _figures(noise: InfraredLikeness, psnr_db: float) -> tuple[str, ...]:
    return (
        f"{100 * (noise.stripe_sigma_ratio - 1):+.1f} %",
        f"{100 * (noise.white_sigma_ratio - 1):+.1f} %",
        f"{noise.correlation_difference:.4f}",
        f"{noise.spectrum_db:.2f}",
        f"{noise.histogram_levels:.2f}",
        f"{psnr_db:.1f}",
    )


def _furthest(ratios: Sequence[float]) -> float:
    return max(ratios, key=lambda ratio: abs(ratio - 1))


def _claim(what: str, value: float, sense: Literal[">=", "<="], bound: float, unit: str) -> Claim:
    return Claim(what, Spread((value,)), sense, bound, unit)


def degraded(clean: NDArray[np.uint8], *chain: Degradation, seed: int = 1) -> NDArray[np.uint8]:
    """Whole frames, grey (T, H, W) or RGB (T, H, W, 3), with a chain's degradations."""
    is_grey = clean.ndim == 3
    frames = torch.from_numpy(clean)
    frames = frames[:, None] if is_grey else frames.permute(0, 3, 1, 2)
    made = degrade_block(
        frames,
        chain,
        DegradationDraw(seed, "clip", "infrared" if is_grey else "visible"),
        indices=range(len(clean)),
        window=Window(0, 0, *clean.shape[1:3]),
    )
    return (made[:, 0] if is_grey else made.permute(0, 2, 3, 1)).numpy()


def infrared_likeness(
    fit: InfraredFit, clean: NDArray[np.uint8], noisy: NDArray[np.uint8]
) -> InfraredLikeness:
    """Imitate noisy frames by the parameters fitted to them, and fit the imitation again.

    Args:
        fit: of these frames.
        clean: (T, H, W).
        noisy: the authors', of the same shape.
    """
    made = degraded(clean, fit.tone, fit.noise)
    again = fit_infrared(clean, made)
    theirs, ours = (high_pass_spectrum_db(residual(fit, clean, f)) for f in (noisy, made))
    return InfraredLikeness(
        again.noise.stripe_sigma_levels[0] / fit.noise.stripe_sigma_levels[0],
        again.noise.white_sigma_levels[0] / fit.noise.white_sigma_levels[0],
        abs(again.stripe_correlation - fit.stripe_correlation),
        float(np.median(np.abs(theirs - ours))),
        histogram_distance(made, noisy),
    )


def visible_psnr_db(fit: VisibleFit, clean: NDArray[np.uint8], blurred: NDArray[np.uint8]) -> float:
    """Of clean frames (T, H, W, 3), degraded by the fitted parameters, to the authors'."""
    made = degraded(clean, fit.blur, fit.tone)
    error = np.mean(np.square(made.astype(np.float32) - blurred), dtype=np.float64)
    return float(10 * math.log10(255**2 / error))


@dataclass(frozen=True)
class Shares:
    """Of clips degraded by the preset whose figures, measured again, M3SVD's clips have as well."""

    noise: float
    blur: float


def shares_within_measured(
    grey: NDArray[np.uint8], coloured: NDArray[np.uint8], draws: int
) -> Shares:
    """Degrade clips by the preset m3svd and measure them again.

    Args:
        grey: (T, H, W), in the middle of the grey levels.
        coloured: (T, H, W, 3), in the middle of the grey levels.
        draws: clips to try.
    """
    inside = np.zeros((draws, 2), bool)
    recipe = DegradeRecipe()
    for seed in range(draws):
        noise = fit_infrared(grey, degraded(grey, *recipe.infrared, seed=seed)).noise
        blur = fit_visible(coloured, degraded(coloured, *recipe.visible, seed=seed)).blur
        inside[seed] = (
            _is_within(noise.stripe_sigma_levels[0], MEASURED_STRIPE_LEVELS)
            and _is_within(noise.white_sigma_levels[0], MEASURED_WHITE_LEVELS),
            _is_within(blur.sigma_px[0], MEASURED_BLUR_PX),
        )
    return Shares(*(float(share) for share in inside.mean(0)))


def _is_within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def texture(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Frames with edges and textures, in the middle of the grey levels.

    Args:
        rng: draws them.
        shape: (T, H, W) or (T, H, W, 3), sides that are multiples of 10.
    """
    count, height, width, *channels = shape
    coarse = rng.uniform(60, 190, (count, height // 10, width // 10, *channels))
    fine = rng.uniform(-20, 20, shape)
    return (coarse.repeat(10, 1).repeat(10, 2) + fine).round().astype(np.uint8)


def histogram_distance(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
    """Wasserstein-1 distance of the grey levels, in levels."""
    shares = [np.cumsum(np.bincount(f.ravel(), minlength=256)) / f.size for f in (left, right)]
    return float(np.abs(shares[0] - shares[1]).sum())


def high_pass_spectrum_db(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power in rings of spatial frequency from 0.1 to 0.5 cycles a pixel, decibels."""
    power = np.abs(np.fft.rfft2(noise - noise.mean((1, 2), keepdims=True))) ** 2
    radius = np.hypot(
        np.fft.fftfreq(noise.shape[1])[:, None], np.fft.rfftfreq(noise.shape[2])[None]
    )
    rings = [(radius >= low) & (radius < low + 0.05) for low in np.arange(0.1, 0.5, 0.05)]
    return 10 * np.log10([power[:, ring].mean() for ring in rings])


def residual(
    fit: InfraredFit, clean: NDArray[np.uint8], noisy: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """What noisy frames have beyond the tone curve of clean ones."""
    curve: NDArray[np.float64] = np.interp(np.arange(256), *np.transpose(fit.tone.points))
    return noisy.astype(np.float64) - curve[clean]


def load(folder: Path, band: Band, frames: int) -> NDArray[np.uint8]:
    """The first frames of a folder, at most so many."""
    return np.stack(list(islice(read_frames(folder, band), frames))).astype(np.uint8)
