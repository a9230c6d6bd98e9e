"""View, offset and drift fitted together, to fractions of a frame and of a region."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.sync_motion import SMOOTH_S, TREND_S, Levels, Movement, Signal
from pipeline.sync_search import BLOCK_S, FINEST_STEP_S, LEAST_BLOCKS, TINY
from pipeline.sync_views import Gathering, View, centres, gathering, similarities

STEPS = 12
"""Most steps of a fit; it has settled after four to eight."""

SETTLED = 1e-6
"""Gain of correlation below which a fit has settled."""

TRUST_S = 0.5
TRUST_REGIONS = 3
"""Over such times and squares of regions trust is measured: more than the fit moves anything, or
it would hold the fit where it is."""

TRUST_POWER = 3
"""Makes trust sharper: at night headlights show in one band what cars show in the other, and lead
the offset astray. Over powers 1 to 3, two simulated nights went from 0.24 to 0.12 frames off."""

ROUNDS = 3
"""How often the trust in every sample is measured anew."""

FITTED_BLOCKS = 24
"""Blocks that view and clock are fitted to; four minutes of footage settle both."""

STEP_PERIODS = (np.sqrt(5) - 1) / 2
"""From sample to sample, in frames of the faster camera. Samples in step with its frames would all
lie at one place between two of them, and that place moves as the clocks drift: minutes of the
simulated rig came out 20 to 40 ppm off. The golden ratio is furthest from any such step."""

EDGE_S = (TREND_S + SMOOTH_S) / 2
"""What is left out where either camera begins or ends: there the means that movement is told by are
cut on one side, which moves what seems to move in time."""

EDGE_SHARE = 0.1
"""Of what both filmed, left out on each side at most."""

RIDGE = 1e-6
"""What holds an unknown where nothing moves, in parts of what moves."""

HALVINGS = 3
"""How often a step that makes it worse is halved before the fit ends."""


@dataclass(frozen=True)
class Clock:
    """visible time = infrared time - offset - drift * (infrared time - middle)."""

    middle_s: float
    """The infrared instant at which the offset holds."""
    offset_s: float
    drift: float = 0.0

    def visible_s(self, infrared_s: Signal) -> Signal:
        """The visible camera's times of infrared instants."""
        return infrared_s - self.offset_s - self.drift * (infrared_s - self.middle_s)


@dataclass(frozen=True)
class Matched:
    """What a fit sees of one block: sums of products of its columns.

    The columns are the infrared movement, the visible one, how the visible one changes with the
    offset, with the six numbers of the view, and with those of its bends where these are asked for.
    """

    middle_s: float
    samples: int
    """Regions times instants."""
    products: Signal
    """(columns, columns)."""


@dataclass(frozen=True)
class Fitted:
    """The clock and the view under which two movements agree best."""

    clock: Clock
    view: View
    blocks: tuple[Matched, ...]

    @property
    def correlation(self) -> float:
        """Of the two movements, -1 to 1."""
        return correlation_of(sum(block.products for block in self.blocks))


OFFSET, VIEW, COLUMNS = 2, slice(3, 9), 9
"""Columns of a match; before them stand the infrared and the visible movement."""


def correlation_of(products: Signal | int) -> float:
    """Of the first two columns of a match."""
    of = np.asarray(products)
    return float(of[0, 1] / np.sqrt(max(of[0, 0] * of[1, 1], TINY)))


@dataclass(frozen=True)
class Part:
    """What moves before the infrared camera in one block."""

    times_s: Signal
    """Evenly spaced, (N,)."""
    infrared: Levels
    """(N, regions)."""
    smooth_s: float
    """Over which movement is averaged."""


def match(
    parts: Sequence[Part],
    visible: Movement,
    pose: tuple[Clock, View],
    trust: Sequence[Levels] | None = None,
    bends: Callable[[Signal], Signal] | None = None,
) -> tuple[Matched, ...]:
    """Lay one movement over the other, block by block.

    Args:
        parts: what moves before the infrared camera.
        visible: what moves before the visible one.
        pose: the clock and the view by which they are laid.
        trust: 0 to 1 for every sample of every block, (N, regions); None: 1.
        bends: how far regions at given places, (regions, 2), move as each of some further numbers
            changes, (numbers, regions), to the right and down alike; None: there are none.
    """
    through = gathering(pose[1], visible.grid)
    middles = centres(visible.grid)
    place = middles.astype(np.float32)
    bent = () if bends is None else bends(middles).astype(np.float32)
    found = []
    for index, part in enumerate(parts):
        times_s = part.times_s
        here, seen = _laid(part, visible, pose[0], through)
        by_time = np.gradient(seen, times_s[1] - times_s[0], axis=0)
        columns = [here, seen, by_time]
        slopes = _slopes(seen, pose[1], visible.grid)
        for slope in slopes:
            columns += [-slope * place[:, 0], -slope * place[:, 1], -slope]
        columns += [-slope * bend for slope in slopes for bend in bent]
        roots = None if trust is None else np.sqrt(trust[index])
        found.append(Matched(float(times_s.mean()), seen.size, _products(columns, roots)))
    return tuple(found)


def _laid(part: Part, visible: Movement, clock: Clock, through: Gathering) -> tuple[Levels, Levels]:
    """Both movements at infrared instants and regions, nothing where one does not see."""
    seen = through.seen(visible.at(clock.visible_s(part.times_s), part.smooth_s))
    return part.infrared * through.cover(), seen


def _slopes(seen: Levels, view: View, grid: tuple[int, int]) -> list[Levels]:
    """How what is seen changes to the right and down in the visible image."""
    rows, columns = grid
    image = seen.reshape(len(seen), rows, columns)
    down = np.gradient(image, 1 / rows, axis=1)
    right = np.gradient(image, 1 / columns, axis=2)
    back = np.linalg.inv(np.array([view.right[:2], view.down[:2]]))  # infrared of visible parts
    return [
        np.asarray(right * back[0, axis] + down * back[1, axis], np.float32).reshape(seen.shape)
        for axis in (0, 1)
    ]


def trusted(parts: Sequence[Part], visible: Movement, pose: tuple[Clock, View]) -> list[Levels]:
    """How far to trust every sample, 0 to 1: little where only one band shows something.

    Headlights, shadows and smoke move before or beside the things that both bands show.
    """
    through = gathering(pose[1], visible.grid)
    found = []
    for part in parts:
        here, seen = _laid(part, visible, pose[0], through)
        energy_here, energy_seen = (max(float((x**2).sum()), TINY) for x in (here, seen))
        here = here * np.float32(np.sqrt(energy_seen / energy_here))
        around = max(1, round(TRUST_S / (part.times_s[1] - part.times_s[0])))
        common = _averaged(2 * here * seen, visible.grid, around)
        either = _averaged(here**2 + seen**2, visible.grid, around)
        either += np.float32(energy_seen / seen.size)
        found.append(np.clip(common / either, 0, 1) ** TRUST_POWER)
    return found


def _averaged(samples: Levels, grid: tuple[int, int], instants: int) -> Levels:
    """Means over regions next to each other and about so many instants, (N, regions)."""
    images = samples.reshape(-1, *grid)
    blurred = np.stack([cv2.blur(image, (TRUST_REGIONS, TRUST_REGIONS)) for image in images])
    flat = blurred.reshape(len(samples), -1)
    return np.asarray(cv2.blur(flat, (1, instants)), np.float32)


def _products(columns: Sequence[Levels], roots: Levels | None) -> Signal:
    flat = np.stack([np.asarray(column, np.float32).ravel() for column in columns])
    if roots is not None:
        flat *= roots.ravel()
    return np.asarray(flat @ flat.T, np.float64)


def parts_of(
    infrared: Movement,
    visible: Movement,
    clock: Clock,
    *,
    most: int | None = None,
    block_s: float = BLOCK_S,
    smooth_s: float = SMOOTH_S,
) -> list[Part]:
    """What moves before the infrared camera while both film, by blocks of about equal length.

    Args:
        infrared: what moves before the infrared camera.
        visible: says when the other one filmed.
        clock: relates the two.
        most: blocks, evenly spread, that are enough; None: all.
        block_s: length of a block, about.
        smooth_s: over which movement is averaged.
    """
    step_s = STEP_PERIODS * max(FINEST_STEP_S, min(infrared.period_s, visible.period_s))
    times_s = np.arange(infrared.edges_s[0], infrared.edges_s[-1], step_s)
    there_s = clock.visible_s(times_s)
    inside = (there_s >= visible.edges_s[0]) & (there_s <= visible.edges_s[-1])
    times_s = times_s[inside]
    edge = min(round(EDGE_S / step_s), int(EDGE_SHARE * times_s.size))
    times_s = times_s[edge : times_s.size - edge]
    count = max(round(times_s.size * step_s / block_s), min(LEAST_BLOCKS, times_s.size), 1)
    blocks = [block for block in np.array_split(times_s, count) if block.size > 1]
    if most is not None and len(blocks) > most:
        blocks = [blocks[round(place)] for place in np.linspace(0, len(blocks) - 1, most)]
    return [Part(block, infrared.at(block, smooth_s), smooth_s) for block in blocks]


def fit(
    infrared: Movement,
    visible: Movement,
    start: tuple[Clock, View],
    *,
    is_robust: bool = False,
    most: int = FITTED_BLOCKS,
) -> Fitted:
    """Improve clock and view together until the movements agree best.

    Gauss-Newton on the difference of the two, one of them scaled freely.

    Args:
        infrared: what moves before the infrared camera.
        visible: what moves before the visible one.
        start: near the truth, by about half of what moves.
        is_robust: whether to trust little what only one band shows; wants a good start.
        most: blocks that are fitted, evenly spread.
    """
    free = np.zeros((COLUMNS, 5))
    free[OFFSET, 0] = 1
    free[VIEW, 1:] = similarities(infrared.aspect, visible.aspect)
    parts = parts_of(infrared, visible, start[0], most=most)
    best, trust = start, None
    for _ in range(ROUNDS if is_robust else 1):
        trust = trusted(parts, visible, best) if is_robust else None
        found = _climbed(parts, visible, best, trust, free)
        best = found.clock, found.view
    return found


def _climbed(
    parts: Sequence[Part],
    visible: Movement,
    start: tuple[Clock, View],
    trust: Sequence[Levels] | None,
    free: Signal,
) -> Fitted:
    """The best fit that steps in the free directions lead to."""
    best = Fitted(*start, match(parts, visible, start, trust))
    clock_alone = free[:, free[: VIEW.start].any(axis=0)]
    for _ in range(STEPS):
        before = best.correlation
        for directions in (free, clock_alone):
            step = solved(best.blocks, directions)
            for _ in range(HALVINGS):
                pose = _stepped(best, step)
                tried = Fitted(*pose, match(parts, visible, pose, trust))
                if tried.correlation > best.correlation:
                    best = tried
                    break
                step /= 2
            if best.correlation > before:
                break
        if best.correlation - before < SETTLED:
            break
    return best


def _stepped(fitted: Fitted, step: Signal) -> tuple[Clock, View]:
    clock = replace(fitted.clock, offset_s=fitted.clock.offset_s + float(step[OFFSET]))
    return clock, fitted.view.moved(step[VIEW])


def solved(blocks: Sequence[Matched], free: Signal) -> Signal:
    """The step of all columns by least squares, the infrared movement being scaled freely.

    Args:
        blocks: what is to be explained.
        free: the directions in which the columns may be stepped, (columns, directions).
    """
    products = np.asarray(sum(block.products for block in blocks))
    scaled = np.zeros((COLUMNS, 1 + free.shape[1]))
    scaled[0, 0] = 1
    scaled[:, 1:] = free
    normal = scaled.T @ products @ scaled
    found = least_squares(normal, scaled.T @ products[1], np.full(len(normal), RIDGE))
    return np.asarray(free @ found[1:], np.float64)


def least_squares(normal: Signal, wanted: Signal, ridge: Signal) -> Signal:
    """The solution of normal equations whose unknowns may be of any size, or not be told at all.

    Args:
        normal: (N, N).
        wanted: (N,).
        ridge: what holds each unknown, in parts of what tells it, (N,).
    """
    size = np.sqrt(np.maximum(np.diag(normal), TINY))
    scaled = normal / np.outer(size, size) + np.diag(ridge)
    return np.asarray(np.linalg.solve(scaled, wanted / size) / size, np.float64)
