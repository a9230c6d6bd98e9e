"""Streams registered pairs through warp, tone and degradation into sealed clip stores."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.clip_seals import read_manifest, verify_clip
from pipeline.clip_stores import ClipWriter, open_clip, read_pairs
from pipeline.clips import cut_clips
from pipeline.geometry import Resampling, infrared_maps, visible_maps
from pipeline.quality import QualitySums, with_block
from pipeline.shard_blocks import Frames, aligned, blocks_of, frames_at
from pipeline.shard_clips import (
    Measured,
    PairList,
    array_names,
    clip_attributes,
    clip_facts,
    seen_by_both,
    shard_fingerprint,
    source_facts,
    too_short,
)
from pipeline.video_files import content_hash, probe, read_frames
from pipeline.workspace import Workspace, load, load_arrays, save
from schemas.base import BANDS, Band, Matrix3x3
from schemas.catalog import RecordingPlan
from schemas.errors import ShardError, WorkspaceError
from schemas.facts import (
    ClipFacts,
    IngestFacts,
    LeftOut,
    RegisterFacts,
    ShardFacts,
    SyncFacts,
)
from schemas.store import SHARD_PAIRS, ClipAttributes, SourceFacts


def run_shard(plan: RecordingPlan, workspace: Workspace) -> ShardFacts:
    """Cut a recording into clips, stream each into a sealed store, and save what came of it.

    Clips that an earlier build sealed stay as they are: their figures are read back, and only what
    is missing is decoded and written. A store that stands there damaged is moved below `damaged/`
    in the workspace, where it stays until somebody deletes it, and written anew.

    Raises:
        ShardError: no clip is long enough, or a stream does not fit the others.
        VideoError: a file cannot be decoded.
        StoreError: a store of other content stands in the way.
        OSError: the disk is full or failing.
    """
    recording = plan.recording.id
    measured = _run_load_facts(plan, workspace)
    expected = shard_fingerprint(plan, measured.register.fingerprint)
    earlier = load(workspace.facts(recording, "shard"), ShardFacts)
    is_done = earlier is not None and earlier.rejection is None and earlier.fingerprint == expected
    if earlier is not None and is_done and run_find_whole(earlier, workspace):
        return earlier
    cut = _run_cut(plan, measured, _run_sources(plan, measured), workspace)
    standing = {clip.about.clip: _run_read_sums(plan, clip, workspace) for clip in cut.clips}
    missing = [clip for clip in cut.clips if standing[clip.about.clip] is None]
    streams = _run_open_all(plan, missing, cut.pairs)
    sums = {
        clip.about.clip: standing[clip.about.clip]
        or _run_write_clip(plan, clip, streams[clip.measured.register.homography], workspace)
        for clip in cut.clips
    }
    return run_note(plan, cut, sums, workspace)


@dataclass(frozen=True)
class ClipPlan:
    """A clip to be written: of which pairs, and what is known of them."""

    measured: Measured
    about: ClipAttributes
    run: range
    pairs: PairList


@dataclass(frozen=True)
class Cut:
    """A recording cut into clips."""

    fingerprint: str
    sources: Mapping[str, SourceFacts]
    pairs: PairList
    clips: tuple[ClipPlan, ...]
    left_out: tuple[LeftOut, ...]


def run_cut(
    plan: RecordingPlan,
    workspace: Workspace,
    sources: Mapping[str, SourceFacts] | None = None,
) -> Cut:
    """How a recording is cut into clips; writes nothing.

    Args:
        plan: of the recording.
        workspace: with its facts.
        sources: those of an earlier cut; None: degraded streams are hashed.

    Raises:
        ShardError: no clip is long enough.
    """
    measured = _run_load_facts(plan, workspace)
    known = _run_sources(plan, measured) if sources is None else sources
    return _run_cut(plan, measured, known, workspace)


def _run_cut(
    plan: RecordingPlan,
    measured: Measured,
    sources: Mapping[str, SourceFacts],
    workspace: Workspace,
) -> Cut:
    expected = shard_fingerprint(plan, measured.register.fingerprint)
    pairs = _run_load_pairs(plan, measured, workspace)
    runs, left_out = cut_clips(
        pairs.infrared_frames,
        pairs.infrared_times_s,
        min_pairs=plan.recipe.shard.min_pairs,
        stretches=measured.register.stretches,
        leave_out=plan.recording.leave_out,
        start_s=measured.ingest.infrared.first_time_s,
    )
    if not runs:
        raise ShardError(too_short(left_out, plan.recipe.shard.min_pairs))
    clips: list[ClipPlan] = []
    for run in runs:
        own, part = measured.during(run), pairs.at(slice(run.start, run.stop))
        about = clip_attributes(plan, own, part, dict(sources), expected)
        clips.append(ClipPlan(own, about, run, part))
    return Cut(expected, sources, pairs, tuple(clips), tuple(left_out))


def run_note(
    plan: RecordingPlan, cut: Cut, sums: Mapping[str, QualitySums], workspace: Workspace
) -> ShardFacts:
    """Save what came of a recording whose clips all stand.

    Args:
        plan: of the recording.
        cut: its clips.
        sums: of each, by its name.
        workspace: where they stand.
    """
    clips: list[ClipFacts] = []
    for clip in cut.clips:
        about = clip.about
        manifest = read_manifest(workspace.clip(about.clip, about.fingerprint))
        clips.append(
            clip_facts(about, clip.pairs, sums[about.clip], clip.measured, manifest.root_hash)
        )
    outcome = ShardFacts(
        recording=plan.recording.id,
        fingerprint=cut.fingerprint,
        sources=_run_hash_sources(plan, cut.sources),
        clips=tuple(clips),
        left_out=cut.left_out,
    )
    save(outcome, workspace.facts(plan.recording.id, "shard"), workspace)
    return outcome


def run_find_whole(outcome: ShardFacts, workspace: Workspace) -> bool:
    """Whether every store of a recording still stands, by seals, names and sizes of files."""
    return not any(
        verify_clip(
            workspace.clip(clip.clip, clip.fingerprint),
            quick=True,
            expected_root_hash=clip.root_hash,
            sizes=workspace.found_files(workspace.clip_path(clip.clip, clip.fingerprint)),
        )
        for clip in outcome.clips
    )


def _run_read_sums(plan: RecordingPlan, clip: ClipPlan, workspace: Workspace) -> QualitySums | None:
    """The sums of a clip that is sealed already; None where it is to be written."""
    about = clip.about
    store = workspace.clip(about.clip, about.fingerprint)
    if not os.path.lexists(store):
        return None
    if verify_clip(store):
        workspace.set_aside(store)
        return None
    group, _ = open_clip(store)
    valid = seen_by_both(plan, clip.measured.register)
    sums = QualitySums()
    for first in range(0, about.pairs, SHARD_PAIRS):
        last = min(first + SHARD_PAIRS, about.pairs)
        infrared, visible = (read_pairs(group, band, first, last) for band in BANDS)
        sums = with_block(sums, infrared, visible, valid)
    return sums


def _run_write_clip(
    plan: RecordingPlan, clip: ClipPlan, streams: Mapping[str, Frames], workspace: Workspace
) -> QualitySums:
    """Write one clip block by block while judging it, and seal it."""
    names = array_names(plan, clip.measured.ingest.infrared.tone)
    valid = seen_by_both(plan, clip.measured.register)
    sums = QualitySums()
    with ClipWriter(workspace, clip.about, names) as writer:
        for block in blocks_of(streams, names, clip.about, clip.pairs.curves):
            sums = with_block(sums, block["infrared"], block["visible"], valid)
            writer.write(block)
        writer.seal(time_s=clip.pairs.seconds(), valid=valid)
    return sums


def _run_open_all(
    plan: RecordingPlan, missing: Sequence[ClipPlan], pairs: PairList
) -> dict[Matrix3x3, dict[str, Frames]]:
    """The streams of the runs to be written, read once for every homography that holds for some."""
    places: dict[Matrix3x3, list[NDArray[np.int64]]] = {}
    measured: dict[Matrix3x3, Measured] = {}
    for clip in missing:
        homography, run = clip.measured.register.homography, clip.run
        measured[homography] = clip.measured
        places.setdefault(homography, []).append(np.arange(run.start, run.stop))
    return {
        homography: run_open(plan, own, pairs.at(np.concatenate(places[homography])))
        for homography, own in measured.items()
    }


def run_open(plan: RecordingPlan, measured: Measured, pairs: PairList) -> dict[str, Frames]:
    """Every stream of the recording, read once, giving the aligned frames of `pairs`."""
    register = measured.register
    resamplings: dict[Band, Resampling | None] = {"infrared": None, "visible": None}
    if register.source != "registered":
        resamplings = {
            "infrared": infrared_maps(plan.rig.infrared, register.crop),
            "visible": visible_maps(plan.rig, register.homography, register.crop),
        }
    indices = {"infrared": pairs.infrared_frames, "visible": pairs.visible_frames}
    streams: dict[str, Frames] = {}
    for band in BANDS:
        first, last = int(indices[band][0]), int(indices[band][-1])
        for name, resampling in ((band, resamplings[band]), (f"{band}_degraded", None)):
            path = getattr(plan.recording, name)
            if path is not None:
                frames = read_frames(
                    plan.data_root / path,
                    band,
                    start=first,
                    stop=last + 1,
                    layout=getattr(plan.recording.layouts, name, None),
                )
                chosen = frames_at(frames, indices[band], first=first, stream=path)
                streams[name] = aligned(chosen, resampling)
    return streams


def _run_sources(plan: RecordingPlan, measured: Measured) -> dict[str, SourceFacts]:
    """Where the pixels of every stream come from; paths as the catalog names them today."""
    recording = plan.recording
    sources = {
        "infrared": source_facts(recording.infrared, measured.ingest.infrared),
        "visible": source_facts(recording.visible, measured.ingest.visible),
    }
    for band in BANDS:
        path = getattr(recording, f"{band}_degraded")
        if path is not None:
            found = probe(plan.data_root / path, fps=recording.fps)
            sources[f"{band}_degraded"] = SourceFacts(
                path=path,
                sha256=content_hash(plan.data_root / path)[0],
                codec=found.codec,
                pixel_format=found.pixel_format,
            )
    return sources


def _run_hash_sources(plan: RecordingPlan, sources: Mapping[str, SourceFacts]) -> dict[str, str]:
    """The sha256 of every file the recording names; the streams' are known already."""
    return {
        place: sources[place].sha256 if place in sources else content_hash(plan.data_root / path)[0]
        for place, path in plan.recording.files()
    }


def _run_load_facts(plan: RecordingPlan, workspace: Workspace) -> Measured:
    ingest = load(workspace.facts(plan.recording.id, "ingest"), IngestFacts)
    sync = load(workspace.facts(plan.recording.id, "sync"), SyncFacts)
    register = load(workspace.facts(plan.recording.id, "register"), RegisterFacts)
    if ingest is None or sync is None or register is None:
        raise WorkspaceError(
            f"{workspace.facts(plan.recording.id, 'register').parent}: the facts of ingest, sync "
            "and register are not all there; build the recording again"
        )
    return Measured(ingest, sync, register)


def _run_load_pairs(plan: RecordingPlan, measured: Measured, workspace: Workspace) -> PairList:
    path = workspace.pairs(plan.recording.id)
    arrays = load_arrays(path, fingerprint=measured.sync.fingerprint)
    try:
        pairs = PairList(
            infrared_frames=arrays["infrared_frames"].astype(np.int64),
            visible_frames=arrays["visible_frames"].astype(np.int64),
            infrared_times_s=arrays["infrared_times_s"].astype(np.float64),
            residual_s=arrays["residual_s"].astype(np.float64),
        )
        if measured.ingest.infrared.tone is None:
            return pairs
        path = workspace.signals(plan.recording.id)
        curves = load_arrays(path, fingerprint=measured.ingest.fingerprint)["infrared_tone"]
        return replace(pairs, curves=curves[pairs.infrared_frames].astype(np.float32))
    except KeyError as error:
        raise WorkspaceError(f"{path}: holds no {error}; delete it and build again") from error
