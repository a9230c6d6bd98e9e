"""The homography on which blocks of an image agree: local matches, hypotheses and their evolution.

Blocks of the infrared descriptors are matched to the visible ones over all shifts within reach. A
homography is worth the sum of what its shifts earn on these surfaces, so that no block decides
alone and none need be right. Hypotheses through the peaks of four blocks start an evolution of the
shifts of the four corners (CAPTURE.md section 2, step 3).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import corners_of
from pipeline.register_descriptors import Descriptors, Image

BLOCK_PX = 32
"""Side of a block, grid pixels: a fifth of the width at the search's scale."""

STEP_PX = 16
"""From block to block; each overlaps its neighbours by half."""

MIN_COVER = 0.5
"""Share of a block that both images must cover at a shift for the shift to count."""

PEAKS = 3
"""Best shifts of a block that hypotheses go through."""

HYPOTHESES = 2000
POPULATION = 160
"""Best hypotheses that evolve."""

SHRINK, CROSSING = 0.6, 0.7
"""Weight of differences and share of corners exchanged, within differential evolution's usual
ranges (Storn and Price, 1997)."""

SOFTNESS_PX = 1.5
"""Blur of the surfaces: homographies bend blocks, which widens their peaks."""

NEAR_PX = 1.5
"""A block agrees where its best shift is no longer than this; of shifts up to 10 px, 2 % are."""

LEAST_DETERMINANT = 1e-9
"""Of the equations of four point pairs; below it three of the points lie on one line."""

Shifts = NDArray[np.float64]
"""Of the four corners, clockwise from the upper left, grid pixels, (N, 4, 2)."""


@dataclass(frozen=True)
class Surfaces:
    """How well each block matches at every shift."""

    centres: NDArray[np.float64]
    """Of the blocks, x then y, (B, 2)."""
    scores: NDArray[np.float32]
    """Correlation by row and column of the shift, (B, 2 R + 1, 2 R + 1); 0 where too little is
    seen."""
    weights: NDArray[np.float64]
    """Share of the texture that lies in each block, (B,)."""
    height: int
    width: int

    @property
    def reach_px(self) -> int:
        """Largest shift in each direction, grid pixels."""
        return int(self.scores.shape[1] // 2)


def match_blocks(
    here: Descriptors, cover_here: Image, there: Descriptors, cover_there: Image
) -> Surfaces:
    """Surfaces of all blocks.

    Args:
        here: infrared descriptors, (5, H, W).
        cover_here: where they can be trusted, 0 or 1, (H, W).
        there: visible descriptors on the same grid, with a margin of the reach R on all sides,
            (5, H + 2 R, W + 2 R).
        cover_there: the same of them, (H + 2 R, W + 2 R).
    """
    height, width = cover_here.shape
    reach = (cover_there.shape[0] - height) // 2
    side = min(BLOCK_PX, height, width)
    template = here * cover_here
    target = np.ascontiguousarray(there * cover_there)
    energy = _sums((target**2).sum(axis=0), side)
    covered = _sums(cover_there, side) / side**2
    texture = (template**2).sum(axis=0)
    centres, scores, weights = [], [], []
    for top in _starts(height, side):
        for left in _starts(width, side):
            block = (slice(top, top + side), slice(left, left + side))
            own = float(texture[block].sum())
            if own <= 0 or float(cover_here[block].mean()) < MIN_COVER:
                continue
            around = (
                slice(top, top + 2 * reach + side),
                slice(left, left + 2 * reach + side),
            )
            products = sum(
                cv2.matchTemplate(channel[around], part[block], cv2.TM_CCORR)
                for channel, part in zip(target, template, strict=True)
            )
            shifts = (slice(top, top + 2 * reach + 1), slice(left, left + 2 * reach + 1))
            seen = covered[shifts] >= MIN_COVER
            floor = 0.05 * own  # a place without edges correlates by chance
            score = products / np.sqrt(own * np.maximum(energy[shifts], floor))
            # The shift moves the visible block onto the infrared one, against where it was found.
            scores.append(np.where(seen, score, 0)[::-1, ::-1])
            centres.append((left + (side - 1) / 2, top + (side - 1) / 2))
            weights.append(np.sqrt(own))
    size = 2 * reach + 1
    return Surfaces(
        centres=np.array(centres, np.float64).reshape(-1, 2),
        scores=np.array(scores, np.float32).reshape(-1, size, size),
        weights=np.array(weights) / max(sum(weights), 1e-12),
        height=height,
        width=width,
    )


def _starts(length: int, side: int) -> NDArray[np.intp]:
    count = max(1, round((length - side) / STEP_PX) + 1)
    return np.rint(np.linspace(0, length - side, count)).astype(np.intp)


def _sums(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Of every square of that side, by its upper left pixel."""
    total = cv2.boxFilter(
        image, cv2.CV_32F, (side, side), anchor=(0, 0), normalize=False, borderType=0
    )
    height, width = image.shape
    return np.asarray(np.maximum(total, 0)[: height - side + 1, : width - side + 1], np.float32)


def agree(surfaces: Surfaces, rng: np.random.Generator, generations: int) -> tuple[Shifts, float]:
    """The shifts of the corners on which blocks agree best, and the score of that.

    Args:
        surfaces: of at least four blocks.
        rng: of the hypotheses and their evolution.
        generations: of evolution.

    Returns:
        (4, 2), grid pixels; and the weighted mean of the blocks' correlations.
    """
    soft = _softened(surfaces)
    start = _hypotheses(surfaces, soft, rng)
    scores = _worth(surfaces, soft, start)
    order = np.argsort(-scores)[:POPULATION]
    shifts, scores = start[order], scores[order]
    count = len(shifts)
    for _ in range(generations):
        first, second, third = (rng.permutation(count) for _ in range(3))
        towards = np.where(rng.random((count, 1, 1)) < 0.5, shifts[scores.argmax()], shifts[first])
        tried = towards + SHRINK * (shifts[second] - shifts[third])
        tried += rng.normal(0, 0.1, tried.shape)
        tried = np.where(rng.random((count, 4, 1)) < CROSSING, tried, shifts)
        found = _worth(surfaces, soft, tried)
        better = found > scores
        shifts[better], scores[better] = tried[better], found[better]
    best = int(scores.argmax())
    return shifts[best], float(scores[best])


def agreeing(surfaces: Surfaces) -> float:
    """The share of texture in blocks that match best just where they are, 0 to 1.

    A wrong homography gains it by chance alone, since every block is free to prefer another place:
    of two M3SVD clips right ones had 0.36 or more, wrong ones 0.17 or less, however well they fit.
    """
    if not len(surfaces.centres):
        return 0.0
    soft = _softened(surfaces)
    rows, columns = np.divmod(soft.reshape(len(soft), -1).argmax(axis=1), soft.shape[2])
    distance = np.hypot(rows - surfaces.reach_px, columns - surfaces.reach_px)
    return float(surfaces.weights[distance <= NEAR_PX].sum())


def _softened(surfaces: Surfaces) -> NDArray[np.float32]:
    return np.stack([cv2.GaussianBlur(each, (0, 0), SOFTNESS_PX) for each in surfaces.scores])


def _hypotheses(surfaces: Surfaces, soft: NDArray[np.float32], rng: np.random.Generator) -> Shifts:
    """No shift, common shifts and small ones at random, and homographies through four peaks."""
    peaks = _peaks(soft)  # (B, PEAKS, 2)
    centre = surfaces.centres - corners_of((surfaces.height, surfaces.width)).mean(axis=0)
    chosen = np.empty((HYPOTHESES, 4), np.intp)
    for number, (side_x, side_y) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        inside = (centre[:, 0] * side_x > 0) & (centre[:, 1] * side_y > 0)
        places = np.flatnonzero(inside if inside.any() else np.ones(len(centre), bool))
        heights = soft[places].max(axis=(1, 2)).astype(np.float64).clip(1e-3)
        chosen[:, number] = rng.choice(places, HYPOTHESES, p=heights / heights.sum())
    which = rng.choice(PEAKS, (HYPOTHESES, 4), p=(0.6, 0.25, 0.15))
    points = surfaces.centres[chosen]
    moves = peaks[chosen, which]
    homographies = through(points, points + moves)
    corners = corners_of((surfaces.height, surfaces.width))
    shifts = _project(homographies, corners) - corners
    furthest = np.abs(np.nan_to_num(shifts, nan=np.inf)).max(axis=(1, 2))
    sane = np.asarray(furthest < 2 * surfaces.reach_px, np.bool_)
    common = rng.uniform(-0.7, 0.7, (200, 1, 2)) * surfaces.reach_px
    near = rng.normal(0, 0.3 * surfaces.reach_px, (200, 4, 2))
    return np.concatenate([np.zeros((1, 4, 2)), near, common + 0.2 * near, shifts[sane]])


def _peaks(soft: NDArray[np.float32]) -> NDArray[np.float64]:
    """The best shifts of each block that are no neighbours, (B, PEAKS, 2), x then y."""
    reach = soft.shape[1] // 2
    found = np.zeros((len(soft), PEAKS, 2))
    for block, surface in enumerate(soft):
        left = surface.copy()
        for number in range(PEAKS):
            row, column = np.unravel_index(int(left.argmax()), left.shape)
            found[block, number] = column - reach, row - reach
            left[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = -1
    return found


def _worth(surfaces: Surfaces, soft: NDArray[np.float32], shifts: Shifts) -> NDArray[np.float64]:
    """Weighted mean of the correlations of all blocks under the corners' shifts, (N,)."""
    corners = corners_of((surfaces.height, surfaces.width))
    moved = _project(_from_corners(surfaces, corners + shifts), surfaces.centres)
    moved -= surfaces.centres  # (N, B, 2)
    reach, side = surfaces.reach_px, soft.shape[1]
    inside = np.asarray(np.abs(moved).max(axis=-1) <= reach - 0.01)
    place = (np.where(inside[..., None], moved, 0) + reach).astype(np.float32)
    whole = place.astype(np.intp)
    part = place - whole
    right, down = part[..., 0], part[..., 1]
    first = (np.arange(len(soft)) * side + whole[..., 1]) * side + whole[..., 0]
    flat = soft.reshape(-1)
    upper = flat.take(first) * (1 - right) + flat.take(first + 1) * right
    lower = flat.take(first + side) * (1 - right) + flat.take(first + side + 1) * right
    scores = upper * (1 - down) + lower * down
    return np.asarray((scores * inside) @ surfaces.weights, np.float64)


def _from_corners(surfaces: Surfaces, moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """Homographies that take the corners of the grid to others, (N, 3, 3).

    In closed form, from the unit square (Heckbert, 1989, section 2.2.3).

    Args:
        surfaces: of the grid.
        moved: where the corners go, (N, 4, 2).
    """
    first, second, third, fourth = (moved[:, corner] for corner in range(4))
    one, other = second - third, fourth - third
    rest = first - second + third - fourth
    area = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    area = np.where(np.abs(area) < LEAST_DETERMINANT, np.nan, area)
    across = (rest[:, 0] * other[:, 1] - rest[:, 1] * other[:, 0]) / area
    down = (one[:, 0] * rest[:, 1] - one[:, 1] * rest[:, 0]) / area
    found = np.empty((len(moved), 3, 3))
    found[:, :2, 0] = (second - first + across[:, None] * second) / (surfaces.width - 1)
    found[:, :2, 1] = (fourth - first + down[:, None] * fourth) / (surfaces.height - 1)
    found[:, :2, 2] = first
    found[:, 2] = np.stack(
        [across / (surfaces.width - 1), down / (surfaces.height - 1), np.ones_like(area)], axis=1
    )
    return found


def through(points: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """Homographies through four point pairs each; NaN where there is none.

    Args:
        points: (N, 4, 2).
        moved: where they go, (N, 4, 2).

    Returns:
        (N, 3, 3).
    """
    x, y = points[..., 0], points[..., 1]
    u, v = moved[..., 0], moved[..., 1]
    one, none = np.ones_like(x), np.zeros_like(x)
    upper = np.stack([x, y, one, none, none, none, -u * x, -u * y], axis=-1)
    lower = np.stack([none, none, none, x, y, one, -v * x, -v * y], axis=-1)
    system = np.concatenate([upper, lower], axis=1)
    lost = np.abs(np.linalg.det(system))[:, None] < LEAST_DETERMINANT
    safe = np.where(lost[..., None], np.eye(8), system)
    solved = np.linalg.solve(safe, np.concatenate([u, v], axis=1)[..., None])[..., 0]
    solved = np.where(lost, np.nan, solved)
    return np.concatenate([solved, np.ones((len(solved), 1))], axis=1).reshape(-1, 3, 3)


def _project(homographies: NDArray[np.float64], points: NDArray[np.float64]) -> Shifts:
    """Points through every homography, (N, P, 2); NaN or infinite behind the horizon."""
    solid = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    with np.errstate(all="ignore"):
        moved = solid @ homographies.transpose(0, 2, 1)
        depth = np.where(moved[..., 2:] > 1e-3, moved[..., 2:], np.nan)
        return np.asarray(moved[..., :2] / depth, np.float64)
