"""What an alignment rests on: both bands before and after, and how well each part agrees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import full_frame, resample, visible_maps
from pipeline.register import undistorted_levels
from pipeline.register_residuals import Residuals, kept_residuals
from pipeline.sync import kept_evidence, motion_of
from pipeline.sync_clock import ClockFit, Evidence, estimate_clock
from pipeline.sync_motion import usual_period_s
from pipeline.video_files import Frame, read_frames_at
from pipeline.workspace import Workspace, load, load_arrays
from schemas.base import BANDS, Band, Matrix3x3
from schemas.catalog import RecordingPlan
from schemas.errors import SyncError, WorkspaceError
from schemas.facts import Alignment, IngestFacts, RegisterFacts, SyncFacts

LIVELY = 0.9
"""Quantile of motion of the instant that is shown: something moves, and no flash is on."""

Signals = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Views:
    """One instant as both cameras show it, on the grid of the undistorted infrared image."""

    infrared: NDArray[np.uint8]
    """(H, W)."""
    as_recorded: NDArray[np.uint8]
    """The visible frame of the same time in its file, stretched to that size, RGB (H, W, 3)."""
    registered: NDArray[np.uint8] | None
    """The visible frame of the same instant through the homography; None: there is none."""
    time_s: float
    """On the infrared clock."""


@dataclass(frozen=True)
class Clocks:
    """How the offset was found, and which frames it pairs."""

    evidence: Evidence | None
    """None: the offset was declared, or nothing moves."""
    offset_s: float
    drift_ppm: float
    middle_s: float
    """Of the infrared recording, on its clock."""
    period_s: float
    """Of the slower camera."""

    def offset_at(self, infrared_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Infrared time less visible time at instants of the infrared clock, seconds."""
        drift = self.drift_ppm * 1e-6
        return np.asarray((infrared_s * drift + self.offset_s) / (1 + drift), np.float64)


@dataclass(frozen=True)
class Found:
    """All that an alignment rests on."""

    views: Views
    clocks: Clocks
    misses: Residuals | None
    """None: there is no homography."""


def lively_frames(signals: Signals, pairs: Signals | None) -> tuple[int, int]:
    """An infrared frame before which much moves, and the visible frame of that instant.

    Args:
        signals: what ingest measured.
        pairs: what sync paired; None: nothing, then the frame of the same time in the file.
    """
    if pairs is not None:
        infrared = pairs["infrared_frames"].astype(int)
        visible = pairs["visible_frames"].astype(int)
    else:
        infrared = np.flatnonzero(signals["infrared_usable"])
        visible = _same_time(signals, infrared)
    motion = signals["infrared_motion"][infrared].reshape(len(infrared), -1).mean(axis=1)
    place = int(np.argsort(motion)[int(LIVELY * (len(motion) - 1))])
    return int(infrared[place]), int(visible[place])


def _same_time(signals: Signals, infrared: NDArray[np.intp]) -> NDArray[np.intp]:
    """The visible frame as long after the first one as each infrared frame is after its first."""
    since = {
        band: signals[f"{band}_times_s"].astype(float) - float(signals[f"{band}_times_s"][0])
        for band in BANDS
    }
    after = np.searchsorted(since["visible"], since["infrared"][infrared])
    return np.asarray(np.clip(after, 0, since["visible"].size - 1), np.intp)


def refused_clock(plan: RecordingPlan, ingest: IngestFacts, signals: Signals) -> ClockFit:
    """The estimate that was too uncertain; without evidence where nothing can be compared."""
    try:
        return estimate_clock(
            motion_of(signals, "infrared", ingest.infrared),
            motion_of(signals, "visible", ingest.visible),
            plan.recipe.sync.model_copy(update={"min_confidence": 0.0}),
        )
    except SyncError:
        return ClockFit(0.0, 0.0, 0.0)


def clocks_of(signals: Signals, fit: ClockFit) -> Clocks:
    """A clock with the evidence for it, beside the recording's middle and rate."""
    times_s = [signals[f"{band}_times_s"].astype(np.float64) for band in BANDS]
    return Clocks(
        evidence=fit.evidence,
        offset_s=fit.offset_s,
        drift_ppm=fit.drift_ppm,
        middle_s=float(times_s[0][[0, -1]].mean()),
        period_s=max(usual_period_s(times) for times in times_s),
    )


def run_evidence(plan: RecordingPlan, workspace: Workspace, answer: Alignment) -> Found:
    """Read again what an answer rests on.

    Args:
        plan: of the recording.
        workspace: with the facts of all stages that ended well; those of ingest at least.
        answer: what was found.

    Raises:
        WorkspaceError: there are no facts of ingest.
        VideoError: a frame cannot be decoded.
    """
    recording = plan.recording.id
    ingest = load(workspace.facts(recording, "ingest"), IngestFacts)
    if ingest is None:
        raise WorkspaceError(f"{recording} has no facts of ingest; build it from the start")
    signals = load_arrays(workspace.signals(recording), fingerprint=ingest.fingerprint)
    sync = load(workspace.facts(recording, "sync"), SyncFacts)
    pairs = None
    if sync is not None:
        pairs = load_arrays(workspace.pairs(recording), fingerprint=sync.fingerprint)
        fit = ClockFit(sync.offset_s, sync.drift_ppm, sync.confidence, kept_evidence(pairs))
    else:
        fit = refused_clock(plan, ingest, signals)
    register = load(workspace.facts(recording, "register"), RegisterFacts)
    misses = None
    if register is not None and register.source == "estimated":
        kept = load_arrays(workspace.residuals(recording), fingerprint=register.fingerprint)
        misses = kept_residuals(kept)
    return Found(
        views=_run_views(plan, ingest, (signals, pairs), answer.homography),
        clocks=clocks_of(signals, fit),
        misses=misses,
    )


def _run_views(
    plan: RecordingPlan,
    ingest: IngestFacts,
    measured: tuple[Signals, Signals | None],
    homography: Matrix3x3 | None,
) -> Views:
    signals, pairs = measured
    shown, partner = lively_frames(signals, pairs)
    unpaired = int(_same_time(signals, np.array([shown]))[0])
    infrared, *_ = _run_frames(plan, "infrared", [shown])
    before, after = _run_frames(plan, "visible", [unpaired, partner])
    grid = full_frame(plan.rig.infrared)
    registered = None
    if homography is not None:
        maps = visible_maps(plan.rig, homography, grid)
        registered = np.asarray(after if maps is None else resample(after, maps), np.uint8)
    stretched = cv2.resize(before, grid[2:], interpolation=cv2.INTER_AREA)
    return Views(
        infrared=undistorted_levels([infrared], plan.rig.infrared, ingest.infrared.tone)[0],
        as_recorded=np.asarray(stretched, np.uint8),
        registered=registered,
        time_s=float(signals["infrared_times_s"][shown]),
    )


def _run_frames(plan: RecordingPlan, band: Band, frames: Sequence[int]) -> list[Frame]:
    path = plan.data_root / getattr(plan.recording, band)
    layout = getattr(plan.recording.layouts, band)
    return list(read_frames_at(path, band, frames, layout=layout))
