"""The command line as people and scripts meet it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.checkpoint import save_checkpoint
from model.network import VideoFusion
from pipeline.video_files import probe, read_frames, write_video
from schemas.catalog import CatalogFile
from schemas.training import PRESETS
from tests.flows.conftest import Built
from tests.flows.rig import COMMAND, Answer, running


def twinband(*arguments: str | Path) -> Answer:
    with running(COMMAND, *arguments) as command:
        return command.answer()


def film(path: Path, *, size: tuple[int, int] = (48, 64), frames: int = 12, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    write_video(
        path,
        (rng.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(frames)),
        fps=25,
        codec="h264",
    )
    return path


def test_help_needs_none_of_the_heavy_libraries() -> None:
    heavy = "{'torch', 'cv2', 'zarr', 'prefect', 'av', 'datasets'}"
    asked = f"import sys, flows.cli; print(sorted({heavy} & set(sys.modules)))"

    found = subprocess.run(
        [sys.executable, "-P", "-c", asked], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        "align",
        "build",
        "calibrate",
        "demo",
        "diff",
        "fuse",
        "gc",
        "import",
        "publish",
        "release",
        "schema",
        "simulate",
        "train",
        "verify",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    answer = twinband(command, "--help")

    assert answer.code == 0
    assert "--json" in answer.printed


def test_the_schema_of_the_catalog_is_json_schema() -> None:
    answer = twinband("schema")

    assert answer.document == json.loads(json.dumps(CatalogFile.model_json_schema()))
    assert "recordings" in twinband("schema", "--session").document["properties"]


def test_wrong_usage_ends_with_two() -> None:
    assert twinband("build", "--no-such-option").code == 2
    assert twinband("release").code == 2


def test_a_refusal_is_one_json_document_and_code_one(tmp_path: Path) -> None:
    answer = twinband("build", "-c", tmp_path / "none.yaml", "--work", tmp_path / "work", "--json")

    assert answer.code == 1
    assert answer.document["error"] == [
        f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory; check the path"
    ]


def test_a_release_is_made_verified_published_and_trained_on(built: Built, tmp_path: Path) -> None:
    work = built.copy(tmp_path)
    where = ("--work", work)

    released = twinband("release", "v0.1.0", "-c", built.catalog, *where, "--json").document
    verified = twinband("verify", "v0.1.0", *where, "--json").document
    published = twinband("publish", "v0.1.0", "--to", tmp_path / "out", *where, "--json")
    few = ("--steps", "2", "--batch", "1", "--out", tmp_path / "run", "--json")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{network: {channels: 16, blocks: [1, 1, 1], decoder_blocks: 1}, crop: 32}")
    trained = twinband("train", tmp_path / "out", "--recipe", recipe, *few)

    assert released["version"] == "v0.1.0"
    assert (
        released["clips"] == sum(released["splits"].values()) == len(built.answer.document["clips"])
    )
    assert verified == {"ok": True, "faults": []}
    assert published.code == 0
    assert (tmp_path / "out" / "release.json").is_file()
    assert trained.code == 0, trained.complaints + trained.printed
    assert trained.document["steps"] == 2
    assert Path(trained.document["checkpoint"]).is_file()


def test_one_flipped_bit_is_found_and_named(built: Built, tmp_path: Path) -> None:
    work = built.copy(tmp_path)
    twinband("release", "v0.1.0", "-c", built.catalog, "--work", work)
    shard = max(work.glob("clips/*/*.zarr/visible/c/*/*/*/*"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    answer = twinband("verify", "v0.1.0", "--work", work, "--json")

    (fault,) = answer.document["faults"]
    assert answer.code == 1
    assert answer.document["ok"] is False
    assert fault["array"] == "visible"
    assert fault["file"] in shard.as_posix()


def test_a_release_of_what_is_not_built_is_refused(built: Built, tmp_path: Path) -> None:
    answer = twinband("release", "v0.1.0", "-c", built.catalog, "--work", tmp_path / "empty")

    assert answer.code == 1
    assert "run twinband build" in answer.complaints


def test_two_registered_videos_are_fused_frame_by_frame(tmp_path: Path) -> None:
    infrared = film(tmp_path / "infrared.mp4", seed=1)
    visible = film(tmp_path / "visible.mp4", seed=2)
    save_checkpoint(VideoFusion(PRESETS["small"].network), tmp_path / "weights.safetensors")

    answer = twinband(
        "fuse",
        infrared,
        visible,
        tmp_path / "fused.mp4",
        "--weights",
        tmp_path / "weights.safetensors",
        "--json",
    )

    assert answer.document["frames"] == 12
    assert probe(tmp_path / "fused.mp4").times_s.size == 12
    assert next(read_frames(tmp_path / "fused.mp4", "visible")).shape == (48, 64, 3)


def test_videos_that_are_not_registered_are_not_fused(tmp_path: Path) -> None:
    infrared = film(tmp_path / "infrared.mp4")
    visible = film(tmp_path / "visible.mp4", size=(96, 128))
    save_checkpoint(VideoFusion(PRESETS["small"].network), tmp_path / "weights.safetensors")

    answer = twinband(
        "fuse",
        infrared,
        visible,
        tmp_path / "fused.mp4",
        "--weights",
        tmp_path / "weights.safetensors",
    )

    assert answer.code == 1
    assert "64x48" in answer.complaints
    assert "128x96" in answer.complaints
    assert not (tmp_path / "fused.mp4").exists()
