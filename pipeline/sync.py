"""Sync: how the two cameras' clocks relate, and which frames belong together in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.sync_motion import (
    PEAK_WIDTH_S,
    Activity,
    Motion,
    Signal,
    activity_of,
    agreement,
    find_view,
)
from pipeline.workspace import (
    Workspace,
    has_arrays,
    load,
    load_arrays,
    save,
    save_arrays,
)
from schemas.base import fingerprint
from schemas.catalog import RecordingPlan
from schemas.errors import SyncError, WorkspaceError
from schemas.facts import IngestFacts, SyncFacts
from schemas.recipe import SyncRecipe

STAGE_VERSION = 1
"""Raised with any change that moves a number below."""

STEPS_PER_PERIOD = 2
"""Grid steps in a frame period of the faster camera: keeps what the frames sampled."""

MIN_DRIFT_S = 20.0
"""Shorter recordings cannot tell a drift: 100 ppm move the lag by 2 ms, a twentieth of a frame."""

DRIFT_STEP_PPM = 10.0
"""First search of the drift; refined by a parabola."""

SAMPLES_AT_ONCE = 2048
"""Instants whose regions are moved together; keeps hours of footage out of the memory."""

REMEDY = "give the recording an offset_s, or a span in which the same things move in both views"

SIGNIFICANT = 10.8
"""Likelihood ratio above which a drift is used: chi-squared, one degree of freedom, p = 0.001."""


@dataclass(frozen=True)
class ClockFit:
    """infrared time = visible time * (1 + drift) + offset."""

    offset_s: float
    drift_ppm: float
    confidence: float


@dataclass(frozen=True)
class Pairs:
    """Frames that belong together, in time order."""

    infrared_frames: NDArray[np.int64]
    visible_frames: NDArray[np.int64]
    residual_s: Signal
    """Infrared instant minus visible instant on the infrared clock, (P,)."""


def estimate_clock(infrared: Motion, visible: Motion, recipe: SyncRecipe) -> ClockFit:
    """Find offset and drift between two clocks from what moves in both views.

    Regional motion of both cameras is slid over each other, through every view that one camera may
    have of the other's image; the offset where they agree best wins. Drift is fitted with it where
    the recording is long enough, and used only where it explains significantly more.

    Args:
        infrared: motion of the infrared camera on its clock.
        visible: motion of the visible camera on its clock.
        recipe: bounds of offset and drift, least confidence.

    Raises:
        SyncError: a view is still, the overlap too short, or no offset clearly better than others.
    """
    step_s = min(_period_s(infrared.times_s), _period_s(visible.times_s)) / STEPS_PER_PERIOD
    here = activity_of(infrared, step_s, "infrared")
    there = activity_of(visible, step_s, "visible")
    view, found = find_view(here, there, recipe.max_offset_s)
    offset_s = float(found.offsets_s[found.best])
    confidence = float(np.clip(found.scores[found.best] - found.second(), 0, 1))
    seen = there.seen_as(view)
    if confidence < recipe.min_confidence:
        raise SyncError(
            f"the best offset, {offset_s:.3f} s, has a confidence of {confidence:.2f}, below "
            f"sync.min_confidence {recipe.min_confidence:g}; {REMEDY}"
        )
    for half, activity in zip(("first", "second"), here.halves(), strict=True):
        other = agreement(activity, seen, recipe.max_offset_s)
        half_s = float(other.offsets_s[other.best])
        if abs(half_s - offset_s) > PEAK_WIDTH_S:
            raise SyncError(
                f"the {half} half of the recording says {half_s:.3f} s where the whole says "
                f"{offset_s:.3f} s; {REMEDY}"
            )
    offset_s, drift_ppm = _refined(here, seen, offset_s, recipe.max_drift_ppm)
    return ClockFit(offset_s, drift_ppm, confidence)


def _period_s(times_s: Signal) -> float:
    return float(np.median(np.diff(times_s)))


def _refined(
    here: Activity, there: Activity, offset_s: float, max_drift_ppm: float
) -> tuple[float, float]:
    """Offset and drift by which the activities agree best, to fractions of a grid step."""
    here_s, there_s = here.times_s(), there.times_s()
    infrared, visible = here.flat(), there.flat()
    middle_s = float(here_s.mean())

    def agreement(middle_offset_s: float, drift_ppm: float) -> float:
        moved_s = (here_s - middle_offset_s) - (here_s - middle_s) * drift_ppm * 1e-6
        inside = np.flatnonzero((moved_s >= there_s[0]) & (moved_s <= there_s[-1]))
        place = (moved_s[inside] - there_s[0]) / there.step_s
        before = np.minimum(place.astype(np.int64), len(visible) - 2)
        sums = np.zeros(3)
        for first in range(0, inside.size, SAMPLES_AT_ONCE):
            part = slice(first, first + SAMPLES_AT_ONCE)
            share = (place[part] - before[part])[:, None].astype(np.float32)
            moved = visible[before[part]] * (1 - share) + visible[before[part] + 1] * share
            still = infrared[inside[part]]
            sums += ((still * moved).sum(), (still**2).sum(), (moved**2).sum())
        return float(sums[0] / max(np.sqrt(sums[1] * sums[2]), np.finfo(np.float64).tiny))

    def best_offset(drift_ppm: float, around_s: float) -> tuple[float, float]:
        tried_s = around_s + np.linspace(-2, 2, 9) * here.step_s
        scores = np.array([agreement(float(x), drift_ppm) for x in tried_s])
        return _parabola_peak(tried_s, scores)

    still_s, still_score = best_offset(0.0, offset_s)
    duration_s = float(here_s[-1] - here_s[0])
    if duration_s < MIN_DRIFT_S or max_drift_ppm == 0:
        return still_s, 0.0
    drifts = np.arange(-max_drift_ppm, max_drift_ppm + 1, DRIFT_STEP_PPM)
    fits = [best_offset(float(drift), still_s) for drift in drifts]
    drift_ppm, _ = _parabola_peak(drifts, np.array([score for _, score in fits]))
    drift_ppm = float(np.clip(drift_ppm, -max_drift_ppm, max_drift_ppm))
    middle_offset_s, score = best_offset(drift_ppm, still_s)
    frames = duration_s / (STEPS_PER_PERIOD * here.step_s)
    gain = frames * np.log((1 - still_score**2) / max(1 - score**2, np.finfo(np.float64).eps))
    if gain < SIGNIFICANT:
        return still_s, 0.0
    # infrared = visible * (1 + drift) + offset, and the fit's offset holds in the middle.
    visible_middle_s = middle_s - middle_offset_s
    return middle_s - visible_middle_s * (1 + drift_ppm * 1e-6), drift_ppm


def _parabola_peak(places: Signal, scores: Signal) -> tuple[float, float]:
    """Place and height of the highest point of a parabola through the best score's neighbours."""
    best = int(np.clip(np.argmax(scores), 1, len(scores) - 2))
    before, at, after = scores[best - 1 : best + 2]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    shift = float(np.clip(shift, -1, 1))
    return float(places[best] + shift * (places[1] - places[0])), float(scores.max())


def pair_frames(
    infrared_times_s: Signal,
    visible_times_s: Signal,
    *,
    offset_s: float,
    drift_ppm: float,
    max_residual_s: float,
) -> Pairs:
    """Pair frames by time: mutual nearest neighbours no further apart than `max_residual_s`.

    A frame whose nearest partner has a nearer one stays alone, so no frame is used twice and
    order is kept.

    Args:
        infrared_times_s: instants on the infrared clock, increasing, (T,).
        visible_times_s: instants on the visible clock, increasing, (U,).
        offset_s: to add to visible time to get infrared time, after the drift.
        drift_ppm: by how much the visible second is longer, parts per million.
        max_residual_s: largest distance of a pair's instants.
    """
    moved_s = visible_times_s * (1 + drift_ppm * 1e-6) + offset_s
    partners = _nearest(infrared_times_s, moved_s)
    back = _nearest(moved_s, infrared_times_s)
    frames = np.arange(infrared_times_s.size)
    residual_s = infrared_times_s - moved_s[partners]
    kept = (back[partners] == frames) & (np.abs(residual_s) <= max_residual_s)
    return Pairs(frames[kept], partners[kept], residual_s[kept])


def _nearest(times_s: Signal, others_s: Signal) -> NDArray[np.int64]:
    """For each instant the index of the nearest other one; the earlier of two as near."""
    after = np.clip(np.searchsorted(others_s, times_s), 1, max(1, others_s.size - 1))
    if others_s.size == 1:
        return np.zeros(times_s.size, np.int64)
    nearer_before = times_s - others_s[after - 1] <= others_s[after] - times_s
    return (after - nearer_before).astype(np.int64)


def _usable_pairs(
    signals: Mapping[str, NDArray[np.generic]], fit: ClockFit, recipe: SyncRecipe
) -> Pairs:
    """Pairs of the usable frames, by their indices in the files.

    Raises:
        SyncError: there is none.
    """
    usable = {b: np.flatnonzero(signals[f"{b}_usable"]) for b in ("infrared", "visible")}
    times_s = {b: signals[f"{b}_times_s"].astype(np.float64) for b in usable}
    slower_s = max(_period_s(times) for times in times_s.values())
    pairs = pair_frames(
        times_s["infrared"][usable["infrared"]],
        times_s["visible"][usable["visible"]],
        offset_s=fit.offset_s,
        drift_ppm=fit.drift_ppm,
        max_residual_s=recipe.max_residual_frames * slower_s,
    )
    if pairs.residual_s.size == 0:
        spans = [f"{b} {t[0]:.3f} to {t[-1]:.3f} s" for b, t in times_s.items()]
        raise SyncError(
            f"at an offset of {fit.offset_s:.3f} s no frame has a partner within "
            f"{recipe.max_residual_frames * slower_s:.3f} s ({', '.join(spans)}); correct offset_s "
            "or the timestamps"
        )
    return Pairs(
        usable["infrared"][pairs.infrared_frames],
        usable["visible"][pairs.visible_frames],
        pairs.residual_s,
    )


def sync_fingerprint(plan: RecordingPlan, upstream: str) -> str:
    """What the facts of sync depend on.

    Args:
        plan: the recording and its recipe.
        upstream: the fingerprint of ingest.
    """
    return fingerprint(
        "sync",
        STAGE_VERSION,
        upstream,
        plan.recording.registered,
        plan.recording.offset_s,
        plan.recipe.sync,
    )


def run_sync(plan: RecordingPlan, workspace: Workspace) -> SyncFacts:
    """Relate the clocks of an ingested recording, pair its frames, save both.

    Raises:
        WorkspaceError: ingest has left nothing to work on.
        SyncError: the clocks cannot be related, or no frame has a partner.
    """
    recording = plan.recording
    upstream = load(workspace.facts(recording.id, "ingest"), IngestFacts)
    if upstream is None:
        raise WorkspaceError(f"{recording.id} has no facts of ingest; build it from the start")
    identity = sync_fingerprint(plan, upstream.fingerprint)
    path, pairs_path = workspace.facts(recording.id, "sync"), workspace.pairs(recording.id)
    saved = load(path, SyncFacts)
    if (
        saved is not None
        and saved.fingerprint == identity
        and has_arrays(pairs_path, fingerprint=identity)
    ):
        return saved
    signals = load_arrays(workspace.signals(recording.id), fingerprint=upstream.fingerprint)
    source: Literal["estimated", "declared", "registered"] = "estimated"
    if recording.registered:
        source, fit = "registered", ClockFit(0.0, 0.0, 1.0)
    elif recording.offset_s is not None:
        source, fit = "declared", ClockFit(recording.offset_s, 0.0, 1.0)
    else:
        infrared, visible = (
            Motion(
                signals[f"{band}_times_s"].astype(np.float64),
                signals[f"{band}_motion"].astype(np.float32),
            )
            for band in ("infrared", "visible")
        )
        fit = estimate_clock(infrared, visible, plan.recipe.sync)
    pairs = _usable_pairs(signals, fit, plan.recipe.sync)
    facts = SyncFacts(
        recording=recording.id,
        fingerprint=identity,
        source=source,
        offset_s=fit.offset_s,
        drift_ppm=fit.drift_ppm,
        confidence=fit.confidence,
        pairs=pairs.residual_s.size,
        mean_residual_s=float(np.abs(pairs.residual_s).mean()),
        max_residual_s=float(np.abs(pairs.residual_s).max()),
        unpaired_infrared=signals["infrared_times_s"].size - pairs.residual_s.size,
    )
    save_arrays(
        {
            "infrared_frames": pairs.infrared_frames,
            "visible_frames": pairs.visible_frames,
            "residual_s": pairs.residual_s,
            "infrared_times_s": signals["infrared_times_s"][pairs.infrared_frames],
        },
        pairs_path,
        workspace,
        fingerprint=identity,
    )
    save(facts, path, workspace)
    return facts
