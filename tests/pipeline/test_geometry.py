"""Geometry: where pixels come from, once, and what both cameras see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipeline.geometry import (
    Resampling,
    distance_of_corners,
    distorted,
    full_frame,
    grid,
    infrared_maps,
    inverse_of,
    largest_rectangle,
    project,
    resample,
    valid_mask,
    visible_maps,
)
from schemas.base import Matrix3x3
from schemas.catalog import Camera, Lens, Rig

IDENTITY: Matrix3x3 = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
LENS = Lens(fx=180, fy=178, cx=81, cy=58, k1=-0.25, k2=0.06, p1=0.001, p2=-0.0008, k3=0.01)
PLAIN = Camera(width=160, height=120)
CURVED = Camera(width=160, height=120, lens=LENS)


def rig(infrared: Camera = PLAIN, visible: Camera = PLAIN) -> Rig:
    return Rig(id="mast", infrared=infrared, visible=visible)


def waves(points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A smooth picture that is known at every point, not only at pixels."""
    x, y = points[..., 0], points[..., 1]
    return np.asarray(np.rint(128 + 60 * np.sin(x / 9) + 50 * np.cos(y / 7)), np.uint8)


def straight_line(points: NDArray[np.float64]) -> float:
    """Largest distance of points from the straight line that fits them best."""
    centred = points - points.mean(axis=0)
    return float(np.abs(centred @ np.linalg.svd(centred)[2][1]).max())


def test_without_lens_and_crop_pixels_are_untouched() -> None:
    assert infrared_maps(PLAIN, full_frame(PLAIN)) is None
    assert visible_maps(rig(), IDENTITY, full_frame(PLAIN)) is None


def test_a_crop_alone_moves_pixels_without_changing_them() -> None:
    frame = np.random.default_rng(0).integers(0, 2**16, (120, 160), dtype=np.uint16)
    maps = infrared_maps(PLAIN, (7, 5, 100, 80))
    assert maps is not None

    assert np.array_equal(resample(frame, maps), frame[5:85, 7:107])


def test_lens_and_homography_act_in_one_resampling() -> None:
    homography: Matrix3x3 = ((0.9, 0.03, 6.0), (-0.02, 0.92, 4.0), (1e-4, -5e-5, 1.0))
    crop = (20, 15, 110, 85)
    # What an ideal camera would show at an undistorted visible pixel is a wave over that pixel.
    raw_pixels = grid(full_frame(CURVED))
    ideal = raw_pixels.copy()
    for _ in range(60):  # a fixed point of: where the lens images it is the raw pixel
        ideal += raw_pixels - distorted(ideal, LENS)
    frame = np.repeat(waves(ideal)[..., None], 3, axis=2)

    maps = visible_maps(rig(visible=CURVED), homography, crop)
    assert maps is not None
    found = resample(frame, maps)

    expected = waves(project(grid(crop), inverse_of(homography)))
    assert np.abs(found[..., 0].astype(int) - expected).max() <= 2


def test_a_straight_thing_is_straight_after_resampling() -> None:
    ideal = np.stack([np.linspace(5, 155, 50), np.full(50, 9.0)], axis=-1)
    bent = distorted(ideal, LENS)
    maps = infrared_maps(CURVED, full_frame(CURVED))
    assert maps is not None

    # The map says for each straight pixel where its raw one lies: look the bent points up in it.
    places = [
        np.unravel_index(
            int(np.argmin((maps.map_x - x) ** 2 + (maps.map_y - y) ** 2)), maps.map_x.shape
        )
        for x, y in bent
    ]
    straight = np.array([(column, row) for row, column in places], float)

    assert straight_line(bent) > 1.0
    assert straight_line(straight) < 0.6  # the look-up itself is good to half a pixel


@pytest.mark.parametrize("high", [2**8 - 1, 2**16 - 1])
def test_resampling_keeps_the_type_and_never_wraps_around(high: int) -> None:
    frame = np.zeros((40, 40), np.uint8) if high < 2**8 else np.zeros((40, 40), np.uint16)
    frame[:, 20:] = high
    between, down = np.meshgrid(np.arange(39) + 0.5, np.arange(39) + 0.5)
    maps = Resampling(
        between.astype(np.float32), down.astype(np.float32), np.ones((39, 39), bool), 0.0
    )

    found = resample(frame, maps)

    assert found.dtype == frame.dtype
    assert found[:, :15].max() == 0
    assert found[:, 25:].min() == high


def test_a_coarser_grid_is_smoothed_against_aliasing() -> None:
    frame = np.zeros((120, 160), np.uint8)
    frame[:, ::2] = 255
    half: Matrix3x3 = ((0.5, 0, -0.25), (0, 0.5, -0.25), (0, 0, 1))
    small = Camera(width=80, height=60)
    maps = visible_maps(rig(infrared=small), half, full_frame(small))
    assert maps is not None

    inner = resample(frame, maps)[5:-5, 5:-5].astype(float)

    assert maps.smoothing_px == pytest.approx(0.5 * 3**0.5, rel=1e-3)
    assert abs(inner.mean() - 127.5) < 3
    assert inner.std() < 25  # full stripes would leave 127


def test_only_what_both_cameras_see_is_valid() -> None:
    shifted: Matrix3x3 = ((1, 0, 30), (0, 1, -20), (0, 0, 1))

    mask = valid_mask(rig(), shifted)

    expected = np.zeros((120, 160), bool)
    expected[:100, 30:] = True  # visible pixel (0, 20) lands on infrared pixel (30, 0)
    assert np.array_equal(mask, expected)


def test_the_corners_that_a_lens_does_not_fill_are_not_valid() -> None:
    pincushion = Lens(fx=180, fy=180, cx=79.5, cy=59.5, k1=0.3)
    mask = valid_mask(rig(infrared=Camera(width=160, height=120, lens=pincushion)), IDENTITY)

    assert mask[60, 80]
    assert not mask[0, 0]


def test_valid_pixels_are_not_darkened_by_what_lies_beyond_the_edge() -> None:
    half_a_pixel: Matrix3x3 = ((1, 0, 0.5), (0, 1, 0.5), (0, 0, 1))
    frame = np.full((120, 160, 3), 200, np.uint8)
    maps = visible_maps(rig(), half_a_pixel, full_frame(PLAIN))
    assert maps is not None

    found = resample(frame, maps)

    valid = valid_mask(rig(), half_a_pixel)
    assert not valid[0].any()
    assert np.all(found[valid] == 200)
    assert np.all(found[~valid] == 0)


def test_a_lens_model_that_folds_back_shows_no_ghosts() -> None:
    barrel = Camera(width=160, height=120, lens=Lens(fx=100, fy=100, cx=80, cy=60, k1=-0.4))
    wide: Matrix3x3 = ((0.3, 0, 55), (0, 0.3, 42), (0, 0, 1))

    mask = valid_mask(rig(visible=barrel), wide)

    # The image radius 100 r (1 - 0.4 r^2) is largest, 60.9 px, at r = 0.913; the homography
    # brings that to 27.4 px about the middle, (79, 60).
    rows, columns = np.nonzero(mask)
    assert np.hypot(columns - 79, rows - 60).max() <= 27.4
    assert mask[60, 79 + 27]


def test_what_lies_behind_the_visible_camera_is_not_valid() -> None:
    # Visible x = 83.3 is the horizon. What is right of it, and so behind the camera when its middle
    # is before it, would land on infrared pixels: (159, 60) on (75, 34).
    tilted: Matrix3x3 = ((-2.0, 0, 250), (-1.2, 1.0, 100), (-0.012, 0, 1.0))
    assert np.allclose(project(np.array([159.0, 60.0]), np.array(tilted)), (75, 34), atol=1)

    mask = valid_mask(rig(), tilted)

    assert not mask.any()


@settings(max_examples=60)
@given(arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_the_largest_rectangle_is_the_largest(mask: NDArray[np.bool_]) -> None:
    x, y, width, height = largest_rectangle(mask)

    rows, columns = mask.shape
    areas = [
        (bottom - top) * (right - left)
        for top in range(rows)
        for bottom in range(top + 1, rows + 1)
        for left in range(columns)
        for right in range(left + 1, columns + 1)
        if mask[top:bottom, left:right].all()
    ]
    assert width * height == max(areas, default=0)
    assert mask[y : y + height, x : x + width].all()


def test_corners_tell_how_far_two_homographies_lie_apart() -> None:
    shift = np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1]], float)

    assert distance_of_corners(np.eye(3), shift, (480, 640)) == pytest.approx(5)
