"""CPU time and memory of building a clip against decoding its videos and encoding its store."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from pipeline.importers import slug_of
from pipeline.video_files import probe
from schemas.base import BANDS, Matrix3x3
from schemas.catalog import (
    Camera,
    CatalogFile,
    Dataset,
    Recording,
    Rig,
    Session,
    SplitRule,
)
from schemas.recipe import Recipe
from tests.benchmarks.building import ENCODE, STAGES, Cost
from tests.benchmarks.measuring import Spread, alternating
from tests.benchmarks.tables import Claim, Section, Table

VIDEOS = "Video/test"

CLIP = "0111_1716"
"""The shortest video of the sample, 151 frames."""

DECODE_ALONE, ENCODE_ALONE = "decode alone", "encode alone"


GIGABYTE = 1e9


HOMOGRAPHY = ((0.98, 0.01, 6.0), (-0.01, 0.98, 5.0), (0.0, 0.0, 1.0))
"""Visible pixels to infrared pixels, in place of the identity, so that every frame is warped."""


@dataclass(frozen=True)
class Effort:
    """How often is measured, and what."""

    rounds: int = 3
    longer: int = 10
    """Times that the long recording plays the short one: memory must not grow with length."""


@dataclass(frozen=True)
class Material:
    """A recording of two videos, its catalog, and where it is built."""

    catalog: Path
    videos: tuple[Path, ...]
    work: Path
    frames: int


def section(m3svd: Path, folder: Path, effort: Effort) -> Section:
    """Everything that is measured about building.

    Args:
        m3svd: the sample of M3SVD, which has videos.
        folder: to write to.
        effort: how often to measure, and what.
    """
    videos = tuple(m3svd / VIDEOS / band / f"{CLIP}.mp4" for band in BANDS)
    registered = prepare(folder / "registered", videos)
    warped = prepare(folder / "warped", videos, homography=HOMOGRAPHY)
    long = prepare(folder / "long", videos, homography=HOMOGRAPHY, times=effort.longer)
    costs = measure_build({"registered": registered, "warped": warped}, effort.rounds)
    peaks = {material.frames: measure_peak(material) for material in (warped, long)}
    return Section(
        title="The build",
        method=(
            f"M3SVD's video {CLIP} ({warped.frames} frames of 640 x 480, both bands MPEG-4), built "
            "with the default recipe, degraded streams stored: *registered* as it is, *warped* by "
            "a homography that the catalog gives. *Decode*: ffmpeg, one thread, both videos to "
            "the null muxer. *Encode*: the four arrays of the finished clip written by "
            "`ClipWriter` from memory, sealed. A process of its own, with one thread, takes the "
            "four stages, and another one encodes; CPU time starts behind the imports. Peak "
            "memory is the most that the process has held by the end of the stage, its libraries "
            f"included; the long recording plays the short one "
            f"{effort.longer} times."
        ),
        claims=claims(costs, peaks),
        tables=(cost_table(costs, warped.frames), peak_table(peaks)),
    )


def prepare(
    folder: Path,
    videos: Sequence[Path],
    *,
    homography: Matrix3x3 | None = None,
    times: int = 1,
) -> Material:
    """A catalog of one recording, not built yet.

    Args:
        folder: to write to.
        videos: infrared, visible.
        homography: of the recording; None: it is registered.
        times: how often the videos are played.
    """
    footage = folder / "footage"
    footage.mkdir(parents=True, exist_ok=True)
    played = tuple(footage / f"{band}.mp4" for band in BANDS)
    for video, copy in zip(videos, played, strict=True):
        _ffmpeg("-stream_loop", str(times - 1), "-i", str(video), "-c", "copy", str(copy))
    found = probe(played[0])
    camera = Camera(width=found.width, height=found.height)
    recording = Recording(
        id=slug_of(CLIP),
        site="site",
        infrared=played[0].name,
        visible=played[1].name,
        registered=homography is None,
        homography=homography,
        offset_s=None if homography is None else 0.0,
    )
    catalog = CatalogFile(
        dataset=Dataset(name="bench", data_root=str(footage)),
        rigs=(Rig(id="rig", infrared=camera, visible=camera),),
        sessions=(Session(id="session", rig="rig", recordings=(recording,)),),
        recipe=Recipe(),
        splits=SplitRule(),
    )
    path = folder / "catalog.yaml"
    path.write_text(catalog.model_dump_json(exclude_unset=True, by_alias=True))
    return Material(path, played, folder / "work", found.times_s.size)


def measure_build(materials: Mapping[str, Material], rounds: int) -> dict[str, Spread]:
    """CPU seconds of decoding, of every stage and their sum, and of encoding."""
    candidates: dict[str, Callable[[], Mapping[str, float]]] = {}
    for name, material in materials.items():
        candidates[f"{name}: {DECODE_ALONE}"] = partial(_decode_cpu_s, material)
        candidates[f"{name}:"] = partial(_build_cpu_s, material)
        candidates[f"{name}: {ENCODE_ALONE}"] = partial(_encode_cpu_s, material)
    return alternating(candidates, rounds)


def measure_peak(material: Material) -> dict[str, int]:
    """Peak memory of every stage, bytes."""
    return {stage: cost.peak_bytes for stage, cost in _build(material).items()}


def claims(
    costs: Mapping[str, Spread], peaks: Mapping[int, Mapping[str, int]]
) -> tuple[Claim, ...]:
    """What the issue promises of a build."""
    found: list[Claim] = []
    for name in ("registered", "warped"):
        ratio = costs[f"{name}: shard"].over(alone(costs, name))
        what = f"shard stage, {name}: CPU time of decoding and encoding alone"
        found.append(Claim(what, ratio, "<=", 2.0))
    (short, low), (long, high) = ((frames, max(peak.values())) for frames, peak in peaks.items())
    found.append(
        Claim(f"peak memory, {long} pairs", Spread((high / GIGABYTE,)), "<=", 1.0, "GB"),
    )
    what = f"peak memory, {long} pairs: that of {short} pairs"
    found.append(Claim(what, Spread((high / low,)), "<=", 1.1))
    return tuple(found)


def alone(costs: Mapping[str, Spread], name: str) -> Spread:
    """What decoding and encoding take together, in every round."""
    decode, encode = (
        costs[f"{name}: {DECODE_ALONE}"].values,
        costs[f"{name}: {ENCODE_ALONE}"].values,
    )
    return Spread(tuple(a + b for a, b in zip(decode, encode, strict=True)))


def cost_table(costs: Mapping[str, Spread], frames: int) -> Table:
    """Every step, and what it takes a pair."""
    rows: list[tuple[str, ...]] = []
    for step, cost in costs.items():
        ratio = cost.over(alone(costs, step.partition(":")[0]))
        rows.append((step, str(cost), f"{1000 * cost.median / frames:.1f}", str(ratio)))
    return Table(("step", "CPU seconds", "ms a pair", "x decode + encode"), tuple(rows))


def peak_table(peaks: Mapping[int, Mapping[str, int]]) -> Table:
    """Every stage at both lengths."""
    rows = [(stage, *(f"{peak[stage] / 1e6:.0f}" for peak in peaks.values())) for stage in STAGES]
    lengths = (f"MB at {frames} pairs" for frames in peaks)
    return Table(("peak memory", *lengths), tuple(rows))


def _build(material: Material) -> dict[str, Cost]:
    shutil.rmtree(material.work, ignore_errors=True)
    return _costs(material, *STAGES)


def _build_cpu_s(material: Material) -> dict[str, float]:
    costs = {stage: cost.cpu_s for stage, cost in _build(material).items()}
    return {**costs, "all stages": sum(costs.values())}


def _encode_cpu_s(material: Material) -> dict[str, float]:
    """Of the workspace that was built just before."""
    shutil.rmtree(material.work.with_name(f"{material.work.name}-encoded"), ignore_errors=True)
    return {"": _costs(material, ENCODE)[ENCODE].cpu_s}


def _costs(material: Material, *steps: str) -> dict[str, Cost]:
    """Of steps that one process takes in this order."""
    module = f"{__package__}.building"
    printed = subprocess.run(
        [sys.executable, "-m", module, material.catalog, material.work, *steps],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return {step: Cost(**cost) for step, cost in json.loads(printed).items()}


def _decode_cpu_s(material: Material) -> dict[str, float]:
    """CPU time of ffmpeg reading every frame of both videos and throwing it away."""
    total_s = 0.0
    for video in material.videos:
        command = [get_ffmpeg_exe(), "-v", "error", "-threads", "1", "-i", video, "-f", "null", "-"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        total_s += usage.ru_utime + usage.ru_stime
    return {"": total_s}


def _ffmpeg(*arguments: str) -> None:
    command = [get_ffmpeg_exe(), "-v", "error", "-y", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
