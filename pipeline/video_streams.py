"""The first video stream of a file: opened, timed, sought and decoded by PyAV."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal

import av
import av.container
import av.video
import numpy as np
from av.sidedata.sidedata import SideData, SideDataContainer
from av.stream import Disposition
from numpy.typing import NDArray

from pipeline.video_seals import is_whole, sealed_slices
from schemas.errors import VideoError

Container = av.container.InputContainer
Stream = av.video.stream.VideoStream
Pixels = NDArray[Any]

CUT_SPACINGS = 1.5
"""A file that ends so many of its widest frame spacings before its promised end is cut short."""

CUT_SHARE = 0.5
"""The same where both ends are exact, as Matroska's are: half a usual spacing is no rounding."""

OPENING = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,asf,flv,nut,ogg,mxf,ivf,dv,wtv,rm,gif,apng,"
    "yuv4mpegpipe",
}
"""Containers that hold their own frames and their times. Playlists and text would lead ffmpeg to
other files; to streams without a container, such as a bare .h264, it would invent times."""

THREADS: Literal["NONE"] = "NONE"
"""One thread decodes. With a thread a picture, libav at times gives a damaged one away before it
has marked it (2 of 300 readings of one H.264 file); with a thread a slice it marks fewer (24 of 30
noisy files instead of 29). Recordings are built side by side instead."""

CONCEALING = {"mjpeg"}
"""Codecs whose decoders fill up damaged pictures without a word, unless told to fail."""

CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
"""How Matroska writes a duration: 00:01:02.500000000."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[Container, Stream]]:
    """The container of a video file and its first video stream that is no cover picture.

    Raises:
        VideoError: it is missing, empty, no video, or damaged; also while it is being read.
    """
    if not path.is_file():
        raise VideoError(f"{path}: does not exist; check the path")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: is empty (0 bytes); record or copy it again")
    try:
        with av.open(f"file:{path}", options=OPENING, metadata_errors="replace") as container:
            streams = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic
            ]
            if not streams:
                raise VideoError(f"{path}: has no video stream; give the camera's own file, whole")
            if streams[0].codec_context is None:
                raise VideoError(f"{path}: its codec is unknown; convert it to H.264 or FFV1")
            streams[0].thread_type = THREADS
            if streams[0].codec_context.name in CONCEALING:
                streams[0].codec_context.options = {"err_detect": "explode"}
            yield container, streams[0]
    except av.FFmpegError as error:
        raise VideoError(
            f"{path}: is no readable video, or damaged: {error.strerror}; copy or record it again"
        ) from error


def decoded(path: Path, container: Container, stream: Stream) -> Iterator[av.VideoFrame]:
    """The frames from where the container stands, none of them patched up by the decoder."""
    packets = container.demux(stream)
    if stream.codec_context.name == "ffv1":
        packets = _unbroken(path, packets)
    for packet in packets:
        for frame in packet.decode():
            if frame.is_corrupt:
                at = "" if frame.time is None else f" at {frame.time:.3f} s"
                raise VideoError(f"{path}: the frame{at} is damaged; copy or record it again")
            yield frame


def _unbroken(path: Path, packets: "Iterator[av.Packet[Stream]]") -> "Iterator[av.Packet[Stream]]":
    """The same packets of FFV1, as long as their checksums hold.

    Whether a file has checksums at all shows with the first slice that fits its own. libav reports
    damaged slices in no other way than by a line of log, and shows those of the frame before.
    """
    is_sealed, doubtful = False, None
    for packet in packets:
        slices = sealed_slices(bytes(packet)) if packet.size else []
        whole = [is_whole(content) for content in slices or ()]
        is_sealed = is_sealed or any(whole)
        if doubtful is None and packet.size and not (whole and all(whole)):
            doubtful = packet
        if is_sealed and doubtful is not None:
            at = (
                ""
                if doubtful.pts is None
                else f" at {float(doubtful.pts * doubtful.time_base):.3f} s"
            )
            raise VideoError(
                f"{path}: the frame{at} is damaged, its checksum does not fit; "
                "copy or record it again"
            )
        yield packet


def stamps(container: Container, stream: Stream) -> tuple[list[int], list[int]]:
    """Presentation times, increasing, in the stream's unit: of all frames shown; of keyframes."""
    packets = [
        (packet.pts, packet.is_keyframe)
        for packet in container.demux(stream)
        if packet.size and packet.pts is not None and not packet.is_discard
    ]
    return sorted(pts for pts, _ in packets), sorted(pts for pts, is_key in packets if is_key)


def frames_of_stamps(
    path: Path,
    container: Container,
    stream: Stream,
    wanted: Sequence[int],
    keys: Sequence[int],
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames of those times that can be found exactly, each stretch decoded once.

    Args:
        path: of the file.
        container: opened.
        stream: its video.
        wanted: presentation times, increasing.
        keys: those of keyframes, increasing.
    """
    frames: Iterator[av.VideoFrame] = iter(())
    reached: int | None = None
    for stamp in wanted:
        before = bisect_right(keys, stamp)
        if reached is None or not before or keys[before - 1] > reached:
            frames = sought(path, container, stream, stamp)
        frame = next((one for one in frames if one.pts is not None and one.pts >= stamp), None)
        if frame is not None and frame.pts == stamp:
            reached = stamp
            yield stamp, frame
        else:
            reached = None


def sought(path: Path, container: Container, stream: Stream, stamp: int) -> Iterator[av.VideoFrame]:
    """The frames from `stamp` on; a later first one shows that the seek went too far."""
    container.seek(stamp, stream=stream)
    frames = decoded(path, container, stream)
    return dropwhile(lambda frame: frame.pts is None or frame.pts < stamp, frames)


def presentation_times(path: Path, container: Container, stream: Stream) -> NDArray[np.float64]:
    """When each frame is shown, seconds, increasing, (T,); demuxes and decodes nothing.

    Raises:
        VideoError: frames lack a time or share one, or the file is cut short.
    """
    packets, intact, end_s, is_exact = 0, 0, 0.0, True
    times_s: list[float] = []
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.pts is None:
            raise VideoError(f"{path}: its frames have no times; remux it into mp4 or mkv")
        packets += 1
        intact += not packet.is_corrupt
        if not packet.is_corrupt and not packet.is_discard:
            times_s.append(float(packet.pts * packet.time_base))
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            is_exact = is_exact and bool(packet.duration)
    if not times_s:
        raise VideoError(f"{path}: holds no video frame; record or copy it again")
    spacings_s = np.diff(np.sort(times_s))
    if not spacings_s.all():
        raise VideoError(f"{path}: two frames have one presentation time; remux it")
    promised = max(stream.frames, packets)
    if promised > intact:
        raise VideoError(
            f"{path}: promises {promised} frames and holds {intact}: it is cut short; "
            "copy or record it again"
        )
    promised_s = _promised_end_s(container, stream)
    slack_s = CUT_SPACINGS * spacings_s.max(initial=0)
    if is_exact and spacings_s.size and CLOCK.match(stream.metadata.get("DURATION", "")):
        slack_s = CUT_SHARE * float(np.median(spacings_s))
    if promised_s is not None and slack_s and promised_s - end_s > slack_s:
        raise VideoError(
            f"{path}: promises {promised_s:.3f} s and ends at {end_s:.3f} s: it is cut short; "
            "copy or record it again"
        )
    return np.sort(times_s)


def _promised_end_s(container: Container, stream: Stream) -> float | None:
    """When the last frame ends by the header of a file that does not count its frames."""
    if stream.frames:
        return None
    if clock := CLOCK.match(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = (float(part) for part in clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    if len(container.streams) > 1 or container.duration is None:
        return None
    return ((container.start_time or 0) + container.duration) / av.time_base


def upright(path: Path, frame: av.VideoFrame, pixels: Pixels) -> Pixels:
    """The pixels of a frame as players show them: turned and mirrored as the file asks for.

    The display matrix maps stored x and y to shown ones (x' = ax + cy, y' = bx + dy, in rows
    a b u, c d v; ISO/IEC 14496-12, 8.3.2.3); stored pixels are first exchanged, then reversed.

    Raises:
        VideoError: it asks for an angle that pixels cannot follow exactly.
    """
    # frame.side_data would keep the frame, in a ring of references, until cycles are looked for;
    # PyAV's type hints leave out the constructor that takes a frame
    matrix = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    if not isinstance(matrix, SideData):
        return pixels
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3).tolist()
    if (bool(a), bool(d)) != (not b, not c) or bool(a) != bool(d):
        raise VideoError(
            f"{path}: asks to be turned by {frame.rotation} degrees; only quarter turns keep its "
            "pixels: remove the rotation from its metadata"
        )
    shown = pixels if a else pixels.swapaxes(0, 1)
    shown = shown[:, ::-1] if min(a, c) < 0 else shown
    return np.ascontiguousarray(shown[::-1] if min(b, d) < 0 else shown)
