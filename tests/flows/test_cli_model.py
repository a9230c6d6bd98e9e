"""`twinband model`: the authors' checkpoint brought in, or refused with every fault."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from flows.cli import main
from model.checkpoint import load_checkpoint, official_name, save_checkpoint
from model.network import VideoFusion
from model.summary import PUBLISHED_GMAC
from schemas.training import NetworkRecipe
from tests.benchmarks.literal_network import LiteralVideoFusion, official_tensors
from tests.model.test_network import fixture_tensors


def test_the_official_weights_become_ours(tmp_path: Path) -> None:
    source, out = tmp_path / "official.pth", tmp_path / "weights.safetensors"
    official = fixture_tensors()
    torch.save({"params": official}, source)

    answer = CliRunner().invoke(main, ["model", "import-official", str(source), str(out), "--json"])

    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.output)
    arrived = {official_name(n): t for n, t in load_checkpoint(out).state_dict().items()}
    assert arrived.keys() == official.keys()
    assert all(torch.equal(arrived[name], tensor) for name, tensor in official.items())
    assert said["tensors"] == len(official) == 464
    assert set(said["unused"]) == {name for name in official if ".attn.norm.body." in name}
    assert len(said["unused"]) == 14


def test_other_tensors_are_refused_with_every_fault(tmp_path: Path) -> None:
    source, out = tmp_path / "official.pth", tmp_path / "weights.safetensors"
    official = fixture_tensors()
    del official["decoder_ir.conv.2.weight"]
    official["fusion_1.cross_transformer.attn.temperature"] = torch.ones(4, 1, 1)
    official["surprise"] = torch.ones(1)
    torch.save({"params": official}, source)

    answer = CliRunner().invoke(main, ["model", "import-official", str(source), str(out)])

    assert answer.exit_code == 1
    assert "1 missing from the official weights: decoder_ir.conv.2.weight" in answer.output
    assert "1 unexpected in the official weights: surprise" in answer.output
    assert "temperature (4, 1, 1), expected (2, 1, 1)" in answer.output
    assert not out.exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source, out = tmp_path / "official.pth", tmp_path / "weights.safetensors"
    torch.save({"params": fixture_tensors()}, source)
    out.write_text("mine")

    answer = CliRunner().invoke(main, ["model", "import-official", str(source), str(out)])

    assert answer.exit_code == 1
    assert "exists already" in answer.output
    assert out.read_text() == "mine"


def test_the_published_network_has_the_published_size_and_work() -> None:
    answer = CliRunner().invoke(main, ["model", "summary"])
    said = json.loads(CliRunner().invoke(main, ["model", "summary", "--json"]).output)

    assert "6.75 M" in answer.output
    assert "274.5" in answer.output
    assert said["parameters"] == 6_750_742 == sum(said["parts"].values())
    assert said["temporal_reach"] == 14
    assert said["published_gmac_per_frame"] == PUBLISHED_GMAC
    assert said["fusion_gmac_per_frame"] < said["gmac_per_frame"] < PUBLISHED_GMAC


def test_the_published_work_is_that_of_the_network_taken_literally() -> None:
    with torch.device("meta"):
        infrared, visible = torch.empty(1, 2, 3, 480, 640), torch.empty(1, 2, 3, 480, 640)
        network = LiteralVideoFusion(official_tensors(VideoFusion()))
        with FlopCounterMode(display=False) as counter:
            network(infrared, visible)

    assert counter.get_total_flops() / 2 / 2 / 1e9 == pytest.approx(PUBLISHED_GMAC, abs=0.05)


def test_a_checkpoint_tells_of_its_own_network(tmp_path: Path) -> None:
    recipe = NetworkRecipe(channels=16, blocks=(1, 1, 2), decoder_blocks=1, co_attention=False)
    save_checkpoint(VideoFusion(recipe), tmp_path / "weights.safetensors")

    words = ["model", "summary", "--weights", str(tmp_path / "weights.safetensors"), "--json"]
    said = json.loads(CliRunner().invoke(main, words).output)

    assert said["network"]["co_attention"] is False
    assert said["temporal_reach"] == 6


@pytest.mark.parametrize("size", ["640", "0x480", "axb", "640x"])
def test_a_size_that_is_none_is_a_matter_of_usage(size: str) -> None:
    assert CliRunner().invoke(main, ["model", "summary", "--size", size]).exit_code == 2
