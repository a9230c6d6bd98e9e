"""The metrics of fusion as one writes them down in NumPy, frame by frame, to measure against.

All take grey levels, uint8 (H, W), but for flowD.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
Floats = NDArray[np.float64]


def entropy(frame: Levels) -> float:
    counts, _ = np.histogram(frame, bins=256, range=(0, 256))
    shares = counts[counts > 0] / frame.size
    return float(-(shares * np.log2(shares)).sum())


def mutual_information(fused: Levels, sources: tuple[Levels, Levels]) -> float:
    total = 0.0
    for source in sources:
        bounds = [[0, 256], [0, 256]]
        counts, _, _ = np.histogram2d(source.ravel(), fused.ravel(), bins=256, range=bounds)
        shares = counts[counts > 0] / fused.size
        joint = float(-(shares * np.log2(shares)).sum())
        total += entropy(source) + entropy(fused) - joint
    return total


def deviation(fused: Levels) -> float:
    return float(fused.std())


def filtered(image: Floats, window: Floats) -> Floats:
    """Where the whole window lies inside."""
    found = np.einsum("ijkl,kl->ij", sliding_window_view(image, window.shape), window)
    return np.asarray(found, np.float64)


def gaussian(width: int, sigma_px: float) -> Floats:
    distances = np.arange(width) - (width - 1) / 2
    heights = np.exp(-0.5 * (distances / sigma_px) ** 2)
    window = np.outer(heights, heights)
    return np.asarray(window / window.sum(), np.float64)


def structural_similarity(fused: Levels, source: Levels) -> float:
    window = gaussian(11, 1.5)
    one, other = (np.pad(each.astype(np.float64), 5, mode="edge") for each in (fused, source))
    mean, other_mean = filtered(one, window), filtered(other, window)
    variance = filtered(one**2, window) - mean**2
    other_variance = filtered(other**2, window) - other_mean**2
    covariance = filtered(one * other, window) - mean * other_mean
    bright, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean * other_mean + bright) * (2 * covariance + contrast)
    below = (mean**2 + other_mean**2 + bright) * (variance + other_variance + contrast)
    return float((above / below).mean())


def visual_fidelity(fused_levels: Levels, reference_levels: Levels) -> float:
    fused, reference = fused_levels.astype(np.float64), reference_levels.astype(np.float64)
    kept = whole = 0.0
    for scale in range(1, 5):
        width = 2 ** (5 - scale) + 1
        window = gaussian(width, width / 5)
        if scale > 1:
            reference, fused = (filtered(x, window)[::2, ::2] for x in (reference, fused))
        mean, other_mean = filtered(reference, window), filtered(fused, window)
        variance = np.maximum(0, filtered(reference**2, window) - mean**2)
        other_variance = np.maximum(0, filtered(fused**2, window) - other_mean**2)
        covariance = filtered(reference * fused, window) - mean * other_mean
        gain = covariance / (variance + 1e-10)
        noise = other_variance - gain * covariance
        gain[variance < 1e-10] = 0
        noise[variance < 1e-10] = other_variance[variance < 1e-10]
        variance[variance < 1e-10] = 0
        gain[other_variance < 1e-10] = 0
        noise[other_variance < 1e-10] = 0
        noise[gain < 0] = other_variance[gain < 0]
        gain[gain < 0] = 0
        noise = np.maximum(noise, 1e-10)
        kept += float(np.log10(1 + gain**2 * variance / (noise + 2)).sum())
        whole += float(np.log10(1 + variance / 2).sum())
    return kept / whole


def average_gradient(fused: Levels) -> float:
    down, across = np.gradient(fused.astype(np.float64))
    height, width = fused.shape
    return float(np.sqrt((across**2 + down**2) / 2).sum() / ((height - 1) * (width - 1)))


def spatial_frequency(fused: Levels) -> float:
    levels = fused.astype(np.float64)
    across, down = np.diff(levels, axis=1), np.diff(levels, axis=0)
    return math.sqrt((across**2).mean() + (down**2).mean())


def correlation(one: Levels | Floats, other: Levels) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def difference_correlation(fused: Levels, sources: tuple[Levels, Levels]) -> float:
    one, other = sources
    levels = fused.astype(np.float64)
    return correlation(levels - other, one) + correlation(levels - one, other)


def edge_preservation(fused: Levels, sources: tuple[Levels, Levels]) -> float:
    strength, angle = _edges(fused)
    kept = whole = 0.0
    for source in sources:
        other, other_angle = _edges(source)
        weaker, stronger = np.minimum(other, strength), np.maximum(other, strength)
        ratio = np.where(other == strength, strength, weaker / np.maximum(stronger, 1e-10))
        likeness = 1 - np.abs(other_angle - angle) / (math.pi / 2)
        quality = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
        quality = quality * 0.9879 / (1 + np.exp(-22 * (likeness - 0.8)))
        kept += float((quality * other).sum())
        whole += float(other.sum())
    return kept / whole


def _edges(image: Levels) -> tuple[Floats, Floats]:
    padded = np.pad(image.astype(np.float64), 1)
    across = filtered(padded, np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]))
    down = filtered(padded, np.array([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]))
    angle = np.full_like(across, math.pi / 2)
    np.divide(down, across, out=angle, where=across != 0)
    angle[across != 0] = np.arctan(angle[across != 0])
    return np.sqrt(across**2 + down**2), angle


def warped_distance(before: Floats, after: Floats, flow: Floats) -> float:
    """One step of flowD: RGB (H, W, 3) frames and the flow (H, W, 2) from the later one."""
    height, width = before.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    x = np.clip(columns + flow[..., 0], 0, width - 1)
    y = np.clip(rows + flow[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    moved = (1 - down) * ((1 - across) * before[top, left] + across * before[top, right])
    moved += down * ((1 - across) * before[below, left] + across * before[below, right])
    return float(np.sqrt(((after - moved) ** 2).sum(axis=2)).mean())
