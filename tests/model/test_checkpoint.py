"""Weights files: what was saved comes back bit by bit, and nothing else is let in."""

import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import (
    HEADER_KEY,
    load_checkpoint,
    load_official,
    official_name,
    save_checkpoint,
)
from model.network import VideoFusion
from schemas.errors import CheckpointError
from schemas.training import NetworkRecipe, TrainingRecipe

SMALL = NetworkRecipe(channels=16, blocks=(1, 1, 1), decoder_blocks=1)


def small_network(seed: int = 0) -> VideoFusion:
    torch.manual_seed(seed)
    return VideoFusion(SMALL)


def official_tensors() -> dict[str, Tensor]:
    """Random weights of the published network under their official names."""
    torch.manual_seed(1)
    return {official_name(name): t for name, t in VideoFusion().state_dict().items()}


def write_official(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_saved_weights_come_back_bit_by_bit(tmp_path: Path) -> None:
    network = small_network()
    save_checkpoint(network, tmp_path / "weights.safetensors")

    again = load_checkpoint(tmp_path / "weights.safetensors")

    assert again.recipe == SMALL
    assert not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    infrared, visible = torch.rand(1, 2, 1, 8, 8), torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(again(infrared, visible).fused, network(infrared, visible).fused)


def test_the_same_weights_make_the_same_bytes(tmp_path: Path) -> None:
    recipe = TrainingRecipe(network=SMALL, steps=3)
    for name in ("one", "other"):
        save_checkpoint(small_network(), tmp_path / name, training=recipe)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_loaded_network_can_be_trained_further(tmp_path: Path) -> None:
    save_checkpoint(small_network(), tmp_path / "weights.safetensors")
    network = load_checkpoint(tmp_path / "weights.safetensors")

    trainable = {n for n, p in network.named_parameters() if p.requires_grad}

    assert trainable == {n for n, p in small_network().named_parameters() if p.requires_grad}
    assert all(p.is_leaf and p.dtype == torch.float32 for p in network.parameters())


def test_a_damaged_target_folder_keeps_the_old_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    save_checkpoint(small_network(0), path)
    before = path.read_bytes()

    def disk_full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(CheckpointError, match=r"weights.safetensors: .*No space left.*free space"):
        save_checkpoint(small_network(1), path)

    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "weights.safetensors"
    save_checkpoint(small_network(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(CheckpointError, match="no whole safetensors file"):
        load_checkpoint(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for load in (load_checkpoint, load_official):
        with pytest.raises(CheckpointError, match=r"none.safetensors: there is no such file"):
            load(tmp_path / "none.safetensors")


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)

    with pytest.raises(CheckpointError, match="twinband did not write it"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("{", "header cannot be used"),
        ({"format": "twinband-videofusion", "version": 2, "network": {}}, "version"),
        ({"network": {"channels": 10**9}}, "network.channels"),
        ({"network": {}, "surprise": 1}, "surprise"),
    ],
)
def test_a_header_of_another_kind_is_refused(
    tmp_path: Path, header: object, complaint: str
) -> None:
    path = tmp_path / "strange.safetensors"
    text = header if isinstance(header, str) else json.dumps(header)
    save_file({"weight": torch.zeros(3)}, path, metadata={HEADER_KEY: text})

    with pytest.raises(CheckpointError, match=complaint):
        load_checkpoint(path)


def test_wrong_tensors_under_our_header_are_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    network = small_network()
    save_checkpoint(network, path)
    tensors = dict(network.state_dict())
    tensors["surprise"] = torch.zeros(1)
    tensors["up_1.0.weight"] = torch.zeros(1, 2)
    tensors["up_2.2.bias"] = tensors["up_2.2.bias"] + torch.nan
    del tensors["up_2.0.weight"]
    header = {HEADER_KEY: json.dumps({"network": SMALL.model_dump(mode="json")})}
    save_file(tensors, path, metadata=header)

    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(path)

    assert str(refusal.value).splitlines() == [
        f"{path}: {fault}; these weights belong to another network"
        for fault in (
            "1 missing from the file: up_2.0.weight",
            "1 unexpected in the file: surprise",
            "1 mis-shaped: up_1.0.weight (1, 2), expected (16, 32, 3, 3)",
            "1 not finite: up_2.2.bias",
        )
    ]


@pytest.mark.parametrize("key", ["params", "params_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_weights_arrive_whole(tmp_path: Path, key: str, prefix: str) -> None:
    official = official_tensors()
    path = write_official(tmp_path / "x.pth", {key: {prefix + n: t for n, t in official.items()}})

    network = load_official(path)

    arrived = {official_name(name): t for name, t in network.state_dict().items()}
    assert not network.training
    assert arrived.keys() == official.keys()
    assert all(torch.equal(arrived[name], tensor) for name, tensor in official.items())
    assert sum(".attn.norm.body." in name for name in arrived) == 14


def test_official_weights_of_half_precision_are_widened(tmp_path: Path) -> None:
    halved = {name: tensor.half() for name, tensor in official_tensors().items()}

    network = load_official(write_official(tmp_path / "half.pth", {"params": halved}))

    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_wrong_official_tensors_are_all_listed(tmp_path: Path) -> None:
    official: dict[str, Any] = dict(official_tensors())
    del official["decoder_ir.conv.2.weight"]
    official["fusion_1.cross_transformer.attn.temperature"] = torch.ones(4, 1, 1)
    official["up1.body.2.bias"] = "none"
    official["up2.body.2.bias"] = torch.ones(64, dtype=torch.int64)
    official["surprise"] = torch.ones(1)

    with pytest.raises(CheckpointError) as refusal:
        load_official(write_official(tmp_path / "x.pth", {"params": official}))

    message = str(refusal.value)
    assert "1 missing from the official weights: decoder_ir.conv.2.weight" in message
    assert "1 unexpected in the official weights: surprise" in message
    assert "temperature (4, 1, 1), expected (2, 1, 1)" in message
    assert "1 not a tensor: up1.body.2.bias" in message
    assert "1 not floating point: up2.body.2.bias" in message


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Malicious:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trace,)

    for name, write in (
        ("zip.pth", lambda p: torch.save({"params": Malicious()}, p)),
        ("bare.pth", lambda p: p.write_bytes(pickle.dumps({"params": Malicious()}))),
    ):
        write(tmp_path / name)

        with pytest.raises(CheckpointError, match=f"{name}: no PyTorch file of tensors alone"):
            load_official(tmp_path / name)
        with pytest.raises(CheckpointError, match=f"{name}: no whole safetensors file"):
            load_checkpoint(tmp_path / name)

    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [{"net": {}}, {}, [1, 2], torch.zeros(2), {"params": torch.zeros(2)}]
)
def test_another_container_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(CheckpointError, match="not a mapping named params or params_ema"):
        load_official(write_official(tmp_path / "x.pth", content))


def test_damaged_official_files_are_always_refused_with_a_reason(tmp_path: Path) -> None:
    path = write_official(tmp_path / "x.pth", {"params": {"a": torch.arange(50.0)}})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)

    for _ in range(100):
        damaged = bytearray(whole[: rng.integers(len(whole) // 2, len(whole) + 1)])
        for place in rng.integers(0, len(damaged), 8):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)

        with pytest.raises(CheckpointError):
            load_official(path)
