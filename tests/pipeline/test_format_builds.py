"""Recordings of every layout go from a catalog written by hand into sealed clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.clip_stores import open_clip
from pipeline.video_files import read_image
from pipeline.workspace import Workspace, load
from schemas.catalog_reading import load_catalog
from schemas.errors import CatalogError
from schemas.facts import IngestFacts, ShardFacts
from tests.pipeline.recorders import (
    FRAMES,
    HEIGHT,
    WIDTH,
    Stream,
    infrared_counts,
    piped,
    ros1_bag,
    visible_colors,
    y16,
)
from tests.torture.rig import journey

CATALOG = """
dataset: {name: layouts, data_root: .}
rigs:
  - id: mast
    infrared: {width: 64, height: 48}
    visible: {width: 64, height: 48}
sessions:
  - id: monday
    rig: mast
    recordings:
      - id: gate-raw
        site: gate
        infrared: camera.y16                # nothing but 16-bit samples, one after the other
        visible: colours
        layouts: {infrared: {raw: {width: 64, height: 48}}}
        fps: 25
        timestamps: {visible: colours.csv}
        registered: true
      - id: quay-halves
        site: quay
        infrared: both.mkv                  # one picture, infrared at the left
        visible: both.mkv
        layouts: {infrared: {crop: [0, 0, 64, 48]}, visible: {crop: [64, 0, 64, 48]}}
        registered: true
      - id: pier-bag
        site: pier
        infrared: outing.bag                # ROS 1, ROS 2 or MCAP
        visible: outing.bag
        layouts: {infrared: {topic: /thermal/image_raw}, visible: {topic: /colour/image_raw}}
        homography: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        offset_s: 0
recipe:
  degrade: {materialise: false}
  shard: {min_pairs: 2}
splits:
  sites: {gate: train, quay: val, pier: test}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three recordings, built into `work`."""
    folder = tmp_path_factory.mktemp("layouts")
    y16(folder, infrared_counts())
    (folder / "colours").mkdir()
    piped(visible_colors(), "rgb24", folder / "colours" / "%03d.png")
    rows = "".join(f"{index},{index / 25}\n" for index in range(FRAMES))
    (folder / "colours.csv").write_text(f"frame,time_s\n{rows}")
    ros1_bag(folder, infrared_counts())
    piped(halves(), "rgb24", "-c:v", "ffv1", "-pix_fmt", "bgr0", folder / "both.mkv")
    (folder / "catalog.yaml").write_text(CATALOG)
    journey(folder / "catalog.yaml", folder / "work")
    return folder


def halves() -> Stream:
    """Levels of infrared as grey, and colours beside them, (T, H, 2W, 3)."""
    levels = (infrared_counts() // 64).astype(np.uint8)[..., None].repeat(3, axis=3)
    return np.concatenate([levels, visible_colors()], axis=2)


def clips(root: Path, recording: str) -> list[dict[str, NDArray[Any]]]:
    workspace = Workspace(root / "work")
    facts = load(workspace.facts(recording, "shard"), ShardFacts)
    assert facts is not None
    groups = [open_clip(workspace.clip(clip.clip, clip.fingerprint))[0] for clip in facts.clips]
    return [{name: np.asarray(array[...]) for name, array in group.arrays()} for group in groups]


def ingested(root: Path, recording: str) -> IngestFacts:
    facts = load(Workspace(root / "work").facts(recording, "ingest"), IngestFacts)
    assert facts is not None
    return facts


def test_counts_of_a_raw_file_stand_in_the_clip_beside_their_levels(root: Path) -> None:
    (clip,) = clips(root, "gate-raw")
    facts = ingested(root, "gate-raw")

    np.testing.assert_array_equal(clip["infrared_counts"], infrared_counts())
    np.testing.assert_array_equal(clip["visible"], visible_colors())
    assert clip["infrared"].dtype == np.uint8
    np.testing.assert_allclose(clip["time_s"], np.arange(FRAMES) / 25, atol=1e-9)
    assert (facts.infrared.container, facts.infrared.time_source) == ("raw file", "declared")
    assert (facts.visible.container, facts.visible.time_source) == (
        "folder of frames",
        "timestamps",
    )


def test_each_camera_of_a_side_by_side_video_gets_its_half(root: Path) -> None:
    (clip,) = clips(root, "quay-halves")
    facts = ingested(root, "quay-halves")

    np.testing.assert_array_equal(clip["infrared"], halves()[:, :, :WIDTH, 0])
    np.testing.assert_array_equal(clip["visible"], visible_colors())
    assert (facts.infrared.width, facts.infrared.height) == (WIDTH, HEIGHT)
    assert facts.infrared.sha256 == facts.visible.sha256


def test_topics_of_a_bag_become_clips_cut_where_frames_are_missing(root: Path) -> None:
    found = clips(root, "pier-bag")
    facts = ingested(root, "pier-bag")

    kept = [frame for clip in found for frame in clip["infrared_counts"]]
    planted = infrared_counts()
    assert facts.infrared.missing_frames > 0
    assert len(found) > 1
    for frame in kept:
        assert any(np.array_equal(frame, counts) for counts in planted)
    assert facts.infrared.frames == facts.visible.frames == FRAMES
    assert facts.infrared.first_time_s == pytest.approx(1_732_500_000.12, abs=1e-6)


def test_the_flicker_of_every_clip_is_told(root: Path) -> None:
    for recording in ("gate-raw", "quay-halves", "pier-bag"):
        facts = load(Workspace(root / "work").facts(recording, "shard"), ShardFacts)
        assert facts is not None
        for clip in facts.clips:
            assert clip.quality.infrared_flicker_levels is not None


def test_the_release_has_a_picture_of_them(root: Path) -> None:
    pictures = list((root / "work" / "releases").rglob("*.png"))

    assert pictures
    assert read_image(pictures[0]).std() > 0


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (
            "visible: {crop: [64, 0, 64, 48]}",
            "visible: {crop: [63, 0, 64, 48]}",
            "infrared and visible are both both.mkv; list one file per camera, or give each a crop",
        ),
        ("crop: [0, 0, 64, 48]", "crop: [0, 0, 0, 48]", "crop [0, 0, 0, 48] is no part of a pict"),
        ("raw: {width: 64,", "raw: {widht: 64,", "layouts.infrared.raw.widht"),
        ("visible: {topic: /colour/image_raw}", "visible: {}", "are both outing.bag; list one"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    for name in ("camera.y16", "both.mkv", "outing.bag", "colours.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "colours").mkdir()
    assert before in CATALOG
    (tmp_path / "catalog.yaml").write_text(CATALOG.replace(before, after))

    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path / "catalog.yaml")

    assert complaint in str(caught.value)
    assert "sessions[0].recordings[" in str(caught.value)
