"""Classical fusion of registered frames, to compare with.

Average and maximum are taken in RGB, channel by channel. Every other method fuses the luma and
keeps the chroma of the visible frame, as the field does with methods made for grey images.
"""

from collections.abc import Callable
from typing import Literal

import torch
from kornia.filters import box_blur, gaussian_blur2d, laplacian, median_blur
from torch import Tensor
from torch.nn import functional

from model.losses import luma

LEVELS_OF_DETAIL = 4
"""Octaves of the pyramid and the wavelet, as is usual at 640 x 480."""

Method = Literal[
    "average",
    "maximum",
    "laplacian-pyramid",
    "wavelet",
    "guided-filter",
    "two-scale-saliency",
    "anisotropic-diffusion",
]


def fuse_classically(method: Method, infrared: Tensor, visible: Tensor) -> Tensor:
    """Fused frames.

    Args:
        method: which; each names its source below.
        infrared: uint8, (N, 1, H, W).
        visible: uint8 RGB, (N, 3, H, W).

    Returns:
        uint8 RGB, (N, 3, H, W). Each frame by itself, [0, 255] to [0, 255]: nothing is stretched.

    Raises:
        ValueError: the frames are not such.
    """
    expected = (len(visible), 1, *visible.shape[-2:])
    if visible.dim() != 4 or visible.shape[1] != 3 or tuple(infrared.shape) != expected:
        raise ValueError(
            f"infrared frames {tuple(infrared.shape)} and visible ones {tuple(visible.shape)} "
            "must be (N, 1, H, W) and (N, 3, H, W)"
        )
    warm, colour = infrared.float() / 255, visible.float() / 255
    if method == "average":
        fused = (warm + colour) / 2
    elif method == "maximum":
        fused = torch.maximum(warm, colour)
    else:
        grey = luma(colour[None])[0][:, None]  # (N, 1, H, W)
        # as much added to all three channels changes the luma and leaves the chroma
        fused = colour + (_OF_LUMA[method](warm, grey) - grey)
    return (fused * 255).round().clamp(0, 255).to(torch.uint8)


def laplacian_pyramid(infrared: Tensor, visible: Tensor) -> Tensor:
    """The stronger detail of each octave, the mean of what is left.

    Burt and Adelson, "The Laplacian pyramid as a compact image code", IEEE Trans. Comm. 1983.
    Frames (N, 1, H, W) in [0, 1], as for the methods below.
    """
    details = []
    for _ in range(LEVELS_OF_DETAIL):
        if min(infrared.shape[-2:]) < 4:
            break
        smaller = [_halved(each) for each in (infrared, visible)]
        detail = [
            each - _enlarged(small, each.shape)
            for each, small in zip((infrared, visible), smaller, strict=True)
        ]
        details.append(_stronger(*detail))
        infrared, visible = smaller
    fused = (infrared + visible) / 2
    for level in reversed(details):
        fused = _enlarged(fused, level.shape) + level
    return fused


def _halved(frames: Tensor) -> Tensor:
    return gaussian_blur2d(frames, (5, 5), (1.1, 1.1))[..., ::2, ::2]


def _enlarged(frames: Tensor, shape: torch.Size) -> Tensor:
    return functional.interpolate(frames, shape[-2:], mode="bilinear", align_corners=False)


def _stronger(one: Tensor, other: Tensor) -> Tensor:
    return torch.where(one.abs() >= other.abs(), one, other)


def wavelet(infrared: Tensor, visible: Tensor) -> Tensor:
    """The stronger coefficient of each band of Haar's wavelet, the mean of what is left.

    Li, Manjunath and Mitra, "Multisensor image fusion using the wavelet transform", GMIP 1995.
    """
    height, width = infrared.shape[-2:]
    side = 1 << LEVELS_OF_DETAIL
    padding = (0, -width % side, 0, -height % side)
    pictures = [functional.pad(each, padding, mode="replicate") for each in (infrared, visible)]
    details = []
    for _ in range(LEVELS_OF_DETAIL):
        split = [_haar(each) for each in pictures]
        details.append(_stronger(split[0][1:], split[1][1:]))
        pictures = [each[0] for each in split]
    fused = (pictures[0] + pictures[1]) / 2
    for bands in reversed(details):
        fused = _haar_joined(torch.cat([fused[None], bands]))
    return fused[..., :height, :width]


def _haar(frames: Tensor) -> Tensor:
    """Mean and the three differences of squares of two pixels a side, (4, N, 1, H/2, W/2)."""
    a, b = frames[..., ::2, ::2], frames[..., ::2, 1::2]
    c, d = frames[..., 1::2, ::2], frames[..., 1::2, 1::2]
    return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]) / 4


def _haar_joined(bands: Tensor) -> Tensor:
    mean, across, down, both = bands
    rows = [
        torch.stack([mean + across + down + both, mean - across + down - both], dim=-1),
        torch.stack([mean + across - down - both, mean - across - down + both], dim=-1),
    ]
    return torch.stack([row.flatten(-2) for row in rows], dim=-2).flatten(-3, -2)


def guided_filter(infrared: Tensor, visible: Tensor) -> Tensor:
    """Weights that follow the frames' own edges, one set for the base and one for the detail.

    Li, Kang and Hu, "Image fusion with guided filtering", IEEE TIP 2013, with its parameters.
    """
    sources = (infrared, visible)
    bases = [_local_mean(each, 15) for each in sources]
    details = [each - base for each, base in zip(sources, bases, strict=True)]
    salient = [
        gaussian_blur2d(laplacian(each, 3, normalized=False).abs(), (11, 11), (5.0, 5.0))
        for each in sources
    ]
    first = (salient[0] >= salient[1]).to(infrared)
    fused = torch.zeros_like(infrared)
    for parts, radius, softness in ((bases, 45, 0.3), (details, 7, 1e-6)):
        weights = [
            _guided(chosen, each, radius, softness).clamp(min=0)
            for each, chosen in zip(sources, (first, 1 - first), strict=True)
        ]
        total = (weights[0] + weights[1]).clamp(min=1e-6)
        fused = fused + (weights[0] * parts[0] + weights[1] * parts[1]) / total
    return fused


def _guided(frames: Tensor, guide: Tensor, radius_px: int, softness: float) -> Tensor:
    """He, Sun and Tang, "Guided image filtering", IEEE TPAMI 2013; kornia's, but separable."""
    mean, guide_mean = _local_mean(frames, radius_px), _local_mean(guide, radius_px)
    variance = _local_mean(guide * guide, radius_px) - guide_mean**2
    slope = (_local_mean(guide * frames, radius_px) - guide_mean * mean) / (variance + softness)
    offset = mean - slope * guide_mean
    return _local_mean(slope, radius_px) * guide + _local_mean(offset, radius_px)


def _local_mean(frames: Tensor, radius_px: int) -> Tensor:
    return box_blur(frames, (2 * radius_px + 1,) * 2, border_type="replicate", separable=True)


def two_scale_saliency(infrared: Tensor, visible: Tensor) -> Tensor:
    """The mean of both bases, and details weighted by how much they stand out.

    Bavirisetti and Dhuli, "Two-scale image fusion of visible and infrared images using saliency
    detection", Infrared Physics and Technology 2016.
    """
    sources = (infrared, visible)
    bases = [_local_mean(each, 17) for each in sources]
    salient = [
        (base - median_blur(each, (3, 3))).abs() for each, base in zip(sources, bases, strict=True)
    ]
    total = salient[0] + salient[1]
    first = torch.where(total > 0, salient[0] / total.clamp(min=1e-12), 0.5)
    details = [each - base for each, base in zip(sources, bases, strict=True)]
    return (bases[0] + bases[1]) / 2 + first * details[0] + (1 - first) * details[1]


DIFFUSION_STEPS, DIFFUSION_RATE, DIFFUSION_EDGE = 10, 0.15, 30 / 255
"""As published: ten steps of 0.15 with an edge of 30 grey levels."""


def anisotropic_diffusion(infrared: Tensor, visible: Tensor) -> Tensor:
    """The mean of both bases, and details weighted by their principal component.

    Bavirisetti and Dhuli, "Fusion of infrared and visible sensor images based on anisotropic
    diffusion and Karhunen-Loeve transform", IEEE Sensors Journal 2016.
    """
    sources = (infrared, visible)
    bases = [_diffused(each) for each in sources]
    details = torch.stack([each - base for each, base in zip(sources, bases, strict=True)], dim=1)
    flat = details.flatten(2)  # (N, 2, P)
    centred = flat - flat.mean(2, keepdim=True)
    _, vectors = torch.linalg.eigh(centred @ centred.transpose(1, 2))
    leading: Tensor = vectors[..., -1].abs()
    weights = (leading / leading.sum(1, keepdim=True)).view(-1, 2, 1, 1, 1)
    return (bases[0] + bases[1]) / 2 + (weights * details).sum(1)


def _diffused(frames: Tensor) -> Tensor:
    """Perona and Malik's diffusion, which stops at edges."""
    for _ in range(DIFFUSION_STEPS):
        padded = functional.pad(frames, (1, 1, 1, 1), mode="replicate")
        steps = [
            padded[..., 1:-1, :-2] - frames,
            padded[..., 1:-1, 2:] - frames,
            padded[..., :-2, 1:-1] - frames,
            padded[..., 2:, 1:-1] - frames,
        ]
        flows = [torch.exp(-((step / DIFFUSION_EDGE) ** 2)) * step for step in steps]
        frames = frames + DIFFUSION_RATE * torch.stack(flows).sum(0)
    return frames


_OF_LUMA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "laplacian-pyramid": laplacian_pyramid,
    "wavelet": wavelet,
    "guided-filter": guided_filter,
    "two-scale-saliency": two_scale_saliency,
    "anisotropic-diffusion": anisotropic_diffusion,
}
