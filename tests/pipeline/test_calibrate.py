"""Calibration finds the planted lens, and refuses footage that cannot tell it."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from pipeline.calibrate import calibrate_camera, run_calibrate, stillest
from pipeline.calibrate_fit import View
from pipeline.geometry import distorted
from pipeline.simulate_board import board_corners, film_board, place
from pipeline.video_files import write_image, write_video
from schemas.base import BANDS, Band
from schemas.catalog import Camera, Lens
from schemas.errors import CalibrateError
from schemas.facts import CameraCalibration
from tests.pipeline.board_views import (
    BOARD,
    FILMED,
    PLACES,
    SIZES,
    bent_px,
    filmed_views,
    noisy_views,
    posed,
    take_of,
    tilted_everywhere,
)


def calibrated(views: list[View], band: Band = "infrared") -> CameraCalibration:
    return calibrate_camera(views, BOARD, SIZES[band], footage="board", looked=len(views))


def silent(_done: int, _total: int, _latest: str) -> None:
    pass


@pytest.mark.parametrize("band", BANDS)
def test_the_planted_lens_is_found_in_25_filmed_views(band: Band) -> None:
    truth = take_of(band).camera.lens

    found = calibrated(list(filmed_views(band)), band)

    assert found.accepted, found.reasons
    assert found.used >= 23
    lens, deviations = cast(Lens, found.lens), found.deviations
    assert lens.fx == pytest.approx(truth.fx, rel=0.005)
    assert lens.fy == pytest.approx(truth.fy, rel=0.005)
    assert np.hypot(lens.cx - truth.cx, lens.cy - truth.cy) < 2
    assert cast(float, found.mean_residual_px) < 0.3
    assert deviations is not None
    assert abs(lens.fx - truth.fx) < 4 * deviations.fx
    assert abs(lens.cx - truth.cx) < 4 * deviations.cx


@pytest.mark.parametrize("band", BANDS)
def test_straight_lines_of_the_world_are_straight_once_undistorted(band: Band) -> None:
    found = cast(Lens, calibrated(list(filmed_views(band)), band).lens)

    assert bent_px(take_of(band).camera.lens, found, SIZES[band]) < 0.3


def test_what_every_view_contributes_is_recorded() -> None:
    found = calibrated(noisy_views(tilted_everywhere()))

    assert [view.source for view in found.views] == [f"frame {n}" for n in range(len(PLACES))]
    first = found.views[0]
    assert first.left_out is None
    assert 0 < cast(float, first.mean_residual_px) < cast(float, first.max_residual_px) < 0.5
    tilts = [cast(float, view.tilt_deg) for view in found.views]
    assert max(tilts) > 20
    assert 1.8 < cast(float, first.distance_m) < 2.9
    assert sum(map(sum, found.coverage)) == found.used * BOARD.columns * BOARD.rows
    assert found.coverage_share > 0.6


def test_a_spoilt_view_is_left_out_with_its_reason() -> None:
    views = noisy_views(tilted_everywhere())
    rng = np.random.default_rng(1)
    smeared = views[4].corners + rng.normal(0, 1.5, views[4].corners.shape)
    views[4] = View("frame 4", smeared)

    found = calibrated(views)

    assert found.accepted
    (left_out,) = [view for view in found.views if view.left_out]
    assert left_out.source == "frame 4"
    assert "miss the common lens" in cast(str, left_out.left_out)
    assert cast(Lens, found.lens).fx == pytest.approx(343, rel=0.005)


def test_near_duplicates_are_skipped() -> None:
    poses = tilted_everywhere()
    once = noisy_views(poses)
    again = [View(f"again {v.source}", v.corners + 0.4) for v in noisy_views(poses, seed=1)]

    found = calibrated([*once, *again])

    assert found.found == 2 * found.used == 2 * len(poses)
    twins = [view.left_out for view in found.views if view.left_out]
    assert len(twins) == len(poses)
    assert all(reason.startswith("nearly the same view as ") for reason in twins)


def test_of_many_views_the_most_unlike_are_used() -> None:
    poses = [pose for seed in range(5) for pose in tilted_everywhere(seed)]

    found = calibrated(noisy_views(poses))

    assert found.used == 40
    assert found.accepted


def test_a_third_radial_coefficient_is_found_where_there_is_one() -> None:
    truth = Lens(fx=260, fy=260, cx=158, cy=130, k1=-0.3, k2=0.12, k3=-0.05)
    views = []
    for index, pose in enumerate(tilted_everywhere(1)):
        nearer = np.array(pose.translation_m) * (1.15, 1.15, 0.75)  # fills the wider view
        seen = place(board_corners(FILMED), pose) - pose.translation_m + nearer
        ideal = seen[:, :2] / seen[:, 2:] * (truth.fx, truth.fy) + (truth.cx, truth.cy)
        views.append(View(f"frame {index}", distorted(ideal, truth)))

    found = cast(Lens, calibrated(views).lens)

    assert found.k3 == pytest.approx(truth.k3, abs=0.002)
    assert found.k1 == pytest.approx(truth.k1, abs=0.002)


@pytest.mark.parametrize("tilts_deg", [(0.0, 0.0), (0.0, 30.0), (25.0, 10.0)])
@pytest.mark.parametrize("noise_px", [0.02, 0.3])
def test_a_board_that_always_faces_one_way_is_refused(
    tilts_deg: tuple[float, float], noise_px: float
) -> None:
    rng = np.random.default_rng(0)
    poses = [posed(tilts_deg, middle, rng.uniform(1.9, 2.6)) for middle in PLACES]

    found = calibrated(noisy_views(poses, noise_px=noise_px))

    assert not found.accepted
    assert any("tilt" in reason and "20 to 40 degrees" in reason for reason in found.reasons)


def test_no_barely_tilted_footage_is_accepted_with_a_wrong_focal_length() -> None:
    for seed in range(12):
        poses = tilted_everywhere(seed, most_tilt_deg=1.0 + seed)

        found = calibrated(noisy_views(poses, noise_px=0.1, seed=seed))

        assert not found.accepted or cast(Lens, found.lens).fx == pytest.approx(343, rel=0.01)


def test_a_board_that_stays_in_the_middle_is_refused() -> None:
    rng = np.random.default_rng(3)
    poses = [
        posed((a, b), (160 + x, 126 + y), 4.0)
        for a, b, x, y in rng.uniform((-34, -34, -9, -9), (34, 34, 9, 9), (25, 4)).tolist()
    ]

    found = calibrated(noisy_views(poses))

    assert not found.accepted
    assert found.coverage_share < 0.25
    assert any("edges and corners" in reason for reason in found.reasons)


def test_three_views_are_refused_without_a_lens() -> None:
    found = calibrated(noisy_views(tilted_everywhere()[::7]))

    assert not found.accepted
    assert found.lens is None
    (reason,) = found.reasons
    assert "in 3 different poses; 8 are needed" in reason


def test_a_bent_board_or_a_zoom_is_refused_for_its_error() -> None:
    found = calibrated(noisy_views(tilted_everywhere(), noise_px=1.2))

    assert not found.accepted
    assert any("flat and stiff" in reason for reason in found.reasons)


def test_footage_without_a_board_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    width, height = SIZES["infrared"]
    frames = [rng.integers(0, 255, (height, width), np.uint8) for _ in range(1)]
    write_video(tmp_path / "board.mkv", frames, fps=5, codec="ffv1")

    found, views = run_calibrate(
        tmp_path / "board.mkv", "infrared", Camera(width=width, height=height), BOARD, silent
    )

    assert not found.accepted
    assert (found.looked_at, found.found, views) == (1, 0, [])
    (reason,) = found.reasons
    assert "no board of 9x6 inner corners was found in 1 frames; check --board" in reason


def test_a_folder_of_images_is_calibrated_like_a_video(tmp_path: Path) -> None:
    poses = tilted_everywhere()[::2]
    for index, frame in enumerate(film_board(FILMED, poses, take_of("infrared"))):
        write_image(tmp_path / "infrared" / f"IMG_{index:02}.png", frame)

    found, _ = run_calibrate(
        tmp_path / "infrared", "infrared", Camera(width=320, height=256), BOARD, silent
    )

    assert found.accepted, found.reasons
    assert found.looked_at == len(poses)
    assert found.views[0].source == "IMG_00.png"
    assert cast(Lens, found.lens).fx == pytest.approx(343, rel=0.01)


def test_footage_of_another_size_than_the_camera_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "board" / "1.png", np.zeros((240, 320), np.uint8))

    with pytest.raises(CalibrateError, match=r"1\.png is 320x240 and the rig's infrared camera"):
        run_calibrate(tmp_path / "board", "infrared", Camera(width=320, height=256), BOARD, silent)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrateError, match="holds no images"):
        run_calibrate(tmp_path, "visible", Camera(width=320, height=256), BOARD, silent)


def test_of_a_long_video_the_stillest_frames_are_looked_at() -> None:
    positions = [0, 9, 18, 19, 28, 37, 46, 55, 55, 64]
    frames = []
    for position in positions:
        frame = np.zeros((64, 128), np.uint8)
        frame[16:48, position : position + 32] = 200
        frames.append(frame)

    chosen = [index for index, _ in stillest(frames, span=5)]

    assert chosen == [3, 8]
