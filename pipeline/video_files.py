"""Reads video files and folders of frames; hides which is which from everyone else.

PyAV probes and decodes, for its exact presentation times and 16 bits. Writing is re-exported from
`video_encoding`, so that one module is the door to video files.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.image_files import (
    Frame,
    as_infrared,
    as_visible,
    described,
    numbered_frames,
    read_image,
    read_numbered,
    write_image,
)
from pipeline.video_encoding import write_video
from pipeline.video_streams import (
    decoded,
    opened,
    presentation_times,
    quarter_turns,
    sought,
    stamps,
)
from schemas.errors import VideoError

__all__ = [
    "Band",
    "Frame",
    "StreamProbe",
    "content_hash",
    "probe",
    "read_frames",
    "read_frames_at",
    "read_image",
    "read_timestamps",
    "write_image",
    "write_video",
]

Band = Literal["infrared", "visible"]

BYTE_BITS = 8

TIMESTAMP_COLUMNS = ["frame", "time_s"]

EXACT_GREY = {"gray", "gray10le", "gray12le", "gray14le", "gray16le"}
"""Formats whose samples are taken as they are; swscale would rescale 10 to 14 bits."""


@dataclass(frozen=True)
class StreamProbe:
    """What a video file or a folder of frames is."""

    container: str
    codec: str
    pixel_format: str
    color_range: str
    width: int
    height: int
    bit_depth: int
    """8 or 16: bits that a sample takes when decoded."""
    times_s: NDArray[np.float64]
    """Presentation times, increasing, (T,)."""


def probe(path: Path, *, fps: float | None = None) -> StreamProbe:
    """What `path` holds; of a video one frame is decoded and the rest demuxed.

    Args:
        path: a video file, or a folder of numbered PNG or TIFF frames.
        fps: frame rate of a folder; a number left out in its names is a missing frame.

    Raises:
        VideoError: it is missing, empty, damaged, or a folder without `fps`.
    """
    return _probe_folder(path, fps) if path.is_dir() else _probe_file(path)


def _probe_folder(path: Path, fps: float | None) -> StreamProbe:
    frames = numbered_frames(path)
    first = read_image(frames[0][1])
    numbers = np.array([number for number, _ in frames])
    channels = "rgb" if first.ndim > 2 else "gray"
    return StreamProbe(
        container="folder of frames",
        codec=frames[0][1].suffix.removeprefix(".").lower(),
        pixel_format=f"{channels}{8 * first.itemsize}",
        color_range="full",
        width=first.shape[1],
        height=first.shape[0],
        bit_depth=8 * first.itemsize,
        times_s=(numbers - numbers[0]) / (fps or 1.0),
    )


def _probe_file(path: Path) -> StreamProbe:
    with opened(path) as (container, stream):
        first = next(decoded(path, container, stream), None)
    if first is None:
        raise VideoError(f"{path}: holds no video frame; record or copy it again")
    width, height = first.width, first.height
    if quarter_turns(path, first) % 2:
        width, height = height, width
    with opened(path) as (container, stream):
        return StreamProbe(
            container=container.format.name,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            color_range={1: "limited", 2: "full"}.get(int(first.color_range), "unspecified"),
            width=width,
            height=height,
            bit_depth=16 if _bits(first.format.name) > BYTE_BITS else 8,
            times_s=presentation_times(path, container, stream),
        )


def content_hash(path: Path) -> tuple[str, int]:
    """The sha256 and the size in bytes of a file, or of a folder's sorted names and hashes.

    Whatever exists has one: an empty file or folder, and what is no video.

    Raises:
        OSError: it does not exist, or something cannot be read.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest, file.tell()
    folder, size_bytes = hashlib.sha256(), 0
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest, inner_bytes = content_hash(inner)
        folder.update(f"{inner.relative_to(path).as_posix()}\0{digest}\n".encode())
        size_bytes += inner_bytes
    return folder.hexdigest(), size_bytes


def read_frames(
    path: Path, band: Band, *, start: int = 0, stop: int | None = None
) -> Iterator[Frame]:
    """Every stored frame once, in presentation order, in constant memory.

    Infrared frames are (H, W): uint16 as stored, or uint8; colour video gives its luma at full
    range, images of three channels their luma. Visible frames are RGB (H, W, 3) uint8. A video
    that asks its players to turn it by quarters is turned.

    Args:
        path: a video file or a folder of numbered frames.
        band: which camera's frames these are.
        start: index of the first frame wanted; a video seeks to the keyframe before it.
        stop: index behind the last one; None: to the end.

    Raises:
        VideoError: the file is missing or damaged, or its frames are not alike.
    """
    if path.is_dir():
        paths = [frame for _, frame in numbered_frames(path)][start:stop]
        stored = zip(paths, read_numbered(paths), strict=True)
        yield from (
            as_infrared(frame) if band == "infrared" else as_visible(frame, frame_path)
            for frame_path, frame in stored
        )
        return
    wanted = None if stop is None else max(0, stop - start)
    layout = None
    for index, frame in enumerate(islice(_frames_from(path, start), wanted), start):
        pixels = _pixels(path, frame, band)
        layout = layout or (pixels.shape, pixels.dtype)
        if (pixels.shape, pixels.dtype) != layout:
            raise VideoError(
                f"{path}: frame {index} is {described(pixels)}, unlike those before; split it"
            )
        yield pixels


def _frames_from(path: Path, start: int) -> Iterator[av.VideoFrame]:
    """The frames from index `start` on, by a seek where the file allows an exact one."""
    if start:
        with opened(path) as (container, stream):
            times = stamps(container, stream)
            if start >= len(times):
                return
            frames = sought(path, container, stream, times[start])
            first = next(frames, None)
            if first is not None and first.pts == times[start]:
                yield first
                yield from frames
                return
    with opened(path) as (container, stream):
        yield from islice(decoded(path, container, stream), start, None)


def read_frames_at(path: Path, band: Band, indices: Sequence[int]) -> list[Frame]:
    """The frames of those indices, in the order asked for.

    Seeks to the keyframe before each and decodes from there, so that few frames of a long video
    cost little; where a seek cannot be exact it reads from the beginning.

    Raises:
        VideoError: the file is damaged or has no such frame.
    """
    if path.is_dir():
        numbered = numbered_frames(path)
        _check_indices(path, indices, len(numbered))
        return [next(read_frames(path, band, start=n, stop=n + 1)) for n in indices]
    found: dict[int, Frame] = {}
    with opened(path) as (container, stream):
        times = stamps(container, stream)
        _check_indices(path, indices, len(times))
        for index in sorted(set(indices)):
            frame = next(sought(path, container, stream, times[index]), None)
            if frame is not None and frame.pts == times[index]:
                found[index] = _pixels(path, frame, band)
    for index in set(indices) - set(found):
        pixels = next(islice(read_frames(path, band), index, None), None)
        if pixels is None:
            raise VideoError(f"{path}: frame {index} cannot be decoded; copy or record it again")
        found[index] = pixels
    return [found[index] for index in indices]


def _check_indices(path: Path, indices: Sequence[int], frames: int) -> None:
    for index in indices:
        if not 0 <= index < frames:
            raise VideoError(f"{path}: has no frame {index}; it has {frames}, counted from 0")


def read_timestamps(path: Path) -> NDArray[np.float64]:
    """The times of a `frame,time_s` file, one row per recorded frame from 0, (T,) seconds.

    Raises:
        VideoError: it is missing, a line is not of that form, or the times do not increase; names
            the line.
    """
    if not path.is_file():
        raise VideoError(f"{path}: does not exist; check the path")
    times_s: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if [column.strip() for column in header] != TIMESTAMP_COLUMNS:
                raise VideoError(
                    f"{path}: line 1: the columns are {','.join(header)!r}, not 'frame,time_s'; "
                    "write that line first"
                )
            for row in filter(None, rows):
                times_s.append(_timestamp(row, times_s, f"{path}: line {rows.line_num}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise VideoError(f"{path}: is no CSV text: {error}; export it again") from error
    return np.array(times_s)


def _timestamp(row: list[str], before_s: list[float], where: str) -> float:
    try:
        frame, time_s = int(row[0]), float(row[1])
    except (ValueError, IndexError) as error:
        raise VideoError(
            f"{where}: {','.join(row)!r} is not a frame number and a time; mend it"
        ) from error
    if frame != len(before_s):
        raise VideoError(
            f"{where}: frame {frame} where frame {len(before_s)} should stand; mend it"
        )
    if not math.isfinite(time_s):
        raise VideoError(f"{where}: time_s is {time_s}; give seconds")
    if before_s and time_s <= before_s[-1]:
        raise VideoError(
            f"{where}: time_s {time_s} does not increase over {before_s[-1]}; mend the clock's log"
        )
    return time_s


def _pixels(path: Path, frame: av.VideoFrame, band: Band) -> Frame:
    name = frame.format.name
    if band == "visible":
        pixels = frame.to_ndarray(format="rgb24")
    elif name in EXACT_GREY:
        pixels = frame.to_ndarray()
    else:
        pixels = frame.to_ndarray(format="gray16le" if _bits(name) > BYTE_BITS else "gray")
    turns = quarter_turns(path, frame)
    return _frame(np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels)


def _frame(pixels: NDArray[Any]) -> Frame:
    """The same array, typed.

    Raises:
        TypeError: its samples are neither uint8 nor uint16.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"samples are {pixels.dtype}, not uint8 or uint16")
    return pixels


def _bits(pixel_format: str) -> int:
    return max(int(component.bits) for component in av.VideoFormat(pixel_format).components)
