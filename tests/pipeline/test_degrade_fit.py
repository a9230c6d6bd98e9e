"""Planted parameters are measured again, and the authors' own clips are imitated with theirs."""

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.degrade_fit import fit_infrared, fit_visible
from schemas.degradations import GainAndOffset, GaussianBlur, StripeNoise, ToneCurve
from tests.benchmarks.bench_fidelity import (
    STREAMS,
    degraded,
    infrared_likeness,
    load,
    shares_within_measured,
    texture,
    visible_psnr_db,
)

FRAMES = 4
"""Of the authors' clips; the benchmark takes all."""

GREY, COLOURED = (8, 240, 320), (4, 120, 160, 3)


@pytest.mark.parametrize(("stripe", "white"), [(8.0, 10.0), (11.0, 13.0), (0.0, 9.0)])
def test_planted_noise_and_tone_are_measured(stripe: float, white: float) -> None:
    clean = texture(np.random.default_rng(0), GREY)
    noise = StripeNoise(stripe_sigma_levels=(stripe,) * 2, white_sigma_levels=(white,) * 2)

    fit = fit_infrared(clean, degraded(clean, ToneCurve(gamma=(0.8, 0.8)), noise))

    assert fit.noise.white_sigma_levels[0] == pytest.approx(white, rel=0.02)
    # 320 columns tell a deviation to four percent
    assert fit.noise.stripe_sigma_levels[0] == pytest.approx(stripe, rel=0.12, abs=0.6)
    # nothing tells the mean of the stripes of 320 columns from a tone
    spare = 1 + 3 * stripe / math.sqrt(320)
    for clean_level, level in fit.tone.points:
        assert level == pytest.approx(255 * (clean_level / 255) ** 0.8, abs=spare)


def test_planted_blur_and_tone_are_measured() -> None:
    clean = texture(np.random.default_rng(1), COLOURED)
    tone = GainAndOffset(gain=(0.96, 0.96), offset_levels=(8, 8))

    fit = fit_visible(clean, degraded(clean, GaussianBlur(sigma_px=(1.4, 1.4)), tone))

    assert fit.blur.sigma_px[0] == pytest.approx(1.4, abs=0.02)
    assert fit.tone.gain[0] == pytest.approx(0.96, abs=0.01)
    assert fit.tone.offset_levels[0] == pytest.approx(8, abs=1)
    assert fit.psnr_db > 45


@pytest.mark.parametrize("frames", [0, 1])
def test_too_few_frames_are_refused(frames: int) -> None:
    clean = texture(np.random.default_rng(2), GREY)

    with pytest.raises(ValueError, match="at least two"):
        fit_infrared(clean[:frames], clean[:frames])


CLIPS = ("0111_1716", "0111_1753", "0114_1551", "0115_1831")


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS)
def test_the_authors_noise_is_imitated_with_its_own_parameters(m3svd: Path, clip: str) -> None:
    clean, noisy = (
        load(m3svd / "val" / STREAMS[name] / clip, "infrared", FRAMES)
        for name in ("infrared", "infrared_degraded")
    )

    found = infrared_likeness(fit_infrared(clean, noisy), clean, noisy)

    assert found.stripe_sigma_ratio == pytest.approx(1, abs=0.10)
    assert found.white_sigma_ratio == pytest.approx(1, abs=0.05)
    assert found.correlation_difference <= 0.005
    assert found.spectrum_db <= 1
    assert found.histogram_levels <= 1.5


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS)
def test_the_authors_blur_is_imitated_with_its_own_parameters(m3svd: Path, clip: str) -> None:
    clean, blurred = (
        load(m3svd / "val" / STREAMS[name] / clip, "visible", FRAMES // 2)
        for name in ("visible", "visible_degraded")
    )

    assert visible_psnr_db(fit_visible(clean, blurred), clean, blurred) >= 32


def test_the_preset_stays_within_what_was_measured_on_m3svd() -> None:
    rng = np.random.default_rng(3)
    grey, coloured = texture(rng, (2, 120, 640)), texture(rng, (2, 60, 80, 3))

    shares = shares_within_measured(grey, coloured, draws=200)

    assert min(shares.noise, shares.blur) >= 0.95
