"""Every loss against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from model.losses import (
    chroma,
    color_loss,
    consistency_loss,
    edges,
    fidelity_loss,
    gradient_loss,
    intensity_loss,
    loss_terms,
    luma,
    similarity_loss,
    structural_similarity,
    variation_loss,
)
from model.network import FusedVideo
from schemas.training import LossWeights


def flat(*levels: float, frames: int = 2, size: int = 16) -> Tensor:
    """Frames of one colour, or grey of one level; (1, T, 3, size, size)."""
    rgb = torch.tensor(levels if len(levels) == 3 else levels * 3, dtype=torch.float64)
    return rgb.view(1, 1, 3, 1, 1).expand(1, frames, 3, size, size).clone()


def noise(seed: int, frames: int = 2, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, frames, 3, size, size), generator=generator, dtype=torch.float64)


def test_luma_and_chroma_of_pure_red() -> None:
    red = flat(1, 0, 0)

    assert luma(red)[0, 0, 0, 0].item() == pytest.approx(0.299)
    assert chroma(red)[0, 0, :, 0, 0].tolist() == pytest.approx([128 / 255 - 0.169, 1.0])


def test_grey_has_no_chroma() -> None:
    assert chroma(flat(0.37)).flatten().tolist() == pytest.approx([128 / 255] * 2 * 2 * 256)


def test_edges_of_a_step_of_one_half() -> None:
    frame = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    frame[..., 3:] = 0.5

    across, down = edges(frame)[0, 0]

    assert across[1].tolist() == [0, 0, 2, 2, 0, 0]
    assert torch.equal(across[0], across[1])
    assert down.abs().max() == 0


def test_intensity_asks_for_the_brighter_band() -> None:
    loss = intensity_loss(flat(0.5), infrared=flat(0.2), visible=flat(0.9))

    assert loss.item() == pytest.approx(0.4)


def test_gradient_asks_for_the_stronger_edge_in_each_direction() -> None:
    infrared, visible = flat(0.0), flat(0.0)
    infrared[..., 8:] = 0.5  # |Sx| is 2 in two of 16 columns
    visible[..., 8:, :] = 0.25  # |Sy| is 1 in two of 16 rows

    loss = gradient_loss(flat(0.3), infrared, visible)

    assert loss.item() == pytest.approx(2 * 2 / 16 + 1 * 2 / 16)


def test_color_adds_up_both_chroma_distances() -> None:
    loss = color_loss(flat(0.5), visible=flat(0.5, 0.5, 0.6))

    assert loss.item() == pytest.approx(0.5 * 0.1 + 0.081 * 0.1)


def test_fidelity_counts_pixels_and_edges() -> None:
    restored, clean = flat(0.1), flat(0.1)
    clean[..., 8:] = 0.6  # half of the pixels differ by 0.5; |Sx| is 2 in two of 16 columns

    assert fidelity_loss(restored, clean).item() == pytest.approx(0.25 + 2 * 2 / 16)


def test_variation_compares_changes_not_levels() -> None:
    video, clean = flat(0.1, frames=3), flat(0.8, frames=3)
    assert variation_loss(video, clean).item() == pytest.approx(0)

    clean[:, 2] -= 0.3  # one of two changes

    assert variation_loss(video, clean).item() == pytest.approx(0.15)


def test_a_single_frame_has_no_variation() -> None:
    assert variation_loss(flat(0.1, frames=1), flat(0.7, frames=1)).item() == 0


def test_consistency_weighs_infrared_by_four_fifths() -> None:
    loss = consistency_loss(flat(0.5), infrared=flat(0.25), visible=flat(0.6))

    assert loss.item() == pytest.approx(0.1 + 0.8 * 0.25)


def test_similarity_of_an_image_to_itself_is_1() -> None:
    images = noise(0)[0]

    assert structural_similarity(images, images).item() == pytest.approx(1)
    assert similarity_loss(flat(0.4), flat(0.4), flat(0.4)).item() == pytest.approx(0)


def test_similarity_of_one_window_follows_its_formula() -> None:
    one, other = noise(1, 1, 13)[0, :, :1], noise(2, 1, 13)[0, :, :1]
    offsets = np.arange(-6, 7)
    bell = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / np.outer(bell, bell).sum()
    x, y = one[0, 0].numpy(), other[0, 0].numpy()
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    spread_x, spread_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    shared = (weights * (x - mean_x) * (y - mean_y)).sum()

    expected = ((2 * mean_x * mean_y + 1e-4) * (2 * shared + 9e-4)) / (
        (mean_x**2 + mean_y**2 + 1e-4) * (spread_x + spread_y + 9e-4)
    )

    assert structural_similarity(one, other).item() == pytest.approx(expected)


def test_perfect_restoration_and_fusion_of_equal_grey_bands_costs_nothing() -> None:
    clean = noise(3).mean(2, keepdim=True).expand(-1, -1, 3, -1, -1)
    every_term = LossWeights(similarity=1, consistency=1)

    terms = loss_terms(FusedVideo(clean, clean, clean), clean[:, :, :1], clean, every_term)

    assert terms.total.item() == pytest.approx(0, abs=1e-12)


def test_terms_are_weighted_and_add_up_to_the_total() -> None:
    output = FusedVideo(noise(4), noise(5), noise(6))
    infrared, visible = noise(7)[:, :, :1], noise(8)
    grey = infrared.expand(-1, -1, 3, -1, -1)

    terms = loss_terms(output, infrared, visible, LossWeights(similarity=1, consistency=2))

    fused, restored_infrared, restored_visible = noise(4), noise(5), noise(6)
    expected = (
        15 * intensity_loss(fused, grey, visible),
        1 * gradient_loss(fused, grey, visible),
        100 * color_loss(fused, visible),
        10 * (fidelity_loss(restored_infrared, grey) + fidelity_loss(restored_visible, visible)),
        100
        * (
            variation_loss(restored_infrared, grey)
            + variation_loss(restored_visible, visible)
            + variation_loss(fused, grey)
            + variation_loss(fused, visible)
        ),
        1 * similarity_loss(fused, grey, visible),
        2 * consistency_loss(fused, grey, visible),
    )
    assert [t.item() for t in terms] == pytest.approx([e.item() for e in expected])
    assert terms.total.item() == pytest.approx(sum(e.item() for e in expected))


def test_the_official_extras_count_only_where_asked_for() -> None:
    output = FusedVideo(noise(4), noise(5), noise(6))

    terms = loss_terms(output, noise(7)[:, :, :1], noise(8), LossWeights())

    assert terms.similarity.item() == terms.consistency.item() == 0


def test_a_loss_without_restored_bands_is_refused() -> None:
    with pytest.raises(ValueError, match="restore=True"):
        loss_terms(FusedVideo(flat(0), None, None), flat(0), flat(0), LossWeights())
