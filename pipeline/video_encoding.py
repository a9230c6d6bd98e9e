"""Encodes frames into a video file, whole or not at all."""

import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import imageio_ffmpeg
import numpy as np

from pipeline.image_files import Frame, described, written_whole
from schemas.errors import VideoError

Codec = Literal["h264", "ffv1"]

SPEAKER = re.compile(r"^\[[^]]*\] ")
"""What ffmpeg puts before a message: the part that speaks, and its address in memory."""


def write_video(
    path: Path,
    frames: Iterable[Frame],
    *,
    fps: float,
    codec: Codec,
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
        VideoError: there is no frame, frames differ in size, or ffmpeg fails, as on a full disk.
        OSError: the file cannot be made or renamed.
        ValueError: the codec cannot keep such frames.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise VideoError(f"{path}: there is no frame to write; check the source of the frames")
    if (codec == "h264" and first.dtype != np.uint8) or (codec == "ffv1" and first.ndim > 2):
        raise ValueError(f"{path}: {codec} cannot keep frames that are {described(first)}")
    with written_whole(path) as partial:
        process = _encoder(partial, _padded(first) if codec == "h264" else first, fps, codec, crf)
        with process, ThreadPoolExecutor(1) as listener:
            said = listener.submit(process.stderr.read)
            count = 0
            try:
                for frame in _alike(chain([first], source), path):
                    stored = _padded(frame) if codec == "h264" else frame
                    process.stdin.write(np.ascontiguousarray(stored).data)
                    count += 1
            except BrokenPipeError:
                pass  # ffmpeg ended early; its return code and its words say why
            except BaseException:
                process.kill()
                raise
            finally:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            reason = _reason(process.wait(), said.result())
        if reason:
            raise VideoError(f"{path}: cannot be written: {reason}; free space or check the path")
    return count


def _alike(frames: Iterable[Frame], path: Path) -> Iterator[Frame]:
    """The same frames, refused where one is not of the first one's shape and type."""
    first: Frame | None = None
    for index, frame in enumerate(frames):
        first = frame if first is None else first
        if (frame.shape, frame.dtype) != (first.shape, first.dtype):
            raise VideoError(
                f"{path}: frame {index} is {described(frame)} and the first one "
                f"{described(first)}; all frames of a video must be alike"
            )
        yield frame


def _encoder(partial: Path, first: Frame, fps: float, codec: Codec, crf: int) -> Any:
    """An ffmpeg process that reads raw frames like `first`; one thread, so that bytes repeat.

    In ffv1 every frame is a keyframe: reading one frame decodes one frame.
    """
    grey = "gray16le" if first.dtype == np.uint16 else "gray"
    pixel_format = "rgb24" if first.ndim > 2 else grey
    how: dict[str, object] = {
        "vcodec": "ffv1",
        "level": 3,
        "g": 1,
        "slices": 4,
        "slicecrc": 1,
        "pix_fmt": grey,
        "format": "matroska",
    }
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
        .output(f"file:{partial}", **how, threads=1, fflags="+bitexact", **{"flags:v": "+bitexact"})
        .global_args("-loglevel", "error")
        .run_async(cmd=_ffmpeg(), pipe_stdin=True, pipe_stderr=True, overwrite_output=True)
    )


def _ffmpeg() -> str:
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def _padded(frame: Frame) -> Frame:
    """Even sides, as 4:2:0 chroma needs: the last row or column stands twice."""
    for axis in (0, 1):
        if frame.shape[axis] % 2:
            frame = np.concatenate([frame, frame.take([-1], axis)], axis)
    return frame


def _reason(return_code: int, said: bytes) -> str | None:
    """Why ffmpeg failed, in one line, or None where it did not."""
    if return_code == 0:
        return None
    if return_code < 0:
        return f"ffmpeg was stopped by {signal.Signals(-return_code).name}"
    lines = said.decode(errors="replace").strip().splitlines() or ["ffmpeg gave no reason"]
    return SPEAKER.sub("", lines[-1])
