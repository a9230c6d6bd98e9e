"""Sheets keep every panel whole and in place."""

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.storage import MemoryStore

from pipeline.degrade import degrade_block
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.pictures import (
    BACKGROUND,
    GAP_PX,
    STRIP_PX,
    Panel,
    SheetRow,
    clip_row,
    contact_sheet,
    run_read_pair,
)
from schemas.base import Band
from schemas.degradations import Degradation, GaussianBlur, StripeNoise, VideoCompression
from schemas.recipe import DegradeRecipe
from schemas.store import ClipAttributes

HEAD_PX = GAP_PX + 2 * STRIP_PX
"""Gap, title and labels above the panels of a row."""


def square(left: int, *, inside: int = 220, outside: int = 40) -> NDArray[np.uint8]:
    image = np.full((80, 100), outside, np.uint8)
    image[20:60, left : left + 40] = inside
    return image


def rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image[..., np.newaxis], 3, axis=2)


def test_a_sheet_shows_every_panel_whole_in_its_row_and_column() -> None:
    levels = [[10, 60, 110], [160, 210]]
    rows = [
        SheetRow(
            f"row {number}",
            tuple(Panel(str(level), np.full((30, 40), level, np.uint8)) for level in row),
        )
        for number, row in enumerate(levels)
    ]

    sheet = contact_sheet(rows, panel_width_px=40)

    for row, expected in enumerate(levels):
        top = row * (HEAD_PX + 30) + HEAD_PX
        for column, level in enumerate(expected):
            left = GAP_PX + column * (40 + GAP_PX)
            assert (sheet[top : top + 30, left : left + 40] == level).all()
    assert (sheet[-GAP_PX - 30 :, -40 - GAP_PX :] == BACKGROUND).all()


def test_panels_keep_their_proportions_and_colours() -> None:
    tall = np.zeros((60, 30, 3), np.uint8)
    tall[...] = (200, 30, 10)

    sheet = contact_sheet([SheetRow("", (Panel("", tall),))], panel_width_px=15)

    assert sheet.shape == (HEAD_PX + 30 + GAP_PX, 15 + 2 * GAP_PX, 3)
    assert tuple(sheet[HEAD_PX + 15, GAP_PX + 7]) == (200, 30, 10)


def test_titles_and_labels_are_written() -> None:
    panel = np.full((30, 200), 255, np.uint8)

    sheet = contact_sheet([SheetRow("title", (Panel("label", panel),))], panel_width_px=200)

    assert (sheet[GAP_PX : GAP_PX + STRIP_PX] < 128).any()
    assert (sheet[GAP_PX + STRIP_PX : HEAD_PX] < 128).any()


def attributes(*chain: Degradation) -> ClipAttributes:
    return ClipAttributes(
        clip="walk-000",
        fingerprint="0" * 32,
        recording="walk",
        session="outing",
        rig="mast",
        site="quay",
        tags=(),
        fps=30,
        pairs=3,
        width=100,
        height=80,
        first_infrared_frame=0,
        homography=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        crop=(0, 0, 100, 80),
        offset_s=0,
        drift_ppm=0,
        sources={},
        degraded="at-load",
        degrade=DegradeRecipe(infrared=chain, visible=chain),
        seed=5,
        profile="default",
    )


def clip_of(**frames: NDArray[np.uint8]) -> zarr.Group:
    group = zarr.create_group(MemoryStore())
    for name, stored in frames.items():
        group.create_array(name, data=stored)
    return group


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param((GaussianBlur(), StripeNoise()), id="frames by themselves"),
        pytest.param((VideoCompression(), GaussianBlur()), id="frames that follow from others"),
    ],
)
def test_degraded_panels_show_what_a_loader_makes_of_that_pair(
    chain: tuple[Degradation, ...],
) -> None:
    infrared = np.stack([square(left) for left in (10, 20, 30)])
    visible = np.stack([rgb(frame) for frame in infrared[::-1]])
    told = attributes(*chain)

    made = run_read_pair(clip_of(infrared=infrared, visible=visible), told, 2)

    whole: tuple[tuple[Band, Tensor], ...] = (
        ("infrared", torch.from_numpy(infrared)[:, None]),
        ("visible", torch.from_numpy(visible).permute(0, 3, 1, 2)),
    )
    for band, frames in whole:
        draw = DegradationDraw(5, "walk-000", band)
        window = Window(0, 0, 80, 100)
        expected = degrade_block(frames, chain, draw, indices=range(3), window=window)[2]
        shown = np.atleast_3d(made[f"{band}_degraded"]).transpose(2, 0, 1)
        np.testing.assert_array_equal(shown, expected.numpy())
        assert (shown != frames[2].numpy()).any()


def test_stored_degraded_frames_are_shown_as_they_are() -> None:
    stored = {
        "infrared": square(30),
        "visible": rgb(square(30)),
        "infrared_degraded": square(31),
        "visible_degraded": rgb(square(32)),
    }

    shown = run_read_pair(clip_of(**{n: f[None] for n, f in stored.items()}), attributes(), 0)

    assert shown.keys() == stored.keys()
    assert all(np.array_equal(shown[name], stored[name]) for name in stored)


def test_a_row_shows_both_bands_the_overlay_and_then_the_others_in_order() -> None:
    frames = {"fused": square(3), "visible": rgb(square(2)), "infrared": square(1)}

    row = clip_row("walk", frames | {"visible_degraded": rgb(square(4))})

    labels = [panel.label for panel in row.panels]
    assert labels == ["infrared", "visible", "overlay", "fused", "visible degraded"]


@pytest.mark.parametrize("rows", [[], [SheetRow("empty", ())]])
def test_a_sheet_of_nothing_is_refused(rows: list[SheetRow]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet(rows)
