"""`python -m tests.pipeline.fuzzed_formats FOLDER SEED FILES`: damage files and read them.

A process of its own, since what damaged files crash is rarely Python. It names every file before it
reads it, so that the last name is the culprit's.
"""

import json
import random
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2

from pipeline.ingest_measure import measure
from pipeline.tone import tone_shares
from pipeline.video_files import probe, read_frames, read_frames_at, read_timestamps
from schemas.base import Band
from schemas.errors import TwinbandError
from schemas.recipe import IngestRecipe
from tests.pipeline.recorders import (
    RECORDERS,
    STEADY_FPS,
    Recorded,
    infrared_counts,
    piped,
    steady_s,
    visible_colors,
)

FEW = 6
"""Frames of a file: enough for prediction from frame to frame."""

PATIENCE_S = 10
"""For one file; a sound one takes some hundredths of a second."""

MEMORY_BYTES = 6 * 2**30
"""Of addresses; libraries and threads take a third."""

COLOUR_VIDEOS = {
    "h264.mp4": ("libx264", "-bf", "2"),
    "h264.ts": ("libx264",),
    "hevc.mkv": ("libx265", "-x265-params", "log-level=none"),
    "vp9.webm": ("libvpx-vp9", "-deadline", "realtime"),
    "mpeg4.avi": ("mpeg4",),
    "mjpeg.avi": ("mjpeg", "-pix_fmt", "yuvj420p"),
    "theora.ogv": ("libtheora",),
    "wmv2.wmv": ("wmv2",),
    "prores.mov": ("prores",),
    "rgb.nut": ("rawvideo",),
}

Damage = Callable[[bytearray, random.Random], bytes]


def noise(content: bytearray, draw: random.Random) -> bytes:
    """Single bits that turned over."""
    for _ in range(draw.choice([1, 1, 4, 40, 400])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def header_noise(content: bytearray, draw: random.Random) -> bytes:
    """Bytes of the first or the last kilobyte, where lengths and counts stand."""
    for _ in range(draw.choice([1, 2, 8])):
        place = draw.randrange(min(1024, len(content)))
        content[place if draw.random() < 0.6 else -1 - place] = draw.choice(
            [0, 255, draw.randrange(256)]
        )
    return bytes(content)


def cut(content: bytearray, draw: random.Random) -> bytes:
    return bytes(content[: draw.randrange(len(content))])


def blank(content: bytearray, draw: random.Random) -> bytes:
    """A hole of zeros, as a file system leaves it behind."""
    start = draw.randrange(len(content))
    length = draw.randrange(1, 4096)
    content[start : start + length] = bytes(len(content[start : start + length]))
    return bytes(content)


def moved(content: bytearray, draw: random.Random) -> bytes:
    """A piece left out, or there twice."""
    start, end = sorted(draw.randrange(len(content)) for _ in range(2))
    end = min(end, start + 5000)
    piece = content[start:end] if draw.random() < 0.5 else b""
    return bytes(content[:start] + piece + piece + content[end:])


def empty(_content: bytearray, _draw: random.Random) -> bytes:
    return b""


DAMAGES: tuple[Damage, ...] = (noise, noise, header_noise, header_noise, cut, blank, moved, empty)


def film(folder: Path) -> dict[str, Recorded]:
    """Every kind of file, sound, by name."""
    made: dict[str, Recorded] = {}
    for name, recorder in RECORDERS.items():
        (folder / name).mkdir()
        made[name] = recorder(folder / name, infrared_counts(FEW))
    for name, codec in COLOUR_VIDEOS.items():
        piped(visible_colors(FEW), "rgb24", "-c:v", *codec, folder / name)
        made[name] = Recorded(folder / name, steady_s(FEW))
    log = folder / "times.csv"
    log.write_text("frame,time_s\n" + "".join(f"{n},{n / STEADY_FPS}\n" for n in range(FEW)))
    made["times.csv"] = Recorded(log, steady_s(FEW))
    return made


def damage(target: Path, draw: random.Random) -> str:
    """Damage a file, or one of a folder's; gives what was done to which."""
    files = sorted(p for p in target.rglob("*") if p.is_file()) if target.is_dir() else [target]
    file = draw.choice(files)
    how = draw.choice(DAMAGES)
    file.write_bytes(how(bytearray(file.read_bytes()), draw))
    return f"{how.__name__} of {file.name}"


def ingest(recorded: Recorded) -> None:
    """Everything that ingest does to a file.

    Raises:
        TwinbandError: it is damaged.
    """
    if recorded.path.suffix == ".csv":
        read_timestamps(recorded.path)
        return
    found = probe(recorded.path, fps=recorded.fps, layout=recorded.layout)
    band: Band = "infrared" if found.bit_depth > 8 else "visible"
    read_frames_at(recorded.path, band, [0, found.times_s.size - 1], layout=recorded.layout)
    frames = read_frames(recorded.path, band, layout=recorded.layout)
    measure(frames, tone_shares(IngestRecipe()))


def main(folder: Path, seed: int, files: int) -> None:
    """Damage and read so many files; prints what became of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    cv2.setNumThreads(1)
    draw = random.Random(seed)
    sound = film(folder)
    for recorded in sound.values():
        ingest(recorded)
    outcomes: Counter[str] = Counter()
    for index in range(files):
        name, recorded = list(sound.items())[index % len(sound)]
        inner = recorded.path.relative_to(folder)
        copy = folder / f"damaged-{index}" / inner.name
        copy.parent.mkdir()
        if recorded.path.is_dir():
            shutil.copytree(recorded.path, copy)
        else:
            shutil.copy(recorded.path, copy)
        print(index, name, damage(copy, draw), flush=True)  # noqa: T201  # names the culprit
        signal.alarm(PATIENCE_S)
        try:
            ingest(Recorded(copy, recorded.times_s, recorded.layout, recorded.fps))
            outcomes["read"] += 1
        except TwinbandError as error:
            reason = str(error)
            is_told = "\n" not in reason and str(copy) in reason
            outcomes["refused" if is_told else f"refused without a clear line: {reason!r}"] += 1
        signal.alarm(0)
        shutil.rmtree(copy.parent)
    print(json.dumps(outcomes))  # noqa: T201  # the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
