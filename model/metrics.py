"""Metrics of fused frames, each as the authors' toolbox defines it (MODEL.md section 1.2).

Frames are grey, (N, H, W), levels 0..255; every metric gives a number a frame, (N,). Sums are made
in float64 unless the frames come in another floating type.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 256

GREY_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""MATLAB's rgb2gray, which the toolbox calls."""

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

EDGE_STRENGTH, EDGE_ANGLE = (0.9994, -15.0, 0.5), (0.9879, -22.0, 0.8)
"""Height, slope and middle of the two sigmoids of Qabf: Xydeas and Petrovic, "Objective image
fusion performance measure", Electronics Letters 2000."""


def grey(frames: Tensor) -> Tensor:
    """Grey levels of frames as MATLAB's rgb2gray rounds them.

    Args:
        frames: uint8, (N, 1, H, W) or RGB (N, 3, H, W).

    Returns:
        uint8, (N, H, W).
    """
    if frames.shape[1] == 1:
        return frames[:, 0]
    red, green, blue = (frames[:, channel].double() for channel in range(3))
    weighted = GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue
    return weighted.add_(0.5).floor_().to(torch.uint8)


def fusion_metrics(fused: Tensor, infrared: Tensor, visible: Tensor) -> dict[str, Tensor]:
    """Every metric of fused frames against both sources, by the name it has in tables.

    MI is in bits, `MI_nats` in nats, `MI_matlab` with the toolbox's joint histogram; SSIM has the
    dynamic range 255, `SSIM_L1` the toolbox's range of 1 on levels of 0..255; VIF is the sum of
    both sources, `VIF_mean` their mean.

    Args:
        fused: uint8, (N, H, W).
        infrared: the same.
        visible: the same.

    Raises:
        ValueError: the frames are not such, differ in shape, or are too small for VIF.
    """
    _check(fused, infrared, visible)
    sources = (infrared, visible)
    levels = fused.double()
    others = [source.double() for source in sources]
    similar = [_moments(levels, other) for other in others]
    fidelity = [visual_fidelity(levels, other) for other in others]
    joint = [_joint_counts(fused, source) for source in sources]
    marginals = [entropy(fused), *(entropy(source) for source in sources)]
    bits = _information_of(joint, marginals)
    return {
        "EN": marginals[0],
        "MI": bits,
        "MI_nats": bits * math.log(2),
        "MI_matlab": _information_of([_saturated(counts) for counts in joint], marginals),
        "SD": deviation(levels),
        "SSIM": _mean([similarity_of(each, 255.0) for each in similar]),
        "SSIM_L1": _mean([similarity_of(each, 1.0) for each in similar]),
        "VIF": fidelity[0] + fidelity[1],
        "VIF_mean": _mean(fidelity),
        "AG": average_gradient(levels),
        "SF": spatial_frequency(levels),
        "CC": _mean([correlation(levels, other) for other in others]),
        "SCD": correlation(levels - others[1], others[0])
        + correlation(levels - others[0], others[1]),
        "Qabf": edge_preservation(levels, others),
    }


def _mean(of_sources: list[Tensor]) -> Tensor:
    return torch.stack(of_sources).mean(0)


def restoration_metrics(restored: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """How near a restored band comes to the clean one: PSNR in dB and SSIM, means of channels.

    Args:
        restored: uint8, (N, C, H, W).
        clean: the same.
    """
    if restored.dtype != torch.uint8 or restored.shape != clean.shape or restored.dim() != 4:
        raise ValueError(
            f"restored frames are {restored.dtype} {tuple(restored.shape)}, clean ones "
            f"{clean.dtype} {tuple(clean.shape)}; both must be torch.uint8 of one (N, C, H, W)"
        )
    channels = [
        structural_similarity(one, other)
        for one, other in zip(restored.double().unbind(1), clean.double().unbind(1), strict=True)
    ]
    return {
        "PSNR": peak_signal_to_noise(restored, clean),
        "SSIM": torch.stack(channels).mean(0),
    }


def _check(fused: Tensor, infrared: Tensor, visible: Tensor) -> None:
    found = {"fused": fused, "infrared": infrared, "visible": visible}
    shown = ", ".join(f"{name} {each.dtype} {tuple(each.shape)}" for name, each in found.items())
    if any(each.dtype != torch.uint8 or each.dim() != 3 for each in found.values()):
        raise ValueError(f"grey frames must be torch.uint8 of shape (N, H, W): {shown}")
    if len({each.shape for each in found.values()}) > 1:
        raise ValueError(f"fused frames and sources must have one shape: {shown}")
    if min(fused.shape[1:]) < FIDELITY_SMALLEST_PX:
        raise ValueError(f"VIF needs frames of {FIDELITY_SMALLEST_PX} pixels a side: {shown}")


def entropy(frames: Tensor, *, unit: Literal["bits", "nats"] = "bits") -> Tensor:
    """EN: entropy of the histogram of 256 levels; 0 for a constant frame.

    Args:
        frames: uint8, (N, H, W).
        unit: of the result.
    """
    return _entropy(_counts(frames.flatten(1).long(), LEVELS), unit)


def mutual_information(
    fused: Tensor,
    sources: tuple[Tensor, Tensor],
    *,
    unit: Literal["bits", "nats"] = "bits",
    is_saturated: bool = False,
) -> Tensor:
    """MI: what the fused frame tells of either source, summed over both.

    Args:
        fused: uint8, (N, H, W).
        sources: two of the same.
        unit: of the result.
        is_saturated: as the toolbox, whose joint histogram puts the levels 254 and 255 together.
    """
    joint = [_joint_counts(fused, source) for source in sources]
    if is_saturated:
        joint = [_saturated(counts) for counts in joint]
    bits = _information_of(joint, [entropy(fused), *(entropy(source) for source in sources)])
    return bits if unit == "bits" else bits * math.log(2)


def _joint_counts(fused: Tensor, source: Tensor) -> Tensor:
    """How often each pair of levels occurs, (N, source levels, fused levels)."""
    places = source.flatten(1).long() * LEVELS + fused.flatten(1).long()
    return _counts(places, LEVELS * LEVELS).view(-1, LEVELS, LEVELS)


def _saturated(joint: Tensor) -> Tensor:
    """The same with the levels 254 and 255 in one bin, of source and fused frame alike."""
    kept = joint[:, :-1, :-1].clone()
    kept[:, -1] += joint[:, -1, :-1]
    kept[:, :, -1] += joint[:, :-1, -1]
    kept[:, -1, -1] += joint[:, -1, -1]
    return kept


def _information_of(joint: list[Tensor], marginals: list[Tensor]) -> Tensor:
    """Mutual information in bits, summed over sources.

    Args:
        joint: counts of each source with the fused frame.
        marginals: entropies in bits, of the fused frame and then of each source.
    """
    own, *others = marginals
    return torch.stack(
        [
            other + own - _entropy(counts.flatten(1), "bits")
            for counts, other in zip(joint, others, strict=True)
        ]
    ).sum(0)


def _counts(places: Tensor, bins: int) -> Tensor:
    """How often each of `bins` places occurs in each row of (N, P)."""
    offsets = torch.arange(len(places), device=places.device)[:, None] * bins
    tally = torch.bincount((places + offsets).flatten(), minlength=len(places) * bins)
    return tally.view(len(places), bins)


def _entropy(counts: Tensor, unit: str) -> Tensor:
    share = counts.double() / counts.sum(1, keepdim=True)
    return torch.xlogy(share, 1 / share).nansum(1) / (math.log(2) if unit == "bits" else 1.0)


def deviation(frames: Tensor) -> Tensor:
    """SD: standard deviation of all pixels, grey levels."""
    return frames.flatten(1).std(1, correction=0)


def average_gradient(frames: Tensor) -> Tensor:
    """AG: mean length of the gradient, by central differences, grey levels a pixel."""
    down, across = torch.gradient(frames, dim=(1, 2))
    height, width = frames.shape[1:]
    lengths = ((across**2 + down**2) / 2).sqrt()
    return lengths.sum((1, 2)) / ((height - 1) * (width - 1))


def spatial_frequency(frames: Tensor) -> Tensor:
    """SF: root mean square of the steps from pixel to pixel along rows and columns."""
    across, down = frames.diff(dim=2), frames.diff(dim=1)
    return ((across**2).mean((1, 2)) + (down**2).mean((1, 2))).sqrt()


def correlation(frames: Tensor, others: Tensor) -> Tensor:
    """Pearson's correlation of two frames' pixels; 0 where one is constant.

    CC is its mean over both sources; the toolbox centres the second source by the first one's mean,
    which is not done here.
    """
    one = frames.flatten(1) - frames.flatten(1).mean(1, keepdim=True)
    other = others.flatten(1) - others.flatten(1).mean(1, keepdim=True)
    product = ((one**2).sum(1) * (other**2).sum(1)).sqrt()
    return torch.where(product > TINY, (one * other).sum(1) / product.clamp(min=TINY), 0.0)


def peak_signal_to_noise(frames: Tensor, others: Tensor) -> Tensor:
    """PSNR in dB for a peak of 255, over all channels; infinite for equal frames."""
    error = (frames.double() - others.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(255.0**2 / error)


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
    return similarity_of(_moments(frames, others), dynamic_range)


def _moments(frames: Tensor, others: Tensor) -> tuple[Tensor, ...]:
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


def edge_preservation(frames: Tensor, sources: list[Tensor]) -> Tensor:
    """Qabf: how well strength and direction of the sources' edges are kept, 0 to 1.

    Where two strengths are equal the toolbox takes the strength itself for their ratio, and beyond
    the border it sees black, whose edge counts; so does this. 0 where no source has an edge.

    Args:
        frames: floating, (N, H, W).
        sources: any number of the same.
    """
    strength, angle = _edges(frames)
    kept = frames.new_zeros(len(frames))
    whole = torch.zeros_like(kept)
    for source in sources:
        other, other_angle = _edges(source)
        weaker, stronger = torch.minimum(other, strength), torch.maximum(other, strength)
        ratio = torch.where(other == strength, strength, weaker / stronger.clamp(min=TINY))
        likeness = 1 - (other_angle - angle).abs() / (math.pi / 2)
        quality = _sigmoid(ratio, EDGE_STRENGTH) * _sigmoid(likeness, EDGE_ANGLE)
        kept += (quality * other).sum((1, 2))
        whole += other.sum((1, 2))
    return torch.where(whole > TINY, kept / whole.clamp(min=TINY), 0.0)


def _edges(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and direction of Sobel's gradient; zeros beyond the border."""
    padded = functional.pad(frames, (1, 1, 1, 1))
    smooth_down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    smooth_across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    across = smooth_down[..., 2:] - smooth_down[..., :-2]
    down = smooth_across[:, :-2] - smooth_across[:, 2:]
    upright = torch.full_like(across, math.pi / 2)
    angle = torch.where(across == 0, upright, torch.atan(down / across))
    return torch.hypot(across, down), angle


def _sigmoid(values: Tensor, shape: tuple[float, float, float]) -> Tensor:
    height, slope, middle = shape
    return height / (1 + torch.exp(slope * (values - middle)))


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
