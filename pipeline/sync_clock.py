"""How two cameras' clocks relate, as what moves before both tells it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.sync_course import Course, course
from pipeline.sync_fit import Clock, Fitted, fit
from pipeline.sync_motion import Motion, Movement, Signal, movement_of
from pipeline.sync_search import PEAK_WIDTH_S, Compared, compare, peaks
from pipeline.sync_views import View, coarse_views
from schemas.errors import SyncError
from schemas.recipe import SyncRecipe

MIN_DRIFT_S = 20.0
"""Shorter recordings cannot tell a drift: 100 ppm move the lag by 2 ms, a twentieth of a frame."""

COARSER = 2
"""The view is sought on regions this much larger, which reach further."""

CANDIDATES = 4
"""Offsets of the search whose views are refined before they are compared."""

COARSE_BLOCKS = 8
"""Blocks that a coarse fit rests on, evenly spread."""

KNOWN_DRIFT = 20e-6
"""Standard error up to which a drift is used: over a minute it moves the ends by 0.6 ms."""

SIGNIFICANT = 3.3
"""Standard errors by which a drift less well known must differ from none: p = 0.001."""

REMEDY = "give the recording an offset_s, or a span in which the same things move in both views"

DRIFT_ROUNDS = 5
"""Straightenings of the course; each leaves a third of what is left, the last less than 1 ppm."""

LINE_ROUNDS = 10

BIWEIGHT = 4.685
"""Tukey's constant: 95 % efficient where all blocks scatter alike (Beaton and Tukey, 1974)."""

Resting = Callable[[Clock], View | None]
"""Gives the view as walls and trees before both cameras tell it, at the instants that a clock holds
for the same; None: they do not."""


@dataclass(frozen=True)
class Evidence:
    """What an estimate rests on, for the report."""

    offsets_s: Signal
    """Offsets tried, (L,)."""
    scores: Signal
    """How well the motion agrees at each through the view that was found, -1 to 1, (L,)."""
    block_times_s: Signal
    """Middles of the blocks on the infrared clock, (B,)."""
    block_offsets_s: Signal
    """What each block alone says, with the drift of all taken into account, (B,)."""
    block_errors_s: Signal
    """Its standard error, (B,)."""
    offset_s: float
    """What all say together."""

    def wander_s(self) -> float:
        """Largest distance of a block from the straight clock.

        Blocks in which so little moves that their errors are twice the usual ones have no say.
        """
        lively = self.block_errors_s <= 2 * np.median(self.block_errors_s)
        return float(np.abs(self.block_offsets_s - self.offset_s)[lively].max())


@dataclass(frozen=True)
class ClockFit:
    """infrared time = visible time * (1 + drift) + offset."""

    offset_s: float
    drift_ppm: float
    confidence: float
    evidence: Evidence | None = None
    """None: the clock was declared."""


@dataclass(frozen=True)
class Start:
    """A clock and a view that are right to a fraction of what moves, and how far to trust them."""

    clock: Clock
    view: View
    confidence: float
    """0 to 1."""


def estimate_clock(
    infrared: Motion, visible: Motion, recipe: SyncRecipe, resting: Resting | None = None
) -> ClockFit:
    """Find offset and drift between two clocks from what moves in both views.

    Regional motion of both cameras is slid over each other, through every view that one camera may
    have of the other's image; where they agree best, view and clock are refined together. Motion
    alone cannot tell a later instant from a view further along a street on which all walk at one
    pace: where it leaves doubt, the view is asked of what rests, in frames of the instants that
    motion holds for the same. Drift is used only where it is
    certain.

    Args:
        infrared: motion of the infrared camera on its clock.
        visible: motion of the visible camera on its clock.
        recipe: bounds of offset and drift, least confidence.
        resting: asked where motion alone leaves doubt; None: nobody can be asked.

    Raises:
        SyncError: a view is still, the overlap too short, or no offset clearly better than others.
    """
    here, there = movement_of(infrared, "infrared"), movement_of(visible, "visible")
    start = by_motion(here, there, recipe)
    if start.confidence < recipe.min_confidence and resting is not None:
        view = resting(start.clock)
        if view is not None:
            frame_s = max(here.period_s, there.period_s)
            start = settled(start, through_view(here, there, view, recipe), frame_s)
    if start.confidence < recipe.min_confidence:
        raise SyncError(
            f"the best offset, {start.clock.offset_s:.3f} s, has a confidence of "
            f"{start.confidence:.2f}, below sync.min_confidence {recipe.min_confidence:g}; {REMEDY}"
        )
    pose = refined(here, there, start, recipe)
    drift, offset_s = _on_visible_time(pose[0])
    evidence = _evidence(here, there, pose, recipe)
    return ClockFit(offset_s, drift * 1e6, start.confidence, evidence)


def settled(freely: Start, shown: Start, frame_s: float) -> Start:
    """The better of two answers, or, where they are one and the same, what both say together.

    Each confidence is read as the chance that its answer is no coincidence, so that of both is
    1 - (1 - a)(1 - b). The motion is the same, but the one search chose its view to suit it, while
    the other was given the view by what rests, which also proves that both cameras film one scene.

    Args:
        freely: by motion alone.
        shown: through the view that what rests tells.
        frame_s: of the slower camera; right answers lie no further apart, coincidences mostly do.
    """
    if abs(freely.clock.offset_s - shown.clock.offset_s) > frame_s:
        return max(freely, shown, key=lambda start: start.confidence)
    doubt = (1 - freely.confidence) * (1 - shown.confidence)
    return replace(shown, confidence=1 - doubt)


def _evidence(
    here: Movement, there: Movement, pose: tuple[Clock, View], recipe: SyncRecipe
) -> Evidence:
    compared = compare(here.pooled(COARSER), there.pooled(COARSER), recipe.max_offset_s)
    said = course(here, there, pose)
    return Evidence(
        offsets_s=compared.offsets_s,
        scores=compared.scores(pose[1]),
        block_times_s=said.times_s,
        block_offsets_s=pose[0].offset_s + said.added_s,
        block_errors_s=said.errors_s,
        offset_s=pose[0].offset_s,
    )


def _on_visible_time(clock: Clock) -> tuple[float, float]:
    """Drift and offset such that infrared time = visible time * (1 + drift) + offset."""
    drift = 1 / (1 - clock.drift) - 1
    visible_middle_s = clock.middle_s - clock.offset_s
    return drift, clock.middle_s - visible_middle_s * (1 + drift)


def by_motion(here: Movement, there: Movement, recipe: SyncRecipe) -> Start:
    """Clock and view as motion alone tells them.

    Every offset is given the view that suits it best. The confidence is the lead of the best one
    over the next, in parts of itself, times the share of blocks that prefer it.
    """
    coarse_here, coarse_there = here.pooled(COARSER), there.pooled(COARSER)
    compared = compare(coarse_here, coarse_there, recipe.max_offset_s)
    views = list(coarse_views(here.aspect, there.aspect))
    scores = compared.searched(views)
    middle_s = float(here.edges_s[[0, -1]].mean())
    fits = []
    for place in peaks(compared.offsets_s, scores.max(axis=0), CANDIDATES):
        clock = Clock(middle_s, float(compared.offsets_s[place]))
        view = views[int(scores[:, place].argmax())]
        fits.append(fit(coarse_here, coarse_there, (clock, view), most=COARSE_BLOCKS))
    overlap = compared.overlap(compared.blocks)

    def score(each: Fitted) -> float:
        """As those of the search: what little overlaps agrees by chance."""
        shared = np.interp(each.clock.offset_s, compared.offsets_s, overlap)
        return each.correlation * float(np.sqrt(shared))

    best = max(fits, key=score)
    rivals = [
        score(each)
        for each in fits
        if abs(each.clock.offset_s - best.clock.offset_s) > PEAK_WIDTH_S
    ]
    curve = compared.scores(best.view)
    far = np.abs(compared.offsets_s - best.clock.offset_s) > PEAK_WIDTH_S
    next_best = max([*rivals, float(curve[far].max(initial=0))])
    lead = float(np.clip(1 - next_best / max(score(best), 1e-9), 0, 1))
    share = agreeing(compared, best.view, best.clock.offset_s)
    return Start(best.clock, best.view, lead * share)


def through_view(here: Movement, there: Movement, view: View, recipe: SyncRecipe) -> Start:
    """The clock as motion tells it through a view that is known."""
    compared = compare(here, there, recipe.max_offset_s)
    scores = compared.scores(view)
    best, *others = peaks(compared.offsets_s, scores, 2)
    next_best = max((float(scores[other]) for other in others), default=0.0)
    lead = float(np.clip(1 - next_best / max(float(scores[best]), 1e-9), 0, 1))
    offset_s = float(compared.offsets_s[best])
    clock = Clock(float(here.edges_s[[0, -1]].mean()), offset_s)
    return Start(clock, view, lead * agreeing(compared, view, offset_s))


def agreeing(compared: Compared, view: View, offset_s: float) -> float:
    """The share of movement in blocks that for themselves prefer an offset, 0 to 1."""
    near = np.abs(compared.offsets_s - offset_s) <= PEAK_WIDTH_S
    place = int(np.argmin(np.abs(compared.offsets_s - offset_s)))
    weights, says = [], []
    for block in compared.blocks:
        energy = block.infrared_energy[place] * block.visible_energy[place]
        weights.append(float(np.sqrt(energy)))
        says.append(bool(near[np.argmax(compared.scores(view, [block]))]))
    return float(np.dot(weights, says) / max(sum(weights), 1e-12))


def refined(
    here: Movement, there: Movement, start: Start, recipe: SyncRecipe
) -> tuple[Clock, View]:
    """The fit by all regions, with a drift where there certainly is one."""
    plain = fit(here, there, (start.clock, start.view))
    still = fit(here, there, (plain.clock, plain.view), is_robust=True)
    if here.duration_s < MIN_DRIFT_S or recipe.max_drift_ppm == 0:
        return still.clock, still.view
    clock = still.clock
    for _ in range(DRIFT_ROUNDS):
        said = course(here, there, (clock, still.view))
        added_s, added_drift, error = line_through(said, clock.middle_s)
        clock = replace(clock, offset_s=clock.offset_s + added_s, drift=clock.drift + added_drift)
    bounded = abs(clock.drift) * 1e6 <= recipe.max_drift_ppm
    certain = error <= KNOWN_DRIFT or abs(clock.drift) > SIGNIFICANT * error
    return (clock if bounded and certain else still.clock), still.view


def line_through(said: Course, middle_s: float) -> tuple[float, float, float]:
    """Offset at `middle_s` and drift of a straight course, and the drift's standard error.

    Blocks far from the line count little (Tukey's biweight): in some, one band shows what the other
    does not.
    """
    since_s = said.times_s - middle_s
    design = np.stack([np.ones_like(since_s), since_s], axis=1)
    known = 1 / np.maximum(said.errors_s, np.median(said.errors_s)) ** 2
    weights = known / known.max()
    for _ in range(LINE_ROUNDS):
        normal = (design * weights[:, None]).T @ design
        found = np.linalg.solve(normal, design.T @ (weights * said.added_s))
        apart_s = said.added_s - design @ found
        spread_s = max(1.4826 * float(np.median(np.abs(apart_s))), 1e-9)
        tame = np.maximum(1 - (apart_s / (BIWEIGHT * spread_s)) ** 2, 0) ** 2
        weights = known / known.max() * tame
    freedom = max(weights.sum() - 2, 1.0)
    variance = float((weights * apart_s**2).sum()) / freedom
    error = np.sqrt(variance * np.linalg.inv((design * weights[:, None]).T @ design)[1, 1])
    return float(found[0]), float(found[1]), float(error)
