"""RAFT of torchvision by weights on disk, untrained here: nothing is fetched."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import torch as safetensors_torch
from torch import Tensor

from flows.cli import main
from flows.optical_flow import flow_name, optical_flow
from flows.torchvision_parts import import_part
from schemas.errors import CheckpointError, EvaluateError
from tests.model.clip_fixtures import PlannedClip, write_release

SIZES = import_part("flows.flow_raft", option="the test", extra="dev").SIZES


def weights_of(size: str, folder: Path, *, suffix: str = ".pth") -> Path:
    """Of an untrained network, always the same."""
    torch.manual_seed(0)
    tensors = SIZES[size](weights=None).state_dict()
    path = folder / f"raft-{size}{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        safetensors_torch.save_file(tensors, path)
    return path


def noise(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("size", "suffix"), [("large", ".pth"), ("small", ".safetensors")])
def test_the_network_is_the_one_that_the_weights_fit(
    size: str, suffix: str, tmp_path: Path
) -> None:
    path = weights_of(size, tmp_path, suffix=suffix)
    first, second = noise(128, 136)

    found = optical_flow("raft", path)(first, second)

    torch.manual_seed(0)
    network = SIZES[size](weights=None).eval()
    with torch.inference_mode():
        scaled = torch.stack([first, second]).float() / 127.5 - 1
        expected = network(scaled[:1], scaled[1:])[-1][0]
    torch.testing.assert_close(found, expected)
    assert found.abs().max() > 0


def test_sides_that_are_no_multiple_of_eight_are_those_of_the_flow(tmp_path: Path) -> None:
    path = weights_of("small", tmp_path)
    first, second = noise(131, 141)

    assert optical_flow("raft", path)(first, second).shape == (2, 131, 141)


def test_scores_name_the_weights_of_their_flow(tmp_path: Path) -> None:
    path = weights_of("small", tmp_path)
    clip = PlannedClip("dock-1", pairs=2, split="test", height=128, width=128)
    release = write_release(tmp_path, clip).release

    words = ["evaluate", str(release), "--method", "average", "--json"]
    result = CliRunner().invoke(main, [*words, "--flow", "raft", "--flow-weights", str(path)])

    document = json.loads(result.stdout)
    assert document["settings"]["flow"] == "raft raft-small" == flow_name("raft", path)
    other = json.loads(CliRunner().invoke(main, words).stdout)
    assert document["overall"]["flowD"] != other["overall"]["flowD"]
    assert document["overall"]["EN"] == other["overall"]["EN"]


def test_other_weights_and_small_frames_are_refused_with_what_would_fit(tmp_path: Path) -> None:
    foreign, unsafe, small = tmp_path / "other.pth", tmp_path / "unsafe.pth", noise(120, 160)
    torch.save({"head.weight": torch.zeros(3)}, foreign)
    unsafe.write_bytes(pickle.dumps({"head": print}))
    flow = optical_flow("raft", weights_of("small", tmp_path))

    with pytest.raises(EvaluateError, match=r"neither the large nor the small RAFT.*\n.*missing"):
        optical_flow("raft", foreign)
    with pytest.raises(CheckpointError, match="no PyTorch file of tensors alone"):
        optical_flow("raft", unsafe)
    with pytest.raises(ValueError, match="128 pixels a side, not 160x120"):
        flow(*small)


@pytest.mark.parametrize("words", [("--flow", "raft"), ("--flow-weights", __file__)])
def test_raft_and_its_weights_come_together(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["evaluate", "v0.1.0", "--method", "average", *words])

    assert result.exit_code == 2
    assert "--flow raft and --flow-weights together" in result.stderr
