"""Register: how the visible image maps onto the infrared one, without any learned weights."""

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import (
    Crop,
    full_frame,
    homography_through,
    infrared_maps,
    is_degenerate,
    largest_rectangle,
    resample,
    undistorted,
    valid_mask,
)
from pipeline.register_descriptors import View
from pipeline.register_estimate import (
    HomographyFit,
    Propose,
    as_tuples,
    propose_nothing,
    views_of,
)
from pipeline.register_residuals import Residuals
from pipeline.register_stretches import Held, Read, estimate_stretches
from pipeline.tone import tone_mapped
from pipeline.video_files import Frame, read_frames_at
from pipeline.workspace import Workspace, load, load_arrays, save, save_arrays
from schemas.base import Matrix3x3, fingerprint
from schemas.catalog import Camera, RecordingPlan
from schemas.errors import RegisterError, WorkspaceError
from schemas.facts import IngestFacts, RegisterFacts, Stretch, SyncFacts, ToneMapping
from schemas.recipe import Matcher

STAGE_VERSION = 4
"""Raised with any change that moves a number below."""

IDENTITY: Matrix3x3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

MIN_CROP_PX = 32
"""Smallest side of what both cameras see; below it no training window fits."""


def register_fingerprint(plan: RecordingPlan, upstream: str) -> str:
    """What the facts of register depend on.

    Args:
        plan: the recording, its rig and its recipe.
        upstream: the fingerprint of sync.
    """
    given = plan.recording.homography or plan.recording.point_pairs
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
    held: list[Held] = []
    if recording.registered:
        source, fit = "registered", _run_take_registered(plan)
    elif recording.homography is not None:
        source, fit = "declared", HomographyFit(recording.homography, 1.0, None)
    elif recording.point_pairs is not None:
        source, fit = "declared", HomographyFit(_run_through_points(plan), 1.0, None)
    else:
        held = _run_estimate(plan, _run_reader(plan, workspace, sync, ingest), sync.pairs)
        fit = max(held, key=lambda each: each.end_pair - each.first_pair).fit
    facts = RegisterFacts(
        recording=recording.id,
        fingerprint=identity,
        source=source,
        homography=fit.homography,
        confidence=fit.confidence,
        mean_residual_px=fit.mean_residual_px,
        parallax_px=fit.parallax_px,
        crop=_run_common_view(plan, [each.fit.homography for each in held] or [fit.homography]),
        stretches=tuple(_stretch(each) for each in held) if len(held) > 1 else (),
    )
    if fit.residuals is not None:
        arrays = {field.name: getattr(fit.residuals, field.name) for field in fields(Residuals)}
        save_arrays(arrays, workspace.residuals(recording.id), workspace, fingerprint=identity)
    save(facts, path, workspace)
    return facts


def _stretch(held: Held) -> Stretch:
    return Stretch(
        first_pair=held.first_pair,
        end_pair=held.end_pair,
        homography=held.fit.homography,
        confidence=held.fit.confidence,
        mean_residual_px=held.fit.mean_residual_px,
        parallax_px=held.fit.parallax_px,
    )


def _run_take_registered(plan: RecordingPlan) -> HomographyFit:
    infrared, visible = plan.rig.infrared, plan.rig.visible
    if (infrared.width, infrared.height) != (visible.width, visible.height):
        raise RegisterError(
            f"{plan.recording.id}: registered videos are of one size; the infrared is "
            f"{infrared.width}x{infrared.height} and the visible {visible.width}x{visible.height}; "
            "remove registered: true or give registered files"
        )
    return HomographyFit(IDENTITY, 1.0, None)


def _run_through_points(plan: RecordingPlan) -> Matrix3x3:
    pairs = plan.recording.point_pairs or ()
    infrared = undistorted(np.array([pair.infrared for pair in pairs]), plan.rig.infrared.lens)
    visible = undistorted(np.array([pair.visible for pair in pairs]), plan.rig.visible.lens)
    for band, points in (("infrared", infrared), ("visible", visible)):
        if is_degenerate(points):
            raise RegisterError(
                f"{plan.recording.id}: three of the four {band} points of point_pairs lie on a "
                "line, or nearly; choose places that span the image"
            )
    return as_tuples(homography_through(visible, infrared))


def _run_reader(
    plan: RecordingPlan, workspace: Workspace, sync: SyncFacts, ingest: IngestFacts
) -> Read:
    """What gives the undistorted views of any pairs of the recording."""
    lists = load_arrays(workspace.pairs(plan.recording.id), fingerprint=sync.fingerprint)

    def read(pairs: Sequence[int]) -> tuple[View, View]:
        places = np.asarray(pairs, np.intp)
        infrared = read_frames_at(
            plan.data_root / plan.recording.infrared,
            "infrared",
            lists["infrared_frames"][places].tolist(),
            layout=plan.recording.layouts.infrared,
        )
        visible = read_frames_at(
            plan.data_root / plan.recording.visible,
            "visible",
            lists["visible_frames"][places].tolist(),
            layout=plan.recording.layouts.visible,
        )
        return views_of(
            undistorted_levels(infrared, plan.rig.infrared, ingest.infrared.tone),
            undistorted_levels(visible, plan.rig.visible, None),
        )

    return read


def _run_estimate(plan: RecordingPlan, read: Read, count: int) -> list[Held]:
    """One homography from pairs spread over the recording; several where the rig moved."""
    recipe = plan.recipe.register_
    try:
        return estimate_stretches(read, count, recipe, _run_proposer(plan, recipe.matcher))
    except RegisterError as error:
        raise RegisterError(f"{plan.recording.id}: {error}") from error


def _run_proposer(plan: RecordingPlan, matcher: Matcher) -> Propose:
    """What proposes homographies before the search."""
    if matcher.kind == "edges":
        return propose_nothing
    # Torch and kornia take seconds to import, for a matcher that few recipes ask for.
    module = import_module("pipeline.register_matcher")
    propose: Propose = module.run_load_matcher(plan.data_root / matcher.weights, matcher.sha256)
    return propose


def undistorted_levels(
    frames: Sequence[Frame], camera: Camera, tone: ToneMapping | None
) -> list[NDArray[np.uint8]]:
    """Frames in grey levels or RGB, freed of the lens."""
    maps = infrared_maps(camera, full_frame(camera))
    straight = [frame if maps is None else resample(frame, maps) for frame in frames]
    if tone is not None:
        return [tone_mapped(np.asarray(frame, np.uint16), tone) for frame in straight]
    return [np.asarray(frame, np.uint8) for frame in straight]


def _run_common_view(plan: RecordingPlan, homographies: Sequence[Matrix3x3]) -> Crop:
    """The largest rectangle of the infrared image that both cameras see all the time.

    Raises:
        RegisterError: it is too small to be of use.
    """
    if plan.recording.registered:
        return full_frame(plan.rig.infrared)
    mask = np.logical_and.reduce([valid_mask(plan.rig, each) for each in homographies])
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
