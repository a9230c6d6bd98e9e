"""Metrics of frames that look through windows: SSIM, and VIF in the pixel domain.

Frames are grey, floating, (N, H, W), levels 0..255; every metric gives a number a frame, (N,), in
their type. Their variances are differences of large numbers: give float64.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

SIMILARITY_SIGMA_PX, SIMILARITY_REACH_PX = 1.5, 5
"""Gaussian window of SSIM, 11 pixels wide: Wang et al., "Image quality assessment: from error
visibility to structural similarity", IEEE TIP 2004."""

FIDELITY_NOISE = 2.0
"""Variance of the visual noise, squared grey levels: Sheikh and Bovik, "Image information and
visual quality", IEEE TIP 2006."""

FIDELITY_WINDOWS = (17, 9, 5, 3)
"""Width of the Gaussian window of each scale; its sigma is a fifth of that."""

FIDELITY_SMALLEST_PX = 41
"""A shorter side leaves the coarsest scale without a whole window."""

TINY = 1e-10
"""Below this a variance counts as none (the toolbox's own figure)."""


def structural_similarity(
    frames: Tensor, others: Tensor, *, dynamic_range: float = 255.0
) -> Tensor:
    """SSIM, mean over all pixels, borders repeated.

    Args:
        frames: floating, (N, H, W), levels 0..255.
        others: the same.
        dynamic_range: L of its constants. The toolbox calls MATLAB's ssim on doubles of 0..255
            without one, which means 1; 255 is what the paper's figures agree with.
    """
    return similarity_of(moments_of(frames, others), dynamic_range)


def moments_of(frames: Tensor, others: Tensor) -> tuple[Tensor, ...]:
    """Means, variances and covariance in the window of SSIM."""
    window = _gaussian(2 * SIMILARITY_REACH_PX + 1, SIMILARITY_SIGMA_PX)
    centre = 127.5  # about which the squares below lose fewer digits
    one, other = frames - centre, others - centre
    fields = torch.stack([one, other, one * one, other * other, one * other])
    padded = functional.pad(fields, (SIMILARITY_REACH_PX,) * 4, mode="replicate")
    mean, other_mean, square, other_square, product = _filtered(padded, window)
    return (
        mean + centre,
        other_mean + centre,
        square - mean**2,
        other_square - other_mean**2,
        product - mean * other_mean,
    )


def similarity_of(moments: tuple[Tensor, ...], dynamic_range: float) -> Tensor:
    """SSIM from what its windows found, mean over all pixels."""
    mean, other_mean, variance, other_variance, covariance = moments
    brightness, contrast = (0.01 * dynamic_range) ** 2, (0.03 * dynamic_range) ** 2
    above = (2 * mean * other_mean + brightness) * (2 * covariance + contrast)
    below = (mean**2 + other_mean**2 + brightness) * (variance + other_variance + contrast)
    return (above / below).mean((1, 2))


def visual_fidelity(frames: Tensor, reference: Tensor) -> Tensor:
    """VIF in the pixel domain, four scales: the share of the reference's information that is left.

    0 for a constant reference, of which nothing can be left. VIF of a fused frame is the sum of
    this over both sources, each in turn the reference.

    Args:
        frames: floating, (N, H, W), at least 41 pixels a side.
        reference: the same.
    """
    kept = frames.new_zeros(len(frames))
    whole = torch.zeros_like(kept)
    for scale, width in enumerate(FIDELITY_WINDOWS):
        window = _gaussian(width, width / 5)
        if scale:
            reference, frames = (
                _filtered(each, window)[:, ::2, ::2] for each in (reference, frames)
            )
        information, before = _information(frames, reference, window)
        kept += information
        whole += before
    return torch.where(whole > TINY, kept / whole.clamp(min=TINY), 0.0)


def _information(frames: Tensor, reference: Tensor, window: list[float]) -> tuple[Tensor, Tensor]:
    """What is left and what there was of the reference's information at one scale."""
    fields = [reference, frames, reference**2, frames**2, reference * frames]
    mean, other_mean, square, other_square, product = _filtered(torch.stack(fields), window)
    variance = (square - mean**2).clamp(min=0)
    other_variance = (other_square - other_mean**2).clamp(min=0)
    covariance = product - mean * other_mean
    gain = covariance / (variance + TINY)
    noise = other_variance - gain * covariance
    is_flat = variance < TINY
    gain, noise = gain.masked_fill(is_flat, 0), torch.where(is_flat, other_variance, noise)
    variance = variance.masked_fill(is_flat, 0)
    is_flat = other_variance < TINY
    gain, noise = gain.masked_fill(is_flat, 0), noise.masked_fill(is_flat, 0)
    is_against = gain < 0
    noise = torch.where(is_against, other_variance, noise).clamp(min=TINY)
    gain = gain.masked_fill(is_against, 0)
    kept = torch.log1p(gain**2 * variance / (noise + FIDELITY_NOISE)).sum((1, 2))
    return kept, torch.log1p(variance / FIDELITY_NOISE).sum((1, 2))


def _gaussian(width: int, sigma_px: float) -> list[float]:
    """Weights of a sampled Gaussian that add up to 1."""
    distances = [place - (width - 1) / 2 for place in range(width)]
    heights = [math.exp(-0.5 * (distance / sigma_px) ** 2) for distance in distances]
    return [height / sum(heights) for height in heights]


def _filtered(images: Tensor, weights: list[float]) -> Tensor:
    """Images (..., H, W) filtered along both axes, where the whole window lies inside."""
    for axis in (-1, -2):
        size = images.shape[axis] - len(weights) + 1
        made = images.narrow(axis, 0, size) * weights[0]
        for place, weight in enumerate(weights[1:], 1):
            made.add_(images.narrow(axis, place, size), alpha=weight)
        images = made
    return images
