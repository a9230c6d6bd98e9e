"""`twinband align`: two files related without a catalog, the picture of it, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.align import Known, align_videos, alignment_lines, layouts_of, rig_of
from pipeline.align_picture import WIDTH_PX, run_align_picture
from pipeline.geometry import distance_of_corners
from pipeline.video_files import read_image, write_video
from pipeline.workspace import Workspace
from schemas.catalog import RecordingPlan
from schemas.errors import CatalogError
from schemas.facts import Alignment
from schemas.simulation import RecordingTruth
from tests.flows.rig import COMMAND, Answer, running

PROMISED = {
    "accepted",
    "reason",
    "offset_s",
    "drift_ppm",
    "sync_confidence",
    "homography",
    "registration_confidence",
    "mean_residual_px",
    "pairs",
}
"""Keys that scripts of other people read."""


def align(*arguments: str | Path) -> Answer:
    with running(COMMAND, "align", *arguments) as command:
        return command.answer()


@pytest.fixture(scope="module")
def walk(footage: Path) -> Path:
    """Two cameras with their own clocks and lenses, and the truth about them."""
    return footage / "simulated" / "outing" / "walk"


def still(path: Path, *, width: int = 64, inverted: bool = False, frames: int = 60) -> Path:
    """A video in which nothing moves."""
    shown = np.zeros((48, width, 3), np.uint8)
    shown[10:20, 10 : width // 2] = 200
    write_video(path, [255 - shown if inverted else shown] * frames, fps=25, codec="h264")
    return path


def test_what_was_planted_is_found_and_drawn(walk: Path, tmp_path: Path) -> None:
    truth = RecordingTruth.model_validate_json((walk / "truth.json").read_text())
    times = [f"--timestamps-{band}={walk / band}.csv" for band in ("infrared", "visible")]
    rig = ("--rig", "simulated-rig", "--catalog", walk.parents[1] / "catalog.yaml")
    picture = tmp_path / "new" / "walk.png"

    answer = align(
        walk / "infrared.mkv", walk / "visible.mp4", *times, *rig, "--picture", picture, "--json"
    )

    assert answer.code == 0, answer.printed
    found = answer.document
    assert set(found) >= PROMISED
    assert found["reason"] is None
    assert found["offset_s"] == pytest.approx(truth.offset_s, abs=0.02)
    assert found["pairs"] > 80
    apart_px = distance_of_corners(
        np.array(found["homography"]), np.array(truth.homography), (144, 192)
    )
    assert apart_px < 2.5  # of 96: the small rig shows few edges
    drawn = read_image(picture)
    assert drawn.shape[1:] == (WIDTH_PX, 3)
    assert colours(drawn[:100]) > 1
    assert colours(drawn[-450:]) > 100


def colours(image: NDArray[np.generic]) -> int:
    return len(np.unique(image.reshape(-1, 3), axis=0))


def test_people_read_what_was_found() -> None:
    found = Alignment(
        accepted=True,
        reason=None,
        offset_s=0.2,
        drift_ppm=-12,
        sync_confidence=0.9,
        homography=((1, 0, 5.25), (0, 1, -3), (0, 0, 1)),
        registration_confidence=0.6,
        mean_residual_px=None,
        pairs=100,
    )

    said = "\n".join(alignment_lines(found))

    assert "visible time +0.2000 s, drift -12.0 ppm (confidence 0.90); 100 pairs" in said
    assert "infrared pixels from visible pixels (confidence 0.60)" in said
    assert "5.25" in said


def test_a_refusal_is_a_document_with_its_reason(tmp_path: Path) -> None:
    infrared = still(tmp_path / "infrared.mp4")
    visible = still(tmp_path / "visible.mp4", inverted=True)

    answer = align(infrared, visible, "--json")

    assert answer.code == 1
    assert set(answer.document) >= PROMISED
    assert answer.document["accepted"] is False
    assert "offset_s" in answer.document["reason"]


def test_a_refusal_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    infrared = still(tmp_path / "infrared.mp4")
    visible = still(tmp_path / "visible.mp4", width=96, inverted=True)
    pictures: list[Path] = []

    def illustrate(plan: RecordingPlan, workspace: Workspace, answer: Alignment) -> None:
        assert not answer.accepted
        pictures.append(tmp_path / "refused.png")
        run_align_picture(pictures[0], plan, workspace, answer)

    align_videos(infrared, visible, illustrate=illustrate)

    assert read_image(pictures[0]).shape[1:] == (WIDTH_PX, 3)


@pytest.mark.parametrize(
    ("infrared", "visible", "said"),
    [
        ("good.mp4", "none.mp4", "none.mp4: does not exist"),
        ("good.mp4", "good.mp4", "list one file per camera, or give each a crop"),
        ("good.mp4", "text.mp4", "text.mp4"),
        ("good.mp4", "short.mp4", "short.mp4: has 2 frames"),
    ],
)
def test_files_that_cannot_be_used_are_a_refusal_too(
    tmp_path: Path, infrared: str, visible: str, said: str
) -> None:
    still(tmp_path / "good.mp4")
    still(tmp_path / "short.mp4", frames=2)
    (tmp_path / "text.mp4").write_text("no video")

    found = align_videos(tmp_path / infrared, tmp_path / visible)

    assert not found.accepted
    assert found.reason is not None
    assert said in found.reason


def test_both_bands_may_lie_side_by_side_in_one_file(tmp_path: Path) -> None:
    both = still(tmp_path / "both.mp4", width=144)
    layouts = layouts_of(
        {"infrared": "{crop: [0, 0, 64, 48]}", "visible": "{crop: [64, 0, 80, 48]}"}
    )
    sizes: list[tuple[int, int]] = []

    def look(plan: RecordingPlan, _workspace: Workspace, _answer: Alignment) -> None:
        sizes.extend(
            (camera.width, camera.height) for camera in (plan.rig.infrared, plan.rig.visible)
        )

    found = align_videos(both, both, Known(layouts=layouts), illustrate=look)

    assert not found.accepted
    assert sizes == [(64, 48), (80, 48)]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{crop: [0, 0, 64]}", r"layouts: infrared\.crop"),
        ("{crp: [0, 0, 64, 48]}", r"layouts: infrared\.crp: .*remove it or correct its spelling"),
        ("{crop: [0, 0", r"--layout-infrared: line 2.*correct the YAML there"),
    ],
)
def test_a_layout_is_checked_as_in_a_catalog(written: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        layouts_of({"infrared": written, "visible": None})


def test_a_rig_that_the_catalog_has_not_is_named(walk: Path) -> None:
    with pytest.raises(CatalogError, match=r"has no rig boat; use one of simulated-rig"):
        rig_of(walk.parents[1] / "catalog.yaml", "boat")


def test_wrong_usage_is_one_document_for_scripts(walk: Path) -> None:
    answer = align(
        walk / "infrared.mkv", walk / "visible.mp4", "--layout-visible", "{crop: 3}", "--json"
    )

    assert answer.code == 1
    assert "layouts: visible.crop" in json.loads(answer.printed)["error"][0]
