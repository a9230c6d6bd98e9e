"""Reads the images of ROS 1 and ROS 2 bags and MCAP files; needs the extra `twinband[ros]`."""

import struct
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import cv2
import numpy as np
import zstandard
from backports.zstd import ZstdError
from mcap.exceptions import McapError
from mcap.reader import make_reader
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag1 import ReaderError as BagError
from rosbags.rosbag2 import ReaderError as Bag2Error
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from ruamel.yaml.error import YAMLError

from pipeline.image_files import Frame, as_frame, decoded_image
from pipeline.stream_probe import StreamProbe
from schemas.errors import VideoError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

MCAP_MAGIC = b"\x89MCAP0\r\n"

BAG_SUFFIXES = (".bag", ".db3")
"""By which rosbags tells what it is given."""

NANOSECONDS_A_SECOND = 1e9

ENCODINGS: dict[str, tuple[type[np.uint8] | type[np.uint16], int, int | None]] = {
    "mono8": (np.uint8, 1, None),
    "8UC1": (np.uint8, 1, None),
    "mono16": (np.uint16, 1, None),
    "16UC1": (np.uint16, 1, None),
    "rgb8": (np.uint8, 3, None),
    "bgr8": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "8UC3": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "uyvy": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUYV),
    "yuv422_yuy2": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUYV),
    "bayer_rggb8": (np.uint8, 1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (np.uint8, 1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (np.uint8, 1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (np.uint8, 1, cv2.COLOR_BayerGRBG2RGB),
}
"""Sample type, channels, and the way to RGB, of the encodings of sensor_msgs/image_encodings.h."""

DAMAGE = (
    AnyReaderError, BagError, Bag2Error, SerdeError, TypesysError, McapError, apsw.Error,
    struct.error, ZstdError, zstandard.ZstdError, YAMLError, cv2.error,
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What the readers, and the decompressors and databases below them, raise on damaged bytes: they
promise no type of their own, and code that looks into nothing but such a file raises all these."""


def probe_ros(path: Path, topic: str | None) -> StreamProbe:
    """What the images of a topic are; every message is read, one image decoded.

    Their times are those of their headers; where these are not set or do not increase, those at
    which the recorder received them.

    Raises:
        VideoError: the file is damaged, has no such topic or several, or no image of a known kind.
    """
    stamped: list[int] = []
    received: list[int] = []
    first: tuple[Any, Frame] | None = None
    for received_ns, message in _messages(path, topic):
        first = first or (message, _frame(path, message, 0))
        stamped.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
        received.append(received_ns)
    if first is None:
        raise VideoError(f"{path}: its topic holds no image; record it again")
    has_stamps = stamped[0] > 0 and bool((np.diff(stamped) > 0).all())
    times_ns = np.array(stamped if has_stamps else received, np.int64)
    if (np.diff(times_ns) <= 0).any():
        raise VideoError(
            f"{path}: neither its headers nor its recorder give times that increase; give the "
            "recording timestamps"
        )
    message, frame = first
    return StreamProbe(
        container="MCAP file" if _is_mcap(path) else "ROS bag",
        codec=getattr(message, "format", "rawvideo"),
        pixel_format=getattr(message, "encoding", f"{(frame.ndim // 3 and 'rgb') or 'gray'}"),
        color_range="full",
        width=frame.shape[1],
        height=frame.shape[0],
        bit_depth=8 * frame.itemsize,
        times_s=times_ns / NANOSECONDS_A_SECOND,
        time_source="presentation" if has_stamps else "received",
        is_lossless="jp" not in getattr(message, "format", ""),
    )


def read_ros(path: Path, topic: str | None, start: int, stop: int | None) -> Iterator[Frame]:
    """The images `start` to before `stop` of a topic: grey (H, W) or RGB (H, W, 3).

    Raises:
        VideoError: as `probe_ros`.
    """
    with closing(_messages(path, topic)) as messages:
        for index, (_, message) in enumerate(islice(messages, start, stop), start):
            yield _frame(path, message, index)


def _messages(path: Path, topic: str | None) -> Generator[tuple[int, Any]]:
    """When each image of a topic was received, nanoseconds, and its message, in that order."""
    try:
        yield from (_mcap_messages if _is_mcap(path) else _bag_messages)(path, topic)
    except VideoError:
        raise
    except DAMAGE as error:
        raise VideoError(
            f"{path}: is no readable ROS bag or MCAP file, or damaged: "
            f"{type(error).__name__}: {_on_one_line(str(error))}; copy or record it again"
        ) from error


def _on_one_line(text: str) -> str:
    """What a damaged file may hold, fit to be printed."""
    spaced = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in spaced)


def _is_mcap(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MCAP_MAGIC)) == MCAP_MAGIC


def _bag_messages(path: Path, topic: str | None) -> Iterator[tuple[int, Any]]:
    if path.is_file() and path.suffix not in BAG_SUFFIXES:
        raise VideoError(
            f"{path}: is a ROS bag by its content; its readers want a name that ends in .bag "
            "(ROS 1) or .db3 (ROS 2)"
        )
    with AnyReader([path], default_typestore=get_typestore(Stores.LATEST)) as reader:
        kinds = {c.topic: c.msgtype for c in reader.connections}
        chosen = _chosen(path, kinds, topic)
        connections = [c for c in reader.connections if c.topic == chosen]
        read = 0
        for connection, received_ns, data in reader.messages(connections):
            yield received_ns, reader.deserialize(data, connection.msgtype)
            read += 1
        _check_count(path, sum(c.msgcount for c in connections), read)


def _mcap_messages(path: Path, topic: str | None) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        if summary is None:
            raise VideoError(f"{path}: has no index: it is cut short; `mcap recover` may mend it")
        names = {id_: _message_type(schema.name) for id_, schema in summary.schemas.items()}
        kinds = {c.topic: names.get(c.schema_id, "") for c in summary.channels.values()}
        chosen = _chosen(path, kinds, topic)
        store, known, read = get_typestore(Stores.EMPTY), set[int](), 0
        is_indexed = bool(summary.chunk_indexes)  # else sorting by time would fill the memory
        for schema, channel, message in reader.iter_messages([chosen], log_time_order=is_indexed):
            if schema is None or channel.message_encoding not in ("cdr", "ros1"):
                raise VideoError(
                    f"{path}: {chosen} is encoded as {channel.message_encoding!r}; "
                    "record it as ROS messages (cdr or ros1)"
                )
            kind = _message_type(schema.name)
            if schema.id not in known:
                store.register(get_types_from_msg(schema.data.decode(), kind))
                known.add(schema.id)
            is_ros1 = channel.message_encoding == "ros1"
            deserialize = store.deserialize_ros1 if is_ros1 else store.deserialize_cdr
            yield message.log_time, deserialize(message.data, kind)
            read += 1
        if summary.statistics is not None:
            counts = summary.statistics.channel_message_counts
            channels = [c.id for c in summary.channels.values() if c.topic == chosen]
            _check_count(path, sum(counts.get(id_, 0) for id_ in channels), read)


def _check_count(path: Path, promised: int, read: int) -> None:
    if promised != read:
        raise VideoError(
            f"{path}: promises {promised} images and holds {read}: it is cut short or damaged; "
            "copy or record it again"
        )


def _message_type(name: str) -> str:
    """ROS 1 leaves out the folder: sensor_msgs/Image."""
    return name if name.count("/") != 1 else name.replace("/", "/msg/")


def _chosen(path: Path, kinds: dict[str, str], topic: str | None) -> str:
    """The topic whose images are wanted: the one named, or the only one.

    Args:
        path: for the message.
        kinds: message types by topic.
        topic: the one named; None: there must be one only.
    """
    images = sorted(name for name, kind in kinds.items() if kind in IMAGE_TYPES)
    if topic is None and len(images) == 1:
        return images[0]
    if topic in images:
        return str(topic)
    listed = ", ".join(map(_on_one_line, images)) or "none"
    if topic is None:
        raise VideoError(f"{path}: its topics of images are {listed}; name one in layouts")
    raise VideoError(
        f"{path}: has no images on {topic}; its topics of images are {listed}: mend layouts"
    )


def _frame(path: Path, message: Any, index: int) -> Frame:
    """The picture of an Image or a CompressedImage, grey (H, W) or RGB (H, W, 3)."""
    where = f"{path}: image {index}"
    if hasattr(message, "format"):
        return decoded_image(np.asarray(message.data, np.uint8), where)
    if message.encoding not in ENCODINGS:
        raise VideoError(
            f"{where} is encoded as {message.encoding!r}; convert it to one of "
            f"{', '.join(ENCODINGS)}"
        )
    kind, channels, to_rgb = ENCODINGS[message.encoding]
    height, width, sample_bytes = message.height, message.width, np.dtype(kind).itemsize
    row_bytes = width * channels * sample_bytes
    data = np.asarray(message.data, np.uint8)
    if not height or not width or message.step < row_bytes or data.size < height * message.step:
        raise VideoError(
            f"{where} promises {width}x{height} pixels in rows of {message.step} bytes and has "
            f"{data.size} bytes: it is damaged; record it again"
        )
    rows: NDArray[Any] = data[: height * message.step].reshape(height, message.step)[:, :row_bytes]
    stored = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    pixels = as_frame(np.ascontiguousarray(rows).view(stored).astype(kind))
    if channels > 1:
        pixels = pixels.reshape(height, width, channels)
    return pixels if to_rgb is None else as_frame(cv2.cvtColor(pixels, to_rgb))
