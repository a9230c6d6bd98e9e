"""How two cameras' clocks relate, as what moves before both tells it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.sync_fit import Clock, Fitted, fit, offset_errors_s, offsets_of
from pipeline.sync_motion import Motion, Movement, Signal, movement_of
from pipeline.sync_search import (
    PEAK_WIDTH_S,
    Agreement,
    agreement,
    blocks_of,
    compare,
    likely_views,
)
from schemas.errors import SyncError
from schemas.recipe import SyncRecipe

MIN_DRIFT_S = 20.0
"""Shorter recordings cannot tell a drift: 100 ppm move the lag by 2 ms, a twentieth of a frame."""

COARSER = 2
"""The view is sought on regions this much larger, which reach further."""

CANDIDATES = 3
"""Views of the search that are refined."""

SIGNIFICANT = 3.3
"""Standard errors by which a drift must differ from none to be used: p = 0.001."""

REMEDY = "give the recording an offset_s, or a span in which the same things move in both views"


@dataclass(frozen=True)
class Evidence:
    """What an estimate rests on, for the report."""

    offsets_s: Signal
    """Offsets tried, (L,)."""
    scores: Signal
    """How well the motion agrees at each, -1 to 1, (L,)."""
    block_times_s: Signal
    """Middles of the blocks on the infrared clock, (B,)."""
    block_offsets_s: Signal
    """What each block alone says, with the drift of all taken into account, (B,)."""
    block_errors_s: Signal
    """Its standard error, (B,)."""


@dataclass(frozen=True)
class ClockFit:
    """infrared time = visible time * (1 + drift) + offset."""

    offset_s: float
    drift_ppm: float
    confidence: float
    evidence: Evidence | None = None
    """None: the clock was declared."""


def estimate_clock(infrared: Motion, visible: Motion, recipe: SyncRecipe) -> ClockFit:
    """Find offset and drift between two clocks from what moves in both views.

    Regional motion of both cameras is slid over each other, through every view that one camera may
    have of the other's image; where they agree best, view and clock are refined together. Nothing
    need be known about the views. Drift is used only where it is certain.

    Args:
        infrared: motion of the infrared camera on its clock.
        visible: motion of the visible camera on its clock.
        recipe: bounds of offset and drift, least confidence.

    Raises:
        SyncError: a view is still, the overlap too short, or no offset clearly better than others.
    """
    here, there = movement_of(infrared, "infrared"), movement_of(visible, "visible")
    found = refined(here, there, nearest(here, there, recipe.max_offset_s), recipe)
    compared = compare(here, there, recipe.max_offset_s)
    agreed = agreement(compared, blocks_of(compared), found.view)
    confidence = confidence_of(agreed, found.clock.offset_s)
    if confidence < recipe.min_confidence:
        raise SyncError(
            f"the best offset, {found.clock.offset_s:.3f} s, has a confidence of "
            f"{confidence:.2f}, below sync.min_confidence {recipe.min_confidence:g}; {REMEDY}"
        )
    drift, offset_s = _on_visible_time(found.clock)
    middles_s = np.array([block.middle_s for block in found.blocks])
    evidence = Evidence(
        offsets_s=agreed.offsets_s,
        scores=agreed.scores(),
        block_times_s=middles_s,
        block_offsets_s=found.clock.offset_s + offsets_of(found),
        block_errors_s=offset_errors_s(found),
    )
    return ClockFit(offset_s, drift * 1e6, confidence, evidence)


def _on_visible_time(clock: Clock) -> tuple[float, float]:
    """Drift and offset such that infrared time = visible time * (1 + drift) + offset."""
    drift = 1 / (1 - clock.drift) - 1
    visible_middle_s = clock.middle_s - clock.offset_s
    return drift, clock.middle_s - visible_middle_s * (1 + drift)


def nearest(here: Movement, there: Movement, max_offset_s: float) -> Fitted:
    """The best of the coarse fits, from every likely view."""
    coarse_here, coarse_there = here.pooled(COARSER), there.pooled(COARSER)
    compared = compare(coarse_here, coarse_there, max_offset_s)
    likely = likely_views(compared, blocks_of(compared), CANDIDATES)
    middle_s = float(here.edges_s[[0, -1]].mean())
    fits = [
        fit(coarse_here, coarse_there, (Clock(middle_s, offset_s), view))
        for view, offset_s in likely
    ]
    return max(fits, key=lambda each: each.correlation)


def refined(here: Movement, there: Movement, start: Fitted, recipe: SyncRecipe) -> Fitted:
    """The fit by all regions, with a drift where there certainly is one."""
    plain = fit(here, there, (start.clock, start.view))
    still = fit(here, there, (plain.clock, plain.view), is_robust=True)
    if here.duration_s < MIN_DRIFT_S or recipe.max_drift_ppm == 0:
        return still
    drifting = fit(here, there, (still.clock, still.view), with_drift=True, is_robust=True)
    error = _drift_error(drifting)
    bounded = abs(drifting.clock.drift) * 1e6 <= recipe.max_drift_ppm
    certain = abs(drifting.clock.drift) > SIGNIFICANT * error
    return drifting if bounded and certain else still


def _drift_error(fitted: Fitted) -> float:
    """Standard error of the drift, from how the blocks scatter about it."""
    times_s = np.array([block.middle_s for block in fitted.blocks])
    errors_s = offset_errors_s(fitted)
    weights = 1 / np.maximum(errors_s, 1e-9) ** 2
    weights /= weights.sum()
    scatter = offsets_of(fitted)
    scatter = scatter - (weights * scatter).sum()
    spread_s = times_s - (weights * times_s).sum()
    variance = (weights * scatter**2).sum() / max(1 - 2 / len(times_s), 0.1) / len(times_s)
    return float(np.sqrt(variance / max((weights * spread_s**2).sum(), 1e-9)))


def confidence_of(agreed: Agreement, offset_s: float) -> float:
    """How far to trust an offset, 0 to 1.

    The lead of its agreement over that of any other offset, in parts of itself, times the share of
    the recording, by how much moves, that says the same for itself.

    Args:
        agreed: over all offsets.
        offset_s: the one in question.
    """
    near = np.abs(agreed.offsets_s - offset_s) <= PEAK_WIDTH_S
    scores = agreed.scores()
    if not near.any() or scores[near].max() <= 0 or near.all():
        return 0.0
    lead = 1 - float(scores[~near].max()) / float(scores[near].max())
    return float(np.clip(lead, 0, 1)) * _share(agreed, near)


def _share(agreed: Agreement, near: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    """The share of movement in blocks that prefer the offsets `near`."""
    place = int(np.flatnonzero(near)[np.argmax(agreed.scores()[near])])
    blocks: Sequence[int] = range(len(agreed.products))
    weight = np.array([float(np.sqrt(_energy(agreed, block, place))) for block in blocks])
    says = np.array([bool(near[np.argmax(agreed.only([b]).scores())]) for b in blocks])
    return float((weight * says).sum() / max(weight.sum(), 1e-12))


def _energy(agreed: Agreement, block: int, place: int) -> float:
    return float(agreed.infrared_energy[block, place] * agreed.visible_energy[block, place])
