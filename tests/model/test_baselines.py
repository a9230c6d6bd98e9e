"""Classical fusion: what each method must do with sources that are known."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from model.baselines import Method, fuse_classically

METHODS: tuple[Method, ...] = get_args(Method)


def scene(height: int = 70, width: int = 90) -> tuple[Tensor, Tensor]:
    """A warm square that only the infrared camera sees, before stripes that only colour shows."""
    infrared = torch.full((2, 1, height, width), 60, dtype=torch.uint8)
    infrared[..., 20:40, 30:50] = 240
    visible = torch.full((2, 3, height, width), 110, dtype=torch.uint8)
    visible[:, 0, :, ::12] = 160
    return infrared, visible


@pytest.mark.parametrize("method", METHODS)
def test_equal_sources_stay_what_they_are(method: Method) -> None:
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (1, 1, 49, 67), dtype=torch.uint8, generator=generator)

    fused = fuse_classically(method, grey, grey.expand(-1, 3, -1, -1))

    assert (fused.int() - grey.int()).abs().max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_what_is_warm_shows_and_every_frame_is_fused_by_itself(method: Method) -> None:
    infrared, visible = scene()

    fused = fuse_classically(method, infrared, visible)
    alone = fuse_classically(method, infrared[:1], visible[:1])

    assert fused.shape == visible.shape
    assert fused.dtype == torch.uint8
    assert torch.equal(fused[:1], alone)
    rim_inside, rim_outside = fused[0, :, 22:38, 31], fused[0, :, 22:38, 28]
    assert rim_inside.double().mean() > rim_outside.double().mean() + 20


@pytest.mark.parametrize("method", METHODS[2:])
def test_methods_for_grey_images_keep_the_colours_of_the_visible_frame(method: Method) -> None:
    infrared, visible = scene()

    fused = fuse_classically(method, infrared, visible)[0].int()

    inside = (fused > 0).all(0) & (fused < 255).all(0)
    was = visible[0, 0].int() - visible[0, 1].int()
    assert inside.double().mean() > 0.9
    assert ((fused[0] - fused[1] - was).abs()[inside] <= 1).all()


def test_average_and_maximum_are_taken_pixel_by_pixel() -> None:
    infrared = torch.tensor([[[[10, 200]]]], dtype=torch.uint8)
    visible = torch.tensor([[[[20, 100]], [[30, 250]], [[0, 0]]]], dtype=torch.uint8)

    average = fuse_classically("average", infrared, visible)
    maximum = fuse_classically("maximum", infrared, visible)

    assert average.flatten().tolist() == [15, 150, 20, 225, 5, 100]
    assert maximum.flatten().tolist() == [20, 200, 30, 250, 10, 200]


def test_frames_that_do_not_belong_together_are_refused() -> None:
    infrared, visible = scene()

    with pytest.raises(ValueError, match=r"\(N, 1, H, W\) and \(N, 3, H, W\)"):
        fuse_classically("average", infrared[..., :-1], visible)
