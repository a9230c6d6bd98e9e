"""Encodes frames into a video file, whole or not at all."""

import re
import shutil
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
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
    with open_video(path, fps=fps, codec=codec, crf=crf) as video:
        for frame in frames:
            video.write(frame)
    return video.frames


@contextmanager
def open_video(
    path: Path, *, fps: float, codec: Codec, crf: int = 18
) -> Iterator["VideoBeingWritten"]:
    """Encode frames as they come, as `write_video` does; several videos may be open at once.

    Raises:
        VideoError: no frame came, frames differ in size, or ffmpeg fails, as on a full disk.
        OSError: the file cannot be made or renamed.
        ValueError: the codec cannot keep such frames.
    """
    with written_whole(path) as partial, ExitStack() as opened:
        video = VideoBeingWritten(path, partial, opened, fps, codec, crf)
        try:
            yield video
        except BaseException:
            video.kill()
            raise
        video.finish()


class VideoBeingWritten:
    """What `open_video` gives: an encoder that starts with the first frame."""

    def __init__(
        self, path: Path, partial: Path, opened: ExitStack, fps: float, codec: Codec, crf: int
    ) -> None:
        """Encode into `partial`; `opened` ends what is started here."""
        self.frames = 0
        """Written so far."""
        self._path, self._partial, self._opened = path, partial, opened
        self._fps, self._codec, self._crf = fps, codec, crf
        self._first: Frame | None = None
        self._process: Any = None

    def write(self, frame: Frame) -> None:
        """Encode one more frame; raises what `open_video` says."""
        if self._first is None:
            self._start(frame)
            self._first = frame
        if (frame.shape, frame.dtype) != (self._first.shape, self._first.dtype):
            raise VideoError(
                f"{self._path}: frame {self.frames} is {described(frame)} and the first one "
                f"{described(self._first)}; all frames of a video must be alike"
            )
        stored = _padded(frame) if self._codec == "h264" else frame
        try:
            self._process.stdin.write(np.ascontiguousarray(stored).data)
        except BrokenPipeError:
            self.finish()  # ffmpeg ended early; its return code and its words say why
        self.frames += 1

    def finish(self) -> None:
        """Wait until all is encoded; raises what `open_video` says."""
        if self._process is None:
            raise VideoError(
                f"{self._path}: there is no frame to write; check the source of the frames"
            )
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if reason := _reason(self._process.wait(), self._said.result()):
            raise VideoError(
                f"{self._path}: cannot be written: {reason}; free space or check the path"
            )

    def kill(self) -> None:
        """Give up."""
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _start(self, first: Frame) -> None:
        is_h264 = self._codec == "h264"
        if (is_h264 and first.dtype != np.uint8) or (not is_h264 and first.ndim > 2):
            raise ValueError(
                f"{self._path}: {self._codec} cannot keep frames that are {described(first)}"
            )
        shown = _padded(first) if is_h264 else first
        process = _encoder(self._partial, shown, self._fps, self._codec, self._crf)
        self._process = self._opened.enter_context(process)
        listener = self._opened.enter_context(ThreadPoolExecutor(1))
        self._said: Future[bytes] = listener.submit(process.stderr.read)


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
