"""Ingest: what the files of a recording hold, measured in one pass over each."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest_measure import Signals, measure, torn_frames
from pipeline.ingest_parts import (
    LEAST_FRAMES,
    FrameRange,
    MeasuredRange,
    ranges_of,
    run_joined,
    run_probe,
)
from pipeline.tone import tone_curves, tone_shares
from pipeline.video_files import (
    StreamProbe,
    content_hash,
    read_frames,
    read_frames_at,
    read_timestamps,
)
from pipeline.workspace import Workspace, has_arrays, load, save, save_arrays
from schemas.base import BANDS, Band, fingerprint
from schemas.catalog import Camera, Recording, RecordingPlan, Rig
from schemas.errors import IngestError, VideoError
from schemas.facts import IngestFacts, StreamFacts, ToneMapping
from schemas.recipe import IngestRecipe

BYTE_BITS = 8

STAGE_VERSION = 3
"""Raised with any change that moves a number below."""

GAP_PERIODS = 1.5
"""A spacing beyond so many median ones hides a lost frame; jitter stays below half a period."""

COLOR_PERCENTILE = 99.0
"""A few lamps at night prove colour; a percentile sees them where a mean does not."""

GREY_SPREAD_LEVELS = 8.0
"""Below it a stream is grey: the infrared videos of M3SVD, encoded in colour, reach 3."""

COLOR_SPREAD_LEVELS = 24.0
"""Above it a stream is in colour: the visible videos of M3SVD reach 36 to 82."""

COLOR_FRAMES = 3
"""Frames that are looked at for colour: the first, the middle and the last one."""

MISSING_FILE = "0" * 64
"""Stands for the sha256 of a file that is not there, so that its return is a change."""


def tone_mapping(histogram: NDArray[np.int64], recipe: IngestRecipe) -> ToneMapping:
    """One linear mapping of counts to grey levels for a whole recording.

    Its range is that of percentiles pooled over all frames (CAPTURE.md section 4).

    Args:
        histogram: how often each count occurs, (65536,), not all zero.
        recipe: its percentiles are used.
    """
    share = np.cumsum(histogram) / histogram.sum()
    low, high = (int(np.searchsorted(share, p / 100)) for p in recipe.tone_percentiles)
    return ToneMapping(low_counts=low, high_counts=max(high, low + 1))


def torn_in(signals: Signals, found: StreamProbe) -> NDArray[np.bool_]:
    """Which frames are torn, (T,); none where the codec is lossy and it cannot be told."""
    if not found.is_lossless:
        return np.zeros(signals.dead.shape, bool)
    return torn_frames(signals.stale, ~signals.dead & ~signals.repeated, found.height)


def usable_frames(
    signals: Signals, torn: NDArray[np.bool_], plan: RecordingPlan
) -> NDArray[np.bool_]:
    """Which frames may become part of a pair, (T,)."""
    recipe = plan.recipe.ingest
    drops_torn = recipe.drop_torn and not plan.recording.registered
    left_out = signals.dead | (signals.repeated & recipe.drop_repeated) | (torn & drops_torn)
    return np.asarray(~left_out)


def count_missing(times_s: NDArray[np.float64]) -> int:
    """Frames that were lost, judged by spacings of more than one period."""
    spacing_s = np.diff(times_s)
    periods = spacing_s / np.median(spacing_s)
    return int((np.rint(periods[periods > GAP_PERIODS]) - 1).sum())


def check_camera(
    found: StreamProbe, band: Band, recording: Recording, camera: Camera
) -> str | None:
    """What is wrong with the size of a stream, if anything."""
    if (found.width, found.height) == (camera.width, camera.height):
        return None
    return (
        f"{getattr(recording, band)}: is {found.width}x{found.height} and the rig's {band} camera "
        f"{camera.width}x{camera.height}; correct the file or the rig"
    )


def sizes_look_swapped(probes: Mapping[Band, StreamProbe], rig: Rig) -> bool:
    """Whether each file has the size of the other camera of the rig, and not its own."""
    sizes = {band: (found.width, found.height) for band, found in probes.items()}
    infrared = (rig.infrared.width, rig.infrared.height)
    visible = (rig.visible.width, rig.visible.height)
    return infrared != visible and (sizes["infrared"], sizes["visible"]) == (visible, infrared)


def color_spread(frames: Iterable[NDArray[np.uint8]]) -> float:
    """How far the channels of the most colourful pixels lie apart in any frame, grey levels.

    Args:
        frames: RGB (H, W, 3).
    """
    return max(
        float(np.percentile(frame.max(axis=2) - frame.min(axis=2), COLOR_PERCENTILE))
        for frame in frames
    )


def colors_look_swapped(infrared_spread: float, visible_spread: float) -> bool:
    """Whether the infrared stream is in colour and the visible one grey.

    A grey visible stream alone, as cameras give at night, is no sign of it.
    """
    return infrared_spread > COLOR_SPREAD_LEVELS and visible_spread < GREY_SPREAD_LEVELS


def ingest_fingerprint(plan: RecordingPlan, content_hashes: Mapping[str, str]) -> str:
    """What the facts of ingest depend on.

    Args:
        plan: the recording and its recipe.
        content_hashes: sha256 of every file the recording names, by its place in the recording.
    """
    hashes = "\n".join(f"{place} {digest}" for place, digest in sorted(content_hashes.items()))
    return fingerprint(
        "ingest",
        STAGE_VERSION,
        plan.recording.id,
        hashes,
        plan.recording.fps,
        plan.recording.registered,
        plan.recording.layouts,
        plan.rig.infrared,
        plan.rig.visible,
        plan.recipe.ingest,
        plan.recipe.shard.min_pairs,
    )


def hash_files(plan: RecordingPlan) -> dict[str, str]:
    """The sha256 of every file or folder a recording names, by its place in the recording."""
    places = dict(plan.recording.files())
    hashes: dict[str, str] = {}
    for path in set(places.values()):  # both cameras may share one
        full = plan.data_root / path
        hashes[path] = content_hash(full)[0] if full.exists() else MISSING_FILE
    return {place: hashes[path] for place, path in places.items()}


def run_ingest(
    plan: RecordingPlan, workspace: Workspace, measured: Sequence[MeasuredRange] = ()
) -> IngestFacts:
    """Read both streams of a recording once and save what they hold.

    Args:
        plan: of the recording.
        workspace: to save it in.
        measured: every part of both streams, where they were read by several processes.

    Raises:
        VideoError: a file is missing or damaged.
        IngestError: a file is not what the recording or the rig says it is.
        WorkspaceError: a part that was measured is gone or damaged.
    """
    hashes = hash_files(plan)
    identity = ingest_fingerprint(plan, hashes)
    saved = _run_saved(plan, workspace, identity)
    if saved is not None:
        return saved
    is_one_file = hashes["infrared"] == hashes["visible"] != MISSING_FILE
    if is_one_file and not plan.recording.shares_a_file():
        raise IngestError(
            f"{plan.recording.infrared} and {plan.recording.visible} are the same file by content; "
            "give each camera's own recording, or a crop or topic of its own in layouts"
        )
    probes: dict[Band, StreamProbe] = {
        "infrared": run_probe(plan, "infrared"),
        "visible": run_probe(plan, "visible"),
    }
    _run_checks(plan, probes)
    _run_color_check(plan, probes)
    streams: dict[str, StreamFacts] = {}
    arrays: dict[str, NDArray[np.generic]] = {}
    for band, found in probes.items():
        times_s = _run_times(plan, band, found)
        signals = _run_measure(plan, band, found, measured)
        torn = torn_in(signals, found)
        arrays |= {
            f"{band}_times_s": times_s,
            f"{band}_motion": signals.motion,
            f"{band}_usable": usable_frames(signals, torn, plan),
        }
        if band == "infrared" and signals.quantiles is not None:
            arrays["infrared_tone"] = tone_curves(
                signals.quantiles,
                signals.common_counts,
                times_s,
                ~signals.dead & ~torn,
                plan.recipe.ingest,
            )
        streams[band] = _run_facts(plan, found, times_s, signals, (band, hashes[band]))
    facts = IngestFacts(
        recording=plan.recording.id,
        fingerprint=identity,
        infrared=streams["infrared"],
        visible=streams["visible"],
    )
    signals_path = workspace.signals(plan.recording.id)
    save_arrays(arrays, signals_path, workspace, fingerprint=identity)
    save(facts, workspace.facts(plan.recording.id, "ingest"), workspace)
    for one in measured:
        one.place.unlink(missing_ok=True)
    return facts


def run_find_ranges(
    plan: RecordingPlan, workspace: Workspace, least_frames: int = LEAST_FRAMES
) -> list[FrameRange]:
    """The parts in which a recording is worth measuring; none where it is short, or is measured.

    None either where a file cannot be read: `run_ingest` says why.

    Args:
        plan: of the recording.
        workspace: where it may have been measured.
        least_frames: of a part.
    """
    try:
        frames = {band: run_probe(plan, band).times_s.size for band in BANDS}
        ranges = [part for band in BANDS for part in ranges_of(band, frames[band], least_frames)]
        if len(ranges) == len(BANDS):
            return []
        is_known = workspace.facts(plan.recording.id, "ingest").exists()
        identity = ingest_fingerprint(plan, hash_files(plan)) if is_known else ""
    except VideoError:
        return []
    return [] if _run_saved(plan, workspace, identity) is not None else ranges


def _run_saved(plan: RecordingPlan, workspace: Workspace, identity: str) -> IngestFacts | None:
    """What was saved of these files under this recipe; None where it is to be measured."""
    saved = load(workspace.facts(plan.recording.id, "ingest"), IngestFacts)
    if saved is None or saved.fingerprint != identity:
        return None
    is_whole = has_arrays(workspace.signals(plan.recording.id), fingerprint=identity)
    return saved if is_whole else None


def _run_checks(plan: RecordingPlan, probes: Mapping[Band, StreamProbe]) -> None:
    """Refuse files that are not the cameras' own."""
    recording = plan.recording
    if sizes_look_swapped(probes, plan.rig):
        raise IngestError(
            f"{recording.infrared} and {recording.visible} look swapped: each has the size of the "
            "other camera of the rig; exchange them in the catalog"
        )
    cameras = {"infrared": plan.rig.infrared, "visible": plan.rig.visible}
    problems = [
        problem
        for band, found in probes.items()
        if (problem := check_camera(found, band, recording, cameras[band])) is not None
    ]
    for band, found in probes.items():
        is_undated = found.time_source == "declared" and recording.fps is None
        if is_undated and getattr(recording.timestamps, band) is None:
            problems.append(
                f"{getattr(recording, band)}: a {found.container} has no times; "
                "give the recording fps or timestamps"
            )
        if found.times_s.size < plan.recipe.shard.min_pairs:
            problems.append(
                f"{getattr(recording, band)}: has {found.times_s.size} frames, fewer than the "
                f"{plan.recipe.shard.min_pairs} pairs of the shortest clip; record longer"
            )
    if probes["visible"].bit_depth > BYTE_BITS and "gray" in probes["visible"].pixel_format:
        problems.append(
            f"{recording.visible}: is grey of more than 8 bits "
            f"({probes['visible'].pixel_format}); if it is the infrared file, exchange the two in "
            "the catalog, else convert it"
        )
    if problems:
        raise IngestError("; ".join(problems))


def _run_color_check(plan: RecordingPlan, probes: Mapping[Band, StreamProbe]) -> None:
    """Refuse files whose colours betray that they were exchanged."""
    spreads: dict[Band, float] = {}
    for band, found in probes.items():
        if found.bit_depth > BYTE_BITS:
            return
        last = found.times_s.size - 1
        indices = [round(index) for index in np.linspace(0, last, COLOR_FRAMES)]
        path = plan.data_root / getattr(plan.recording, band)
        layout = getattr(plan.recording.layouts, band)
        spreads[band] = color_spread(
            np.asarray(frame, np.uint8)
            for frame in read_frames_at(path, "visible", indices, layout=layout)
        )
    if colors_look_swapped(spreads["infrared"], spreads["visible"]):
        raise IngestError(
            f"{plan.recording.infrared} is in colour ({spreads['infrared']:.0f} grey levels "
            f"between channels) and {plan.recording.visible} is grey ({spreads['visible']:.0f}): "
            "they look swapped; exchange them in the catalog, or export the infrared video "
            "without its colour palette"
        )


def _run_times(plan: RecordingPlan, band: Band, found: StreamProbe) -> NDArray[np.float64]:
    """The instants of a stream: the camera's own log, else the file's presentation times."""
    log = getattr(plan.recording.timestamps, band)
    if log is None:
        return found.times_s
    times_s = read_timestamps(plan.data_root / log)
    if times_s.size != found.times_s.size:
        raise IngestError(
            f"{log}: lists {times_s.size} frames and {getattr(plan.recording, band)} holds "
            f"{found.times_s.size}; give the log that belongs to the video"
        )
    return times_s


def _run_measure(
    plan: RecordingPlan, band: Band, found: StreamProbe, measured: Sequence[MeasuredRange]
) -> Signals:
    path = plan.data_root / getattr(plan.recording, band)
    signals = run_joined(measured, band)
    if signals is None:
        frames = read_frames(path, band, layout=getattr(plan.recording.layouts, band))
        signals = measure(frames, tone_shares(plan.recipe.ingest))
    if signals.dead.size != found.times_s.size:
        raise IngestError(
            f"{path}: {signals.dead.size} of {found.times_s.size} frames can be decoded; "
            "copy or record it again"
        )
    if signals.dead.all():
        raise IngestError(f"{path}: every frame is of one single value; check the {band} camera")
    return signals


def _run_facts(
    plan: RecordingPlan,
    found: StreamProbe,
    times_s: NDArray[np.float64],
    signals: Signals,
    named: tuple[Band, str],
) -> StreamFacts:
    """What is noted of a stream; `named` is its band and the sha256 of its file."""
    band, sha256 = named
    path = plan.data_root / getattr(plan.recording, band)
    inner = path.rglob("*") if path.is_dir() else [path]
    tone = None
    if signals.histogram is not None:
        tone = tone_mapping(signals.histogram, plan.recipe.ingest)
    logged = getattr(plan.recording.timestamps, band) is not None
    return StreamFacts(
        path=getattr(plan.recording, band),
        sha256=sha256,
        size_bytes=sum(file.stat().st_size for file in inner if file.is_file()),
        container=found.container,
        codec=found.codec,
        pixel_format=found.pixel_format,
        color_range=found.color_range,
        width=found.width,
        height=found.height,
        bit_depth=found.bit_depth,
        frames=times_s.size,
        fps=round(float(1 / np.median(np.diff(times_s))), 6),
        time_source="timestamps" if logged else found.time_source,
        first_time_s=float(times_s[0]),
        last_time_s=float(times_s[-1]),
        missing_frames=count_missing(times_s),
        repeated_frames=tuple(int(n) for n in np.flatnonzero(signals.repeated)),
        dead_frames=tuple(int(n) for n in np.flatnonzero(signals.dead)),
        torn_frames=tuple(int(n) for n in np.flatnonzero(torn_in(signals, found))),
        tone=tone,
    )
