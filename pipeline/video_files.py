"""Reads videos, folders of frames, raw files and bags; hides which is which from everyone else.

PyAV probes and decodes, for its exact presentation times and 16 bits. Writing is re-exported from
`video_encoding`, so that one module is the door to video files.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from pipeline.image_files import (
    Frame,
    as_frame,
    as_infrared,
    as_visible,
    described,
    numbered_frames,
    read_image,
    read_numbered,
    write_image,
)
from pipeline.raw_files import probe_raw, read_raw
from pipeline.stream_probe import StreamProbe
from pipeline.timestamp_files import read_timestamps
from pipeline.video_encoding import write_video
from pipeline.video_streams import (
    decoded,
    frames_of_stamps,
    opened,
    presentation_times,
    sought,
    stamps,
    upright,
)
from schemas.base import Band
from schemas.errors import VideoError
from schemas.layouts import RawLayout, StreamLayout

__all__ = [
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


VIDEO_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".mxf", ".nut", ".ts", ".webm")
"""How a folder's videos are told from what lies beside them; a file that is named may have any."""

BYTE_BITS = 8

ROS2_METADATA = "metadata.yaml"
"""Stands in every folder that is a ROS 2 bag."""

ROS_MAGICS = (b"#ROSBAG V", b"\x89MCAP0\r\n", b"SQLite format 3\0")
"""What ROS 1 bags, MCAP files and single files of ROS 2 bags begin with."""

EXACT_GREY = {"gray", "gray10le", "gray12le", "gray14le", "gray16le"}
"""Formats whose samples are taken as they are; swscale would rescale 10 to 14 bits."""

LIMITED = 1
"""What libav calls a range of 16 to 235; it never widens that of grey formats."""

WIDENED = np.rint(np.clip((np.arange(256) - 16) * (255 / 219), 0, 255)).astype(np.uint8)
"""Full-range levels of limited-range ones (ITU-R BT.601: black is 16, white 235)."""


BAGGED_FRAME_BYTES = 640 * 480
"""Of an infrared frame in a bag, for an estimate; bags are read through to be counted."""


def probe(
    path: Path, *, fps: float | None = None, layout: StreamLayout | None = None
) -> StreamProbe:
    """What `path` holds; of a video one frame is decoded and the rest demuxed.

    Args:
        path: a video file, a folder of numbered PNG or TIFF frames, a raw file, a ROS bag or an
            MCAP file.
        fps: frame rate of what has no times: a folder, where a number left out in the names is a
            missing frame, a raw file, or a bag whose times do not increase.
        layout: where the frames lie, as far as the file does not say.

    Raises:
        VideoError: it is missing, empty, damaged, or not laid out like that.
    """
    layout = layout or StreamLayout()
    match _kind(path, layout):
        case "raw":
            found = probe_raw(path, _raw(layout), fps)
        case "ros":
            found = _ros(path).probe_ros(path, layout.topic, fps)
        case "folder":
            found = _probe_folder(path, fps)
        case _:
            found = _probe_file(path)
    if layout.crop is None:
        return found
    x, y, width, height = layout.crop
    if x + width > found.width or y + height > found.height:
        raise VideoError(
            f"{path}: is {found.width}x{found.height}, which crop {list(layout.crop)} leaves; "
            "mend layouts"
        )
    return replace(found, width=width, height=height)


def _kind(path: Path, layout: StreamLayout) -> Literal["raw", "ros", "folder", "video"]:
    """What sort of thing `path` is, by its content and not by its name."""
    if layout.raw is not None:
        return "raw"
    if path.is_dir():
        return "ros" if (path / ROS2_METADATA).is_file() else "folder"
    with suppress(OSError), path.open("rb") as file:
        if file.read(max(map(len, ROS_MAGICS))).startswith(ROS_MAGICS):
            return "ros"
    return "video"


def _raw(layout: StreamLayout) -> RawLayout:
    if layout.raw is None:
        raise TypeError("the layout describes no raw file")
    return layout.raw


def _ros(path: Path) -> Any:
    """The module that reads ROS bags, where the extra is installed that it needs."""
    try:
        return import_module("pipeline.ros_files")
    except ModuleNotFoundError as error:
        raise VideoError(
            f"{path}: is a ROS bag or MCAP file, and {error.name} is missing that reads it; "
            "install it with: pip install 'twinband[ros]'"
        ) from error


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
        time_source="declared",
        is_lossless=True,
    )


def _probe_file(path: Path) -> StreamProbe:
    with opened(path) as (container, stream):
        first = next(decoded(path, container, stream), None)
    if first is None:
        raise VideoError(f"{path}: holds no video frame; record or copy it again")
    height, width = upright(path, first, np.empty((first.height, first.width), np.uint8)).shape
    with opened(path) as (container, stream):
        codec = stream.codec_context.codec
        return StreamProbe(
            container=container.format.name,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            color_range={1: "limited", 2: "full"}.get(int(first.color_range), "unspecified"),
            width=width,
            height=height,
            bit_depth=16 if _bits(first.format.name) > BYTE_BITS else 8,
            times_s=presentation_times(path, container, stream),
            time_source="presentation",
            is_lossless=bool(codec.lossless and not codec.lossy),
        )


def frames_announced(path: Path, layout: StreamLayout | None = None) -> int:
    """About how many frames a stream has, by its header, its folder or its bytes; 0 if unreadable.

    For planning, in milliseconds: `probe` counts them.

    Args:
        path: of the stream.
        layout: where the frames lie, as far as the file does not say.
    """
    layout = layout or StreamLayout()
    try:
        match _kind(path, layout):
            case "raw":
                return path.stat().st_size // _raw(layout).frame_bytes
            case "folder":
                return sum(1 for _ in path.iterdir())
            case "ros":
                files = path.rglob("*") if path.is_dir() else [path]
                return sum(file.stat().st_size for file in files) // BAGGED_FRAME_BYTES
            case "video":
                with opened(path) as (container, stream):
                    duration_s = (container.duration or 0) / av.time_base
                    return stream.frames or round(duration_s * (stream.average_rate or 0))
    except (VideoError, OSError):
        return 0  # who reads it says what is wrong


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
    path: Path,
    band: Band,
    *,
    start: int = 0,
    stop: int | None = None,
    layout: StreamLayout | None = None,
) -> Iterator[Frame]:
    """Every stored frame once, in presentation order, in constant memory.

    Infrared frames are (H, W): uint16 as stored, or uint8; colour video gives its luma at full
    range, images of three channels their luma. Visible frames are RGB (H, W, 3) uint8; colour
    video of more bits is rounded to 8. A video that asks its players to turn it by quarters or to
    mirror it is turned, and cropped after that.

    Args:
        path: a video file, a folder of numbered frames, a raw file, a ROS bag or an MCAP file.
        band: which camera's frames these are.
        start: index of the first frame wanted; a video seeks to the keyframe before it.
        stop: index behind the last one; None: to the end.
        layout: where the frames lie, as far as the file does not say.

    Raises:
        VideoError: the file is missing or damaged, or its frames are not alike.
    """
    layout = layout or StreamLayout()
    stored: Iterator[Frame]
    match _kind(path, layout):
        case "raw":
            stored = read_raw(path, _raw(layout), start, stop)
        case "ros":
            stored = _ros(path).read_ros(path, layout.topic, start, stop)
        case "folder":
            stored = read_numbered([frame for _, frame in numbered_frames(path)][start:stop])
        case _:
            wanted = None if stop is None else max(0, stop - start)
            convert = VideoReformatter()
            stored = (
                _pixels(path, frame, band, convert)
                for frame in islice(_frames_from(path, start), wanted)
            )
    known = None
    for index, frame in enumerate(stored, start):
        known = known or described(frame)
        if described(frame) != known:
            raise VideoError(
                f"{path}: frame {index} is {described(frame)} and those before are {known}; split "
                "it where its frames change"
            )
        yield _of_camera(path, frame, band, layout)


def _of_camera(path: Path, frame: Frame, band: Band, layout: StreamLayout) -> Frame:
    """This camera's part of a stored frame, in the channels that its band has."""
    shown = as_infrared(frame) if band == "infrared" else as_visible(frame, path)
    if layout.crop is None:
        return shown
    x, y, width, height = layout.crop
    return as_frame(np.ascontiguousarray(shown[y : y + height, x : x + width]))


def _frames_from(path: Path, start: int) -> Iterator[av.VideoFrame]:
    """The frames from index `start` on, by a seek where the file allows an exact one."""
    if start:
        with opened(path) as (container, stream):
            times, _ = stamps(container, stream)
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


def read_frames_at(
    path: Path, band: Band, indices: Sequence[int], *, layout: StreamLayout | None = None
) -> list[Frame]:
    """The frames of those indices, in the order asked for.

    Seeks to the keyframe before each, unless it comes by it on its way, and decodes from there, so
    that few frames of a long video cost little; where a seek cannot be exact it reads from the
    beginning.

    Raises:
        VideoError: the file is damaged or has no such frame.
    """
    layout = layout or StreamLayout()
    found: dict[int, Frame] = {}
    kind = _kind(path, layout)
    if kind == "video":
        found = _sought_frames(path, band, indices, layout)
    elif kind == "folder":
        _check_indices(path, indices, len(numbered_frames(path)))
    missing = set(indices) - set(found)
    if missing and min(missing) < 0:
        raise VideoError(f"{path}: has no frame {min(missing)}; frames are counted from 0")
    if missing and kind == "ros":  # has no index by number: one pass for all
        first, last = min(missing), max(missing)
        frames = read_frames(path, band, start=first, stop=last + 1, layout=layout)
        found |= {index: frame for index, frame in enumerate(frames, first) if index in missing}
    for index in sorted(missing - set(found)):
        frames = read_frames(path, band, start=index, stop=index + 1, layout=layout)
        if (pixels := next(frames, None)) is None:
            raise VideoError(f"{path}: frame {index} cannot be read; copy or record it again")
        found[index] = pixels
    return [found[index] for index in indices]


def _sought_frames(
    path: Path, band: Band, indices: Sequence[int], layout: StreamLayout
) -> dict[int, Frame]:
    """Those frames of a video that a seek finds, by index."""
    found: dict[int, Frame] = {}
    convert = VideoReformatter()
    with opened(path) as (container, stream):
        times, keys = stamps(container, stream)
        _check_indices(path, indices, len(times))
        index_of = {times[index]: index for index in sorted(set(indices))}
        for stamp, frame in frames_of_stamps(path, container, stream, list(index_of), keys):
            pixels = _pixels(path, frame, band, convert)
            found[index_of[stamp]] = _of_camera(path, pixels, band, layout)
    return found


def _check_indices(path: Path, indices: Sequence[int], frames: int) -> None:
    for index in indices:
        if not 0 <= index < frames:
            raise VideoError(f"{path}: has no frame {index}; it has {frames}, counted from 0")


def _pixels(path: Path, frame: av.VideoFrame, band: Band, convert: VideoReformatter) -> Frame:
    """The pixels of a frame; `convert` belongs to the stream, as making one starts threads."""
    name = frame.format.name
    if name in EXACT_GREY:
        pixels = frame.to_ndarray()
        if name == "gray" and frame.color_range == LIMITED:
            pixels = WIDENED[pixels]
    else:
        grey = "gray16le" if _bits(name) > BYTE_BITS else "gray"
        wanted = "rgb24" if band == "visible" else grey
        pixels = convert.reformat(frame, format=wanted, threads=1).to_ndarray()
    return as_frame(upright(path, frame, pixels))


def _bits(pixel_format: str) -> int:
    return max(int(component.bits) for component in av.VideoFormat(pixel_format).components)
