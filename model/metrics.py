"""Metrics of fused frames, each as the authors' toolbox defines it (MODEL.md section 1.2).

Frames are grey, (N, H, W), levels 0..255; every metric gives a number a frame, (N,). Where a metric
takes levels of any type, uint8 ones are worked on in float32, in which they and their differences
are exact, and summed in float64: the values are those of float64 frames to a millionth, in a
fraction of the time. Floating frames are worked on in their own type; float64 is the reference.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from model.metrics_windows import (
    FIDELITY_SMALLEST_PX,
    TINY,
    moments_of,
    similarity_of,
    structural_similarity,
    visual_fidelity,
)

LEVELS = 256

GREY_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""MATLAB's rgb2gray, which the toolbox calls."""

BLOCK = 256
"""So many products of two levels, up to 255 each, float32 adds up without rounding: the sum stays
below 2**24."""

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
    similar = [moments_of(levels, other) for other in others]
    fidelity = [visual_fidelity(levels, other) for other in others]
    joint = [_joint_counts(fused, source) for source in sources]
    marginals = [entropy(fused), *(entropy(source) for source in sources)]
    bits = _information_of(joint, marginals)
    return {
        "EN": marginals[0],
        "MI": bits,
        "MI_nats": bits * math.log(2),
        "MI_matlab": _information_of([_saturated(counts) for counts in joint], marginals),
        "SD": deviation(fused),
        "SSIM": _mean([similarity_of(each, 255.0) for each in similar]),
        "SSIM_L1": _mean([similarity_of(each, 1.0) for each in similar]),
        "VIF": fidelity[0] + fidelity[1],
        "VIF_mean": _mean(fidelity),
        "AG": average_gradient(fused),
        "SF": spatial_frequency(fused),
        "CC": _mean([correlation(fused, source) for source in sources]),
        "SCD": difference_correlation(fused, sources),
        "Qabf": edge_preservation(fused, sources),
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
    return _entropy(_counts(frames.flatten(1), LEVELS), unit)


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
    places = source.flatten(1).int() * LEVELS + fused.flatten(1)
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
    return torch.stack([torch.bincount(row, minlength=bins) for row in places])


def _entropy(counts: Tensor, unit: str) -> Tensor:
    share = counts.double() / counts.sum(1, keepdim=True)
    return torch.xlogy(share, 1 / share).nansum(1) / (math.log(2) if unit == "bits" else 1.0)


def _worked(frames: Tensor) -> Tensor:
    """Levels as they are worked on: uint8 ones in float32, others as they are."""
    return frames if frames.is_floating_point() else frames.float()


def _total(frames: Tensor) -> Tensor:
    """Sum over the pixels of (N, rows, pixels), each row in its own type, rows in float64.

    Of blocks of whole levels, and of products of two, it is exact.
    """
    return frames.sum(2).sum(1, dtype=torch.float64)


def deviation(frames: Tensor) -> Tensor:
    """SD: standard deviation of all pixels, grey levels.

    Args:
        frames: (N, H, W), levels of any type.
    """
    blocks, pixels = _blocks(frames), math.prod(frames.shape[1:])
    return _spread(blocks, _total(blocks), pixels).sqrt_().div_(pixels)


def _spread(blocks: Tensor, total: Tensor, pixels: int) -> Tensor:
    """Variance times the square of the number of pixels; squares the blocks in place."""
    squares = _total(blocks.square_()).mul_(pixels)
    return squares.addcmul_(total, total, value=-1).relu_()


def _blocks(frames: Tensor) -> Tensor:
    """A copy of the levels in the type they are worked on, (N, blocks, pixels of one)."""
    levels = _worked(frames)
    levels = levels.clone() if levels is frames else levels
    if short := -math.prod(frames.shape[1:]) % BLOCK:
        levels = functional.pad(levels.flatten(1), (0, short))
    return levels.reshape(len(frames), -1, BLOCK)


def average_gradient(frames: Tensor) -> Tensor:
    """AG: mean length of the gradient, by central differences, grey levels a pixel.

    At the border the difference is that to the only neighbour.

    Args:
        frames: (N, H, W), levels of any type.
    """
    levels = _worked(frames)
    height, width = frames.shape[1:]
    squares = _doubled_gradient(levels, 2).square_()
    down = _doubled_gradient(levels, 1)
    lengths = squares.addcmul_(down, down)
    return _total(_root_of(lengths)) / (math.sqrt(8) * (height - 1) * (width - 1))


def _doubled_gradient(levels: Tensor, dim: int) -> Tensor:
    """Twice the central difference along one dimension, whole for whole levels."""
    size = levels.shape[dim]
    made = torch.empty_like(levels)
    torch.sub(
        levels.narrow(dim, 2, size - 2),
        levels.narrow(dim, 0, size - 2),
        out=made.narrow(dim, 1, size - 2),
    )
    for place, low in ((0, 0), (size - 1, size - 2)):
        step = levels.narrow(dim, low + 1, 1) - levels.narrow(dim, low, 1)
        made.narrow(dim, place, 1).copy_(2 * step)
    return made


def _root_of(squares: Tensor) -> Tensor:
    """Square root in place, not by `sqrt`: MKL's takes ten times as long where it meets a 0."""
    return squares.mul_((squares + 1e-30).rsqrt_())


def spatial_frequency(frames: Tensor) -> Tensor:
    """SF: root mean square of the steps from pixel to pixel along rows and columns.

    Args:
        frames: (N, H, W), levels of any type.
    """
    levels = _worked(frames)
    height, width = frames.shape[1:]
    across = functional.mse_loss(levels[:, :, 1:], levels[:, :, :-1], reduction="none")
    down = functional.mse_loss(levels[:, 1:], levels[:, :-1], reduction="none")
    means = _total(across) / (height * (width - 1)) + _total(down) / ((height - 1) * width)
    return means.sqrt()


def correlation(frames: Tensor, others: Tensor) -> Tensor:
    """Pearson's correlation of two frames' pixels; 0 where one is constant.

    CC is its mean over both sources; the toolbox centres the second source by the first one's mean,
    which is not done here.

    Args:
        frames: (N, H, W), levels of any type.
        others: the same.
    """
    one, other, pixels = _blocks(frames), _blocks(others), math.prod(frames.shape[1:])
    sums = _total(one), _total(other)
    shared = pixels * _total(one * other) - sums[0] * sums[1]
    product = (_spread(one, sums[0], pixels) * _spread(other, sums[1], pixels)).sqrt()
    least = TINY * pixels**2
    return torch.where(product > least, shared / product.clamp(min=least), 0.0)


def difference_correlation(fused: Tensor, sources: tuple[Tensor, Tensor]) -> Tensor:
    """SCD: how each source correlates with what the fused frame has beyond the other; -2 to 2.

    Aslantas and Bendes, "A new image quality metric for image fusion: the sum of the correlations
    of differences", AEU 2015.

    Args:
        fused: (N, H, W), levels of any type.
        sources: two of the same.
    """
    levels, one, other = (_worked(frames) for frames in (fused, *sources))
    return correlation(levels - other, one) + correlation(levels - one, other)


def peak_signal_to_noise(frames: Tensor, others: Tensor) -> Tensor:
    """PSNR in dB for a peak of 255, over all channels; infinite for equal frames."""
    error = (frames.double() - others.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(255.0**2 / error)


def edge_preservation(frames: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """Qabf: how well strength and direction of the sources' edges are kept, 0 to 1.

    Where two strengths are equal the toolbox takes the strength itself for their ratio, and beyond
    the border it sees black, whose edge counts; so does this. 0 where no source has an edge.

    Args:
        frames: (N, H, W), levels of any type.
        sources: any number of the same.
    """
    strength, angle = _edges(_worked(frames))
    kept = torch.zeros(len(frames), dtype=torch.float64, device=frames.device)
    whole = torch.zeros_like(kept)
    for source in sources:
        other, other_angle = _edges(_worked(source))
        weaker, stronger = torch.minimum(other, strength), torch.maximum(other, strength)
        ratio = weaker.div_(stronger.clamp_(min=TINY))
        ratio = torch.where(other == strength, strength, ratio)
        likeness = other_angle.sub_(angle).abs_().mul_(-2 / math.pi).add_(1)
        quality = _sigmoid(ratio, EDGE_STRENGTH).mul_(_sigmoid(likeness, EDGE_ANGLE))
        kept += _total(quality.mul_(other))
        whole += _total(other)
    return torch.where(whole > TINY, kept / whole.clamp(min=TINY), 0.0)


def _edges(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and direction of Sobel's gradient; zeros beyond the border."""
    padded = functional.pad(frames, (1, 1, 1, 1))
    smooth_down = torch.add(padded[:, :-2], padded[:, 1:-1], alpha=2).add_(padded[:, 2:])
    smooth_across = torch.add(padded[..., :-2], padded[..., 1:-1], alpha=2).add_(padded[..., 2:])
    across = smooth_down[..., 2:] - smooth_down[..., :-2]
    down = smooth_across[:, :-2] - smooth_across[:, 2:]
    angle = torch.where(across == 0, math.pi / 2, torch.atan_(down / across))
    return _root_of(across.square_().addcmul_(down, down)), angle


def _sigmoid(values: Tensor, shape: tuple[float, float, float]) -> Tensor:
    """In place of the values."""
    height, slope, middle = shape
    return values.sub_(middle).mul_(slope).exp_().add_(1).reciprocal_().mul_(height)
