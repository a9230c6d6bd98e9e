"""Clocks on real M3SVD clips encoded anew, on the simulated rig, and on pairs that do not belong.

Errors on real clips are distances from the alignment that the release claims, in frames of the
slower camera; those on the simulated rig from the truth, in the middle of the recording.
"""

import argparse
import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

import cv2
import numpy as np

from flows.align import align_videos
from pipeline.geometry import distance_of_corners
from pipeline.ingest import run_ingest
from pipeline.register_estimate import estimate_homography
from pipeline.simulate import TRUTH_NAME, run_simulate
from pipeline.sync import motion_of, run_sync
from pipeline.sync_clock import estimate_clock
from pipeline.sync_fit import Clock
from pipeline.sync_motion import Motion, Signal
from pipeline.sync_resting import run_resting_view
from pipeline.sync_views import View
from pipeline.video_files import Frame, probe, read_frames_at
from pipeline.workspace import Workspace, load, load_arrays
from schemas.base import Band
from schemas.catalog import RecordingPlan, Timestamps
from schemas.catalog_reading import load_catalog
from schemas.errors import SyncError
from schemas.facts import IngestFacts, SyncFacts
from schemas.recipe import RegisterRecipe, SyncRecipe
from schemas.simulation import RecordingTruth
from tests.benchmarks.measuring import Spread
from tests.benchmarks.sync_material import (
    KEYFRAMES,
    Cut,
    Simulated,
    draw_cut,
    encode,
    held,
    plan_of,
    simulated,
    video_of,
    write_cut,
)
from tests.benchmarks.tables import Claim, Section, Table
from tests.conftest import M3SVD

CLIPS = ("0111_1716", "0113_1714", "0117_1605")
SHORT = "0111_1716"
"""151 frames, so that its cuts hold 120; the others hold 300 and count for the claims."""

SHAPE = (480, 640)
FPS = 30.0
MOTIONS = ("still", "shake", "still", "pan")
CLOSE_PX, CLOSE_FRAMES = 3.0, 1.0
RHYTHM_FRAMES = 12
"""From keyframe to keyframe in the videos of M3SVD."""

FOREIGN_S = (6.0, 10.0)
"""Lengths of cuts that do not belong together."""

Draw = TypeVar("Draw")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RealDraw:
    """A cut of a real clip through `twinband align`."""

    clip: str
    motion: str
    offset_frames: int
    reason: str | None
    """Why it was refused; None: it was not."""
    error_frames: float | None
    """None where no clock was found."""
    confidence: float | None
    error_px: float | None
    """Mean distance of corners from where the untouched clip's estimate puts them."""
    seconds: float
    """Processor time of ingest, sync and register."""


def real_draws(source: Path, draws: int, *, clips: Sequence[str], seed: int) -> Iterator[RealDraw]:
    """`draws` cuts of each clip, every second one before a rig that moves."""
    for number, clip in enumerate(clips):
        anchor = _untouched(source, clip)
        rng = np.random.default_rng([seed, number])
        frames = len(probe(video_of(source, "visible", clip)).times_s)
        for turn in range(draws):
            cut = draw_cut(rng, frames, SHAPE, MOTIONS[turn % len(MOTIONS)])
            with TemporaryDirectory() as folder:
                paths = write_cut(source, clip, cut, Path(folder))
                begin = time.process_time()
                found = align_videos(*paths)
                seconds = time.process_time() - begin
            error_frames = error_px = None
            if found.offset_s is not None and found.drift_ppm is not None:
                middle_s = (cut.visible.stop - cut.visible.start) / FPS / 2
                offset_s = found.offset_s + middle_s * found.drift_ppm * 1e-6
                error_frames = offset_s * FPS - cut.offset_frames
            if found.homography is not None:
                back = np.array(found.homography) @ cut.homography
                error_px = distance_of_corners(back, anchor, SHAPE)
            yield RealDraw(
                clip, cut.motion, cut.offset_frames, found.reason, error_frames,
                found.sync_confidence, error_px, seconds,
            )  # fmt: skip


def _untouched(source: Path, clip: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The homography of frames of the same instants."""
    count = len(probe(video_of(source, "infrared", clip)).times_s)
    places = [int((part + 0.5) * count / 8) for part in range(8)]
    infrared, visible = (
        [
            np.asarray(frame, np.uint8)
            for frame in read_frames_at(video_of(source, band, clip), band, places)
        ]
        for band in KEYFRAMES
    )
    return np.array(estimate_homography(infrared, visible, RegisterRecipe()).homography)


@dataclass(frozen=True)
class SimulatedDraw:
    """A simulated recording, with the cameras' own timestamps or without."""

    recording: str
    is_stamped: bool
    reason: str | None
    error_frames: float
    """Of the offset in the middle of the recording; of pairs' true instants, where unstamped."""
    drift_error_ppm: float
    duration_s: float
    max_apart: float
    """Largest distance of a pair by its timestamps, in periods of the slower camera."""
    max_truly_apart: float
    """The same by the true instants."""
    dropped: int
    found_dropped: int
    seconds: float
    """Processor time of sync alone."""


def simulated_draws(chosen: Sequence[Simulated], seed: int) -> Iterator[SimulatedDraw]:
    """Every recording with its timestamps and without."""
    for number, each in enumerate(chosen):
        with TemporaryDirectory() as folder:
            root = Path(folder)
            catalog = run_simulate(root / "footage", each.settings(seed + number))
            (plan,) = load_catalog(catalog).plans()
            truth = load(catalog.parent / "outing" / each.recording.id / TRUTH_NAME, RecordingTruth)
            if truth is None:
                raise FileNotFoundError(each.recording.id)
            bare = plan.recording.model_copy(update={"timestamps": Timestamps()})
            yield _simulated_draw(each, plan, truth, Workspace(root / "stamped"))
            unstamped = plan.model_copy(update={"recording": bare})
            yield _simulated_draw(each, unstamped, truth, Workspace(root / "bare"))


def _simulated_draw(
    each: Simulated, plan: RecordingPlan, truth: RecordingTruth, workspace: Workspace
) -> SimulatedDraw:
    ingest = run_ingest(plan, workspace)
    is_stamped = plan.recording.timestamps.infrared is not None
    period_s = 1 / min(each.infrared_fps, each.visible_fps)
    planted = len(truth.infrared.dropped_after) + len(truth.visible.dropped_after)
    nan = float("nan")
    begin = time.process_time()
    try:
        facts: SyncFacts = run_sync(plan, workspace)
    except SyncError as error:
        seconds = time.process_time() - begin
        return SimulatedDraw(
            each.recording.id, is_stamped, str(error), nan, nan, each.recording.duration_s,
            nan, nan, planted, 0, seconds,
        )  # fmt: skip
    seconds = time.process_time() - begin
    pairs = load_arrays(workspace.pairs(plan.recording.id), fingerprint=facts.fingerprint)
    here_s = np.array(truth.infrared.true_times_s)[pairs["infrared_frames"]]
    there_s = np.array(truth.visible.true_times_s)[pairs["visible_frames"]]
    middle_s = float(np.mean(truth.visible.true_times_s))
    found_s = facts.offset_s + middle_s * facts.drift_ppm * 1e-6
    error_s = found_s - truth.offset_s - middle_s * truth.drift_ppm * 1e-6
    if not is_stamped:  # each file begins at 0 on a clock of its own: ask the pairs
        error_s = float(np.median(here_s - there_s - pairs["residual_s"]))
    return SimulatedDraw(
        recording=each.recording.id,
        is_stamped=is_stamped,
        reason=None,
        error_frames=error_s / period_s,
        drift_error_ppm=facts.drift_ppm - truth.drift_ppm,
        duration_s=each.recording.duration_s,
        max_apart=facts.max_residual_s / period_s,
        max_truly_apart=float(np.abs(here_s - there_s).max()) / period_s,
        dropped=planted,
        found_dropped=ingest.infrared.missing_frames + ingest.visible.missing_frames,
        seconds=seconds,
    )


@dataclass(frozen=True)
class ForeignDraw:
    """Infrared of one clip with visible of another."""

    infrared: str
    visible: str
    confidence: float
    is_accepted: bool
    share_of_rhythm: bool
    """Whether the best offset is that of the cut, but for whole keyframe periods."""


def foreign_draws(source: Path, draws: int, *, seed: int) -> Iterator[ForeignDraw]:
    """`draws` cuts of every two clips, of files encoded anew as a whole."""
    with TemporaryDirectory() as folder:
        found = {clip: _ingested(source, clip, Path(folder) / clip) for clip in CLIPS}
        for number, (here, there) in enumerate((a, b) for a in CLIPS for b in CLIPS if a != b):
            paths = found[here].paths[0], found[there].paths[1]
            mixed = _mixed(paths, Path(folder) / f"mixed-{number}")
            rng = np.random.default_rng([seed, number])
            for _ in range(draws):
                yield _foreign_draw(found[here], found[there], mixed, rng)


@dataclass(frozen=True)
class Ingested:
    """A clip encoded anew and what moves in it."""

    name: str
    paths: tuple[Path, Path]
    infrared: Motion
    visible: Motion


def _ingested(source: Path, clip: str, folder: Path) -> Ingested:
    folder.mkdir()
    frames = len(probe(video_of(source, "visible", clip)).times_s)
    whole = Cut(slice(0, frames), slice(0, frames), np.eye(3), "still")
    paths = write_cut(source, clip, whole, folder)
    plan, workspace = plan_of(*paths), Workspace(folder / "work")
    facts = run_ingest(plan, workspace)
    signals = load_arrays(workspace.signals(plan.recording.id), fingerprint=facts.fingerprint)
    return Ingested(
        clip,
        paths,
        motion_of(signals, "infrared", facts.infrared),
        motion_of(signals, "visible", facts.visible),
    )


@dataclass(frozen=True)
class Mixed:
    """Two clips that do not belong together, as one recording."""

    plan: RecordingPlan
    facts: IngestFacts
    times_s: Mapping[Band, Signal]

    def view(self, clock: Clock, infrared_first_s: float, visible_first_s: float) -> View | None:
        """What the scenes of two cuts say about the view; None, as they should: nothing."""
        whole = Clock(
            clock.middle_s + infrared_first_s,
            clock.offset_s + infrared_first_s - visible_first_s,
            clock.drift,
        )
        return run_resting_view(self.plan, self.facts, self.times_s, whole)


def _mixed(paths: tuple[Path, Path], folder: Path) -> Mixed:
    folder.mkdir()
    for path in paths:
        (folder / path.name).hardlink_to(path)
    plan, workspace = plan_of(folder / paths[0].name, folder / paths[1].name), folder / "work"
    facts = run_ingest(plan, Workspace(workspace))
    signals = load_arrays(
        Workspace(workspace).signals(plan.recording.id), fingerprint=facts.fingerprint
    )
    times_s = {band: signals[f"{band}_times_s"].astype(np.float64) for band in KEYFRAMES}
    return Mixed(plan, facts, times_s)


def _foreign_draw(
    here: Ingested, there: Ingested, mixed: Mixed, rng: np.random.Generator
) -> ForeignDraw:
    """One cut; a confidence of 0 is enough, for the offset is looked at whether accepted or not."""
    frames = round(rng.uniform(*FOREIGN_S) * FPS)
    cuts, firsts, firsts_s = [], [], []
    for motion in (here.infrared, there.visible):
        count = min(frames, len(motion.times_s) - MIN_LEFT)
        first = int(rng.integers(0, len(motion.times_s) - count + 1))
        kept = slice(first, first + count)
        cuts.append(
            Motion(motion.times_s[kept] - motion.times_s[first], motion.levels[kept], motion.aspect)
        )
        firsts.append(first)
        firsts_s.append(float(motion.times_s[first]))
    recipe = SyncRecipe()
    open_to_all = recipe.model_copy(update={"min_confidence": 0.0})
    best = estimate_clock(cuts[0], cuts[1], open_to_all)
    try:
        accepted = estimate_clock(
            cuts[0], cuts[1], recipe, lambda clock: mixed.view(clock, firsts_s[0], firsts_s[1])
        )
    except SyncError:
        accepted = None
    apart = round(best.offset_s * FPS) - (firsts[1] - firsts[0])
    return ForeignDraw(
        here.name,
        there.name,
        best.confidence if accepted is None else accepted.confidence,
        accepted is not None,
        apart % RHYTHM_FRAMES == 0,
    )


MIN_LEFT = 10
"""Frames of a clip that a cut leaves, so that cuts differ."""


def still_reason(source: Path) -> str | None:
    """Why two still scenes are refused; None: they were not."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        paths = []
        for band, keyframes in KEYFRAMES.items():
            (frame,) = read_frames_at(video_of(source, band, SHORT), band, [70])
            paths.append(Path(folder) / f"{band}.mkv")
            shown: Frame = np.asarray(frame, np.uint8)
            encode(paths[-1], held(shown, 240, rng), FPS, keyframes)
        return align_videos(paths[0], paths[1]).reason


def section(source: Path, *, draws: int, foreign: int, seed: int = 0) -> Section:
    """Everything, as the page of benchmarks shows it, by a process a core: no wall time is told."""
    telling = partial(logging.basicConfig, level=logging.INFO, format="%(message)s")
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=spawned, initializer=telling) as processes:
        wrong = processes.submit(_wrong, source, foreign, seed)
        rig = processes.submit(_rig, seed)
        real = processes.submit(_real, source, draws, seed)
        still = processes.submit(still_reason, source)
        return section_of(real.result(), rig.result(), wrong.result(), still.result())


def _real(source: Path, draws: int, seed: int) -> list[RealDraw]:
    return logged(real_draws(source, draws, clips=CLIPS, seed=seed))


def _rig(seed: int) -> list[SimulatedDraw]:
    return logged(simulated_draws(simulated(), seed))


def _wrong(source: Path, draws: int, seed: int) -> list[ForeignDraw]:
    return logged(foreign_draws(source, draws, seed=seed))


def logged(draws: Iterator[Draw]) -> list[Draw]:
    """All of them, each told as it comes."""
    found = []
    for draw in draws:
        logger.info("%s", draw)
        found.append(draw)
    return found


def section_of(
    real: Sequence[RealDraw],
    rig: Sequence[SimulatedDraw],
    wrong: Sequence[ForeignDraw],
    still: str | None,
) -> Section:
    """Claims and tables of what was measured."""
    long = [draw for draw in real if draw.clip != SHORT]
    stamped = [draw for draw in rig if draw.is_stamped]
    drifting = [draw for draw in stamped if draw.duration_s >= 60]
    claims = [
        *_real_claims(long),
        *_rig_claims(stamped, drifting),
        _claim("foreign pairs accepted", [d.is_accepted for d in wrong], "<=", 0.01, "of draws"),
        _claim(
            "foreign pairs at the cut modulo 12", [d.share_of_rhythm for d in wrong], "<=", 0.12,
            "of draws",
        ),
        _claim("still scenes accepted", [still is None], "<=", 0, "of 1"),
    ]  # fmt: skip
    return Section(
        title="Clocks",
        method=(
            f"Cuts of {len(real)} real clips up to 40 frames apart, their corners moved by up to "
            "32 px, half of them before a rig that shakes or pans, encoded anew with keyframes "
            "every 17 and 25 frames, through `twinband align`; errors in frames of 30 a second, "
            "against the release, and in pixels, against our own estimate of the untouched clip. "
            "The simulated rig with its timestamps. Infrared of one clip with visible of another."
        ),
        claims=tuple(claim for claim in claims if claim is not None),
        tables=(real_table(real), rig_table(rig), foreign_table(wrong)),
    )


def _claim(
    what: str, values: Sequence[float], sense: Literal[">=", "<="], bound: float, unit: str
) -> Claim | None:
    """A share, as the mean of what is true; None where nothing was measured."""
    if not values:
        return None
    return Claim(what, Spread((float(np.mean(values)),)), sense, bound, unit)


def _quantile(what: str, values: Sequence[float], share: float, bound: float) -> Claim | None:
    if not values:
        return None
    value = float(np.quantile(np.abs(values), share, method="higher" if share > 0.5 else "linear"))
    return Claim(what, Spread((value,)), "<=", bound, "frames")


def _real_claims(long: Sequence[RealDraw]) -> list[Claim | None]:
    errors = [draw.error_frames for draw in long if draw.error_frames is not None]
    solved = [
        draw.reason is None
        and draw.error_frames is not None
        and draw.error_px is not None
        and abs(draw.error_frames) <= CLOSE_FRAMES
        and draw.error_px <= CLOSE_PX
        for draw in long
    ]
    wrong = [
        draw.reason is None and not is_solved for draw, is_solved in zip(long, solved, strict=True)
    ]
    return [
        _quantile("real clips of 300 frames, median", errors, 0.5, 0.5),
        _quantile("real clips of 300 frames, 90 %", errors, 0.9, 1.0),
        _claim("clock and homography both solved", solved, ">=", 0.9, "of draws"),
        _claim("accepted and wrong", wrong, "<=", 0, "of draws"),
    ]


def _rig_claims(
    stamped: Sequence[SimulatedDraw], drifting: Sequence[SimulatedDraw]
) -> list[Claim | None]:
    errors = [draw.error_frames for draw in stamped if draw.reason is None]
    drifts = [abs(draw.drift_error_ppm) for draw in drifting if draw.reason is None]
    planted = sum(draw.dropped for draw in stamped)
    found = sum(draw.found_dropped for draw in stamped)
    apart = [draw.max_apart for draw in stamped if draw.reason is None]
    claims = [
        _quantile("simulated rig, median", errors, 0.5, 0.1),
        _quantile("simulated rig, 90 %", errors, 0.9, 0.25),
        _claim("simulated drops found", [found / max(planted, 1)], ">=", 1, "of all"),
    ]
    if drifts:
        claims.append(Claim("drift over a minute", Spread((max(drifts),)), "<=", 20, "ppm"))
    if apart:
        claims.append(Claim("pairs apart at most", Spread((max(apart),)), "<=", 0.5, "periods"))
    return claims


def _shown(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def real_table(draws: Sequence[RealDraw]) -> Table:
    """Every draw of every clip."""
    header = (
        "clip", "rig", "planted frames", "error frames", "confidence", "corners px", "CPU s",
        "answer",
    )  # fmt: skip
    rows = [
        (
            draw.clip, draw.motion, str(draw.offset_frames), _shown(draw.error_frames),
            _shown(draw.confidence), _shown(draw.error_px), f"{draw.seconds:.0f}",
            "accepted" if draw.reason is None else "refused",
        )
        for draw in draws
    ]  # fmt: skip
    return Table(header, tuple(rows))


def rig_table(draws: Sequence[SimulatedDraw]) -> Table:
    """Every simulated recording, with its timestamps and without."""
    header = (
        "recording", "timestamps", "error frames", "drift error ppm", "apart by stamps",
        "truly apart", "drops found", "sync CPU s", "answer",
    )  # fmt: skip
    rows = [
        (
            draw.recording, "yes" if draw.is_stamped else "no", _shown(draw.error_frames, 3),
            _shown(draw.drift_error_ppm, 1) if draw.is_stamped else "-", _shown(draw.max_apart),
            _shown(draw.max_truly_apart), f"{draw.found_dropped} of {draw.dropped}",
            f"{draw.seconds:.1f}", "accepted" if draw.reason is None else "refused",
        )
        for draw in draws
    ]  # fmt: skip
    return Table(header, tuple(rows))


def foreign_table(draws: Sequence[ForeignDraw]) -> Table:
    """By the two clips that do not belong together."""
    rows = []
    for names in dict.fromkeys((draw.infrared, draw.visible) for draw in draws):
        some = [draw for draw in draws if (draw.infrared, draw.visible) == names]
        confidence = max(draw.confidence for draw in some)
        rows.append(
            (
                *names, str(len(some)), str(sum(draw.is_accepted for draw in some)),
                f"{confidence:.2f}", f"{np.mean([draw.share_of_rhythm for draw in some]):.0%}",
            )
        )  # fmt: skip
    header = ("infrared", "visible", "draws", "accepted", "highest confidence", "cut modulo 12")
    return Table(header, tuple(rows))


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bench_sync", description=__doc__
    )
    parser.add_argument("--draws", type=int, default=4, help="real cuts of each clip")
    parser.add_argument("--foreign", type=int, default=40, help="draws of every two clips")
    parser.add_argument("--clips", nargs="*", default=list(CLIPS), metavar="CLIP")
    parser.add_argument("--recordings", nargs="*", metavar="NAME", help="simulated ones")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    chosen = [
        each
        for each in simulated()
        if given.recordings is None or each.recording.id in given.recordings
    ]
    rig = logged(simulated_draws(chosen, given.seed))
    real = logged(real_draws(M3SVD, given.draws, clips=given.clips, seed=given.seed))
    wrong = logged(foreign_draws(M3SVD, given.foreign, seed=given.seed)) if given.foreign else []
    logger.info("%s", section_of(real, rig, wrong, still_reason(M3SVD)).markdown())


if __name__ == "__main__":
    main()
