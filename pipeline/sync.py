"""Sync: how the two cameras' clocks relate, and which frames belong together in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.sync_clock import ClockFit, Evidence, estimate_clock
from pipeline.sync_motion import Motion, Signal, usual_period_s
from pipeline.sync_resting import run_resting_view
from pipeline.workspace import (
    Workspace,
    has_arrays,
    load,
    load_arrays,
    save,
    save_arrays,
)
from schemas.base import BANDS, fingerprint
from schemas.catalog import RecordingPlan
from schemas.errors import SyncError, WorkspaceError
from schemas.facts import IngestFacts, StreamFacts, SyncFacts
from schemas.recipe import SyncRecipe

STAGE_VERSION = 5
"""Raised with any change that moves a number below."""


@dataclass(frozen=True)
class Pairs:
    """Frames that belong together, in time order."""

    infrared_frames: NDArray[np.int64]
    visible_frames: NDArray[np.int64]
    residual_s: Signal
    """Infrared instant minus visible instant on the infrared clock, (P,)."""


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
    usable = {b: np.flatnonzero(signals[f"{b}_usable"]) for b in BANDS}
    times_s = {b: signals[f"{b}_times_s"].astype(np.float64) for b in usable}
    slower_s = max(usual_period_s(times) for times in times_s.values())
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


def motion_of(signals: Mapping[str, NDArray[np.generic]], band: str, stream: StreamFacts) -> Motion:
    """What ingest measured of one camera, less frames that show nothing new.

    A repeated frame is left out, as the change after it is that since the frame before it. About a
    dead frame nothing is known to move.
    """
    levels = signals[f"{band}_motion"].astype(np.float32)
    for frame in stream.dead_frames:
        levels[frame : frame + 2] = np.median(levels, axis=0)
    kept = np.setdiff1d(np.arange(len(levels)), stream.repeated_frames)
    times_s = signals[f"{band}_times_s"].astype(np.float64)
    return Motion(times_s[kept], levels[kept], stream.width / stream.height)


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
        repr(plan.recording.homography),
        plan.rig,
        plan.recipe.register_,
        plan.recipe.sync,
    )


def evidence_arrays(evidence: Evidence | None) -> dict[str, Signal]:
    """What is kept of an estimate for the report, by name; nothing of a declared clock."""
    if evidence is None:
        return {}
    return {
        "evidence_offsets_s": evidence.offsets_s,
        "evidence_scores": evidence.scores,
        "evidence_block_times_s": evidence.block_times_s,
        "evidence_block_offsets_s": evidence.block_offsets_s,
        "evidence_block_errors_s": evidence.block_errors_s,
        "evidence_offset_s": np.array(evidence.offset_s),
    }


def kept_evidence(pairs: Mapping[str, NDArray[np.generic]]) -> Evidence | None:
    """What sync kept of its estimate; None: the offset was declared."""
    if "evidence_offset_s" not in pairs:
        return None
    return Evidence(
        offsets_s=pairs["evidence_offsets_s"].astype(np.float64),
        scores=pairs["evidence_scores"].astype(np.float64),
        block_times_s=pairs["evidence_block_times_s"].astype(np.float64),
        block_offsets_s=pairs["evidence_block_offsets_s"].astype(np.float64),
        block_errors_s=pairs["evidence_block_errors_s"].astype(np.float64),
        offset_s=float(pairs["evidence_offset_s"].astype(np.float64)),
    )


def run_sync(plan: RecordingPlan, workspace: Workspace) -> SyncFacts:
    """Relate the clocks of an ingested recording, pair its frames, save both.

    Raises:
        WorkspaceError: ingest has left nothing to work on.
        SyncError: the clocks cannot be related, or no frame has a partner.
        VideoError: a frame cannot be decoded.
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
        fit = estimate_clock(
            motion_of(signals, "infrared", upstream.infrared),
            motion_of(signals, "visible", upstream.visible),
            plan.recipe.sync,
            lambda clock: run_resting_view(
                plan,
                upstream,
                {
                    "infrared": signals["infrared_times_s"].astype(np.float64),
                    "visible": signals["visible_times_s"].astype(np.float64),
                },
                clock,
            ),
        )
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
        wander_s=None if fit.evidence is None else fit.evidence.wander_s(),
    )
    save_arrays(
        {
            "infrared_frames": pairs.infrared_frames,
            "visible_frames": pairs.visible_frames,
            "residual_s": pairs.residual_s,
            "infrared_times_s": signals["infrared_times_s"][pairs.infrared_frames],
            **evidence_arrays(fit.evidence),
        },
        pairs_path,
        workspace,
        fingerprint=identity,
    )
    save(facts, path, workspace)
    return facts
