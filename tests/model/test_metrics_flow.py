"""Steadiness on videos whose motion is known, and on the real clips that MODEL.md measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flows.optical_flow import optical_flow
from model.metrics_flow import (
    flow_distance,
    motion_smoothness,
    self_warping_error,
    warped,
)
from pipeline.image_files import as_visible, read_image

SHIFT_PX = 3


def known_flow(first: Tensor, _second: Tensor) -> Tensor:
    """Of a video that moves to the left: what is here lies so far to the right in the frame before,
    and for whoever asks for the other direction the answer is wrong, as the literal one is."""
    flow = torch.zeros(2, *first.shape[-2:])
    flow[0] = SHIFT_PX
    return flow


def moving(frames: int, seed: int = 0) -> Tensor:
    """A texture that moves to the left by SHIFT_PX a frame, (T, 3, 32, 64)."""
    rng = np.random.default_rng(seed)
    wide = torch.from_numpy(rng.integers(0, 256, (3, 32, 64 + SHIFT_PX * frames)).astype(np.uint8))
    return torch.stack([wide[..., SHIFT_PX * t : SHIFT_PX * t + 64] for t in range(frames)])


def standing(_first: Tensor, _second: Tensor) -> Tensor:
    return torch.zeros(2, *_first.shape[-2:])


def test_frames_are_read_where_the_flow_points() -> None:
    frames = torch.arange(12.0).view(1, 1, 3, 4)
    flow = torch.zeros(1, 2, 3, 4)
    flow[0, 0], flow[0, 1] = 1, 0.5

    found = warped(frames, flow)[0, 0]

    assert found[0, 0].item() == pytest.approx((1 + 5) / 2)
    assert found[2, 3].item() == pytest.approx(11), "beyond the border, its pixel"


def test_a_video_that_moves_as_the_flow_says_is_steady_but_for_what_comes_in() -> None:
    video = moving(3)
    back = -1  # content of a frame lay further right in the frame before

    def flow(first: Tensor, second: Tensor) -> Tensor:
        return -back * known_flow(first, second)

    moved = flow_distance(video, video, flow)
    unmoved = flow_distance(video, video, standing)

    assert moved.shape == (2,)
    # SHIFT_PX columns of 64 come in anew; a random texture is 180 levels from another
    assert (moved < unmoved * 1.5 * SHIFT_PX / 64).all()


def test_the_distance_is_that_of_colours() -> None:
    video = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    video[1, 0], video[1, 1] = 3, 4

    assert flow_distance(video, video, standing).tolist() == [5]


def test_the_flow_is_asked_for_in_the_direction_that_was_chosen() -> None:
    video = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    asked: list[tuple[int, int]] = []

    def flow(first: Tensor, second: Tensor) -> Tensor:
        asked.append((int(first.max()), int(second.max())))
        return standing(first, second)

    flow_distance(video, video, flow)
    flow_distance(video, video, flow, "literal")

    assert asked == [(1, 0), (0, 1)]


def test_a_flickering_video_warps_badly_onto_itself_and_a_still_one_perfectly() -> None:
    still = moving(1).repeat(4, 1, 1, 1)
    flicker = still.clone()
    flicker[1::2] = still[1::2] // 2

    assert self_warping_error(still, (still, still), standing).max() < 1e-9
    # the mean of half a random level, to either neighbour
    expected = 2 * (still[0].double() - (still[0] // 2).double()).mean().item()
    found = self_warping_error(flicker, (still, still), standing)
    assert found.tolist() == pytest.approx([expected] * 2)


def test_pixels_whose_sources_do_not_come_back_to_where_they_were_do_not_count() -> None:
    video = moving(3)

    def lost(first: Tensor, _second: Tensor) -> Tensor:
        return torch.full((2, *first.shape[-2:]), 2.0)  # there and back: four pixels off

    assert self_warping_error(video, (video, video), lost).tolist() == [0]


def test_motion_that_changes_as_the_sources_does_is_smooth() -> None:
    video, other = moving(4), moving(4, seed=1)
    steps = {True: iter((1.0, 3.0, 2.0)), False: iter((1.0, 1.0, 1.0) * 2)}

    def flow(first: Tensor, _second: Tensor) -> Tensor:
        is_own = any(torch.equal(first, frame) for frame in video)
        return torch.full((2, *first.shape[-2:]), next(steps[is_own]))

    assert motion_smoothness(video, (other, other), flow).tolist() == [2, 1]


def test_videos_too_short_have_no_values() -> None:
    one, two = moving(1), moving(2)

    assert flow_distance(one, one, standing).shape == (0,)
    assert self_warping_error(two, (two, two), standing).shape == (0,)
    assert motion_smoothness(two, (two, two), standing).shape == (0,)


def test_videos_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(T, 3, H, W\)"):
        flow_distance(moving(3), moving(2), standing)


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_real_videos_are_steadier_moved_the_right_way_than_unmoved_or_the_literal_way(
    m3svd: Path, method: str
) -> None:
    """MODEL.md section 1.3: this order on the clips of the sample, and noise far above clean."""
    found = {}
    for name, band in (("clean", "visible_Enhance"), ("noisy", "infrared_noise")):
        folder = m3svd / "val" / band / "0111_1753"
        frames = [as_visible(read_image(path), path) for path in sorted(folder.glob("*.png"))[:4]]
        found[name] = torch.stack([torch.from_numpy(f).permute(2, 0, 1) for f in frames])
    clean, flow = found["clean"], optical_flow("dis" if method == "dis" else "farneback")

    right, unmoved, literal = (
        values.mean().item()
        for values in (
            flow_distance(clean, clean, flow),
            flow_distance(clean, clean, standing),
            flow_distance(clean, clean, flow, "literal"),
        )
    )
    noisy = flow_distance(found["noisy"], clean, flow).mean().item()

    assert right < unmoved < literal
    assert noisy > 3 * right
