"""Videos as ffmpeg writes them: every frame once, at its instant, upright, in its full range."""

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from pipeline.video_files import probe, read_frames, write_video
from schemas.base import Band
from tests.pipeline.recorders import (
    FRAMES,
    HEIGHT,
    UNEVEN_MS,
    WIDTH,
    Stream,
    ffmpeg,
    infrared_counts,
    piped,
    uneven_filter,
    visible_colors,
)

RAMP = np.tile(np.arange(256, dtype=np.uint8), (3, 16, 1))
"""Three frames of every grey level."""


def read(path: Path, band: Band = "visible") -> Stream:
    return np.stack(list(read_frames(path, band)))


def instants_s(path: Path) -> list[float]:
    """When ffmpeg itself says that the frames of a file are shown."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-copyts", "-i", str(path)]
    command += ["-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    unit = next(line for line in told.splitlines() if line.startswith("#tb 0:")).split()[-1]
    numerator, denominator = map(int, unit.split("/"))
    rows = [line.split(",") for line in told.splitlines() if not line.startswith("#")]
    return sorted(int(row[2]) * numerator / denominator for row in rows)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", ("libx264", "-bf", "2")),
        ("a.mp4", ("libx265", "-x265-params", "log-level=none")),
        ("a.mov", ("prores",)),
        ("a.mkv", ("libx264", "-bf", "2")),
        ("a.mkv", ("ffv1", "-pix_fmt", "bgr0")),
        ("a.webm", ("libvpx-vp9", "-deadline", "realtime")),
        ("a.ts", ("libx264", "-bf", "2")),
        ("a.nut", ("huffyuv",)),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_uneven_instants_of_any_container_are_ffmpegs_own(
    tmp_path: Path, name: str, codec: tuple[str, ...]
) -> None:
    path = tmp_path / name
    piped(visible_colors(), "rgb24", *uneven_filter(), "-c:v", *codec, path)

    found = probe(path)

    np.testing.assert_allclose(found.times_s, instants_s(path), rtol=0, atol=1e-9)
    late_s = found.times_s[0] - UNEVEN_MS[0] / 1000
    assert late_s == pytest.approx(1.4 if name == "a.ts" else 0, abs=0.04)
    np.testing.assert_allclose(found.times_s - late_s, np.array(UNEVEN_MS) / 1000, atol=0.0006)
    assert read(path).shape == (FRAMES, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_counts_of_any_depth_are_those_of_the_sensor(tmp_path: Path, bits: int) -> None:
    counts = infrared_counts() & np.uint16(2**bits - 1)
    piped(counts, f"gray{bits}le", "-c:v", "ffv1", tmp_path / "a.mkv")

    found = probe(tmp_path / "a.mkv")

    assert (found.pixel_format, found.bit_depth) == (f"gray{bits}le", 16)
    np.testing.assert_array_equal(read(tmp_path / "a.mkv", "infrared"), counts)


@pytest.mark.parametrize("kept", ["tv", "pc"])
def test_grey_levels_do_not_depend_on_the_range_they_were_kept_in(
    tmp_path: Path, kept: str
) -> None:
    path = tmp_path / "a.mkv"
    converted = f"scale=in_range=pc:out_range={kept},format=yuv420p"
    piped(RAMP, "gray", "-vf", converted, "-c:v", "libx264", "-qp", "0", path)

    found = read(path, "infrared")

    assert probe(path).color_range == {"tv": "limited", "pc": "full"}[kept]
    assert np.abs(found.astype(int) - RAMP).max() <= 1


def test_grey_video_of_limited_range_is_widened(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    limited = (16 + RAMP * (219 / 255)).round().astype(np.uint8)
    piped(limited, "gray", "-vf", "setparams=range=tv", "-c:v", "ffv1", path)

    assert (probe(path).pixel_format, probe(path).color_range) == ("gray", "limited")
    assert np.abs(read(path, "infrared").astype(int) - RAMP).max() <= 1
    assert np.abs(read(path, "visible").astype(int) - RAMP[..., None]).max() <= 1


def test_colours_of_ten_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    piped(visible_colors(), "rgb24", "-c:v", "prores", "-pix_fmt", "yuv422p10le", path)

    found = read(path)

    assert probe(path).pixel_format == "yuv422p10le"
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - visible_colors()).mean() < 2


@pytest.mark.parametrize("mirrored", [(), ("-display_hflip",), ("-display_vflip",)])
@pytest.mark.parametrize("degrees", ["0", "90", "180", "270"])
def test_a_video_is_turned_and_mirrored_as_ffmpeg_does(
    tmp_path: Path, degrees: str, mirrored: tuple[str, ...]
) -> None:
    write_video(tmp_path / "a.mp4", visible_colors(3), fps=30, codec="h264")
    asked = ("-display_rotation", degrees, *mirrored)
    ffmpeg(*asked, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    ffmpeg("-i", tmp_path / "b.mp4", "-c:v", "ffv1", "-pix_fmt", "gbrp", tmp_path / "shown.mkv")

    found: Any = read(tmp_path / "b.mp4")

    np.testing.assert_array_equal(found, read(tmp_path / "shown.mkv"))
    assert (probe(tmp_path / "b.mp4").height, probe(tmp_path / "b.mp4").width) == found.shape[1:3]
