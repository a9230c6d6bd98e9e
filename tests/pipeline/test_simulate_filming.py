"""What the simulated cameras film agrees with the geometry and the physics they claim."""

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.simulate_cameras import (
    Matrix,
    Take,
    camera_matrix_of,
    distortion_of,
    homography_between,
    image_from_plane,
    transform,
)
from pipeline.simulate_figures import Nearness, Shape, ellipse, rectangle
from pipeline.simulate_filming import COUNTS_AT_0_C, COUNTS_PER_LEVEL, LEVELS_PER_C, Frame, film
from pipeline.simulate_scene import Scene
from pipeline.simulate_street import Layer
from pipeline.simulate_truth import takes_of
from schemas.base import Band
from schemas.recipe import Range
from schemas.simulation import SceneTag, SimulatedRecording, SimulationSettings, small_simulation

FARTHEST: Nearness = (0.0, 0.0, 0.0)
DOTS = np.array([(u, v) for u in (-0.36, -0.18, 0.0, 0.18, 0.36) for v in (-0.27, 0.0, 0.27)])


def walk(*tags: SceneTag, depth_m: Range = (150.0, 1000.0)) -> SimulatedRecording:
    return SimulatedRecording(
        id="walk", site="market-street", tags=tags or ("day",), depth_m=depth_m
    )


def small_takes(*tags: SceneTag) -> dict[Band, Take]:
    recording = walk(*tags)
    return takes_of(small_simulation(recording), recording)


def dots_seen(nearness: Nearness, depth_m: Range) -> dict[Band, Take]:
    """Default cameras, without noise, before bright dots on one plane."""
    dark = Shape(rectangle(-1.3, -1, 1.3, 1), nearness, (60, 60, 60), 5.0)
    dots = [Shape(ellipse(u, v, 0.02, 0.02, 48), nearness, (230, 230, 230), 30.0) for u, v in DOTS]
    scene = Scene((Layer((dark, *dots), nearness, grain=0),))
    takes = takes_of(SimulationSettings(), walk(depth_m=depth_m))
    return {
        band: replace(take, scene=scene, camera=take.camera.model_copy(update={"noise": 0.0}))
        for band, take in takes.items()
    }


def landmarks(take: Take) -> NDArray[np.float64]:
    """Centroids of the dots in a frame, undistorted pixels, in the order of DOTS."""
    frame = next(iter(film(take, [2.0]))).astype(np.float64)
    grey = frame if frame.ndim == 2 else frame.mean(axis=2)
    matrix, distortion = camera_matrix_of(take.camera.lens), distortion_of(take.camera.lens)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9)
    expected = transform(DOTS, image_from_plane(take, take.scene.layers[0].nearness))
    rows, columns = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float64)
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
    undistorted = cv2.undistortPoints(pixels, matrix, distortion, P=matrix, criteria=criteria)
    undistorted = undistorted.reshape(*grey.shape, 2)
    found = []
    for place in expected:
        near = np.linalg.norm(undistorted - place, axis=-1) < 0.035 * take.camera.lens.fx
        weight = np.where(near, grey - np.percentile(grey[near], 10), 0)
        weight = np.where(weight > 0.15 * weight.max(), weight, 0)
        found.append((undistorted * weight[..., None]).sum(axis=(0, 1)) / weight.sum())
    return np.array(found)


def landmark_error_px(takes: dict[Band, Take], homography: Matrix) -> float:
    moved = transform(landmarks(takes["visible"]), homography)
    return float(np.linalg.norm(moved - landmarks(takes["infrared"]), axis=1).mean())


def test_the_true_homography_lands_visible_landmarks_on_infrared_ones() -> None:
    takes = dots_seen(FARTHEST, (150.0, 1000.0))

    error_px = landmark_error_px(takes, homography_between(takes["visible"], takes["infrared"]))

    assert error_px < 0.1


def test_near_things_miss_the_homography_by_the_parallax_of_their_depth() -> None:
    errors_px = []
    for nearest_m in (100.0, 10.0, 4.0):
        takes = dots_seen((0.0, 0.0, 1.0), (nearest_m, 1000.0))
        errors_px.append(
            landmark_error_px(takes, homography_between(takes["visible"], takes["infrared"]))
        )
    focal_px, baseline_m = takes["infrared"].camera.lens.fx, 0.06

    expected_px = [focal_px * baseline_m * (1 / near - 1 / 1000) for near in (100.0, 10.0, 4.0)]

    assert errors_px == pytest.approx(expected_px, abs=0.15)
    assert errors_px == sorted(errors_px)


def test_the_whole_infrared_view_is_seen_by_the_visible_camera() -> None:
    takes = takes_of(SimulationSettings(), walk())
    homography = homography_between(takes["visible"], takes["infrared"])
    camera = takes["infrared"].camera.camera
    corners = np.array(
        [(x, y) for x in (0, camera.width - 1) for y in (0, camera.height - 1)], float
    )
    lens = takes["infrared"].camera.lens
    undistorted = cv2.undistortPoints(
        corners[:, None], camera_matrix_of(lens), distortion_of(lens), P=camera_matrix_of(lens)
    ).reshape(-1, 2)

    back = np.asarray(np.linalg.inv(homography), np.float64)
    seen = transform(np.asarray(undistorted, np.float64), back)

    assert seen.min() > 0
    assert (seen.max(axis=0) < (639, 479)).all()


@pytest.mark.parametrize(
    ("name", "absent_in"),
    [("poster", "infrared"), ("hot-pipe", "visible"), ("plastic-film", "infrared")],
)
def test_one_band_things_leave_no_trace_in_the_other_band(name: str, absent_in: Band) -> None:
    takes = small_takes("day", "occlusion")
    for band, take in takes.items():
        without = replace(take, scene=_without(take.scene, name))
        with_it, without_it = (next(iter(film(t, [3.0]))).astype(int) for t in (take, without))

        changed = np.abs(with_it - without_it).max()

        assert changed == 0 if band == absent_in else changed > 20


def _without(scene: Scene, name: str) -> Scene:
    return replace(
        scene,
        layers=tuple(
            replace(layer, shapes=tuple(s for s in layer.shapes if s.name != name))
            for layer in scene.layers
        ),
        props=tuple(s for s in scene.props if s.name != name),
    )


def test_people_are_warmer_than_the_street_and_counts_stay_within_the_sensor() -> None:
    take = small_takes("day")["infrared"]
    street = next(iter(film(replace(take, scene=replace(take.scene, movers=())), [3.0])))
    peopled = next(iter(film(take, [3.0])))

    warmer_counts = peopled.astype(int) - street.astype(int)

    per_c = COUNTS_PER_LEVEL * LEVELS_PER_C
    assert (warmer_counts > 5 * per_c).mean() > 0.01
    assert peopled.dtype == np.uint16
    assert COUNTS_AT_0_C - 100 < peopled.min() < peopled.max() < 9100


def test_night_darkens_visible_alone() -> None:
    day, night = small_takes("day"), small_takes("night")

    means = {
        band: (
            next(iter(film(day[band], [3.0]))).mean(),
            next(iter(film(night[band], [3.0]))).mean(),
        )
        for band in day
    }

    assert means["visible"][1] < 0.45 * means["visible"][0]
    assert means["infrared"][1] == pytest.approx(means["infrared"][0], abs=40)


def test_a_turning_rig_keeps_the_true_homography() -> None:
    takes = dots_seen(FARTHEST, (150.0, 1000.0))
    turning = {band: replace(take, rig_motion="pan") for band, take in takes.items()}
    frames = {band: next(iter(film(take, [2.0]))) for band, take in turning.items()}

    still = {band: next(iter(film(take, [2.0]))) for band, take in takes.items()}

    assert (frames["infrared"] != still["infrared"]).any()
    assert _overlap(frames, turning) > 0.9


def _overlap(frames: dict[Band, Frame], takes: dict[Band, Take]) -> float:
    """Agreement (intersection over union) of the dots after warping visible onto infrared."""
    masks = {}
    for band, frame in frames.items():
        lens = takes[band].camera.lens
        grey = np.asarray(frame, np.float32)
        grey = grey if grey.ndim == 2 else grey.mean(axis=2)
        masks[band] = cv2.undistort(grey, camera_matrix_of(lens), distortion_of(lens))
    height, width = masks["infrared"].shape
    homography = homography_between(takes["visible"], takes["infrared"])
    visible = cv2.warpPerspective(masks["visible"], homography, (width, height))
    infrared = masks["infrared"]
    here, there = visible > 145, infrared > (infrared.min() + infrared.max()) / 2
    inside = np.zeros_like(here)
    inside[20:-20, 20:-20] = True
    return float((here & there & inside).sum() / ((here | there) & inside).sum())


def test_the_same_take_gives_the_same_frames() -> None:
    for take in small_takes("day").values():
        first, again = (list(film(take, [2.0, 2.04, 2.08])) for _ in range(2))

        assert all((a == b).all() for a, b in zip(first, again, strict=True))
        assert (first[0] != first[1]).any()


def test_filming_longer_needs_no_more_memory() -> None:
    peaks = []
    take = small_takes("day")["infrared"]
    for frames in (5, 100):
        tracemalloc.start()
        for _ in film(take, (2 + 0.04 * n for n in range(frames))):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.05 * peaks[0]


def test_an_odd_rig_films_too() -> None:
    settings: SimulationSettings = small_simulation(walk())
    camera = settings.infrared.camera.model_copy(update={"width": 97, "height": 81})
    odd = settings.model_copy(
        update={"infrared": settings.infrared.model_copy(update={"camera": camera})}
    )

    frame = next(iter(film(takes_of(odd, walk())["infrared"], [2.0])))

    assert frame.shape == (81, 97)
