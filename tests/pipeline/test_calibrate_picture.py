"""The picture of a calibration shows the misses of the record, and of a refusal what it can."""

from typing import cast

import numpy as np
import pytest

from pipeline.calibrate import calibrate_camera
from pipeline.calibrate_picture import WIDTH_PX, draw, misses_px
from schemas.catalog import Lens
from tests.pipeline.board_views import BOARD, SIZES, noisy_views, tilted_everywhere


def test_misses_are_those_of_the_record() -> None:
    views = noisy_views(tilted_everywhere(), noise_px=0.2)
    found = calibrate_camera(views, BOARD, SIZES["infrared"], footage="board", looked=len(views))

    for view, recorded in zip(views, found.views, strict=True):
        lengths = np.linalg.norm(misses_px(view, BOARD, cast(Lens, found.lens)), axis=1)
        assert lengths.mean() == pytest.approx(recorded.mean_residual_px, rel=0.02)


@pytest.mark.parametrize("count", [0, 3])
def test_footage_without_a_lens_is_drawn_as_far_as_it_goes(count: int) -> None:
    views = noisy_views(tilted_everywhere()[:count])
    found = calibrate_camera(views, BOARD, SIZES["infrared"], footage="board", looked=9)

    picture = draw("mast, infrared", found, views)

    assert picture.shape[1:] == (WIDTH_PX, 3)
    blue = (picture[..., 2].astype(int) - picture[..., 0] > 60).any()
    assert blue == (count > 0)
