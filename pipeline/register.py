"""Register: how the visible image maps onto the infrared one, without any learned weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import (
    Crop,
    distance_of_corners,
    full_frame,
    infrared_maps,
    largest_rectangle,
    resample,
    valid_mask,
)
from pipeline.register_descriptors import Image
from pipeline.register_fit import Fit, Homography, refine, search
from pipeline.tone import tone_mapped
from pipeline.video_files import Frame, read_frames_at
from pipeline.workspace import Workspace, load, load_arrays, save
from schemas.base import Fingerprint, Matrix3x3, fingerprint
from schemas.catalog import Camera, RecordingPlan
from schemas.errors import RegisterError, WorkspaceError
from schemas.facts import IngestFacts, RegisterFacts, SyncFacts, ToneMapping
from schemas.recipe import RegisterRecipe

STAGE_VERSION = 1
"""Raised with any change that moves a number below."""

IDENTITY: Matrix3x3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

SEARCH_PX = 128
"""Width of both images in the coarse search: about a quarter of a camera's (CAPTURE.md 2)."""

CANDIDATES = 6
"""Similarities of the search that are refined; the right one was first on all footage tried."""

MAX_HALVES_PX = 4.0
"""Furthest apart, mean of the corners, that two estimates from disjoint frames may lie. Good ones
repeat to 1 px (CAPTURE.md section 2)."""

MAX_ANISOTROPY = 1.5
"""Largest ratio of the scales of two directions: cameras on one mount look the same way."""

MIN_CROP_PX = 32
"""Smallest side of what both cameras see; below it no training window fits."""

REMEDY = "give the recording a homography, or a span that shows more structure in both bands"


@dataclass(frozen=True)
class HomographyFit:
    """A homography and how far to trust it."""

    homography: Matrix3x3
    """Visible pixels to infrared pixels."""
    confidence: float
    """Correlation of the descriptors, 0 to 1."""
    mean_residual_px: float | None
    """Mean displacement of blocks from where the homography puts them, infrared pixels."""


def estimate_homography(
    infrared: Sequence[NDArray[np.uint8]],
    visible: Sequence[NDArray[np.uint8]],
    recipe: RegisterRecipe,
) -> HomographyFit:
    """Find the homography of a recording from frames of the same instants.

    The cameras may differ in resolution and field of view. Descriptors of edges, pooled over the
    frames, are searched coarsely and refined to fractions of a pixel (CAPTURE.md section 2); every
    other frame for itself must say the same.

    Args:
        infrared: undistorted, (H, W) each.
        visible: undistorted RGB, (h, w, 3) each, as many.
        recipe: the least confidence.

    Raises:
        RegisterError: an image is flat, the fit is poor or implausible, or the halves disagree.
    """
    here = [frame.astype(np.float32) for frame in infrared]
    there = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in visible]
    for band, images in (("infrared", here), ("visible", there)):
        if all(float(np.ptp(image)) == 0 for image in images):
            raise RegisterError(f"the {band} frames are flat; {REMEDY}")
    coarse = SEARCH_PX / here[0].shape[1]
    found = search(here, there, width_px=SEARCH_PX, keep=CANDIDATES)
    fits = [refine(here, there, homography, scales=[coarse]) for homography in found]
    start = max(fits, key=lambda fit: fit.merit)
    best = refine(here, there, start.homography, scales=_scales(coarse))
    if best.correlation < recipe.min_confidence:
        raise RegisterError(
            f"the best homography has a confidence of {best.correlation:.2f}, below "
            f"register.min_confidence {recipe.min_confidence:g}; {REMEDY}"
        )
    _check_plausible(best.homography)
    if len(here) > 1:
        _check_halves(here, there, best, coarse)
    a, b, c = (tuple(float(value) for value in row) for row in best.homography)
    return HomographyFit(
        homography=((a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2])),
        confidence=min(1.0, best.correlation),
        mean_residual_px=best.residual_px if np.isfinite(best.residual_px) else None,
    )


def _scales(coarse: float) -> list[float]:
    """Doubling from the search's scale to the full one, which is done twice."""
    scales = []
    scale = 2 * coarse
    while scale < 1:
        scales.append(scale)
        scale *= 2
    return [*scales, 1.0, 1.0]


def _check_plausible(homography: Homography) -> None:
    larger, smaller = np.linalg.svd(homography[:2, :2], compute_uv=False)
    if smaller <= 0 or larger / smaller > MAX_ANISOTROPY or np.linalg.det(homography) <= 0:
        raise RegisterError(
            f"the best homography stretches one direction {larger / max(smaller, 1e-9):.1f} times "
            f"as much as the other, beyond {MAX_ANISOTROPY:g}; {REMEDY}"
        )


def _check_halves(here: Sequence[Image], there: Sequence[Image], best: Fit, coarse: float) -> None:
    """Refuse a homography that every other frame alone would not have found nearby."""
    scale = [min(1.0, 2 * coarse)]
    halves = [
        refine(here[start::2], there[start::2], best.homography, scales=scale).homography
        for start in (0, 1)
    ]
    apart_px = distance_of_corners(halves[0], halves[1], there[0].shape)
    if apart_px > MAX_HALVES_PX:
        raise RegisterError(
            f"two halves of the frames give homographies {apart_px:.1f} px apart, beyond "
            f"{MAX_HALVES_PX:g}; {REMEDY}"
        )


def register_fingerprint(plan: RecordingPlan, upstream: str) -> str:
    """What the facts of register depend on.

    Args:
        plan: the recording, its rig and its recipe.
        upstream: the fingerprint of sync.
    """
    given = plan.recording.homography
    return fingerprint(
        "register",
        STAGE_VERSION,
        upstream,
        plan.recording.registered,
        None if given is None else repr(given),
        plan.rig,
        plan.recipe.register_,
    )


def run_register(plan: RecordingPlan, workspace: Workspace) -> RegisterFacts:
    """Find or take over the homography of a recording and what both cameras see, and save them.

    Raises:
        WorkspaceError: earlier stages have left nothing to work on.
        RegisterError: no trustworthy homography, or too small a common view.
        VideoError: a frame cannot be decoded.
    """
    recording = plan.recording
    sync = load(workspace.facts(recording.id, "sync"), SyncFacts)
    ingest = load(workspace.facts(recording.id, "ingest"), IngestFacts)
    if sync is None or ingest is None:
        raise WorkspaceError(f"{recording.id} has no facts of sync; build it from the start")
    identity = register_fingerprint(plan, sync.fingerprint)
    path = workspace.facts(recording.id, "register")
    saved = load(path, RegisterFacts)
    if saved is not None and saved.fingerprint == identity:
        return saved
    source: Literal["estimated", "declared", "registered"] = "estimated"
    if recording.registered:
        source, fit = "registered", _run_take_registered(plan)
    elif recording.homography is not None:
        source, fit = "declared", HomographyFit(recording.homography, 1.0, None)
    else:
        fit = _run_estimate(plan, workspace, sync.fingerprint, ingest.infrared.tone)
    facts = RegisterFacts(
        recording=recording.id,
        fingerprint=identity,
        source=source,
        homography=fit.homography,
        confidence=fit.confidence,
        mean_residual_px=fit.mean_residual_px,
        crop=_run_common_view(plan, fit.homography),
    )
    save(facts, path, workspace)
    return facts


def _run_take_registered(plan: RecordingPlan) -> HomographyFit:
    infrared, visible = plan.rig.infrared, plan.rig.visible
    if (infrared.width, infrared.height) != (visible.width, visible.height):
        raise RegisterError(
            f"{plan.recording.id}: registered videos are of one size; the infrared is "
            f"{infrared.width}x{infrared.height} and the visible {visible.width}x{visible.height}; "
            "remove registered: true or give registered files"
        )
    return HomographyFit(IDENTITY, 1.0, None)


def _run_estimate(
    plan: RecordingPlan, workspace: Workspace, synced: Fingerprint, tone: ToneMapping | None
) -> HomographyFit:
    """Estimate from pairs spread over the recording."""
    pairs = load_arrays(workspace.pairs(plan.recording.id), fingerprint=synced)
    count = pairs["infrared_frames"].size
    wanted = min(plan.recipe.register_.frames, count)
    # The middles of equal parts: the first and last frames of a recording are the shakiest.
    places = ((np.arange(wanted) + 0.5) * count / wanted).astype(int)
    infrared = read_frames_at(
        plan.data_root / plan.recording.infrared,
        "infrared",
        [int(frame) for frame in pairs["infrared_frames"][places]],
    )
    visible = read_frames_at(
        plan.data_root / plan.recording.visible,
        "visible",
        [int(frame) for frame in pairs["visible_frames"][places]],
    )
    try:
        return estimate_homography(
            [_undistorted(frame, plan.rig.infrared, tone) for frame in infrared],
            [_undistorted(frame, plan.rig.visible, None) for frame in visible],
            plan.recipe.register_,
        )
    except RegisterError as error:
        raise RegisterError(f"{plan.recording.id}: {error}") from error


def _undistorted(frame: Frame, camera: Camera, tone: ToneMapping | None) -> NDArray[np.uint8]:
    """A frame in grey levels or RGB, freed of the lens."""
    maps = infrared_maps(camera, full_frame(camera))
    straight = frame if maps is None else resample(frame, maps)
    if tone is not None:
        return tone_mapped(np.asarray(straight, np.uint16), tone)
    return np.asarray(straight, np.uint8)


def _run_common_view(plan: RecordingPlan, homography: Matrix3x3) -> Crop:
    """The largest rectangle of the infrared image that both cameras see.

    Raises:
        RegisterError: it is too small to be of use.
    """
    if plan.recording.registered:
        return full_frame(plan.rig.infrared)
    mask = valid_mask(plan.rig, homography)
    crop = largest_rectangle(mask)
    _, _, width, height = crop
    share = width * height / mask.size
    least = plan.recipe.register_.min_overlap
    if share < least or min(width, height) < MIN_CROP_PX:
        raise RegisterError(
            f"{plan.recording.id}: both cameras see {width}x{height} infrared pixels, "
            f"{share:.0%} of the image; at least {least:.0%} and {MIN_CROP_PX} px a side are "
            "needed (register.min_overlap); check the homography and the lenses"
        )
    return crop
