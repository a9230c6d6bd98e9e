"""Recordings of known frames at known instants, each written by the tool that people use for it."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import mcap.writer
import numpy as np
from numpy.typing import NDArray
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from schemas.layouts import RawLayout, StreamLayout

Stream = NDArray[Any]

FRAMES, HEIGHT, WIDTH = 12, 48, 64
STEADY_FPS = 25.0
UNEVEN_MS = [120, 153, 187, 220, 301, 333, 480, 500, 533, 567, 600, 700]
"""Instants of a camera that starts late, trembles and loses frames."""

EPOCH_NS = 1_732_500_000 * 10**9
"""When the robots filmed."""

INFRARED_TOPIC, VISIBLE_TOPIC = "/thermal/image_raw", "/colour/image_raw"
IMAGE, COMPRESSED, TEXT = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "std_msgs/msg/String",
)


@dataclass(frozen=True)
class Recorded:
    """A file or folder, and what has to be declared of it."""

    path: Path
    times_s: NDArray[np.float64]
    layout: StreamLayout | None = None
    fps: float | None = None


Recorder = Callable[[Path, Stream], Recorded]
"""Writes 16-bit frames, (T, H, W), below a folder."""


def infrared_counts(frames: int = FRAMES) -> Stream:
    """Noise of 14 bits on which a hot square moves to the right."""
    counts = (
        np.random.default_rng(1).integers(7000, 7200, (frames, HEIGHT, WIDTH)).astype(np.uint16)
    )
    for index, frame in enumerate(counts):
        frame[12:30, 2 * index : 2 * index + 14] = 9000 + 7 * index
    return counts


def visible_colors(frames: int = FRAMES) -> Stream:
    """A grey ramp on which a red square moves to the right."""
    video = np.empty((frames, HEIGHT, WIDTH, 3), np.uint8)
    video[:] = np.linspace(20, 235, WIDTH, dtype=np.uint8)[:, None]
    for index, frame in enumerate(video):
        frame[12:30, 2 * index : 2 * index + 14] = (200, 30, 30)
    return video


def ffmpeg(*arguments: str | Path, stdin: bytes = b"") -> None:
    """Run the ffmpeg that comes with twinband."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, input=stdin)


def piped(frames: Stream, pixel_format: str, *arguments: str | Path) -> None:
    """Have ffmpeg encode frames, of the size and depth that `pixel_format` says."""
    height, width = frames.shape[1:3]
    source = ("-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{height}")
    ffmpeg(*source, "-r", f"{STEADY_FPS:g}", "-i", "-", *arguments, stdin=frames.tobytes())


def uneven_filter() -> tuple[str, ...]:
    """Arguments by which ffmpeg gives its frames the uneven instants."""
    chosen = "+".join(f"{time_ms}*eq(N\\,{index})" for index, time_ms in enumerate(UNEVEN_MS))
    timing = f"settb=1/1000,setpts={chosen}"
    return ("-vf", timing, "-fps_mode", "passthrough", "-enc_time_base", "1/1000")


def steady_s(frames: int) -> NDArray[np.float64]:
    return np.arange(frames) / STEADY_FPS


def ffv1(folder: Path, frames: Stream) -> Recorded:
    """16-bit grey in Matroska, at uneven instants."""
    path = folder / "camera.mkv"
    piped(frames, "gray16le", *uneven_filter(), "-c:v", "ffv1", "-level", "3", path)
    return Recorded(path, np.array(UNEVEN_MS[: len(frames)]) / 1000)


def png_video(folder: Path, frames: Stream) -> Recorded:
    """16-bit PNG pictures in a QuickTime file, at uneven instants."""
    path = folder / "camera.mov"
    piped(frames, "gray16le", *uneven_filter(), "-c:v", "png", "-pix_fmt", "gray16be", path)
    return Recorded(path, np.array(UNEVEN_MS[: len(frames)]) / 1000)


def raw(folder: Path, frames: Stream, layout: RawLayout) -> Recorded:
    """Nothing but samples, with headers of which nothing is known but their size."""
    path = folder / "camera.raw"
    order = "<u2" if layout.endianness == "little" else ">u2"
    head = b"\xa5" * layout.frame_header_bytes
    samples = b"".join(head + frame.astype(order).tobytes() for frame in frames)
    path.write_bytes(b"Y16 " * (layout.header_bytes // 4) + samples)
    return Recorded(path, steady_s(len(frames)), StreamLayout(raw=layout), STEADY_FPS)


def y16(folder: Path, frames: Stream) -> Recorded:
    """What ffmpeg writes when it is told to write samples alone."""
    path = folder / "camera.y16"
    piped(frames, "gray16le", "-f", "rawvideo", "-pix_fmt", "gray16le", path)
    layout = StreamLayout(raw=RawLayout(width=WIDTH, height=HEIGHT))
    return Recorded(path, steady_s(len(frames)), layout, STEADY_FPS)


def y16_big_endian(folder: Path, frames: Stream) -> Recorded:
    layout = RawLayout(
        width=WIDTH, height=HEIGHT, endianness="big", header_bytes=64, frame_header_bytes=12
    )
    return raw(folder, frames, layout)


def png_folder(folder: Path, frames: Stream) -> Recorded:
    (folder / "frames").mkdir()
    piped(frames, "gray16le", "-pix_fmt", "gray16be", folder / "frames" / "%04d.png")
    return Recorded(folder / "frames", steady_s(len(frames)), fps=STEADY_FPS)


def tiff_folder(folder: Path, frames: Stream) -> Recorded:
    (folder / "frames").mkdir()
    piped(frames, "gray16le", "-compression_algo", "lzw", folder / "frames" / "%d.tiff")
    return Recorded(folder / "frames", steady_s(len(frames)), fps=STEADY_FPS)


def side_by_side(folder: Path, frames: Stream) -> Recorded:
    """The 16-bit picture at the right, something else at the left, of one lossless video."""
    path = folder / "both.mkv"
    both = np.concatenate([np.full_like(frames, 300)[:, :, :20], frames], axis=2)
    piped(both, "gray16le", "-c:v", "ffv1", path)
    return Recorded(path, steady_s(len(frames)), StreamLayout(crop=(20, 0, WIDTH, HEIGHT)))


def image(store: Typestore, frame: Stream, stamp_ns: int, encoding: str, **given: Any) -> Any:
    """A sensor_msgs/Image of either ROS."""
    data = np.frombuffer(np.ascontiguousarray(frame).tobytes(), np.uint8)
    fields = {
        "header": header(store, stamp_ns),
        "height": frame.shape[0],
        "width": frame.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": data.size // frame.shape[0],
        "data": data,
    }
    return store.types[IMAGE](**fields | given)


def compressed(store: Typestore, content: bytes, stamp_ns: int, kind: str) -> Any:
    """A sensor_msgs/CompressedImage of either ROS."""
    return store.types[COMPRESSED](
        header=header(store, stamp_ns), format=kind, data=np.frombuffer(content, np.uint8)
    )


def header(store: Typestore, stamp_ns: int) -> Any:
    stamp = store.types["builtin_interfaces/msg/Time"](
        sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
    )
    sequence = {"seq": 0} if "seq" in dict(store.fielddefs["std_msgs/msg/Header"][1]) else {}
    return store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="mast", **sequence)


def uneven_ns(frames: int) -> list[int]:
    return [EPOCH_NS + time_ms * 10**6 + 17 for time_ms in UNEVEN_MS[:frames]]


Message = tuple[str, int, Any]
"""Topic, time of reception in nanoseconds, message."""


def filmed(store: Typestore, frames: Stream) -> Iterator[Message]:
    """Counts, the colours beside them, and other talk; each received 4 ms after it was stamped."""
    for frame, color, stamp_ns in zip(
        frames, visible_colors(len(frames)), uneven_ns(len(frames)), strict=True
    ):
        yield INFRARED_TOPIC, stamp_ns + 4_000_000, image(store, frame, stamp_ns, "mono16")
        yield VISIBLE_TOPIC, stamp_ns + 4_000_100, image(store, color, stamp_ns, "rgb8")
        yield "/chatter", stamp_ns + 4_000_200, store.types[TEXT](data="all is well")


def kind_of(message: Any) -> str:
    return str(message.__msgtype__)


def of_topic(folder: Path, name: str, frames: Stream) -> Recorded:
    times_s = np.array([time_ns / 1e9 for time_ns in uneven_ns(len(frames))])
    return Recorded(folder / name, times_s, StreamLayout(topic=INFRARED_TOPIC))


def write_bag(path: Path, messages: Sequence[Message], store: Typestore, compression: Any) -> None:
    """A ROS 1 bag."""
    writer = rosbag1.Writer(path)
    if compression is not None:
        writer.set_compression(compression)
    with writer:
        known: dict[str, Any] = {}
        for topic, time_ns, message in messages:
            kind = kind_of(message)
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(known[topic], time_ns, store.serialize_ros1(message, kind))


def ros1_bag(folder: Path, frames: Stream, compression: Any = None) -> Recorded:
    store = get_typestore(Stores.ROS1_NOETIC)
    write_bag(folder / "outing.bag", list(filmed(store, frames)), store, compression)
    return of_topic(folder, "outing.bag", frames)


def ros1_bag_lz4(folder: Path, frames: Stream) -> Recorded:
    return ros1_bag(folder, frames, rosbag1.Writer.CompressionFormat.LZ4)


def ros1_bag_bz2(folder: Path, frames: Stream) -> Recorded:
    return ros1_bag(folder, frames, rosbag1.Writer.CompressionFormat.BZ2)


def write_bag2(
    path: Path, messages: Sequence[Message], store: Typestore, plugin: rosbag2.StoragePlugin
) -> None:
    """A ROS 2 bag: a folder."""
    with rosbag2.Writer(path, version=9, storage_plugin=plugin) as writer:
        known: dict[str, Any] = {}
        for topic, time_ns, message in messages:
            kind = kind_of(message)
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(known[topic], time_ns, store.serialize_cdr(message, kind))


def ros2_bag(
    folder: Path,
    frames: Stream,
    plugin: rosbag2.StoragePlugin = rosbag2.StoragePlugin.SQLITE3,
) -> Recorded:
    store = get_typestore(Stores.ROS2_JAZZY)
    write_bag2(folder / "outing", list(filmed(store, frames)), store, plugin)
    return of_topic(folder, "outing", frames)


def ros2_bag_of_mcap(folder: Path, frames: Stream) -> Recorded:
    return ros2_bag(folder, frames, rosbag2.StoragePlugin.MCAP)


def write_mcap(
    path: Path,
    messages: Sequence[Message],
    store: Typestore,
    compression: mcap.writer.CompressionType,
    **options: Any,
) -> None:
    """An MCAP file of ROS 2 messages, by the writer of MCAP's own makers."""
    with path.open("wb") as file:
        writer = mcap.writer.Writer(file, compression=compression, **options)
        writer.start("ros2")
        known: dict[str, int] = {}
        for topic, time_ns, message in messages:
            kind = kind_of(message)
            if topic not in known:
                definition, _ = store.generate_msgdef(kind, ros_version=2)
                schema = writer.register_schema(kind, "ros2msg", definition.encode())
                known[topic] = writer.register_channel(topic, "cdr", schema)
            data = bytes(store.serialize_cdr(message, kind))
            writer.add_message(known[topic], time_ns, data, time_ns)
        writer.finish()  # type: ignore[no-untyped-call]  # mcap gives it no types


def mcap_file(folder: Path, frames: Stream, compression: str = "ZSTD", **options: Any) -> Recorded:
    store = get_typestore(Stores.ROS2_JAZZY)
    write_mcap(
        folder / "outing.mcap",
        list(filmed(store, frames)),
        store,
        mcap.writer.CompressionType[compression],
        **options,
    )
    return of_topic(folder, "outing.mcap", frames)


def mcap_file_lz4(folder: Path, frames: Stream) -> Recorded:
    return mcap_file(folder, frames, "LZ4", chunk_size=20_000)


def mcap_file_unchunked(folder: Path, frames: Stream) -> Recorded:
    return mcap_file(folder, frames, "NONE", use_chunking=False)


RECORDERS: dict[str, Recorder] = {
    recorder.__name__: recorder
    for recorder in (
        ffv1,
        png_video,
        y16,
        y16_big_endian,
        png_folder,
        tiff_folder,
        side_by_side,
        ros1_bag,
        ros1_bag_lz4,
        ros1_bag_bz2,
        ros2_bag,
        ros2_bag_of_mcap,
        mcap_file,
        mcap_file_lz4,
        mcap_file_unchunked,
    )
}
"""Every way of recording 16-bit infrared that is read, by its name."""
