"""Fusing long videos by windows: nothing is lost, nothing is stretched, nothing piles up."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.fuse import Frame, Pair, fuse_windows
from model.network import VideoFusion, temporal_reach
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


@settings(max_examples=30)
@given(frames=st.integers(0, 12), window=st.integers(1, 7), context=st.integers(0, 3))
def test_as_many_frames_come_out_as_went_in(frames: int, window: int, context: int) -> None:
    if window <= 2 * context:
        window += 2 * context
    pairs = video(frames, 4, 4)

    fused = list(fuse_windows(network(), pairs, window=window, context=context))

    assert len(fused) == frames
    assert all(frame.shape == (4, 4, 3) and frame.dtype == np.uint8 for frame in fused)


@pytest.mark.parametrize("frames", [24, 25, 30, 31, 42, 43])
def test_with_enough_context_windows_equal_the_whole_video(frames: int) -> None:
    model, pairs = network(), video(frames)
    context = temporal_reach(SMALL)

    fused = list(fuse_windows(model, pairs, window=2 * context + 6, context=context))

    np.testing.assert_array_equal(fused, fused_at_once(model, pairs))


def test_the_published_network_is_exact_with_14_frames_of_context() -> None:
    model, pairs = network(NetworkRecipe()), video(34, 4, 4)

    fused = list(fuse_windows(model, pairs, window=31, context=14))

    np.testing.assert_array_equal(fused, fused_at_once(model, pairs))


def test_the_default_context_leaves_no_visible_seam() -> None:
    model, pairs = network(NetworkRecipe()), video(28, 8, 8)

    fused = list(fuse_windows(model, pairs))

    difference = np.abs(np.subtract(fused, fused_at_once(model, pairs), dtype=np.int16))
    assert difference.max() <= 1


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_video_shorter_than_a_window_is_fused_whole(frames: int) -> None:
    model, pairs = network(), video(frames, 5, 7)

    fused = list(fuse_windows(model, pairs, window=16, context=4))

    np.testing.assert_array_equal(fused, fused_at_once(model, pairs))


def test_no_more_than_a_window_is_read_ahead() -> None:
    taken = 0

    def counted() -> Iterator[Pair]:
        nonlocal taken
        for pair in video(40, 4, 4):
            taken += 1
            yield pair

    ahead = []
    for kept, _ in enumerate(fuse_windows(network(), counted(), window=6, context=2)):
        ahead.append(taken - kept)

    assert max(ahead) == 7


@pytest.mark.parametrize(("window", "context"), [(8, 4), (1, 1), (0, 0), (5, -1)])
def test_a_window_that_is_all_context_is_refused_at_once(window: int, context: int) -> None:
    with pytest.raises(FuseError, match=r"make the window at least \d"):
        fuse_windows(network(), video(3), window=window, context=context)


def test_a_frame_of_another_size_is_named() -> None:
    pairs = [*video(3), *video(1, 8, 12)]

    with pytest.raises(FuseError, match=r"pair 3: the infrared frame is uint8 \(8, 12\).*\(8, 8\)"):
        list(fuse_windows(network(), pairs))


def test_bands_of_different_size_are_named() -> None:
    pairs = [(infrared[:4], visible) for infrared, visible in video(2)]

    with pytest.raises(FuseError, match=r"pair 0: the visible frame is uint8 \(8, 8, 3\)"):
        list(fuse_windows(network(), pairs))


def test_infrared_counts_must_be_mapped_to_grey_first() -> None:
    pairs = [(infrared.astype(np.uint16), visible) for infrared, visible in video(2)]

    with pytest.raises(FuseError, match="pair 0: the infrared frame is uint16"):
        list(fuse_windows(network(), pairs))  # type: ignore[arg-type]  # the mistake under test
