"""`twinband fuse` as a process: memory that does not grow, restored bands, folders, refusals."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import BUNDLED_WEIGHTS, save_checkpoint
from model.network import VideoFusion
from pipeline.image_files import write_image
from pipeline.video_files import probe, read_frames, write_video
from schemas.training import PRESETS
from tests.flows.rig import COMMAND, Answer, running

FPS = 25.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_checkpoint(VideoFusion(PRESETS["small"].network), path)
    return path


def film(folder: Path, frames: int) -> tuple[Path, Path]:
    """Two registered videos of a square that wanders."""
    height, width = 48, 64
    paths = (folder / "infrared.mp4", folder / "visible.mp4")
    for path, level in zip(paths, (230, 120), strict=True):
        pictures = np.full((frames, height, width, 3), 40, np.uint8)
        for number in range(frames):
            left = number % (width - 16)
            pictures[number, 8:24, left : left + 16] = level
        write_video(path, pictures, fps=FPS, codec="h264")
    return paths


def fused(*words: object) -> Answer:
    with running(COMMAND, "fuse", *map(str, words), "--json") as command:
        return command.answer()


@pytest.mark.slow
def test_ten_times_the_frames_take_no_more_memory(weights: Path, tmp_path: Path) -> None:
    peaks = {}
    for frames in (40, 400):
        folder = tmp_path / str(frames)
        folder.mkdir()
        paths = film(folder, frames)
        answer = fused(*paths, folder / "fused.mp4", "--weights", weights)
        assert answer.document["frames"] == frames, answer.complaints
        peaks[frames] = answer.peak_kib

    assert peaks[400] <= 1.1 * peaks[40], peaks


def test_restored_bands_are_videos_beside_the_fused_one(weights: Path, tmp_path: Path) -> None:
    paths = film(tmp_path, 14)

    answer = fused(
        *paths, tmp_path / "fused.mp4", "--weights", weights, "--restored", tmp_path / "restored"
    )

    assert answer.code == 0, answer.complaints
    assert answer.document["restored"] == str(tmp_path / "restored")
    videos = [tmp_path / "fused.mp4", *sorted((tmp_path / "restored").iterdir())]
    assert [path.name for path in videos] == ["fused.mp4", "infrared.mp4", "visible.mp4"]
    for path in videos:
        assert probe(path).times_s.size == 14
        assert next(read_frames(path, "visible")).shape == (48, 64, 3)


def test_weights_of_our_own_come_along(tmp_path: Path) -> None:
    paths = film(tmp_path, 3)

    answer = fused(*paths, tmp_path / "fused.mp4")

    assert answer.code == 0, answer.complaints
    assert answer.document["frames"] == 3
    assert BUNDLED_WEIGHTS.stat().st_size <= 16 * 2**20
    card = BUNDLED_WEIGHTS.with_name("README.md").read_text()
    digest = hashlib.sha256(BUNDLED_WEIGHTS.read_bytes()).hexdigest()
    assert digest in card, "the card is of these weights"


def test_folders_of_frames_have_the_rate_they_are_given(weights: Path, tmp_path: Path) -> None:
    for band, shape in (("infrared", (48, 64)), ("visible", (48, 64, 3))):
        for number in range(4):
            write_image(tmp_path / band / f"{number:04d}.png", np.full(shape, 90, np.uint8))

    paths = (tmp_path / "infrared", tmp_path / "visible", tmp_path / "fused.mp4")
    answer = fused(*paths, "--weights", weights, "--fps", 20)

    assert answer.code == 0, answer.complaints
    assert np.diff(probe(tmp_path / "fused.mp4").times_s) == pytest.approx([1 / 20] * 3)


def test_weights_that_are_not_there_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    answer = fused(*film(tmp_path, 3), tmp_path / "fused.mp4", "--weights", tmp_path / "gone.st")

    assert answer.code == 1
    assert "gone.st" in answer.document["error"][0]
    assert not (tmp_path / "fused.mp4").exists()
