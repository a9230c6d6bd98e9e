"""Stretches: where a rig was bumped the recording is cut, and where it kept still it is not."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.geometry import distance_of_corners
from pipeline.register_descriptors import View
from pipeline.register_estimate import views_of
from pipeline.register_stretches import estimate_stretches, parts_of, spread
from schemas.recipe import RegisterRecipe
from tests.pipeline.test_register import as_infrared, color, planted, town

HEIGHT, WIDTH = 120, 160

Matrix = NDArray[np.float64]


def filmed(homography_at: Callable[[int], Matrix]) -> Callable[[Sequence[int]], tuple[View, View]]:
    """A rig in front of a town, noise new in every frame; the infrared camera sits as told."""
    picture = town(3, HEIGHT, WIDTH)

    def read(pairs: Sequence[int]) -> tuple[View, View]:
        infrared = []
        for pair in pairs:
            moved = cv2.warpPerspective(
                picture, homography_at(pair), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101
            )
            levels = as_infrared(moved, 3).astype(float)
            noisy = levels + np.random.default_rng(pair).normal(0, 3, levels.shape)
            infrared.append(np.clip(noisy, 0, 255).astype(np.uint8))
        return views_of(infrared, [color(picture)] * len(pairs))

    return read


def error_px(found: Any, truth: Matrix) -> float:
    return distance_of_corners(np.array(found), truth, (HEIGHT, WIDTH))


BEFORE = planted(1, 4, (WIDTH, HEIGHT))
AFTER = planted(2, 4, (WIDTH, HEIGHT)) @ BEFORE


def test_a_still_rig_has_one_stretch() -> None:
    stretches = estimate_stretches(filmed(lambda _: BEFORE), 225, RegisterRecipe(frames=4))

    assert [(each.first_pair, each.end_pair) for each in stretches] == [(0, 225)]
    assert error_px(stretches[0].fit.homography, BEFORE) < 1.0


def test_a_bumped_rig_is_cut_at_the_bump() -> None:
    bump = 170  # between the views of one part
    read = filmed(lambda pair: BEFORE if pair < bump else AFTER)

    first, second = estimate_stretches(read, 225, RegisterRecipe(frames=4))

    assert first.first_pair == 0
    assert bump - 6 <= first.end_pair <= bump <= second.first_pair <= bump + 6
    assert second.end_pair == 225
    assert error_px(first.fit.homography, BEFORE) < 1.0
    assert error_px(second.fit.homography, AFTER) < 1.0


def test_a_sagging_rig_is_cut_before_it_is_far_off() -> None:
    start = np.array([[0.0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32)

    def at(pair: int) -> Matrix:
        moved = start + np.float32(6 * pair / 300)
        return np.asarray(cv2.getPerspectiveTransform(start, moved), np.float64) @ BEFORE

    stretches = estimate_stretches(filmed(at), 300, RegisterRecipe(frames=4))

    assert len(stretches) > 2
    for each in stretches:
        for pair in (each.first_pair, each.end_pair - 1):
            assert error_px(each.fit.homography, at(pair)) < 2


def test_a_stretch_without_any_scene_is_no_bump() -> None:
    still = filmed(lambda _: BEFORE)

    def read(pairs: Sequence[int]) -> tuple[View, View]:
        infrared, visible = still(pairs)
        fogged = tuple(
            np.full_like(frame, 90) if pair >= 150 else frame
            for pair, frame in zip(pairs, visible.frames, strict=True)
        )
        return infrared, View(fogged, visible.seen)

    stretches = estimate_stretches(read, 225, RegisterRecipe(frames=4))

    assert len(stretches) == 1


@pytest.mark.parametrize("count", [1, 3, 74, 75, 600, 100_000])
def test_parts_lie_in_order_inside_the_recording(count: int) -> None:
    pairs = [pair for part in parts_of(count) for pair in part]

    assert pairs == sorted(set(pairs))
    assert 0 <= pairs[0] <= pairs[-1] < count
    assert spread(0, count, 8) == sorted(set(spread(0, count, 8)))
