"""VideoFusion as a whole: the published numbers, and what every result may depend on."""

import math
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.checkpoint import load_official, official_name
from model.network import VideoFusion, pad_to_multiple, parameter_count, temporal_reach
from schemas.training import NetworkRecipe
from tests.benchmarks.literal_network import LiteralVideoFusion, official_tensors

SHARED = Path(__file__).parents[3] / "shared"
"""Where the parity fixture lies: a folder beside the repository."""

SMALL_AT_PARITY = (
    (0.24718100, 0.77447571, 0.19742171),
    (0.75547280, 0.17329003, 0.81860936),
    (0.86978057, 0.17154897, 0.72656958),
)
"""RGB of pixel (4, 6) of frame 1, fused, restored infrared, restored visible."""

SMALL = NetworkRecipe(channels=16, blocks=(1, 1, 1), decoder_blocks=1)


def shared_file(name: str) -> Path:
    """The fixture, or a skipped test; a failed one where the fixture is promised."""
    path = SHARED / name
    if not path.exists():
        reason = f"{name} is not in a folder `shared` beside the repository"
        if os.environ.get("TWINBAND_REQUIRE_M3SVD") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def planted(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weights the parity fixture was computed with, a function of their official name."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + 1)
    noise = torch.randn(shape, generator=generator)
    if name.endswith("temperature"):
        return 1 + 0.2 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    return noise / math.sqrt(math.prod(shape[1:]))


def fixture_tensors() -> dict[str, Tensor]:
    """Every official tensor, planted."""
    tensors = {}
    for line in shared_file("videofusion_state_dict.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, size = line.split("\t")
        shape = tuple(int(digits) for digits in re.findall(r"\d+", size))
        tensors[name] = planted(name, shape)
    return tensors


def small_network(seed: int = 0) -> VideoFusion:
    torch.manual_seed(seed)
    return VideoFusion(SMALL).double().eval()


def window(seed: int, batch: int, frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    levels = torch.rand((batch, frames, 4, height, width), generator=generator, dtype=torch.float64)
    return levels[:, :, :1], levels[:, :, 1:]


def test_the_published_architecture_gives_the_published_numbers(tmp_path: Path) -> None:
    expected = np.load(shared_file("videofusion_parity.npz"))
    checkpoint = tmp_path / "official.pth"
    torch.save({"params": fixture_tensors()}, checkpoint)
    generator = torch.Generator().manual_seed(11)
    infrared = torch.rand((1, 4, 1, 48, 64), generator=generator)
    visible = torch.rand((1, 4, 3, 48, 64), generator=generator)

    with torch.inference_mode():
        output = load_official(checkpoint)(infrared, visible)

    assert output.infrared is not None
    assert output.visible is not None
    for name, video in (
        ("fusion", output.fused),
        ("ir", output.infrared),
        ("vi", output.visible),
    ):
        np.testing.assert_allclose(video.numpy(), expected[name], rtol=0, atol=1e-5)


def test_the_small_network_gives_the_numbers_it_gave_at_parity() -> None:
    """Guards the arithmetic where the parity fixture is not at hand.

    The numbers are this network's own, taken when the published one matched its fixture.
    """
    network = VideoFusion(SMALL)
    network.load_state_dict(
        {n: planted(official_name(n), tuple(t.shape)) for n, t in network.state_dict().items()}
    )
    infrared, visible = window(7, 1, 3, 9, 14)

    with torch.inference_mode():
        output = network.double().eval()(infrared, visible)

    samples = [video[0, 1, :, 4, 6].tolist() for video in output]
    assert samples == [pytest.approx(expected, abs=1e-6) for expected in SMALL_AT_PARITY]


def test_the_network_equals_its_specification_taken_literally() -> None:
    network = VideoFusion().eval()
    network.load_state_dict(
        {n: planted(official_name(n), tuple(t.shape)) for n, t in network.state_dict().items()}
    )
    infrared, visible = (frames.float() for frames in window(8, 2, 3, 12, 16))
    infrared = infrared.repeat(1, 1, 3, 1, 1)

    with torch.inference_mode():
        found = network(infrared, visible)
        expected = LiteralVideoFusion(official_tensors(network))(infrared, visible)

    for video, literal in zip(found, expected, strict=True):
        torch.testing.assert_close(video, literal, rtol=0, atol=1e-5)


def test_the_default_network_has_the_published_number_of_parameters() -> None:
    network = VideoFusion()

    unused = {n: p for n, p in network.named_parameters() if ".unused_norm." in n}
    assert parameter_count(network) == 6_750_742
    assert len(network.state_dict()) == 464
    assert len(unused) == 14
    assert sum(p.numel() for p in unused.values()) == 1216


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 7), (8, 12), (13, 18)])
def test_any_size_comes_back_in_its_own_size_and_in_range(height: int, width: int) -> None:
    infrared, visible = window(1, 2, 3, height, width)

    output = small_network()(infrared, visible)

    for video in output:
        assert video.shape == (2, 3, 3, height, width)
        assert video.min() >= 0
        assert video.max() <= 1


def test_padding_reflects_at_the_right_and_bottom_alone() -> None:
    images = torch.arange(2 * 3 * 5 * 7.0).view(2, 3, 5, 7)

    padded = pad_to_multiple(images)

    np.testing.assert_array_equal(
        padded.numpy(), np.pad(images.numpy(), ((0, 0), (0, 0), (0, 3), (0, 1)), mode="reflect")
    )


@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_padding_keeps_the_image_and_invents_no_value(height: int, width: int) -> None:
    images = torch.arange(float(height * width)).view(1, 1, height, width)

    padded = pad_to_multiple(images)

    assert padded.shape[-2] % 4 == padded.shape[-1] % 4 == 0
    assert torch.equal(padded[..., :height, :width], images)
    assert set(padded.flatten().tolist()) == set(images.flatten().tolist())


def test_a_single_frame_is_its_own_past_and_future() -> None:
    network = small_network()
    infrared, visible = window(2, 1, 1, 8, 8)

    alone = network(infrared, visible).fused

    assert alone.shape == (1, 1, 3, 8, 8)
    assert torch.isfinite(alone).all()


def test_windows_of_a_batch_do_not_see_each_other() -> None:
    network = small_network()
    infrared, visible = window(3, 3, 4, 8, 8)

    together = network(infrared, visible)
    alone = [network(infrared[i : i + 1], visible[i : i + 1]) for i in range(3)]

    for kind in range(3):
        torch.testing.assert_close(together[kind], torch.cat([output[kind] for output in alone]))


def test_grey_infrared_equals_the_same_grey_as_rgb() -> None:
    network = small_network()
    infrared, visible = window(4, 1, 2, 8, 8)

    grey, rgb = network(infrared, visible), network(infrared.repeat(1, 1, 3, 1, 1), visible)

    assert torch.equal(grey.fused, rgb.fused)


def test_fusing_without_restoring_gives_the_same_fusion() -> None:
    network = small_network()
    infrared, visible = window(5, 1, 3, 8, 8)

    fused = network(infrared, visible, restore=False)

    assert torch.equal(fused.fused, network(infrared, visible).fused)
    assert fused.infrared is None
    assert fused.visible is None


@pytest.mark.parametrize(
    ("recipe", "reach"), [(NetworkRecipe(), 14), (SMALL, 9)], ids=["published", "small"]
)
def test_a_result_depends_on_frames_up_to_its_reach_and_no_further(
    recipe: NetworkRecipe, reach: int
) -> None:
    torch.manual_seed(6)
    network = VideoFusion(recipe).double().eval()
    frames = reach + 2
    infrared, visible = window(6, 1, frames, 4, 4)
    other = visible.clone()
    other[:, -1] = 1 - other[:, -1]

    with torch.inference_mode():
        before = network(infrared, visible, restore=False).fused
        after = network(infrared, other, restore=False).fused
    moved = (before - after).abs().amax((0, 2, 3, 4))

    assert temporal_reach(recipe) == reach
    assert moved[0] == 0
    assert (moved[2:] > 0).all()


@settings(max_examples=5)
@given(seed=st.integers(0, 99))
def test_every_trainable_weight_gets_a_gradient(seed: int) -> None:
    network = small_network(seed)
    infrared, visible = window(seed, 1, 3, 8, 8)

    means = [video.square().mean() for video in network(infrared, visible)]
    torch.autograd.backward(means)

    idle = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


@pytest.mark.parametrize(
    ("infrared", "visible"),
    [
        ((1, 2, 1, 8, 8), (1, 2, 1, 8, 8)),
        ((1, 2, 2, 8, 8), (1, 2, 3, 8, 8)),
        ((1, 3, 1, 8, 8), (1, 2, 3, 8, 8)),
        ((1, 2, 1, 8, 4), (1, 2, 3, 8, 8)),
        ((2, 1, 8, 8), (2, 3, 8, 8)),
        ((1, 0, 1, 8, 8), (1, 0, 3, 8, 8)),
    ],
)
def test_shapes_that_do_not_belong_together_are_named(
    infrared: tuple[int, ...], visible: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"must be.*\("):
        small_network()(torch.zeros(infrared), torch.zeros(visible))


@pytest.mark.parametrize("switched_off", ["co_attention", "reinforcement", "guided_fusion"])
def test_an_ablation_has_fewer_weights_another_result_and_still_learns(switched_off: str) -> None:
    small = NetworkRecipe(channels=16, blocks=(1, 1, 1), decoder_blocks=1)
    torch.manual_seed(1)
    whole, ablated = VideoFusion(small), VideoFusion(small.model_copy(update={switched_off: False}))
    missing = ablated.load_state_dict(whole.state_dict(), strict=False)
    infrared, visible = torch.rand(1, 3, 1, 16, 16), torch.rand(1, 3, 3, 16, 16)

    output = ablated(infrared, visible)
    torch.autograd.backward(output.fused.mean() + output.infrared.mean() + output.visible.mean())

    assert not missing.missing_keys
    assert missing.unexpected_keys
    assert not torch.allclose(output.fused, whole(infrared, visible).fused, atol=1e-4)
    unused = [name for name, p in ablated.named_parameters() if p.grad is None]
    assert all(".unused_norm." in name for name in unused), unused


def test_without_co_attention_a_result_depends_on_six_frames_each_side() -> None:
    recipe = NetworkRecipe(channels=16, blocks=(1, 1, 1), decoder_blocks=1, co_attention=False)
    network = VideoFusion(recipe).eval()
    infrared, visible = torch.rand(1, 15, 1, 8, 8), torch.rand(1, 15, 3, 8, 8)
    changed = infrared.clone()
    changed[:, 0] = 0

    with torch.inference_mode():
        one, other = (network(each, visible).fused[0] for each in (infrared, changed))

    moved = (one - other).abs().amax(dim=(1, 2, 3)) > 0
    assert temporal_reach(recipe) == 6
    assert moved.nonzero().max() <= 6
