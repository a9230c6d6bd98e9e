"""The view as walls and trees before both cameras tell it, for clocks that motion leaves in doubt.

Frames of the same instants show them alike; before a rig that stands still, frames of any do. So
they are taken from the instants that motion, though in doubt, holds for the same: where it is
wrong and the rig moves, registration refuses.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.register import undistorted_levels
from pipeline.register_estimate import estimate_homography
from pipeline.sync_fit import Clock
from pipeline.sync_motion import Signal
from pipeline.sync_views import View
from pipeline.video_files import read_frames_at
from schemas.base import BANDS, Band
from schemas.catalog import RecordingPlan
from schemas.errors import RegisterError
from schemas.facts import IngestFacts, StreamFacts

EDGE = 0.4
"""Parts of the image from its centre at which the view is read off a homography."""


def view_through(
    homography: NDArray[np.float64], infrared: tuple[int, int], visible: tuple[int, int]
) -> View:
    """The view nearest to a homography.

    Args:
        homography: visible pixels to infrared pixels.
        infrared: width and height of the infrared image.
        visible: of the visible one.
    """
    right, down = (axis.ravel() for axis in np.meshgrid(*[[-EDGE, 0, EDGE]] * 2))
    ones = np.ones_like(right)
    pixels = np.stack([(right + 0.5) * infrared[0] - 0.5, (down + 0.5) * infrared[1] - 0.5, ones])
    x, y, depth = np.linalg.solve(homography, pixels)
    places = np.stack(
        [(x / depth + 0.5) / visible[0] - 0.5, (y / depth + 0.5) / visible[1] - 0.5], axis=1
    )
    parts = np.stack([right, down, ones], axis=1)
    found = np.linalg.lstsq(parts, places, rcond=None)[0].T
    return View().moved((found - np.eye(3)[:2]).ravel())


def frames_at_once(
    infrared_times_s: Signal, visible_times_s: Signal, clock: Clock, count: int
) -> tuple[list[int], list[int]]:
    """Frames of both cameras at the same instants, in the middles of equal parts of their overlap.

    Args:
        infrared_times_s: instants on the infrared clock, increasing, (T,).
        visible_times_s: instants on the visible clock, increasing, (U,).
        clock: how the two relate; they overlap by it.
        count: pairs of frames wanted; fewer where the overlap has fewer.
    """
    there_s = clock.visible_s(infrared_times_s)
    shared = np.flatnonzero((there_s >= visible_times_s[0]) & (there_s <= visible_times_s[-1]))
    parts = min(count, shared.size)
    here = shared[((np.arange(parts) + 0.5) * shared.size / max(parts, 1)).astype(np.int64)]
    apart_s = np.abs(visible_times_s[None] - there_s[here][:, None])
    return here.tolist(), apart_s.argmin(axis=1).tolist()


def run_resting_view(
    plan: RecordingPlan, facts: IngestFacts, times_s: Mapping[Band, Signal], clock: Clock
) -> View | None:
    """The view that the recording declares, or that its scene tells; None: neither does.

    Args:
        plan: the recording.
        facts: of its ingest.
        times_s: of every frame, by band, on its camera's clock.
        clock: how the clocks relate as far as motion tells.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    homography = plan.recording.homography
    if homography is None:
        alive = {
            band: np.setdiff1d(np.arange(times_s[band].size), stream.dead_frames)
            for band, stream in _streams(facts).items()
        }
        here, there = (alive[band] for band in BANDS)
        places = frames_at_once(
            times_s["infrared"][here],
            times_s["visible"][there],
            clock,
            plan.recipe.register_.frames,
        )
        if not places[0]:
            return None
        try:
            homography = estimate_homography(
                _run_frames(plan, facts, "infrared", here[places[0]].tolist()),
                _run_frames(plan, facts, "visible", there[places[1]].tolist()),
                plan.recipe.register_,
            ).homography
        except RegisterError:
            return None  # the clock is then refused for its own reason
    infrared, visible = plan.rig.infrared, plan.rig.visible
    return view_through(
        np.array(homography),
        (infrared.width, infrared.height),
        (visible.width, visible.height),
    )


def _streams(facts: IngestFacts) -> dict[Band, StreamFacts]:
    return {"infrared": facts.infrared, "visible": facts.visible}


def _run_frames(
    plan: RecordingPlan, facts: IngestFacts, band: Band, places: list[int]
) -> list[NDArray[np.uint8]]:
    """Frames of one camera, undistorted."""
    camera = plan.rig.infrared if band == "infrared" else plan.rig.visible
    frames = read_frames_at(
        plan.data_root / getattr(plan.recording, band),
        band,
        places,
        layout=getattr(plan.recording.layouts, band),
    )
    tone = _streams(facts)[band].tone
    return undistorted_levels(frames, camera, tone)
