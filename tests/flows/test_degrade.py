"""`twinband degrade` on videos and folders: streamed as if at once, seeded, never over anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from flows.cli import main
from flows.degrade import degraded_frames
from pipeline.degrade import degrade_block
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.image_files import read_image, write_image
from pipeline.video_encoding import write_video
from pipeline.video_files import read_frames
from schemas.recipe import DEGRADE_PRESETS, DegradeRecipe

COUNT, HEIGHT, WIDTH = 40, 48, 64


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    still = rng.integers(40, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return np.stack([np.roll(still, shift, axis=1) for shift in range(COUNT)])


@pytest.fixture
def folder(tmp_path: Path, frames: NDArray[np.uint8]) -> Path:
    for number, frame in enumerate(frames[:6]):
        write_image(tmp_path / "clean" / f"{number + 7:04d}.png", frame)
    return tmp_path / "clean"


def run(*words: object) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(main, [*map(str, words), "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize("preset", list(DEGRADE_PRESETS))
def test_frames_streamed_equal_the_clip_degraded_at_once(
    preset: str, frames: NDArray[np.uint8]
) -> None:
    recipe = DegradeRecipe.model_validate({"preset": preset})
    draw = DegradationDraw(seed=2, clip="walk", band="visible")

    streamed = np.stack(list(degraded_frames(frames, recipe, draw)))

    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
    window = Window(0, 0, HEIGHT, WIDTH)
    whole = degrade_block(clip, recipe.visible, draw, indices=range(COUNT), window=window)
    assert np.array_equal(streamed, whole.permute(0, 2, 3, 1).numpy())


def test_a_folder_becomes_a_folder_of_the_same_names(folder: Path, tmp_path: Path) -> None:
    code, document = run("degrade", folder, tmp_path / "out", "--band", "infrared")

    assert code == 0
    assert document == {"degraded": str(tmp_path / "out"), "frames": 6}
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [
        f"{number:04d}.png" for number in range(7, 13)
    ]
    assert read_image(tmp_path / "out" / "0007.png").shape == (HEIGHT, WIDTH)


def test_seed_and_recipe_decide_the_pixels(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("visible: [{kind: defocus, radius_px: [3, 3]}]\n")
    for name, options in {
        "first": ["--seed", 1],
        "same": ["--seed", 1],
        "other": ["--seed", 2],
        "own": ["--recipe", recipe],
    }.items():
        assert run("degrade", folder, tmp_path / name, "--band", "visible", *options)[0] == 0

    made = {name: read_image(tmp_path / name / "0007.png") for name in ("first", "same", "other")}
    assert np.array_equal(made["first"], made["same"])
    assert not np.array_equal(made["first"], made["other"])
    assert not np.array_equal(made["first"], read_image(tmp_path / "own" / "0007.png"))


def test_a_video_becomes_a_video_of_as_many_frames(
    frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    write_video(tmp_path / "clean.mp4", frames, fps=20, codec="h264")

    code, document = run(
        "degrade", tmp_path / "clean.mp4", tmp_path / "bad.mp4", "--band", "visible"
    )

    assert (code, document["frames"]) == (0, COUNT)
    assert len(list(read_frames(tmp_path / "bad.mp4", "visible"))) == COUNT


def test_planted_parameters_are_printed_by_fit(folder: Path, tmp_path: Path) -> None:
    run("degrade", folder, tmp_path / "noisy", "--band", "infrared", "--seed", 4)

    code, fit = run("degrade", folder, tmp_path / "noisy", "--band", "infrared", "--fit")

    assert code == 0
    low, high = fit["noise"]["white_sigma_levels"]
    assert low == high
    assert 8.5 < low < 14.5


def test_what_fit_prints_is_a_recipe_that_does_the_same_again(folder: Path, tmp_path: Path) -> None:
    run("degrade", folder, tmp_path / "noisy", "--band", "infrared")
    words = ["degrade", str(folder), str(tmp_path / "noisy"), "--band", "infrared", "--fit"]

    printed = CliRunner().invoke(main, words).stdout

    (tmp_path / "fitted.yaml").write_text(printed)
    recipe = ["--recipe", tmp_path / "fitted.yaml"]
    code, _ = run("degrade", folder, tmp_path / "again", "--band", "infrared", *recipe)
    assert code == 0
    noise = [
        run(*words[:2], tmp_path / name, *words[3:])[1]["noise"] for name in ("noisy", "again")
    ]
    sigmas = [found["white_sigma_levels"][0] for found in noise]
    assert sigmas[1] == pytest.approx(sigmas[0], rel=0.05)


def test_clips_that_do_not_belong_together_are_refused_with_their_sizes(
    folder: Path, tmp_path: Path
) -> None:
    for number in range(3):
        write_image(tmp_path / "other" / f"{number}.png", np.zeros((40, 50), np.uint8))

    code, document = run("degrade", folder, tmp_path / "other", "--band", "infrared", "--fit")

    assert code == 1
    assert "6 frames of 64 x 48" in document["error"][0]
    assert "3 frames of 50 x 40" in document["error"][0]


def test_a_frame_that_cannot_be_read_leaves_no_folder_behind(folder: Path, tmp_path: Path) -> None:
    last = folder / "0012.png"
    last.write_bytes(last.read_bytes()[:-200])

    code, document = run("degrade", folder, tmp_path / "out", "--band", "infrared")

    assert code == 1
    assert "0012.png" in document["error"][0]
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


@pytest.mark.parametrize(
    ("out", "complaint"),
    [("clean", "holds something already"), ("out.avi", "ends in .mp4"), ("taken.mp4", "holds")],
)
def test_nothing_is_written_over(folder: Path, tmp_path: Path, out: str, complaint: str) -> None:
    (tmp_path / "taken.mp4").write_text("mine")

    code, document = run("degrade", folder, tmp_path / out, "--band", "visible")

    assert code == 1
    assert complaint in document["error"][0]
    assert (tmp_path / "taken.mp4").read_text() == "mine"
    assert len(list(folder.iterdir())) == 6


def test_sixteen_bits_and_bad_recipes_are_refused(folder: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "deep" / "1.png", np.full((32, 32), 30000, np.uint16))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("visible: [{kind: gaussian-blur, sigma_px: [3, 1]}, {kind: fog}]\npreset: []")

    deep = run("degrade", tmp_path / "deep", tmp_path / "out", "--band", "infrared")
    bad = run("degrade", folder, tmp_path / "out", "--band", "visible", "--recipe", recipe)

    assert deep[0] == bad[0] == 1
    assert "16 bits" in deep[1]["error"][0]
    assert any("sigma_px" in line for line in bad[1]["error"])
    assert any("kind" in line or "fog" in line for line in bad[1]["error"])
    assert not (tmp_path / "out").exists()
