"""The network on a GPU: it fuses what the CPU fuses, trains, stops and goes on there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.fuse import fuse_stream
from model.network import VideoFusion
from model.train import Means
from model.train_ranks import Team
from schemas.training import NetworkRecipe
from schemas.training_run import TrainingRun
from tests.model.test_fuse import SMALL, video
from tests.model.test_train import MovingSquares, recipe, trained
from tests.model.test_train_run import stopping_after, weights


@pytest.mark.parametrize("architecture", [SMALL, NetworkRecipe()], ids=["small", "published"])
def test_a_gpu_fuses_the_frames_of_the_cpu(architecture: NetworkRecipe, gpu: torch.device) -> None:
    torch.manual_seed(3)
    network, pairs = VideoFusion(architecture).eval(), video(13, 48, 64)
    expected = [made.fused for made in fuse_stream(network, pairs, window=5)]

    made = [made.fused for made in fuse_stream(network.to(gpu), pairs, window=5)]

    apart = np.abs(np.stack(made).astype(int) - np.stack(expected))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.01  # levels that lay near a half


def test_a_run_stopped_on_a_gpu_goes_on_there(tmp_path: Path, gpu: torch.device) -> None:
    choices = recipe(steps=7, ema_decay=0.9, checkpoint_every=100)
    means = Means(team=Team(device=gpu))
    whole = trained(MovingSquares(5), choices, tmp_path / "whole", means)

    stopping = replace(stopping_after(3), team=means.team)
    stopped = trained(MovingSquares(5), choices, tmp_path / "run", stopping)
    resumed = trained(MovingSquares(5), choices, tmp_path / "run", means)

    assert (stopped.ended, resumed.ended) == ("interrupted", "finished")
    found = weights(resumed)
    for name, tensor in weights(whole).items():  # a GPU adds up gradients in no fixed order
        assert torch.allclose(found[name], tensor, atol=1e-4), name
    run = TrainingRun.model_validate_json((tmp_path / "run" / "run.json").read_bytes())
    assert run.starts[-1].device == torch.cuda.get_device_name()


def test_bfloat16_lowers_the_loss_on_a_gpu(tmp_path: Path, gpu: torch.device) -> None:
    choices = recipe(steps=20, precision="bfloat16", learning_rate=1e-3)

    result = trained(MovingSquares(2), choices, tmp_path / "run", Means(team=Team(device=gpu)))

    assert result.first_loss is not None
    assert result.last_loss is not None
    assert result.last_loss < 0.8 * result.first_loss
