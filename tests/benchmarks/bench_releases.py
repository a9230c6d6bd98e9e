"""CPU time of release, diff, verify --quick and opening the loader, by clips of a release."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.release import diff_versions, release_dataset
from model.clips import ClipWindows
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace
from tests.benchmarks.many_clips import (
    CLIPS_PER_RECORDING,
    HEIGHT,
    PAIRS,
    build_clips,
    write_catalog,
)

CLIPS = (1_000, 10_000)

OTHER_BLUR = (
    "{publish: {preview_pairs: 0}, "
    "degrade: {visible: [{kind: gaussian-blur, sigma_px: [1.5, 2.0]}]}}"
)
"""A recipe under which every clip is another one."""


@dataclass(frozen=True)
class Timing:
    """CPU time that one command took on a release of that many clips."""

    command: str
    clips: int
    seconds: float


def measure_releases(clips: tuple[int, ...] = CLIPS) -> list[Timing]:
    """Time the four commands, each on releases of these many clips."""
    timings: list[Timing] = []
    for count in clips:
        with TemporaryDirectory() as folder:
            timings += _measure(Path(folder), count)
    return timings


def _measure(folder: Path, count: int) -> list[Timing]:
    workspace = Workspace(folder / "work")
    recordings = count // CLIPS_PER_RECORDING
    catalog = write_catalog(folder, recordings)
    build_clips(catalog, workspace)
    timings: list[Timing] = []

    def timed(command: str, run: Callable[[], object]) -> None:
        begin = time.process_time()
        run()
        timings.append(Timing(command, count, time.process_time() - begin))

    timed("release", lambda: release_dataset(catalog, "v1.0.0", workspace.root))
    timed("verify --quick", lambda: verify_release("v1.0.0", workspace, quick=True))
    timed("open the loader", lambda: _open(workspace))
    write_catalog(folder, recordings, recipe=OTHER_BLUR)
    build_clips(catalog, workspace)
    release_dataset(catalog, "v1.1.0", workspace.root)
    timed("diff", lambda: diff_versions("v1.0.0", "v1.1.0", workspace.root))
    return timings


def _open(workspace: Workspace) -> int:
    return len(ClipWindows(workspace.release("v1.0.0"), frames=PAIRS - 1, crop=HEIGHT // 2))
