"""What VideoFusion is trained towards (MODEL.md section 2.5).

Frames are RGB in [0, 1], (B, T, 3, H, W). "Distance" is the mean absolute difference over all that
is compared.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.network import FusedVideo
from schemas.training import LossWeights

CHROMA_CENTRE = 128 / 255
"""Grey in Cb and Cr."""

INFRARED_CONSISTENCY = 0.8
"""Weight of the infrared beside the visible luma in the consistency term (official code)."""

SIMILARITY_WINDOW_PX = 13
SIMILARITY_SIGMA_PX = 1.5
SIMILARITY_CONSTANTS = (0.01**2, 0.03**2)
"""SSIM of the official code: 13x13 Gaussian, whole windows only, dynamic range 1."""


class LossTerms(NamedTuple):
    """Every term times its weight, as scalars."""

    intensity: Tensor
    gradient: Tensor
    color: Tensor
    fidelity: Tensor
    variation: Tensor
    similarity: Tensor
    consistency: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return torch.stack(tuple(self)).sum()


def loss_terms(
    output: FusedVideo, infrared: Tensor, visible: Tensor, weights: LossWeights
) -> LossTerms:
    """The training loss of one batch of windows, term by term.

    With the default weights these are the paper's five terms; `similarity` and `consistency` are
    the official code's additions. A term whose weight is 0 is not computed and stays 0: without
    `variation` or `color`, these are the paper's ablations.

    Args:
        output: what the network made of the degraded frames, both bands restored.
        infrared: clean infrared frames, (B, T, 1 or 3, H, W).
        visible: clean visible frames, (B, T, 3, H, W).
        weights: one per term.

    Raises:
        ValueError: the network was not asked to restore the bands.
    """
    if output.infrared is None or output.visible is None:
        raise ValueError("the loss needs both restored bands; call the network with restore=True")
    fused, restored_infrared, restored_visible = output.fused, output.infrared, output.visible
    infrared = infrared.expand_as(visible)

    def fidelity() -> Tensor:
        return fidelity_loss(restored_infrared, infrared) + fidelity_loss(restored_visible, visible)

    def variation() -> Tensor:
        return (
            variation_loss(restored_infrared, infrared)
            + variation_loss(restored_visible, visible)
            + variation_loss(fused, infrared)
            + variation_loss(fused, visible)
        )

    def weighted(weight: float, loss: Callable[..., Tensor], *videos: Tensor) -> Tensor:
        return weight * loss(*videos) if weight else fused.new_zeros(())

    both = (fused, infrared, visible)
    return LossTerms(
        intensity=weighted(weights.intensity, intensity_loss, *both),
        gradient=weighted(weights.gradient, gradient_loss, *both),
        color=weighted(weights.color, color_loss, fused, visible),
        fidelity=weighted(weights.fidelity, fidelity),
        variation=weighted(weights.variation, variation),
        similarity=weighted(weights.similarity, similarity_loss, *both),
        consistency=weighted(weights.consistency, consistency_loss, *both),
    )


def intensity_loss(fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
    """L_int: distance of the fused luma to the brighter of the two clean lumas."""
    brighter = torch.maximum(luma(infrared), luma(visible))
    return functional.l1_loss(luma(fused), brighter)


def gradient_loss(fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
    """L_grad: distance of the fused luma's edges to the stronger clean ones, x plus y."""
    stronger = torch.maximum(edges(luma(infrared)), edges(luma(visible)))
    return 2 * functional.l1_loss(edges(luma(fused)), stronger)


def color_loss(fused: Tensor, visible: Tensor) -> Tensor:
    """L_color: distance of the fused chroma to the clean visible chroma, Cb plus Cr."""
    return 2 * functional.l1_loss(chroma(fused), chroma(visible))


def fidelity_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """L_sf of one band: distance of the pixels plus that of the luma's edges, x plus y."""
    pixels = functional.l1_loss(restored, clean)
    return pixels + 2 * functional.l1_loss(edges(luma(restored)), edges(luma(clean)))


def variation_loss(video: Tensor, clean: Tensor) -> Tensor:
    """One summand of L_var: distance of the changes from frame to frame; 0 for a single frame."""
    if video.shape[1] < 2:
        return video.new_zeros(())
    return functional.l1_loss(video.diff(dim=1), clean.diff(dim=1))


def similarity_loss(fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
    """1 - SSIM to the visible RGB plus 1 - SSIM to the infrared luma (official code only)."""
    to_visible = structural_similarity(fused.flatten(0, 1), visible.flatten(0, 1))
    to_infrared = structural_similarity(
        luma(fused).flatten(0, 1).unsqueeze(1), luma(infrared).flatten(0, 1).unsqueeze(1)
    )
    return (1 - to_visible) + (1 - to_infrared)


def consistency_loss(fused: Tensor, infrared: Tensor, visible: Tensor) -> Tensor:
    """Distance of the fused luma to the visible and, at 0.8, the infrared luma (official code)."""
    to_visible = functional.l1_loss(luma(fused), luma(visible))
    return to_visible + INFRARED_CONSISTENCY * functional.l1_loss(luma(fused), luma(infrared))


def luma(video: Tensor) -> Tensor:
    """Y of RGB, (B, T, 3, H, W) -> (B, T, H, W) in [0, 1]; the official code's rounded BT.601."""
    red, green, blue = video.unbind(2)
    return (0.299 * red + 0.587 * green + 0.114 * blue).clamp(0, 1)


def chroma(video: Tensor) -> Tensor:
    """Cb and Cr of RGB, (B, T, 3, H, W) -> (B, T, 2, H, W) in [0, 1]."""
    red, green, blue = video.unbind(2)
    blueness = -0.169 * red - 0.331 * green + 0.5 * blue + CHROMA_CENTRE
    redness = 0.5 * red - 0.419 * green - 0.081 * blue + CHROMA_CENTRE
    return torch.stack([blueness, redness], dim=2).clamp(0, 1)


def edges(luma_frames: Tensor) -> Tensor:
    """Absolute Sobel responses, (B, T, H, W) -> (B, T, 2, H, W), x then y; borders repeat."""
    across = luma_frames.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([across, across.T]).unsqueeze(1)  # (2, 1, 3, 3)
    frames = luma_frames.flatten(0, 1).unsqueeze(1)  # (B*T, 1, H, W)
    responses = functional.conv2d(functional.pad(frames, (1, 1, 1, 1), mode="replicate"), kernels)
    return torch.unflatten(responses.abs(), 0, luma_frames.shape[:2])


def structural_similarity(images: Tensor, others: Tensor) -> Tensor:
    """Mean SSIM of two stacks of images, (N, C, H, W) in [0, 1], H and W at least 13."""
    mean, other_mean = _blur(images), _blur(others)
    variance = _blur(images**2) - mean**2
    other_variance = _blur(others**2) - other_mean**2
    covariance = _blur(images * others) - mean * other_mean
    steady_mean, steady_variance = SIMILARITY_CONSTANTS
    numerator = (2 * mean * other_mean + steady_mean) * (2 * covariance + steady_variance)
    denominator = (mean**2 + other_mean**2 + steady_mean) * (
        variance + other_variance + steady_variance
    )
    return (numerator / denominator).mean()


def _blur(images: Tensor) -> Tensor:
    """Gaussian means at the positions whose window lies inside the image."""
    offsets = torch.arange(SIMILARITY_WINDOW_PX, device=images.device, dtype=images.dtype)
    bell = torch.exp(-((offsets - SIMILARITY_WINDOW_PX // 2) ** 2) / (2 * SIMILARITY_SIGMA_PX**2))
    bell = bell / bell.sum()
    channels = images.shape[1]
    down = bell.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    along = bell.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return functional.conv2d(
        functional.conv2d(images, down, groups=channels), along, groups=channels
    )
