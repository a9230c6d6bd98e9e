"""Metrics against the published test vectors, plain NumPy forms, and numbers worked out by hand."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.metrics import (
    average_gradient,
    correlation,
    deviation,
    difference_correlation,
    edge_preservation,
    entropy,
    fusion_metrics,
    grey,
    mutual_information,
    restoration_metrics,
    spatial_frequency,
)
from model.metrics_windows import structural_similarity, visual_fidelity
from pipeline.image_files import read_image

Grey = NDArray[np.uint8]

VECTORS = {
    ("0111_1716", "0000"): {
        "EN": 6.242866, "SD": 20.625219, "MI": 2.865305, "MI_matlab": 2.866556,
        "SSIM": 0.650857, "SSIM_L1": 0.372930, "VIF": 0.144441 + 0.511960,
    },
    ("0111_1753", "0005"): {
        "EN": 6.529241, "SD": 31.414119, "MI": 4.050145, "MI_matlab": 4.050565,
        "SSIM": 0.634890, "SSIM_L1": 0.343535, "VIF": 0.172623 + 0.490506,
    },
}  # fmt: skip
"""MODEL.md section 1.2: the average of both clean frames, whole levels, cut off."""


def noise(seed: int, count: int = 2, height: int = 48, width: int = 56) -> Tensor:
    """Smooth and rough at once, so that every metric has something to see."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(0, 200, (count, height // 8, width // 8)), np.ones((8, 8)))
    return torch.from_numpy((coarse + rng.integers(0, 56, coarse.shape)).astype(np.uint8))


@pytest.mark.parametrize(("clip", "frame"), VECTORS)
def test_the_published_vectors_are_met_to_five_decimals(m3svd: Path, clip: str, frame: str) -> None:
    infrared, visible = (
        grey(rgb(m3svd / "val" / f"{band}_Enhance" / clip / f"{frame}.png"))
        for band in ("infrared", "visible")
    )
    fused = ((infrared.int() + visible.int()) // 2).to(torch.uint8)

    found = fusion_metrics(fused, infrared, visible)

    for name, expected in VECTORS[clip, frame].items():
        # the sum of two figures that were rounded to six decimals each
        assert found[name].item() == pytest.approx(expected, abs=1.5e-6), name


def rgb(path: Path) -> Tensor:
    image = np.asarray(read_image(path), np.uint8)
    image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def plain_entropy(levels: Grey) -> float:
    _, counts = np.unique(levels, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def plain_similarity(one: Grey, other: Grey, dynamic_range: float) -> float:
    place = np.arange(-5, 6)
    line = np.exp(-0.5 * (place / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def filtered(image: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(image, 5, mode="edge")
        seen = np.lib.stride_tricks.sliding_window_view(padded, (11, 11))
        return np.asarray(np.einsum("yxij,ij->yx", seen, window))

    x, y = one.astype(float), other.astype(float)
    mx, my = filtered(x), filtered(y)
    vx, vy = filtered(x * x) - mx**2, filtered(y * y) - my**2
    vxy = filtered(x * y) - mx * my
    c1, c2 = (0.01 * dynamic_range) ** 2, (0.03 * dynamic_range) ** 2
    return float(
        ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    )


def test_entropy_and_information_are_those_of_plain_counting() -> None:
    fused, other = noise(1), noise(2)

    for index in range(len(fused)):
        one, source = fused[index].numpy(), other[index].numpy()
        joint = plain_entropy(one.astype(np.int64) * 256 + source)
        shared = plain_entropy(one) + plain_entropy(source) - joint
        assert entropy(fused)[index].item() == pytest.approx(plain_entropy(one))
        both = mutual_information(fused, (other, other))[index].item()
        assert both == pytest.approx(2 * shared)


def test_information_in_nats_is_that_in_bits_by_the_logarithm_of_two() -> None:
    fused, other = noise(1), noise(2)

    bits = mutual_information(fused, (other, other))
    nats = mutual_information(fused, (other, other), unit="nats")

    assert torch.allclose(nats, bits * math.log(2))


@pytest.mark.parametrize("dynamic_range", [255.0, 1.0])
def test_similarity_is_that_of_whole_windows(dynamic_range: float) -> None:
    one, other = noise(3, 1), noise(4, 1)

    found = structural_similarity(one.double(), other.double(), dynamic_range=dynamic_range)

    expected = plain_similarity(one[0].numpy(), other[0].numpy(), dynamic_range)
    assert found.item() == pytest.approx(expected, abs=1e-9)


def test_a_frame_is_wholly_like_itself() -> None:
    frames = noise(5).double()

    assert torch.allclose(structural_similarity(frames, frames), torch.ones(2).double())
    assert torch.allclose(visual_fidelity(frames, frames), torch.ones(2).double())
    assert torch.allclose(correlation(frames, frames), torch.ones(2).double())
    assert torch.allclose(correlation(frames, -frames), -torch.ones(2).double())


def test_fidelity_falls_with_noise_and_rises_with_contrast() -> None:
    clean = noise(6, 1).double()
    hiss = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).double()

    found = [visual_fidelity(clean + sigma * hiss, clean).item() for sigma in (1, 5, 20)]

    assert found == sorted(found, reverse=True)
    assert visual_fidelity(1.5 * clean, clean).item() > 1


def test_a_ramp_has_the_gradient_and_frequency_of_its_slope() -> None:
    ramp = 3.0 * torch.arange(64).double().expand(1, 48, 64)

    assert spatial_frequency(ramp).item() == pytest.approx(3)
    # the toolbox divides the sum over all pixels by one row and one column less
    factor = 48 * 64 / (47 * 63)
    assert average_gradient(ramp).item() == pytest.approx(3 / math.sqrt(2) * factor)


def test_edges_that_are_kept_score_higher_than_edges_that_are_not() -> None:
    source, other = noise(7).double(), noise(8).double()
    black = torch.zeros_like(source)

    kept, foreign = (edge_preservation(frames, [source]) for frames in (source, other))

    # an equal strength counts as itself, so that both sigmoids are near their heights
    assert (kept > 0.95).all()
    assert (foreign < kept).all()
    assert (edge_preservation(black, [source]) < 0.01).all()
    assert edge_preservation(source, [black]).tolist() == [0, 0]


@pytest.mark.parametrize(
    "metric",
    [
        deviation,
        average_gradient,
        spatial_frequency,
        lambda frames: correlation(frames, torch.flip(frames, [2])),
        lambda frames: difference_correlation(
            frames, (torch.flip(frames, [1]), torch.flip(frames, [2]))
        ),
        lambda frames: edge_preservation(
            frames, [torch.flip(frames, [1]), torch.flip(frames, [2])]
        ),
    ],
)
def test_whole_levels_score_as_the_float64_reference(metric: Callable[[Tensor], Tensor]) -> None:
    frames = noise(11, 3, 96, 128)

    found = metric(frames)

    assert found.dtype == torch.float64
    torch.testing.assert_close(found, metric(frames.double()), rtol=1e-7, atol=1e-7)
    # one frame does not know of the others
    torch.testing.assert_close(found[1:2], metric(frames[1:2]), rtol=1e-9, atol=1e-9)


def test_colours_become_grey_as_matlab_rounds_them() -> None:
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]).view(4, 3, 1, 1)

    # 76.23, 149.70, 29.08 and 18.15
    assert grey(colours.to(torch.uint8)).flatten().tolist() == [76, 150, 29, 18]


def test_constant_frames_have_defined_scores() -> None:
    flat = torch.full((1, 48, 48), 0, dtype=torch.uint8)

    found = {name: value.item() for name, value in fusion_metrics(flat, flat, flat).items()}

    assert all(math.isfinite(value) for value in found.values())
    nothing = ("EN", "MI", "SD", "VIF", "AG", "SF", "CC", "SCD", "Qabf")
    assert [found[name] for name in nothing] == [0] * len(nothing)
    assert found["SSIM"] == pytest.approx(1)


def test_restoration_is_measured_in_decibels_and_likeness() -> None:
    clean = torch.randint(20, 200, (2, 3, 48, 48), dtype=torch.uint8)

    found = restoration_metrics(clean + 5, clean)

    assert found["PSNR"].tolist() == pytest.approx([20 * math.log10(255 / 5)] * 2)
    assert (found["SSIM"] > 0.9).all()
    assert restoration_metrics(clean, clean)["PSNR"].tolist() == [math.inf] * 2


def test_deviation_is_that_of_the_whole_population() -> None:
    assert deviation(torch.tensor([[[0.0, 2.0]]])).item() == 1


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda frames: frames.float(), "uint8"),
        (lambda frames: frames[0], r"\(N, H, W\)"),
        (lambda frames: frames[:, :-1], "one shape"),
        (lambda frames: frames[:1], "one shape"),
    ],
)
def test_frames_that_do_not_fit_are_refused(
    spoil: Callable[[Tensor], Tensor], complaint: str
) -> None:
    frames = noise(9)

    with pytest.raises(ValueError, match=complaint):
        fusion_metrics(spoil(frames), frames, frames)


def test_frames_too_small_for_fidelity_are_refused() -> None:
    small = torch.zeros(1, 40, 64, dtype=torch.uint8)

    with pytest.raises(ValueError, match="41 pixels"):
        fusion_metrics(small, small, small)
    large = torch.zeros(1, 41, 64, dtype=torch.uint8)
    assert fusion_metrics(large, large, large)["VIF"].tolist() == [0]
