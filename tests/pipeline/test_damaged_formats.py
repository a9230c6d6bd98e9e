"""Damaged files of every format are refused in one clear line, and crash nothing."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores, get_typestore

from pipeline.ingest import run_ingest
from pipeline.video_files import probe, read_frames, write_image, write_video
from pipeline.workspace import Workspace
from schemas.catalog import Camera, Recording, RecordingPlan, Rig
from schemas.errors import TwinbandError, VideoError
from schemas.layouts import RawLayout, StreamLayout
from schemas.recipe import Recipe
from tests.pipeline.fuzzed_formats import COLOUR_VIDEOS
from tests.pipeline.recorders import (
    EPOCH_NS,
    HEIGHT,
    INFRARED_TOPIC,
    RECORDERS,
    STEADY_FPS,
    WIDTH,
    Recorded,
    Stream,
    ffmpeg,
    image,
    infrared_counts,
    piped,
    steady_s,
    visible_colors,
    write_bag2,
)

FUZZED_FILES = 520
"""Twenty of each kind."""

SEALED = ("ffv1", "side_by_side", "png_video", "png_folder", "mcap_file", "mcap_file_lz4")
"""Formats whose pictures are under a checksum. Raw files, plain bags and lossy codecs have none."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    """Every recording of 16-bit infrared, sound."""
    made: dict[str, Recorded] = {}
    for name, recorder in RECORDERS.items():
        made[name] = recorder(tmp_path_factory.mktemp(name), infrared_counts())
    return made


def copied(recorded: Recorded, folder: Path, name: str | None = None) -> Recorded:
    target = folder / (name or recorded.path.name)
    if recorded.path.is_dir():
        shutil.copytree(recorded.path, target)
    else:
        shutil.copy(recorded.path, target)
    return Recorded(target, recorded.times_s, recorded.layout, recorded.fps)


def largest_file(recorded: Recorded) -> Path:
    """The one that holds pictures: the last of many, or the file itself."""
    if recorded.path.is_file():
        return recorded.path
    return max(sorted(recorded.path.iterdir()), key=lambda path: path.stat().st_size)


def read_all(recorded: Recorded) -> Stream:
    probe(recorded.path, fps=recorded.fps, layout=recorded.layout)
    return np.stack(list(read_frames(recorded.path, "infrared", layout=recorded.layout)))


def refusal(recorded: Recorded) -> str:
    with pytest.raises(VideoError) as caught:
        read_all(recorded)
    assert "\n" not in str(caught.value)
    assert str(recorded.path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.02, 0.51, 0.97])
@pytest.mark.parametrize("name", RECORDERS)
def test_a_file_cut_short_is_refused(
    tmp_path: Path, originals: dict[str, Recorded], name: str, share: float
) -> None:
    recorded = copied(originals[name], tmp_path)
    file = largest_file(recorded)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

    refusal(recorded)


@pytest.mark.parametrize("name", RECORDERS)
def test_a_file_of_zero_bytes_is_refused(
    tmp_path: Path, originals: dict[str, Recorded], name: str
) -> None:
    recorded = copied(originals[name], tmp_path)
    largest_file(recorded).write_bytes(b"")

    refusal(recorded)


@pytest.mark.parametrize("name", SEALED)
def test_no_turned_bit_of_a_sealed_picture_goes_unnoticed(
    tmp_path: Path, originals: dict[str, Recorded], name: str
) -> None:
    recorded = copied(originals[name], tmp_path)
    file, counts, draw = largest_file(recorded), infrared_counts(), random.Random(name)
    content, refused = file.read_bytes(), 0

    for _ in range(12):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content) // 4, 3 * len(content) // 4)] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_all(recorded), counts)
        except VideoError:
            refused += 1

    assert refused >= 10


@pytest.mark.parametrize("name", ["ffv1", "png_video", "y16", "mcap_file"])
def test_what_a_file_is_shows_by_its_content_and_not_by_its_name(
    tmp_path: Path, originals: dict[str, Recorded], name: str
) -> None:
    recorded = copied(originals[name], tmp_path, "holiday.jpg")

    np.testing.assert_array_equal(read_all(recorded), infrared_counts())


def test_a_bag_of_another_name_is_refused_with_the_name_it_needs(
    tmp_path: Path, originals: dict[str, Recorded]
) -> None:
    recorded = copied(originals["ros1_bag"], tmp_path, "outing.rosbag")

    assert "a name that ends in .bag" in refusal(recorded)


@pytest.mark.parametrize("name", ["a.mkv", "a.bag", "a.mcap", "a.db3"])
def test_text_under_the_name_of_a_recording_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("see the other disk\n" * 50)

    assert "is no readable video" in refusal(Recorded(tmp_path / name, steady_s(1)))


def folder_of_two_sizes(folder: Path) -> Recorded:
    counts = infrared_counts(4)
    for index, frame in enumerate(counts):
        write_image(folder / "frames" / f"{index}.png", frame[: HEIGHT - 8 * (index == 2)])
    return Recorded(folder / "frames", steady_s(4), fps=STEADY_FPS)


def folder_of_two_depths(folder: Path) -> Recorded:
    for index, frame in enumerate(infrared_counts(4)):
        levels = (frame // 64).astype(np.uint8)
        write_image(folder / "frames" / f"{index}.png", levels if index == 2 else frame)
    return Recorded(folder / "frames", steady_s(4), fps=STEADY_FPS)


def bag_of_two_sizes(folder: Path) -> Recorded:
    store = get_typestore(Stores.ROS2_JAZZY)
    messages = []
    for index, frame in enumerate(infrared_counts(4)):
        time_ns = EPOCH_NS + index * 10**8
        cropped = frame[: HEIGHT - 8 * (index == 2)]
        messages.append((INFRARED_TOPIC, time_ns, image(store, cropped, time_ns, "mono16")))
    write_bag2(folder / "outing", messages, store, StoragePlugin.SQLITE3)
    return Recorded(folder / "outing", steady_s(4))


def video_of_two_sizes(folder: Path) -> Recorded:
    for rows in (HEIGHT, HEIGHT - 16):
        frames = np.ascontiguousarray(visible_colors(6)[:, :rows])
        piped(frames, "rgb24", "-c:v", "libx264", folder / f"{rows}.ts")
    listed = "".join(f"file '{rows}.ts'\n" for rows in (HEIGHT, HEIGHT - 16))
    (folder / "parts.txt").write_text(listed)
    ffmpeg("-f", "concat", "-i", folder / "parts.txt", "-c", "copy", folder / "camera.ts")
    return Recorded(folder / "camera.ts", steady_s(12))


@pytest.mark.parametrize(
    "recorder", [folder_of_two_sizes, folder_of_two_depths, bag_of_two_sizes, video_of_two_sizes]
)
def test_frames_of_two_kinds_in_one_recording_are_refused(
    tmp_path: Path, recorder: Callable[[Path], Recorded]
) -> None:
    reason = refusal(recorder(tmp_path))

    assert "64x48" in reason
    assert "64x40" in reason or "64x32" in reason or "uint8" in reason


@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.parametrize("kind", ["folder", "raw", "bag", "video"])
def test_a_recording_of_no_or_one_frame_is_refused(tmp_path: Path, kind: str, frames: int) -> None:
    plan = plan_of_few(tmp_path, kind, frames)

    with pytest.raises(TwinbandError) as caught:
        run_ingest(plan, Workspace(tmp_path / "work"))

    assert "\n" not in str(caught.value)
    assert ("has 1 frames, fewer than the 7 pairs" in str(caught.value)) == (frames == 1)


def plan_of_few(root: Path, kind: str, frames: int) -> RecordingPlan:
    counts, layout, infrared = infrared_counts(max(frames, 1)), None, "frames"
    if kind == "folder":
        (root / "frames").mkdir()
        for index in range(frames):
            write_image(root / "frames" / f"{index}.png", counts[index])
    elif kind == "raw":
        infrared, layout = "a.raw", StreamLayout(raw=RawLayout(width=WIDTH, height=HEIGHT))
        (root / "a.raw").write_bytes(counts.tobytes() if frames else b"")
    elif kind == "bag":
        store = get_typestore(Stores.ROS2_JAZZY)
        infrared, messages = "outing", [(INFRARED_TOPIC, 5, image(store, counts[0], 5, "mono16"))]
        write_bag2(root / "outing", messages[:frames], store, StoragePlugin.SQLITE3)
    else:
        infrared = "a.mkv"
        write_video(root / "a.mkv", counts, fps=STEADY_FPS, codec="ffv1")
        if not frames:
            ffmpeg("-i", root / "a.mkv", "-frames:v", "0", "-c", "copy", root / "b.mkv")
            (root / "b.mkv").replace(root / "a.mkv")
    write_video(root / "visible.mp4", visible_colors(), fps=STEADY_FPS, codec="h264")
    camera = Camera(width=WIDTH, height=HEIGHT)
    fields: dict[str, Any] = {"layouts": {"infrared": layout}, "fps": STEADY_FPS}
    return RecordingPlan(
        recording=Recording.model_validate(
            {"id": "walk", "site": "quay", "infrared": infrared, "visible": "visible.mp4"} | fields
        ),
        session="outing",
        rig=Rig(id="mast", infrared=camera, visible=camera),
        data_root=root,
        recipe=Recipe(),
    )


def test_five_hundred_damaged_files_crash_nothing(tmp_path: Path) -> None:
    assert FUZZED_FILES % (len(RECORDERS) + len(COLOUR_VIDEOS) + 1) == 0
    command = [sys.executable, "-m", "tests.pipeline.fuzzed_formats"]

    ended = subprocess.run(
        [*command, tmp_path, "1", str(FUZZED_FILES)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    *_, last = ended.stdout.splitlines()
    assert ended.returncode == 0, f"{last}\n{ended.stderr[-2000:]}"
    outcomes = json.loads(last)
    assert outcomes.keys() == {"refused", "read"}
    assert sum(outcomes.values()) == FUZZED_FILES
    assert outcomes["refused"] > FUZZED_FILES / 2
