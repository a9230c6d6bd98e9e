"""Reads the images of ROS 1 and ROS 2 bags and MCAP files; needs the extra `twinband[ros]`."""

import struct
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

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


@dataclass(frozen=True)
class RosImage:
    """A sensor_msgs/Image, or a CompressedImage, of either ROS."""

    received_ns: int
    stamped_ns: int
    compression: str | None
    """What a CompressedImage says it is; None: an Image."""
    data: NDArray[np.uint8]
    encoding: str = ""
    height: int = 0
    width: int = 0
    row_bytes: int = 0
    is_bigendian: bool = False


def probe_ros(path: Path, topic: str | None, fps: float | None) -> StreamProbe:
    """What the images of a topic are; every message is read, one image decoded.

    Their times are those of their headers; where these are not set or do not increase, those at
    which the recorder received them; where these do not increase either, those of `fps`.

    Raises:
        VideoError: the file is damaged, has no such topic or several, or no image of a known kind.
    """
    stamped: list[int] = []
    received: list[int] = []
    first: tuple[RosImage, Frame] | None = None
    for image in _images(path, topic):
        first = first or (image, _frame(f"{path}: image 0", image))
        stamped.append(image.stamped_ns)
        received.append(image.received_ns)
    if first is None:
        raise VideoError(f"{path}: its topic holds no image; record it again")
    image, frame = first
    source: Literal["presentation", "received", "declared"] = "declared"
    times_s = np.arange(len(stamped)) / (fps or 1.0)
    if stamped[0] > 0 and _increases(stamped):
        source, times_s = "presentation", np.array(stamped) / NANOSECONDS_A_SECOND
    elif _increases(received):
        source, times_s = "received", np.array(received) / NANOSECONDS_A_SECOND
    return StreamProbe(
        container="MCAP file" if _is_mcap(path) else "ROS bag",
        codec=_on_one_line(image.compression or "rawvideo"),
        pixel_format=image.encoding or ("rgb" if frame.ndim > 2 else "gray"),
        color_range="full",
        width=frame.shape[1],
        height=frame.shape[0],
        bit_depth=8 * frame.itemsize,
        times_s=times_s,
        time_source=source,
        is_lossless="jp" not in (image.compression or ""),
    )


def read_ros(path: Path, topic: str | None, start: int, stop: int | None) -> Iterator[Frame]:
    """The images `start` to before `stop` of a topic: grey (H, W) or RGB (H, W, 3).

    Raises:
        VideoError: as `probe_ros`.
    """
    with closing(_images(path, topic)) as images:
        for index, image in enumerate(islice(images, start, stop), start):
            yield _frame(f"{path}: image {index}", image)


def _increases(times_ns: list[int]) -> bool:
    return all(earlier < later for earlier, later in pairwise(times_ns))


def _images(path: Path, topic: str | None) -> Generator[RosImage]:
    """The images of a topic as they were received."""
    try:
        for received_ns, message in (_mcap_messages if _is_mcap(path) else _bag_messages)(
            path, topic
        ):
            yield _image(received_ns, message)
    except VideoError:
        raise
    except DAMAGE as error:
        raise VideoError(
            f"{path}: is no readable ROS bag or MCAP file, or damaged: "
            f"{type(error).__name__}: {_on_one_line(str(error))}; copy or record it again"
        ) from error


def _image(received_ns: int, message: Any) -> RosImage:
    stamp = message.header.stamp
    stamped_ns = int(stamp.sec) * 10**9 + int(stamp.nanosec)
    data = np.asarray(message.data, np.uint8)
    if hasattr(message, "format"):
        return RosImage(received_ns, stamped_ns, str(message.format), data)
    return RosImage(
        received_ns,
        stamped_ns,
        None,
        data,
        encoding=str(message.encoding),
        height=int(message.height),
        width=int(message.width),
        row_bytes=int(message.step),
        is_bigendian=bool(message.is_bigendian),
    )


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


def _frame(where: str, image: RosImage) -> Frame:
    """The picture of an image, grey (H, W) or RGB (H, W, 3); `where` names it in the message."""
    if image.compression is not None:
        return decoded_image(image.data, where)
    if image.encoding not in ENCODINGS:
        raise VideoError(
            f"{where} is encoded as {image.encoding!r}; convert it to one of {', '.join(ENCODINGS)}"
        )
    kind, channels, to_rgb = ENCODINGS[image.encoding]
    height, width, size = image.height, image.width, image.data.size
    used_bytes = width * channels * np.dtype(kind).itemsize
    if not height or not width or image.row_bytes < used_bytes or size < height * image.row_bytes:
        raise VideoError(
            f"{where} promises {width}x{height} pixels in rows of {image.row_bytes} bytes and has "
            f"{size} bytes: it is damaged; record it again"
        )
    rows = image.data[: height * image.row_bytes].reshape(height, image.row_bytes)[:, :used_bytes]
    stored = np.dtype(kind).newbyteorder(">" if image.is_bigendian else "<")
    pixels = as_frame(np.ascontiguousarray(rows).view(stored).astype(kind))
    if channels > 1:
        pixels = pixels.reshape(height, width, channels)
    return pixels if to_rgb is None else as_frame(cv2.cvtColor(pixels, to_rgb))
