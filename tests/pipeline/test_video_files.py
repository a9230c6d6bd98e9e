"""Videos come back frame by frame at their exact times, whole, or are refused in one clear line."""

import gc
import resource
import signal
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video_files import (
    Frame,
    content_hash,
    probe,
    read_frames,
    read_frames_at,
    read_timestamps,
    write_image,
    write_video,
)
from schemas.base import Band
from schemas.errors import VideoError

Stream = NDArray[Any]

UNEVEN_MS = [120, 153, 187, 220, 301, 333, 480, 500, 533, 567, 600, 700]
"""Presentation times of a camera that starts late and loses frames."""


def counts(frames: int = 12, height: int = 16, width: int = 24) -> Stream:
    rng = np.random.default_rng(frames)
    return rng.integers(0, 2**16, (frames, height, width), np.uint16)


def colors(frames: int = 12, height: int = 32, width: int = 48) -> Stream:
    """A grey ramp on which a red square moves."""
    video = np.empty((frames, height, width, 3), np.uint8)
    video[:] = np.linspace(0, 255, width, dtype=np.uint8)[:, None]
    for index, frame in enumerate(video):
        frame[8:24, index : index + 16] = (200, 30, 30)
    return video


def noise(frames: int, height: int = 96, width: int = 128) -> Iterator[Frame]:
    rng = np.random.default_rng(3)
    for _ in range(frames):
        yield rng.integers(0, 256, (height, width, 3), np.uint8)


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, arguments)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


def write_uneven(path: Path, frames: Stream, times_ms: list[int]) -> None:
    """A video with these presentation times, by the container's own clock."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "gray16le"
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, time_ms in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="gray16le")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def read(path: Path, band: Band = "visible") -> Stream:
    return np.stack(list(read_frames(path, band)))


def ended_children() -> list[str]:
    """Children of this process that ended and were not waited for."""
    lists = Path("/proc/self/task").glob("*/children")
    children = " ".join(path.read_text() for path in lists).split()
    states = [
        Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split() for child in children
    ]
    return [child for child, state in zip(children, states, strict=True) if state[0] == "Z"]


def one_line(caught: pytest.ExceptionInfo[VideoError]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_16_bit_counts_come_back_exactly(tmp_path: Path) -> None:
    frames = counts()

    written = write_video(tmp_path / "a.mkv", frames, fps=25, codec="ffv1")

    assert written == 12
    np.testing.assert_array_equal(read(tmp_path / "a.mkv", "infrared"), frames)
    found = probe(tmp_path / "a.mkv")
    assert (found.codec, found.pixel_format, found.bit_depth) == ("ffv1", "gray16le", 16)
    assert (found.width, found.height) == (24, 16)
    np.testing.assert_allclose(found.times_s, np.arange(12) / 25, atol=1e-9)


def test_colours_survive_h264_nearly(tmp_path: Path) -> None:
    frames = colors()

    write_video(tmp_path / "a.mp4", frames, fps=30, codec="h264", crf=4)

    found = read(tmp_path / "a.mp4")
    assert found.shape == frames.shape
    inside = found[11, 12:20, 15:23].reshape(-1, 3)
    np.testing.assert_allclose(inside.mean(axis=0), (200, 30, 30), atol=3)
    assert probe(tmp_path / "a.mp4").pixel_format == "yuv420p"


def test_grey_levels_of_h264_infrared_keep_their_full_range(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (5, 16, 1))

    write_video(tmp_path / "a.mp4", ramp, fps=30, codec="h264", crf=1)

    found = read(tmp_path / "a.mp4", "infrared")
    assert found.shape == ramp.shape
    assert np.abs(found.astype(int) - ramp).max() <= 4
    assert (found.min(), found.max()) == (0, 255)


def test_odd_sizes_gain_a_repeated_row_and_column(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", colors(3, 33, 47), fps=30, codec="h264")

    found = read(tmp_path / "a.mp4")
    assert found.shape == (3, 34, 48, 3)
    assert np.abs(found[:, -1].astype(int) - found[:, -2]).mean() < 2


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_equal_frames_give_equal_bytes(tmp_path: Path, codec: Any) -> None:
    frames = colors() if codec == "h264" else counts()

    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, fps=29.97, codec=codec)

    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_uneven_times_from_a_late_start_are_exact(tmp_path: Path) -> None:
    frames = counts()
    write_uneven(tmp_path / "a.mkv", frames, UNEVEN_MS)

    np.testing.assert_allclose(probe(tmp_path / "a.mkv").times_s, np.array(UNEVEN_MS) / 1000)
    np.testing.assert_array_equal(read(tmp_path / "a.mkv", "infrared"), frames)


def test_frames_cut_away_by_an_edit_list_are_not_counted(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", colors(24), fps=30, codec="h264")
    ffmpeg("-ss", "0.3", "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")

    found = probe(tmp_path / "b.mp4")

    assert found.times_s.size == 15
    np.testing.assert_array_equal(read(tmp_path / "b.mp4"), read(tmp_path / "a.mp4")[9:])


@pytest.mark.parametrize("indices", [[11, 0, 5, 5], [], [3]])
def test_single_frames_are_those_of_the_whole_reading(tmp_path: Path, indices: list[int]) -> None:
    write_video(tmp_path / "a.mp4", colors(), fps=30, codec="h264")
    write_video(tmp_path / "a.mkv", counts(), fps=30, codec="ffv1")
    for index, frame in enumerate(colors()):
        write_image(tmp_path / "a" / f"{index + 7}.png", frame)

    for name in ("a.mp4", "a.mkv", "a"):
        band: Band = "infrared" if name == "a.mkv" else "visible"
        found = read_frames_at(tmp_path / name, band, indices)
        whole = read(tmp_path / name, band)

        assert len(found) == len(indices)
        for index, frame in zip(indices, found, strict=True):
            np.testing.assert_array_equal(frame, whole[index])


@pytest.mark.parametrize(
    "structure",
    [
        pytest.param("keyint=8:min-keyint=8:scenecut=0:bframes=3", id="groups of eight"),
        pytest.param("keyint=8:open-gop=1:scenecut=0:bframes=3", id="open groups"),
        pytest.param("keyint=10:intra-refresh=1:bframes=0", id="no keyframe but the first"),
        pytest.param("keyint=1", id="keyframes alone"),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_of_one_group_are_found_on_one_way(
    tmp_path: Path, structure: str, suffix: str
) -> None:
    write_video(tmp_path / "a.mp4", colors(40), fps=30, codec="h264")
    path = tmp_path / f"b.{suffix}"
    ffmpeg("-i", tmp_path / "a.mp4", "-c:v", "libx264", "-x264-params", structure, path)
    whole = read(path)
    rng = np.random.default_rng(0)

    for count in (2, 5, 17, 40):
        indices = rng.permutation(len(whole))[:count].tolist()
        found = read_frames_at(path, "visible", indices)

        np.testing.assert_array_equal(found, whole[indices])


def test_a_stretch_is_that_of_the_whole_reading(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", colors(40), fps=30, codec="h264")
    write_uneven(tmp_path / "a.mkv", counts(), UNEVEN_MS)

    whole = read(tmp_path / "a.mp4")
    uneven = read(tmp_path / "a.mkv", "infrared")

    for start, stop in ((0, 3), (17, 29), (39, 40), (20, None)):
        found = list(read_frames(tmp_path / "a.mp4", "visible", start=start, stop=stop))
        np.testing.assert_array_equal(found, whole[start:stop])
    for start in range(12):
        found = list(read_frames(tmp_path / "a.mkv", "infrared", start=start))
        np.testing.assert_array_equal(found, uneven[start:])
    assert not list(read_frames(tmp_path / "a.mp4", "visible", start=40))
    assert not list(read_frames(tmp_path / "a.mp4", "visible", start=9, stop=4))


@pytest.mark.parametrize("index", [-1, 12])
def test_a_frame_beyond_the_end_is_refused(tmp_path: Path, index: int) -> None:
    write_video(tmp_path / "a.mp4", colors(), fps=30, codec="h264")

    with pytest.raises(VideoError, match=rf"has no frame {index}; it has 12"):
        read_frames_at(tmp_path / "a.mp4", "visible", [index])


def test_a_slanted_video_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", colors(), fps=30, codec="h264")
    ffmpeg("-display_rotation", "30", "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")

    with pytest.raises(VideoError, match="only quarter turns keep its pixels"):
        probe(tmp_path / "b.mp4")


def test_a_gap_in_the_numbers_of_a_folder_is_a_gap_in_time(tmp_path: Path) -> None:
    for number in (3, 4, 7, 8):
        write_image(tmp_path / f"{number:04d}.png", counts(1)[0])

    found = probe(tmp_path, fps=10)

    np.testing.assert_allclose(found.times_s, [0, 0.1, 0.4, 0.5])
    assert (found.container, found.bit_depth) == ("folder of frames", 16)
    assert read(tmp_path, "infrared").shape == (4, 16, 24)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="does not exist"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("content", [b"", b"some words\n" * 99, b"#EXTM3U\nother.ts\n"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)

    with pytest.raises(VideoError, match=r"a\.mp4: is (empty|no readable video)") as caught:
        probe(tmp_path / "a.mp4")

    assert "again" in one_line(caught)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.3", "-c:a", "aac", tmp_path / "a.mp4")

    with pytest.raises(VideoError, match="has no video stream"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "late.mp4"])
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "late.mp4":  # the index stands at the end, as cameras write it
        write_video(tmp_path / "a.mp4", noise(40), fps=30, codec="h264")
        ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", path)
    elif name == "a.mp4":
        write_video(path, noise(40), fps=30, codec="h264")
    else:
        write_video(path, (frame[..., 0] for frame in noise(40)), fps=30, codec="ffv1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])

    with pytest.raises(VideoError, match=r"cut short|no readable video") as caught:
        probe(path)

    assert str(path) in one_line(caught)


def test_a_damaged_picture_is_refused_and_not_patched_up(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, noise(2), fps=30, codec="h264")
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)

    with pytest.raises(VideoError, match=r"damaged"):
        read(path)


def test_a_hash_follows_the_bytes_of_whatever_exists(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "words").write_text("no video")

    empty_folder = content_hash(folder)
    (folder / "1.png").write_text("a")
    one = content_hash(folder)
    (folder / "1.png").rename(folder / "2.png")

    assert content_hash(tmp_path / "empty")[1] == 0
    assert content_hash(tmp_path / "words")[1] == 8
    assert len({empty_folder, one, content_hash(folder)}) == 3
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "absent")


def test_timestamps_are_read_as_written(tmp_path: Path) -> None:
    log = tmp_path / "times.csv"
    log.write_text("\ufeffframe,time_s\r\n0,0.5\r\n1,0.75\r\n2,1e1\r\n\r\n", encoding="utf-8")

    np.testing.assert_array_equal(read_timestamps(log), [0.5, 0.75, 10])


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("time_s,frame\n", r"line 1: the columns are 'time_s,frame', not 'frame,time_s'"),
        ("", "line 1: the columns are ''"),
        ("frame,time_s\n0,1\n1,1\n", r"line 3: time_s 1\.0 does not increase over 1\.0"),
        ("frame,time_s\n0,1\n1,nan\n", "line 3: time_s is nan"),
        ("frame,time_s\n0,1\n1,inf\n", "line 3: time_s is inf"),
        ("frame,time_s\n0,1\n2,2\n", "line 3: frame 2 where frame 1 should stand"),
        ("frame,time_s\n0\n", "line 2: '0' is not a frame number and a time"),
        ("frame,time_s\n0,soon\n", "line 2: '0,soon' is not a frame number and a time"),
        ("\udcff", "is no CSV text"),
    ],
)
def test_a_bad_line_of_timestamps_is_named(tmp_path: Path, rows: str, complaint: str) -> None:
    (tmp_path / "times.csv").write_bytes(rows.encode(errors="surrogateescape"))

    with pytest.raises(VideoError, match=complaint) as caught:
        read_timestamps(tmp_path / "times.csv")

    assert "times.csv" in one_line(caught)


def test_absent_timestamps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="does not exist"):
        read_timestamps(tmp_path / "times.csv")


def test_a_video_without_frames_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="there is no frame to write"):
        write_video(tmp_path / "a.mp4", [], fps=30, codec="h264")

    assert not list(tmp_path.iterdir())


def test_frames_that_differ_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    frames = [*colors(2), colors(1, 16, 48)[0]]

    with pytest.raises(VideoError, match="frame 2 is 48x16 RGB uint8 and the first one 48x32 RGB"):
        write_video(tmp_path / "a.mp4", frames, fps=30, codec="h264")

    assert not list(tmp_path.iterdir())


def test_a_source_that_fails_leaves_the_old_video(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", colors(), fps=30, codec="h264")
    before = (tmp_path / "a.mp4").read_bytes()

    def failing() -> Iterator[Frame]:
        yield from colors(3)
        raise KeyError

    with pytest.raises(KeyError):
        write_video(tmp_path / "a.mp4", failing(), fps=30, codec="h264")

    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == before


def test_a_codec_that_would_lose_bits_or_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="h264 cannot keep frames that are 24x16 grey uint16"):
        write_video(tmp_path / "a.mp4", counts(), fps=30, codec="h264")
    with pytest.raises(ValueError, match="ffv1 cannot keep frames that are 48x32 RGB uint8"):
        write_video(tmp_path / "a.mkv", colors(), fps=30, codec="ffv1")


@pytest.mark.parametrize("is_ignored", [True, False])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, *, is_ignored: bool) -> None:
    """A limit on file size stands for it: ffmpeg meets an error, or is killed by the signal."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handling = signal.signal(signal.SIGXFSZ, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(
            VideoError, match=r"a\.mp4: cannot be written: .*; free space"
        ) as caught:
            write_video(tmp_path / "a.mp4", noise(300), fps=30, codec="h264")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handling)

    assert "File too large" in one_line(caught) or "SIGXFSZ" in one_line(caught)
    assert not list(tmp_path.iterdir())
    assert not ended_children()


def test_real_infrared_has_its_full_range_and_real_times(m3svd: Path) -> None:
    path = m3svd / "Video" / "test" / "infrared" / "0111_1716.mp4"

    found = probe(path)
    frames = list(read_frames(path, "infrared", start=100, stop=104))

    assert (found.width, found.height, found.times_s.size) == (640, 480, 151)
    np.testing.assert_allclose(found.times_s, np.arange(151) / 30, atol=1e-6)
    with av.open(str(path)) as container:
        direct = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(frames, direct[100:104])


@pytest.mark.parametrize("band", ["infrared", "visible"])
def test_a_frame_that_was_read_is_free_at_once(m3svd: Path, band: Band) -> None:
    """A ring of references would hold decoded frames until Python looks for rings."""
    path = m3svd / "Video" / "test" / band / "0111_1716.mp4"
    next(read_frames(path, band))
    gc.collect()
    gc.disable()
    try:
        frames = sum(1 for _ in read_frames(path, band))
        held = gc.collect()
    finally:
        gc.enable()

    assert held < frames
