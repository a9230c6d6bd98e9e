"""Whatever wrote them, frames come back to the last bit at their very instants."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.video_files import frames_announced, probe, read_frames, read_frames_at
from tests.pipeline.recorders import (
    FRAMES,
    HEIGHT,
    RECORDERS,
    WIDTH,
    Recorder,
    infrared_counts,
    piped,
)

EXACT_S = 2.4e-7
"""Half a step of float64 at today's date, in seconds since 1970."""


@pytest.mark.parametrize("recorder", RECORDERS.values(), ids=RECORDERS.keys())
def test_every_format_gives_its_counts_back_at_their_instants(
    tmp_path: Path, recorder: Recorder
) -> None:
    counts = infrared_counts()
    recorded = recorder(tmp_path, counts)

    found = probe(recorded.path, fps=recorded.fps, layout=recorded.layout)
    frames = list(read_frames(recorded.path, "infrared", layout=recorded.layout))
    part = list(read_frames(recorded.path, "infrared", start=5, stop=8, layout=recorded.layout))
    single = read_frames_at(recorded.path, "infrared", [9, 2], layout=recorded.layout)

    assert (found.width, found.height, found.bit_depth) == (WIDTH, HEIGHT, 16)
    assert found.times_s.shape == (FRAMES,)
    assert np.abs(found.times_s - recorded.times_s).max() <= EXACT_S
    assert found.is_lossless
    np.testing.assert_array_equal(frames, counts)
    np.testing.assert_array_equal(part, counts[5:8])
    np.testing.assert_array_equal(single, counts[[9, 2]])


COUNTED = {name: one for name, one in RECORDERS.items() if not name.startswith(("ros", "mcap"))}


@pytest.mark.parametrize("recorder", COUNTED.values(), ids=COUNTED.keys())
def test_the_frames_announced_are_about_those_there_are(tmp_path: Path, recorder: Recorder) -> None:
    recorded = recorder(tmp_path, infrared_counts())

    announced = frames_announced(recorded.path, recorded.layout)

    assert FRAMES <= announced <= 2 * FRAMES  # the frames of one of them come at varying times


def test_a_bag_announces_frames_by_its_bytes_and_what_is_not_there_none(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "metadata.yaml").touch()
    (bag / "bag_0.db3").write_bytes(bytes(7 * 640 * 480))

    assert frames_announced(bag) == 7
    assert frames_announced(tmp_path / "none.mkv") == 0


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff"])
@pytest.mark.parametrize("byte_order", ["gray16be", "gray16le", "gray"])
def test_folders_of_any_image_keep_every_sample(
    tmp_path: Path, suffix: str, byte_order: str
) -> None:
    counts = infrared_counts() if byte_order != "gray" else (infrared_counts() // 64)
    kept = counts.astype(np.uint8 if byte_order == "gray" else np.uint16)
    source = "gray" if byte_order == "gray" else "gray16le"
    stored = "gray16be" if suffix == "png" and byte_order != "gray" else byte_order
    piped(kept, source, "-pix_fmt", stored, tmp_path / f"%05d.{suffix}")

    found = probe(tmp_path, fps=10)

    assert (found.bit_depth, found.is_lossless) == (8 * kept.itemsize, True)
    np.testing.assert_array_equal(list(read_frames(tmp_path, "infrared")), kept)
    np.testing.assert_allclose(found.times_s, np.arange(FRAMES) / 10)
