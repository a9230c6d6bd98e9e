"""What `twinband align` costs on whole real recordings, beside decoding them."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.video_files import probe, read_frames
from schemas.base import BANDS
from tests.benchmarks.measuring import Spread, significant
from tests.benchmarks.tables import Claim, Section, Table

VIDEOS = Path("Video", "test")
COMMAND = Path(sys.executable).parent / "twinband"


@dataclass(frozen=True)
class Run:
    """One recording, related once."""

    clip: str
    frames: int
    lasts_s: float
    cpu_s: float
    """Of the command and all it starts; on cores of their own, it takes no longer than that."""
    wall_s: float
    decoding_cpu_s: float
    """Of reading both files once, and nothing else."""
    accepted: bool


def measured(source: Path, clip: str) -> Run:
    """Run the command on a clip of M3SVD.

    Args:
        source: the sample of M3SVD.
        clip: name of both videos.
    """
    paths = [source / VIDEOS / band / f"{clip}.mp4" for band in BANDS]
    begin = time.process_time()
    frames = min(
        len([frame.shape for frame in read_frames(path, band)])
        for path, band in zip(paths, BANDS, strict=True)
    )
    decoding_cpu_s = time.process_time() - begin
    times_s = probe(paths[0]).times_s
    before, begin = _children_cpu_s(), time.perf_counter()
    done = subprocess.run(
        [COMMAND, "align", *paths, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    return Run(
        clip=clip,
        frames=frames,
        lasts_s=float(times_s[-1] - times_s[0]),
        cpu_s=_children_cpu_s() - before,
        wall_s=time.perf_counter() - begin,
        decoding_cpu_s=decoding_cpu_s,
        accepted=bool(json.loads(done.stdout)["accepted"]),
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def section(source: Path, rounds: int) -> Section:
    """Every video of the sample, so many times."""
    clips = sorted(path.stem for path in (source / VIDEOS / BANDS[0]).glob("*.mp4"))
    runs = {clip: [measured(source, clip) for _ in range(rounds)] for clip in clips}
    longest = max(runs.values(), key=lambda some: some[0].frames)
    taken = {
        "CPU time": Spread(tuple(run.cpu_s / run.lasts_s for run in longest)),
        "wall time": Spread(tuple(run.wall_s / run.lasts_s for run in longest)),
    }
    claims = tuple(
        Claim(f"{what} over the length of {longest[0].frames} frames of 640x480", spread, "<=", 1.0)
        for what, spread in taken.items()
    )
    header = ("recording", "frames", "lasts s", "CPU s", "wall s", "decoding alone, CPU s", "")
    rows = tuple(
        (
            run.clip, str(run.frames), significant(run.lasts_s), significant(run.cpu_s),
            significant(run.wall_s), significant(run.decoding_cpu_s),
            "accepted" if run.accepted else "refused",
        )
        for some in runs.values()
        for run in some
    )  # fmt: skip
    method = (
        "`twinband align IR VIS` on the videos of the M3SVD sample, start-up included. Some 8 s "
        "are the same for every length. Wall time is that of the machine as it was; CPU time is "
        "its bound where a core is free."
    )
    return Section("Aligning", method, claims, (Table(header, rows),))
