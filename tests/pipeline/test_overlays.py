"""An overlay and a checkerboard show whether two bands are registered."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.overlays import EDGE_COLOR, TILES, checkerboard, overlay


def square(left: int) -> NDArray[np.uint8]:
    image = np.full((80, 100), 40, np.uint8)
    image[20:60, left : left + 40] = 220
    return image


def rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image[..., np.newaxis], 3, axis=2)


def orange_columns(picture: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Columns where the middle row is nearly the colour of an infrared edge."""
    return np.flatnonzero(np.abs(picture[40].astype(int) - EDGE_COLOR).sum(axis=1) < 60)


def test_an_infrared_outline_is_orange_where_it_lies_and_the_rest_stays_grey() -> None:
    picture = overlay(square(30), rgb(square(30)))

    columns = orange_columns(picture)

    assert set(columns) <= {28, 29, 30, 31, 68, 69, 70, 71}
    assert columns.min() < 35
    assert columns.max() > 65
    assert np.ptp(picture[5].astype(int), axis=1).max() == 0


def test_misregistration_shows_as_an_outline_beside_the_visible_edge() -> None:
    moved = overlay(square(42), rgb(square(30)))

    columns = orange_columns(moved)

    assert np.abs(columns - 42).min() <= 1
    assert np.abs(columns - 30).min() > 8
    assert int(moved[40, 35].sum()) > int(
        moved[40, 20].sum()
    )  # the visible square still begins at 30


def test_an_even_infrared_image_leaves_the_visible_one_grey() -> None:
    picture = overlay(np.full((80, 100), 90, np.uint8), rgb(square(30)))

    assert np.ptp(picture.astype(int), axis=2).max() == 0


def test_images_of_two_sizes_are_not_laid_over_each_other() -> None:
    with pytest.raises(ValueError, match=r"\(80, 100\).*\(80, 90, 3\)"):
        overlay(square(30), rgb(square(30))[:, :90])


def test_tiles_show_one_band_and_the_other_in_turn() -> None:
    infrared = np.full((96, 160), 10, np.uint8)
    visible = np.full((96, 160, 3), (200, 100, 50), np.uint8)

    picture = checkerboard(infrared, visible)

    side = 160 // TILES
    assert (picture[:side, :side] == 10).all()
    assert (picture[:side, side : 2 * side] == (200, 100, 50)).all()
    assert (picture[side : 2 * side, :side] == (200, 100, 50)).all()
    assert (picture[side : 2 * side, side : 2 * side] == 10).all()


def test_tiles_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(80, 100\).*\(80, 90, 3\)"):
        checkerboard(square(30), rgb(square(30))[:, :90])
