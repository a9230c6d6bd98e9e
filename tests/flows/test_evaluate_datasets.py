"""The datasets of the field as evaluation inputs, each by its layout, and what is none refused."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from click.testing import CliRunner

from flows.cli import main
from flows.cli_evaluate import DATASETS
from model.checkpoint import save_checkpoint
from model.network import VideoFusion
from pipeline.image_files import write_image
from pipeline.importers_pairs import PairDataset, run_find_pairs
from pipeline.video_files import write_video
from schemas.errors import EvaluateError
from schemas.training import PRESETS

HEIGHT, WIDTH = 48, 64

IMAGES = {
    "tno": ("ir/1.bmp", "vi/1.bmp"),
    "roadscene": ("cropinfrared/FLIR_1.jpg", "crop_LR_visible/FLIR_1.jpg"),
    "msrs": ("test/ir/00001D.png", "test/vi/00001D.png"),
    "llvip": ("infrared/test/190001.jpg", "visible/test/190001.jpg"),
    "m3fd": ("Ir/00000.png", "Vis/00000.png"),
}


def picture(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def lay_out(root: Path, dataset: str) -> Path:
    """A dataset of one pair."""
    if dataset == "ino":
        for seed, name in enumerate(("INO_Walk/INO_Walk_T.mp4", "INO_Walk/INO_Walk_RGB.mp4")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            frames = np.stack([picture(3 * seed + n) for n in range(3)])
            write_video(root / name, frames, fps=25, codec="h264")
    elif dataset == "hdo":
        for seed, band in enumerate(("infrared", "visible")):
            for number in range(3):
                write_image(root / band / "road" / f"{number:04d}.png", picture(3 * seed + number))
    else:
        for seed, name in enumerate(IMAGES[dataset]):
            path = (root / name).with_suffix(".png")
            write_image(path, picture(seed))
            path.rename(root / name)  # told by its content, whatever it is called
    return root


def run(*words: object) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(main, ["evaluate", *map(str, words), "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_dataset_is_found_by_its_layout_and_scored(dataset: str, tmp_path: Path) -> None:
    root = lay_out(tmp_path / dataset, dataset)

    code, document = run(root, "--dataset", dataset, "--method", "average")

    assert code == 0, document
    (clip,) = document["clips"]
    assert clip["frames"] == (3 if dataset in ("ino", "hdo") else 1)
    assert (document["overall"]["flowD"] is None) == (clip["frames"] == 1)
    assert document["overall"]["EN"] > 0
    assert "PSNR_visible" not in document["overall"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_is_another_folder_is_refused_with_what_was_looked_for(
    dataset: str, tmp_path: Path
) -> None:
    (tmp_path / "holiday").mkdir()

    code, document = run(tmp_path, "--dataset", dataset, "--method", "average")

    assert code == 1
    assert f"is not laid out as {dataset}" in document["error"][0]
    assert "holiday" in document["error"][0]


def test_every_missing_partner_is_told_at_once(tmp_path: Path) -> None:
    root = lay_out(tmp_path, "tno")
    write_image(root / "ir" / "2.png", picture(5))
    write_image(root / "vi" / "3.png", picture(6))

    with pytest.raises(EvaluateError) as refusal:
        run_find_pairs("tno", root, "test")

    first, second = str(refusal.value).splitlines()
    assert "lacks the partner of 2" in first
    assert "lacks the partner of 3" in second


def test_a_network_fuses_single_images(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_checkpoint(VideoFusion(PRESETS["small"].network), weights)
    root = lay_out(tmp_path / "msrs", "msrs")

    code, document = run(root, "--dataset", "msrs", "--model", weights, "--method", "average")

    assert code == 0
    assert len(document["subjects"]) == 2


def test_pairs_of_two_sizes_are_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path, "m3fd")
    (root / "Vis" / "00000.png").unlink()
    write_image(root / "Vis" / "00000.png", picture(1)[:40])

    code, document = run(root, "--dataset", "m3fd", "--method", "average")

    assert code == 1
    assert "64x48" in document["error"][0]
    assert "64x40" in document["error"][0]


def test_videos_of_two_lengths_are_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path, "hdo")
    write_image(root / "visible" / "road" / "0003.png", picture(9))

    code, document = run(root, "--dataset", "hdo", "--method", "average")

    assert code == 1
    assert "more than the 3 frames of its partner" in document["error"][0]


def test_the_command_names_all_layouts() -> None:
    assert list(get_args(PairDataset)) == DATASETS
