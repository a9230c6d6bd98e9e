"""Fusing long videos part by part: nothing is lost, nothing is stretched, nothing piles up."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.fuse import Frame, Pair, compiled, fuse_stream
from model.network import VideoFusion, temporal_reach
from model.timeline import Timeline
from schemas.errors import FuseError
from schemas.training import NetworkRecipe

SMALL = NetworkRecipe(channels=16, blocks=(1, 1, 1), decoder_blocks=1)


def network(recipe: NetworkRecipe = SMALL) -> VideoFusion:
    """In double precision, so that windows can be compared without rounding in between."""
    torch.manual_seed(3)
    return VideoFusion(recipe).double().eval()


def video(frames: int, height: int = 8, width: int = 8, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [
        (
            rng.integers(0, 256, (height, width), np.uint8),
            rng.integers(0, 256, (height, width, 3), np.uint8),
        )
        for _ in range(frames)
    ]


def fused_at_once(model: VideoFusion, pairs: list[Pair]) -> list[Frame]:
    """The whole video in one forward pass, mapped from [0, 1] to [0, 255]."""
    infrared = torch.stack([torch.from_numpy(i).double() / 255 for i, _ in pairs])
    visible = torch.stack([torch.from_numpy(v).double() / 255 for _, v in pairs])
    with torch.inference_mode():
        output = model(infrared[None, :, None], visible.permute(0, 3, 1, 2)[None])
    levels = np.rint(255 * output.fused[0].permute(0, 2, 3, 1).numpy())
    return list(levels.astype(np.uint8))


def test_as_many_frames_come_out_as_went_in() -> None:
    model = network()

    for frames in (0, 1, 9, 10, 11, 14, 15, 21):
        fused = [made.fused for made in fuse_stream(model, video(frames, 4, 4), window=5)]

        assert len(fused) == frames
        assert all(frame.shape == (4, 4, 3) and frame.dtype == np.uint8 for frame in fused)


@pytest.mark.parametrize("window", [1, 7, 10, 25, 40, 64])
def test_a_stream_equals_the_whole_video_whatever_its_parts(window: int) -> None:
    model, pairs = network(), video(40)

    fused = [made.fused for made in fuse_stream(model, pairs, window=window)]

    np.testing.assert_array_equal(fused, fused_at_once(model, pairs))


@pytest.mark.parametrize("switched_off", ["co_attention", "reinforcement", "guided_fusion"])
def test_a_stream_through_an_ablation_equals_the_whole_video_too(switched_off: str) -> None:
    model = network(SMALL.model_copy(update={switched_off: False}))
    pairs = video(20)

    fused = [made.fused for made in fuse_stream(model, pairs, window=3)]

    np.testing.assert_array_equal(fused, fused_at_once(model, pairs))


def test_the_published_network_streams_exactly_and_in_float32_to_a_ten_thousandth() -> None:
    """The acceptance bound is 1e-4 in [0, 1]; frames of whole levels could hide as much."""
    torch.manual_seed(3)
    model, pairs = VideoFusion().eval(), video(40, 12, 16)
    infrared = torch.stack([torch.from_numpy(i).float() / 255 for i, _ in pairs])[None, :, None]
    visible = torch.stack([torch.from_numpy(v).float() / 255 for _, v in pairs])
    visible = visible.permute(0, 3, 1, 2)[None]
    with torch.inference_mode():
        whole = model(infrared, visible)
        for window in (7, 10, 25):
            timeline, parts = Timeline(), []
            cuts = [0, max(window, 15), *range(max(window, 15) + window, 40, window), 40]
            for start, stop in pairwise(cuts):
                timeline.ends = stop == 40
                part = slice(start, stop)
                parts.append(model(infrared[:, part], visible[:, part], timeline=timeline))
            for stream in ("fused", "infrared", "visible"):
                joined = torch.cat([getattr(part, stream) for part in parts], dim=1)
                assert (joined - getattr(whole, stream)).abs().max() <= 1e-4, (window, stream)


def test_restored_bands_come_along_when_they_are_asked_for() -> None:
    model, pairs = network(), video(12)
    infrared = torch.stack([torch.from_numpy(i).double() / 255 for i, _ in pairs])
    visible = torch.stack([torch.from_numpy(v).double() / 255 for _, v in pairs])
    with torch.inference_mode():
        whole = model(infrared[None, :, None], visible.permute(0, 3, 1, 2)[None])

    made = list(fuse_stream(model, pairs, window=4, restore=True))

    for band in ("infrared", "visible"):
        levels = np.rint(255 * getattr(whole, band)[0].permute(0, 2, 3, 1).numpy())
        np.testing.assert_array_equal([getattr(frame, band) for frame in made], levels)
    (only_fused, *_) = fuse_stream(model, pairs)
    assert only_fused.infrared is None
    assert only_fused.visible is None


def test_bfloat16_gives_nearly_the_same_frames() -> None:
    torch.manual_seed(3)
    model, pairs = VideoFusion(SMALL).eval(), video(10, 16, 16)

    exact = np.stack([made.fused for made in fuse_stream(model, pairs)])
    coarse = np.stack([made.fused for made in fuse_stream(model, pairs, precision="bfloat16")])

    error = np.square(np.subtract(exact, coarse, dtype=np.float64)).mean()
    assert error > 0
    assert 10 * np.log10(255**2 / error) > 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own compiler
def test_a_compiled_network_gives_the_same_frames() -> None:
    torch.manual_seed(3)
    model, pairs = VideoFusion(SMALL).eval(), video(13, 16, 16)
    expected = np.stack([made.fused for made in fuse_stream(model, pairs, window=3)])

    found = [made.fused for made in fuse_stream(compiled(model), pairs, window=3)]

    assert np.abs(np.subtract(expected, found, dtype=np.int16)).max() <= 1


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(FuseError, match=r"no C\+\+ compiler no-such-compiler"):
        compiled(VideoFusion(SMALL))


def test_no_more_is_read_ahead_than_the_network_looks_and_one_part() -> None:
    taken = 0

    def counted() -> Iterator[Pair]:
        nonlocal taken
        for pair in video(60, 4, 4):
            taken += 1
            yield pair

    ahead = []
    for kept, _ in enumerate(fuse_stream(network(), counted(), window=6)):
        ahead.append(taken - kept)

    assert max(ahead) == temporal_reach(SMALL) + 6 + 1


def test_a_gpu_that_is_too_small_is_told_with_the_remedy() -> None:
    model = network()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.decode_fused.register_forward_pre_hook(full)

    with pytest.raises(FuseError, match=r"5 pairs of 8 x 8 pixels.*CUDA_VISIBLE_DEVICES"):
        list(fuse_stream(model, video(5), window=7))


def test_a_window_of_no_frame_is_refused_at_once() -> None:
    with pytest.raises(FuseError, match="make it at least 1"):
        fuse_stream(network(), video(3), window=0)


def test_a_frame_of_another_size_is_named() -> None:
    pairs = [*video(3), *video(1, 8, 12)]

    with pytest.raises(FuseError, match=r"pair 3: the infrared frame is uint8 \(8, 12\).*\(8, 8\)"):
        list(fuse_stream(network(), pairs))


def test_bands_of_different_size_are_named() -> None:
    pairs = [(infrared[:4], visible) for infrared, visible in video(2)]

    with pytest.raises(FuseError, match=r"pair 0: the visible frame is uint8 \(8, 8, 3\)"):
        list(fuse_stream(network(), pairs))


def test_infrared_counts_must_be_mapped_to_grey_first() -> None:
    pairs = [(infrared.astype(np.uint16), visible) for infrared, visible in video(2)]

    with pytest.raises(FuseError, match="pair 0: the infrared frame is uint16"):
        list(fuse_stream(network(), pairs))  # type: ignore[arg-type]  # the mistake under test
