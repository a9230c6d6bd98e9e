"""Reads and writes video files and folders of frames; hides which is which from everyone else.

PyAV probes and decodes, for its exact presentation times and 16 bits; ffmpeg-python encodes, with
the system's ffmpeg or the one that imageio-ffmpeg brings.
"""

import csv
import hashlib
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import av
import av.container
import av.video
import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from pipeline.image_files import (
    Frame,
    as_infrared,
    as_visible,
    numbered_frames,
    read_image,
    read_numbered,
    write_image,
    written_whole,
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
    """What `path` holds, without decoding a video.

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
    with _opened(path) as (container, stream):
        codec = stream.codec_context
        packets = [p for p in container.demux(stream) if p.pts is not None]
        times_s = sorted(float((p.pts or 0) * p.time_base) for p in packets if not p.is_corrupt)
        promised = max(stream.frames, len(packets))
        if not times_s or codec.pix_fmt is None:
            raise VideoError(f"{path}: holds no video frame; record or copy it again")
        if promised > len(times_s):
            raise VideoError(
                f"{path}: promises {promised} frames and holds {len(times_s)}: it is cut short; "
                "copy or record it again"
            )
        if len(set(times_s)) < len(times_s):
            raise VideoError(f"{path}: two frames have one presentation time; remux it")
        return StreamProbe(
            container=container.format.name,
            codec=codec.name,
            pixel_format=codec.pix_fmt,
            color_range={1: "limited", 2: "full"}.get(int(codec.color_range), "unspecified"),
            width=codec.width,
            height=codec.height,
            bit_depth=8 if _bits(codec.pix_fmt) == BYTE_BITS else 16,
            times_s=np.array(times_s),
        )


def content_hash(path: Path) -> tuple[str, int]:
    """The sha256 and the size in bytes of a file, or of a folder's sorted names and hashes.

    Raises:
        OSError: something cannot be read.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
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
    range, images of three channels their luma. Visible frames are RGB (H, W, 3) uint8.

    Args:
        path: a video file or a folder of numbered frames.
        band: which camera's frames these are.
        start: index of the first frame wanted.
        stop: index behind the last one; None: to the end.

    Raises:
        VideoError: the file is missing or damaged.
    """
    if path.is_dir():
        paths = [frame for _, frame in numbered_frames(path)][start:stop]
        stored = zip(paths, read_numbered(paths), strict=True)
        yield from (
            as_infrared(frame) if band == "infrared" else as_visible(frame, frame_path)
            for frame_path, frame in stored
        )
        return
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        yield from (
            _decoded(frame, band) for frame in islice(container.decode(stream), start, stop)
        )


def read_frames_at(path: Path, band: Band, indices: Sequence[int]) -> list[Frame]:
    """The frames of those indices, in the order asked for.

    Seeks to the keyframe before each and decodes from there, so that few frames of a long video
    cost little.

    Raises:
        VideoError: the file is damaged or has no such frame.
    """
    if path.is_dir():
        return [next(read_frames(path, band, start=n, stop=n + 1)) for n in indices]
    found: dict[int, Frame] = {}
    with _opened(path) as (container, stream):
        times = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
        for index in sorted(set(indices)):
            if not 0 <= index < len(times):
                raise VideoError(f"{path}: has no frame {index}; it has {len(times)}")
            container.seek(times[index], stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.pts == times[index]:
                    found[index] = _decoded(frame, band)
                    break
            else:
                raise VideoError(f"{path}: frame {index} cannot be decoded; copy it again")
    return [found[index] for index in indices]


def read_timestamps(path: Path) -> NDArray[np.float64]:
    """The times of a `frame,time_s` file, one row per recorded frame from 0, (T,) seconds.

    Raises:
        VideoError: a line is not of that form, or the times do not increase; names the line.
    """
    times_s: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if [column.strip() for column in header] != TIMESTAMP_COLUMNS:
                raise VideoError(
                    f"{path}: line 1: the columns are {','.join(header)!r}, not 'frame,time_s'"
                )
            for row in rows:
                times_s.append(_timestamp(row, times_s, f"{path}: line {rows.line_num}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise VideoError(f"{path}: is no CSV text: {error}; export it again") from error
    return np.array(times_s)


def _timestamp(row: list[str], before_s: list[float], where: str) -> float:
    try:
        frame, time_s = int(row[0]), float(row[1])
    except (ValueError, IndexError) as error:
        raise VideoError(f"{where}: {','.join(row)!r} is not a frame number and a time") from error
    if frame != len(before_s):
        raise VideoError(f"{where}: frame {frame} where frame {len(before_s)} should stand")
    if not math.isfinite(time_s):
        raise VideoError(f"{where}: time_s is {time_s}; give seconds")
    if before_s and time_s <= before_s[-1]:
        raise VideoError(
            f"{where}: time_s {time_s} does not increase over {before_s[-1]}; mend the clock's log"
        )
    return time_s


def write_video(
    path: Path,
    frames: Iterable[Frame],
    *,
    fps: float,
    codec: Literal["h264", "ffv1"],
    crf: int = 18,
) -> int:
    """Encode frames into a file, whole or not at all; equal frames give equal bytes.

    Args:
        path: .mp4 for h264, .mkv for ffv1.
        frames: h264: RGB (H, W, 3) or grey (H, W) uint8; odd sizes gain a repeated row or column.
            ffv1: grey (H, W) uint8 or uint16, lossless.
        fps: frames per second, constant.
        codec: h264 plays everywhere; ffv1 keeps 16-bit counts exactly.
        crf: quality of h264, 0 lossless to 51 worst.

    Returns:
        The number of frames written.

    Raises:
        VideoError: there is no frame, frames differ in size, or ffmpeg fails.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise VideoError(f"{path}: there is no frame to write")
    count = 0
    with written_whole(path) as partial:
        process = _encoder(partial, _padded(first) if codec == "h264" else first, fps, codec, crf)
        try:
            for frame in _alike(chain([first], source), path):
                stored = _padded(frame) if codec == "h264" else frame
                process.stdin.write(np.ascontiguousarray(stored).data)
                count += 1
            _, said = process.communicate()
        except BrokenPipeError:
            said = process.stderr.read()
            process.wait()
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if process.returncode:
            reason = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise VideoError(
                f"{path}: cannot be written: {reason[-1]}; free space or check the path"
            )
    return count


def _alike(frames: Iterable[Frame], path: Path) -> Iterator[Frame]:
    """The same frames, refused where one is not of the first one's shape and type."""
    layout = None
    for index, frame in enumerate(frames):
        found = (frame.shape, frame.dtype)
        layout = layout or found
        if found != layout:
            raise VideoError(f"{path}: frame {index} is {found}, the first one is {layout}")
        yield frame


def _encoder(partial: Path, first: Frame, fps: float, codec: str, crf: int) -> Any:
    """An ffmpeg process that reads raw frames like `first`; one thread, so that bytes repeat."""
    grey = "gray16le" if first.dtype == np.uint16 else "gray"
    pixel_format = "rgb24" if first.ndim > 2 else grey
    how: dict[str, object] = {"vcodec": "ffv1", "level": 3, "pix_fmt": grey, "format": "matroska"}
    if codec == "h264":
        how = {
            "vcodec": "libx264",
            "preset": "veryfast",
            "crf": crf,
            "pix_fmt": "yuv420p",
            "movflags": "+faststart",
            "format": "mp4",
        }
    height, width = first.shape[:2]
    return (
        ffmpeg.input("pipe:", format="rawvideo", pix_fmt=pixel_format, s=f"{width}x{height}", r=fps)
        .output(str(partial), **how, threads=1, fflags="+bitexact", **{"flags:v": "+bitexact"})
        .global_args("-loglevel", "error")
        .run_async(cmd=_ffmpeg(), pipe_stdin=True, pipe_stderr=True, overwrite_output=True)
    )


def _ffmpeg() -> str:
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def _padded(frame: Frame) -> Frame:
    """Even sides, as 4:2:0 chroma needs: the last row or column stands twice."""
    odd = [(0, side % 2) for side in frame.shape[:2]] + [(0, 0)] * (frame.ndim - 2)
    if not any(after for _, after in odd):
        return frame
    return _frame(np.pad(frame, odd, mode="edge"))


@contextmanager
def _opened(
    path: Path,
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The container of a video file and its first video stream.

    Raises:
        VideoError: it is missing, empty, no video, or damaged; also while it is being read.
    """
    if not path.is_file():
        raise VideoError(f"{path}: does not exist; check the path")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: is empty (0 bytes); record or copy it again")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: has no video stream; give the camera's own file")
            yield container, container.streams.video[0]
    except av.FFmpegError as error:
        raise VideoError(
            f"{path}: is no readable video, or damaged: {error.strerror}; copy or record it again"
        ) from error


def _decoded(frame: av.VideoFrame, band: Band) -> Frame:
    if band == "visible":
        return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    name = frame.format.name
    if name in EXACT_GREY:
        pixels = frame.to_ndarray()
    else:
        pixels = frame.to_ndarray(format="gray" if _bits(name) == BYTE_BITS else "gray16le")
    return _frame(pixels)


def _frame(pixels: NDArray[Any]) -> Frame:
    """The same array, typed.

    Raises:
        TypeError: its samples are neither uint8 nor uint16.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"samples are {pixels.dtype}, not uint8 or uint16")
    return pixels


def _bits(pixel_format: str) -> int:
    return int(av.VideoFormat(pixel_format).components[0].bits)
