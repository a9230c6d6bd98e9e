"""Register: planted homographies are found, and what cannot be trusted is refused."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.geometry import distance_of_corners, project
from pipeline.register import register_fingerprint, run_register
from pipeline.register_descriptors import correlation, describe, resized
from pipeline.register_estimate import (
    HomographyFit,
    estimate_homography,
    finished,
    views_of,
)
from pipeline.register_fit import described, refine, scaling
from pipeline.video_files import read_frames_at
from pipeline.workspace import Workspace, load, save, save_arrays
from schemas.base import BANDS
from schemas.catalog import Camera, Recording, RecordingPlan, Rig
from schemas.errors import RegisterError, WorkspaceError
from schemas.facts import IngestFacts, RegisterFacts, StreamFacts, SyncFacts
from schemas.recipe import Recipe, RegisterRecipe

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]

CLIP = "0117_1605.mp4"
"""Of M3SVD."""


def town(seed: int, height: int = 480, width: int = 640) -> Grey:
    """A picture with edges in all directions, of many sizes."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width), 90, np.uint8)
    for _ in range(160):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        size = (int(rng.integers(8, 70)), int(rng.integers(8, 70)))
        box = ((x, y), size, float(rng.uniform(0, 180)))
        corners = np.rint(cv2.boxPoints(box)).astype(np.int32)
        cv2.fillPoly(picture, [corners], int(rng.integers(20, 235)))
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8), np.uint8)


def as_infrared(picture: NDArray[Any], seed: int) -> Grey:
    """The same things with other brightness: some inverted, all noisy."""
    rng = np.random.default_rng(seed)
    levels = cv2.LUT(picture, rng.permutation(8).repeat(32).astype(np.uint8) * 30)
    noisy = levels.astype(float) + rng.normal(0, 4, levels.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def planted(seed: int, reach_px: float, size: tuple[int, int] = (640, 480)) -> Matrix:
    """A homography that moves every corner by up to `reach_px`."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + np.random.default_rng(seed).uniform(-reach_px, reach_px, (4, 2))
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)


def color(picture: Grey) -> Grey:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8)


def matrix(fit: HomographyFit) -> Matrix:
    return np.array(fit.homography)


@pytest.mark.parametrize("seed", range(2))
def test_a_planted_homography_is_found_across_bands(seed: int) -> None:
    picture = town(seed)
    truth = planted(seed, 32)
    # Infrared shows the visible picture through the homography.
    infrared = as_infrared(cv2.warpPerspective(picture, truth, (640, 480)), seed)

    fit = estimate_homography([infrared], [color(picture)], RegisterRecipe())

    assert distance_of_corners(matrix(fit), truth, (480, 640)) < 1.0
    assert fit.confidence > 0.28
    assert fit.mean_residual_px is not None
    assert fit.mean_residual_px < 1.0


def test_cameras_may_differ_in_resolution_and_field_of_view() -> None:
    picture = town(7)
    truth = scaling(0.62) @ planted(7, 12)
    truth[:2, 2] -= (35, 22)
    infrared = as_infrared(
        cv2.warpPerspective(cv2.GaussianBlur(picture, (0, 0), 0.7), truth, (320, 240)), 7
    )

    fit = estimate_homography([infrared], [color(picture)], RegisterRecipe())

    assert distance_of_corners(matrix(fit), truth, (480, 640)) < 1.5


def test_flat_images_are_refused_by_name() -> None:
    flat = np.full((120, 160), 7, np.uint8)

    with pytest.raises(RegisterError, match="the infrared frames are flat; give the recording a"):
        estimate_homography([flat], [color(town(0, 120, 160))], RegisterRecipe())


def test_pictures_of_different_places_are_refused() -> None:
    infrared = [as_infrared(town(1, 120, 160), 1)]
    visible = [color(town(3, 120, 160))]

    with pytest.raises(
        RegisterError, match=r"confidence of 0\.\d\d, below|apart, beyond|stretches"
    ):
        estimate_homography(infrared, visible, RegisterRecipe())


def test_descriptors_do_not_care_for_inverted_contrast() -> None:
    picture = town(5).astype(np.float32)
    everywhere = np.ones(picture.shape, np.float32)

    same = correlation(describe([picture]), describe([255 - picture]), everywhere)
    other = correlation(describe([picture]), describe([town(6).astype(np.float32)]), everywhere)

    assert same > 0.99
    assert other < 0.2


def test_resizing_and_its_homography_agree() -> None:
    picture = town(8).astype(np.float32)

    small = resized(picture, 0.5)
    back = cv2.warpPerspective(small, np.linalg.inv(scaling(0.5)), (640, 480))

    inner = (slice(20, -20), slice(20, -20))
    shift, _ = cv2.phaseCorrelate(picture[inner], back[inner])
    assert abs(shift[0]) + abs(shift[1]) < 0.05


@pytest.mark.slow
def test_planted_warps_of_real_pairs_are_found_again(m3svd: Path) -> None:
    """Repeatability as in CAPTURE.md section 2, "vs self": a constant bias of the pair cancels."""
    indices = [47, 122]
    videos = m3svd / "Video" / "test"
    infrared = read_frames_at(videos / "infrared" / "0111_1716.mp4", "infrared", indices)
    visible = read_frames_at(videos / "visible" / "0111_1716.mp4", "visible", indices)
    here = [np.asarray(frame, np.uint8) for frame in infrared]
    there = [np.asarray(frame, np.uint8) for frame in visible]
    untouched = matrix(estimate_homography(here, there, RegisterRecipe()))

    warp = planted(11, 32)
    moved = [np.asarray(cv2.warpPerspective(f, warp, (640, 480)), np.uint8) for f in there]
    found = matrix(estimate_homography(here, moved, RegisterRecipe())) @ warp

    assert distance_of_corners(found, untouched, (480, 640)) < 1.5


@pytest.mark.slow
def test_a_start_that_is_right_but_for_one_corner_does_not_stay_so(m3svd: Path) -> None:
    videos = m3svd / "Video" / "test"
    infrared, visible = (
        [np.asarray(f, np.uint8) for f in read_frames_at(videos / band / CLIP, band, [50, 350])]
        for band in BANDS
    )
    here, there = views_of(infrared, visible)
    best = matrix(finished(here, there, np.eye(3), RegisterRecipe()))
    corners = np.array([[0, 0], [639, 0], [639, 479], [0, 479]], np.float32)
    moved = corners + np.array([[0, 0], [45, -45], [0, 0], [0, 0]], np.float32)
    start = cv2.getPerspectiveTransform(corners, moved) @ best

    stuck = refine(described(here, 1.0), there, start).homography
    found = matrix(finished(here, there, start, RegisterRecipe()))

    assert distance_of_corners(stuck, best, (480, 640)) > 5
    assert distance_of_corners(found, best, (480, 640)) < 1.5


@pytest.mark.slow
def test_a_side_on_edges_that_only_look_alike_is_found_out(m3svd: Path) -> None:
    """Right along the skyline, blocks all prefer a bottom 48 px off: of the warp's own stretch."""
    videos = m3svd / "Video" / "test"
    indices = [int((part + 0.5) * 151 / 8) for part in range(8)]
    infrared, visible = (
        [
            np.asarray(frame, np.uint8)
            for frame in read_frames_at(videos / band / "0111_1716.mp4", band, indices)
        ]
        for band in BANDS
    )
    untouched = matrix(estimate_homography(infrared, visible, RegisterRecipe()))
    corners = np.array([[0, 0], [639, 0], [639, 479], [0, 479]], np.float32)
    moved = corners + np.array([[49, -59], [28, 36], [-43, 59], [-25, 6]], np.float32)
    warp = cv2.getPerspectiveTransform(corners, moved)

    there = [
        np.asarray(
            cv2.warpPerspective(frame, warp, (640, 480), borderMode=cv2.BORDER_REFLECT_101),
            np.uint8,
        )
        for frame in visible
    ]
    found = matrix(estimate_homography(infrared, there, RegisterRecipe())) @ warp

    assert distance_of_corners(found, untouched, (480, 640)) < 3


def plan_of(root: Path, **changes: object) -> RecordingPlan:
    camera = Camera(width=64, height=48)
    fields = {"id": "gate", "site": "harbour", "infrared": "i.mkv", "visible": "v.mp4", **changes}
    return RecordingPlan(
        recording=Recording.model_validate(fields),
        session="monday",
        rig=Rig(id="mast", infrared=camera, visible=camera),
        data_root=root,
        recipe=Recipe(),
    )


def with_sync(root: Path) -> Workspace:
    """A workspace in which a recording was ingested and synchronised."""
    workspace = Workspace(root / "work")
    stream = StreamFacts(
        path="i.mkv",
        sha256="0" * 64,
        size_bytes=1,
        container="mov",
        codec="h264",
        pixel_format="gray",
        color_range="full",
        width=64,
        height=48,
        bit_depth=8,
        frames=20,
        fps=25,
        time_source="presentation",
        first_time_s=0,
        last_time_s=1,
        missing_frames=0,
        repeated_frames=(),
        dead_frames=(),
    )
    ingest = IngestFacts(recording="gate", fingerprint="a" * 32, infrared=stream, visible=stream)
    sync = SyncFacts(
        recording="gate",
        fingerprint="b" * 32,
        source="declared",
        offset_s=0,
        drift_ppm=0,
        confidence=1,
        pairs=20,
        mean_residual_s=0,
        max_residual_s=0,
        unpaired_infrared=0,
    )
    save(ingest, workspace.facts("gate", "ingest"))
    save(sync, workspace.facts("gate", "sync"))
    save_arrays(
        {"infrared_frames": np.arange(20), "visible_frames": np.arange(20)},
        workspace.pairs("gate"),
        fingerprint=sync.fingerprint,
    )
    return workspace


def test_a_given_homography_is_used_as_it_is(tmp_path: Path) -> None:
    given = ((1.0, 0.0, 8.0), (0.0, 1.0, -6.0), (0.0, 0.0, 1.0))
    workspace = with_sync(tmp_path)

    facts = run_register(plan_of(tmp_path, homography=given), workspace)

    assert facts.source == "declared"
    assert facts.homography == given
    assert facts.crop == (8, 0, 56, 42)
    assert load(workspace.facts("gate", "register"), RegisterFacts) == facts


def pairs_of(visible: list[tuple[float, float]], move: Matrix) -> list[dict[str, object]]:
    moved = project(np.array(visible), move)
    return [
        {"visible": there, "infrared": tuple(here)}
        for there, here in zip(visible, moved.tolist(), strict=True)
    ]


def test_four_point_pairs_stand_for_a_homography(tmp_path: Path) -> None:
    truth = planted(9, 3, (64, 48))
    places = [(4.0, 5.0), (58.0, 3.0), (60.0, 44.0), (6.0, 40.0)]
    workspace = with_sync(tmp_path)

    facts = run_register(plan_of(tmp_path, point_pairs=pairs_of(places, truth)), workspace)

    assert facts.source == "declared"
    assert distance_of_corners(np.array(facts.homography), truth, (48, 64)) < 1e-3
    assert facts.stretches == ()


def test_point_pairs_on_a_line_are_refused(tmp_path: Path) -> None:
    along = [(4.0, 4.0), (20.0, 20.0), (40.0, 40.0), (6.0, 40.0)]

    with pytest.raises(RegisterError, match="three of the four infrared points of point_pairs"):
        run_register(plan_of(tmp_path, point_pairs=pairs_of(along, np.eye(3))), with_sync(tmp_path))


def test_registered_recordings_keep_the_whole_frame(tmp_path: Path) -> None:
    facts = run_register(plan_of(tmp_path, registered=True), with_sync(tmp_path))

    assert facts.source == "registered"
    assert facts.crop == (0, 0, 64, 48)
    assert facts.mean_residual_px is None


def test_registered_recordings_of_two_sizes_are_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, registered=True)
    larger = plan.rig.model_copy(update={"visible": Camera(width=128, height=96)})

    with pytest.raises(RegisterError, match="infrared is 64x48 and the visible 128x96"):
        run_register(plan.model_copy(update={"rig": larger}), with_sync(tmp_path))


def test_a_homography_without_common_view_is_refused(tmp_path: Path) -> None:
    aside = ((1.0, 0.0, 60.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    with pytest.raises(RegisterError, match=r"both cameras see 4x48 .*register.min_overlap"):
        run_register(plan_of(tmp_path, homography=aside), with_sync(tmp_path))


def test_without_earlier_stages_there_is_nothing_to_register(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="has no facts of sync"):
        run_register(plan_of(tmp_path, registered=True), Workspace(tmp_path))


def test_whatever_moves_a_pixel_moves_the_fingerprint(tmp_path: Path) -> None:
    shifted = ((1.0, 0.0, 8.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    plans = [
        plan_of(tmp_path),
        plan_of(tmp_path, registered=True),
        plan_of(tmp_path, homography=shifted),
        plan_of(
            tmp_path,
            point_pairs=pairs_of([(4, 5), (58, 3), (60, 44), (6, 40)], np.array(shifted)),
        ),
        plan_of(tmp_path).model_copy(
            update={"recipe": Recipe.model_validate({"register": {"frames": 4}})}
        ),
    ]

    prints = [register_fingerprint(plan, "b" * 32) for plan in plans]

    assert all(one != other for one, other in pairwise(sorted(prints)))
    assert register_fingerprint(plans[0], "c" * 32) not in prints
