"""Images of ROS bags and MCAP files: every encoding, the right topic, the camera's own times."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import mcap.writer
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores, get_typestore

from pipeline.video_files import probe, read_frames
from schemas.base import Band
from schemas.errors import VideoError
from schemas.layouts import StreamLayout
from tests.pipeline.recorders import (
    EPOCH_NS,
    INFRARED_TOPIC,
    VISIBLE_TOPIC,
    Stream,
    compressed,
    filmed,
    image,
    infrared_counts,
    ros1_bag,
    uneven_ns,
    visible_colors,
    write_bag,
    write_bag2,
    write_mcap,
)

STORE = get_typestore(Stores.ROS2_JAZZY)
ROS1_STORE = get_typestore(Stores.ROS1_NOETIC)


def read(path: Path, band: Band = "visible", topic: str | None = None) -> Stream:
    return np.stack(list(read_frames(path, band, layout=StreamLayout(topic=topic))))


def bag_of(folder: Path, messages: list[Any]) -> Path:
    """A ROS 2 bag of one topic whose messages come 10 ms after one another."""
    timed = [(VISIBLE_TOPIC, EPOCH_NS + 10**7 * index, m) for index, m in enumerate(messages)]
    write_bag2(folder / "outing", timed, STORE, StoragePlugin.SQLITE3)
    return folder / "outing"


def packed_yuv(frame: Stream, *, luma_first: bool) -> Stream:
    """(H, W, 3) RGB as (H, W, 2), every second column's colours left out (BT.601)."""
    luma, blue, red = np.moveaxis(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV).astype(np.float64), 2, 0)
    luma = 16 + luma * (219 / 255)
    blue, red = 128 + (blue - 128) * (112 / 111), 128 + (red - 128) * (112 / 157)
    chroma = np.where(np.arange(frame.shape[1]) % 2, np.roll(red, 1, axis=1), blue)
    order = (luma, chroma) if luma_first else (chroma, luma)
    return np.asarray(np.rint(np.stack(order, axis=2)).clip(0, 255), np.uint8)


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", lambda rgb: rgb),
        ("bgr8", lambda rgb: rgb[..., ::-1]),
        ("8UC3", lambda rgb: rgb[..., ::-1]),
        ("rgba8", lambda rgb: np.dstack([rgb, rgb[..., 0]])),
        ("bgra8", lambda rgb: np.dstack([rgb[..., ::-1], rgb[..., 0]])),
    ],
)
def test_colours_come_back_whatever_their_order(tmp_path: Path, encoding: str, stored: Any) -> None:
    colors = visible_colors(3)
    path = bag_of(tmp_path, [image(STORE, stored(rgb), EPOCH_NS, encoding) for rgb in colors])

    np.testing.assert_array_equal(read(path), colors)


@pytest.mark.parametrize(
    ("encoding", "luma_first"), [("yuv422", False), ("uyvy", False), ("yuv422_yuy2", True)]
)
def test_packed_colours_come_back_nearly(
    tmp_path: Path, encoding: str, *, luma_first: bool
) -> None:
    (color,) = visible_colors(1)
    packed = packed_yuv(color, luma_first=luma_first)
    path = bag_of(tmp_path, [image(STORE, packed, EPOCH_NS, encoding)])

    (found,) = read(path)

    assert np.abs(found[:, 24:].astype(int) - color[:, 24:]).max() <= 3
    assert np.abs(found[15:27, 2:12].astype(int) - color[15:27, 2:12]).mean() <= 8


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_mosaics_of_a_sensor_become_colours(tmp_path: Path, pattern: str) -> None:
    color = np.full((16, 24, 3), (200, 120, 30), np.uint8)
    mosaic = np.empty((16, 24), np.uint8)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = color[0, 0, "rgb".index(letter)]
    path = bag_of(tmp_path, [image(STORE, mosaic, EPOCH_NS, f"bayer_{pattern}8")])

    np.testing.assert_array_equal(read(path), [color])


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_counts_of_either_byte_order_come_back_without_their_padding(
    tmp_path: Path, encoding: str
) -> None:
    (counts,) = infrared_counts(1)
    swapped = counts.astype(">u2")
    padded = np.pad(counts, ((0, 0), (0, 5)), constant_values=9)
    messages = [
        image(STORE, swapped, EPOCH_NS, encoding, is_bigendian=1),
        image(STORE, padded, EPOCH_NS, encoding, width=counts.shape[1]),
    ]
    path = bag_of(tmp_path, messages)

    np.testing.assert_array_equal(read(path, "infrared"), [counts, counts])


@pytest.mark.parametrize(("kind", "is_lossless"), [("png", True), ("jpeg", False)])
def test_compressed_images_are_decoded(tmp_path: Path, kind: str, *, is_lossless: bool) -> None:
    colors = visible_colors(2)
    contents = [cv2.imencode(f".{kind}", rgb[..., ::-1])[1].tobytes() for rgb in colors]
    path = bag_of(
        tmp_path,
        [
            compressed(STORE, content, EPOCH_NS, f"rgb8; {kind} compressed bgr8")
            for content in contents
        ],
    )

    found = read(path)

    assert np.abs(found.astype(int) - colors).mean() <= (0 if is_lossless else 6)
    assert probe(path).is_lossless == is_lossless


def test_each_camera_is_the_topic_that_its_layout_names(tmp_path: Path) -> None:
    path = ros1_bag(tmp_path, infrared_counts()).path

    np.testing.assert_array_equal(read(path, "infrared", INFRARED_TOPIC), infrared_counts())
    np.testing.assert_array_equal(read(path, "visible", VISIBLE_TOPIC), visible_colors())


@pytest.mark.parametrize(
    ("topic", "complaint"),
    [
        (None, "its topics of images are /colour/image_raw, /thermal/image_raw; name one in"),
        ("/chatter", "has no images on /chatter; its topics of images are /colour/image_raw, /th"),
    ],
)
def test_a_topic_that_cannot_be_meant_is_answered_with_those_there_are(
    tmp_path: Path, topic: str | None, complaint: str
) -> None:
    path = ros1_bag(tmp_path, infrared_counts()).path

    with pytest.raises(VideoError, match=complaint):
        probe(path, layout=StreamLayout(topic=topic))


def test_the_only_topic_of_images_needs_no_name(tmp_path: Path) -> None:
    messages = [m for m in filmed(ROS1_STORE, infrared_counts()) if m[0] != VISIBLE_TOPIC]
    write_bag(tmp_path / "a.bag", messages, ROS1_STORE, None)

    np.testing.assert_array_equal(read(tmp_path / "a.bag", "infrared"), infrared_counts())


@pytest.mark.parametrize("stamps_ns", [[0] * 12, [EPOCH_NS + 3] * 12])
def test_images_without_stamps_of_their_own_are_timed_by_the_recorder(
    tmp_path: Path, stamps_ns: list[int]
) -> None:
    received_ns = uneven_ns(12)
    messages = [
        (INFRARED_TOPIC, time_ns, image(STORE, frame, stamp_ns, "mono16"))
        for time_ns, frame, stamp_ns in zip(received_ns, infrared_counts(), stamps_ns, strict=True)
    ]
    write_mcap(tmp_path / "a.mcap", messages, STORE, mcap.writer.CompressionType.ZSTD)

    found = probe(tmp_path / "a.mcap")

    assert found.time_source == "received"
    np.testing.assert_array_equal(found.times_s, [time_ns / 1e9 for time_ns in received_ns])


def test_images_without_any_times_have_those_that_are_declared(tmp_path: Path) -> None:
    messages = [
        (INFRARED_TOPIC, EPOCH_NS, image(STORE, frame, 0, "mono16")) for frame in infrared_counts()
    ]
    write_bag2(tmp_path / "outing", messages, STORE, StoragePlugin.SQLITE3)

    found = probe(tmp_path / "outing", fps=25)

    assert found.time_source == "declared"
    np.testing.assert_allclose(found.times_s, np.arange(12) / 25)


def test_the_header_of_an_image_goes_before_its_reception(tmp_path: Path) -> None:
    recorded = ros1_bag(tmp_path, infrared_counts())

    found = probe(recorded.path, layout=recorded.layout)

    assert found.time_source == "presentation"
    np.testing.assert_array_equal(found.times_s, recorded.times_s)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"encoding": "32FC1"}, r"image 0 is encoded as '32FC1'; convert it to one of mono8"),
        ({"height": 99}, r"image 0 promises 64x99 pixels in rows of 128 bytes and has 6144 bytes"),
        ({"width": 65}, r"image 0 promises 65x48 pixels in rows of 128 bytes"),
        ({"width": 0}, r"image 0 promises 0x48 pixels"),
    ],
)
def test_an_image_that_is_not_what_it_says_is_refused(
    tmp_path: Path, given: dict[str, Any], complaint: str
) -> None:
    (counts,) = infrared_counts(1)
    fields = {"encoding": "mono16"} | given
    path = bag_of(tmp_path, [image(STORE, counts, EPOCH_NS, **fields)])

    with pytest.raises(VideoError, match=complaint) as caught:
        probe(path)

    assert "\n" not in str(caught.value)


def test_without_the_extra_bags_are_refused_with_how_to_install_it(tmp_path: Path) -> None:
    recorded = ros1_bag(tmp_path, infrared_counts(1))
    script = (
        "import sys; sys.modules['rosbags'] = None\n"
        "from pathlib import Path; from pipeline.video_files import probe\n"
        "probe(Path(sys.argv[1]))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, recorded.path], capture_output=True, text=True, check=False
    )

    assert ended.stderr.strip().endswith("install it with: pip install 'twinband[ros]'")
