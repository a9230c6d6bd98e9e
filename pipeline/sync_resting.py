"""The view as what rests before both cameras tells it, for clocks that motion leaves in doubt.

Walls and trees stand still before a rig that does: frames of any instants show them alike.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.register import undistorted_levels
from pipeline.register_estimate import estimate_homography
from pipeline.sync_views import View
from pipeline.video_files import Band, read_frames_at
from schemas.catalog import RecordingPlan
from schemas.errors import RegisterError
from schemas.facts import IngestFacts

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


def run_resting_view(plan: RecordingPlan, facts: IngestFacts) -> View | None:
    """The view that the recording declares, or that its resting scene tells; None: neither does.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    homography = plan.recording.homography
    if homography is None:
        try:
            homography = estimate_homography(
                _run_frames(plan, facts, "infrared"),
                _run_frames(plan, facts, "visible"),
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


def _run_frames(plan: RecordingPlan, facts: IngestFacts, band: Band) -> list[NDArray[np.uint8]]:
    """Frames in the middles of equal parts, undistorted."""
    stream = facts.infrared if band == "infrared" else facts.visible
    camera = plan.rig.infrared if band == "infrared" else plan.rig.visible
    dead = set(stream.dead_frames)
    alive = [frame for frame in range(stream.frames) if frame not in dead]
    count = min(plan.recipe.register_.frames, len(alive))
    places = [alive[int((part + 0.5) * len(alive) / count)] for part in range(count)]
    frames = read_frames_at(
        plan.data_root / getattr(plan.recording, band),
        band,
        places,
        layout=getattr(plan.recording.layouts, band),
    )
    return [undistorted_levels(frame, camera, stream.tone) for frame in frames]
