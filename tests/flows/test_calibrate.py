"""`twinband calibrate` as its users meet it: footage in, lenses in the catalog, or reasons."""

import json
from pathlib import Path

import pytest

from flows.calibrate import calibrate_rig, calibration_lines, footage_in
from pipeline.calibrate_picture import WIDTH_PX
from pipeline.simulate_board import film_board
from pipeline.simulate_truth import calibration_takes, calibration_truth
from pipeline.video_files import read_image, write_video
from schemas.base import Band
from schemas.catalog_reading import load_catalog
from schemas.errors import CalibrateError
from schemas.facts import CameraCalibration, Checkerboard
from schemas.simulation import CalibrationBoard, SimulationSettings
from tests.flows.rig import COMMAND, Answer, running

POSES = 12

BOARD = Checkerboard(columns=9, rows=6)

CATALOG = """\
dataset: {name: harbour}
# Two cameras on one mast.
rigs:
  - id: mast
    infrared: {width: 320, height: 256}
    visible:
      width: 640
      height: 480   # binned
sessions: []
"""


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The board in POSES poses before both cameras, and in 3 before the infrared one."""
    folder = tmp_path_factory.mktemp("footage")
    rig, board = SimulationSettings(), CalibrationBoard(poses=POSES, frames_per_pose=1)
    poses = calibration_truth(rig, board).poses
    for band, take in calibration_takes(rig).items():
        write_video(
            folder / "good" / f"{band}.{'mkv' if band == 'infrared' else 'mp4'}",
            film_board(board, poses, take),
            fps=5,
            codec="ffv1" if band == "infrared" else "h264",
        )
    few = film_board(board, poses[:3], calibration_takes(rig)["infrared"])
    write_video(folder / "few" / "thermal.mkv", few, fps=5, codec="ffv1")
    return folder


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    return path


def calibrate(catalog: Path, rig: str, folder: Path, *more: str | Path) -> Answer:
    where = ("-c", catalog, "--work", catalog.parent / "work", "--json")
    with running(COMMAND, "calibrate", rig, folder, "--board", "9x6", *where, *more) as command:
        return command.answer()


def test_both_lenses_come_into_the_catalog_and_its_comments_stay(
    footage: Path, catalog: Path
) -> None:
    answer = calibrate(catalog, "mast", footage / "good", "--square-mm", "80")

    assert answer.code == 0, answer.complaints + answer.printed
    assert answer.document["accepted"] is True
    (rig,) = load_catalog(catalog).rigs
    assert rig.infrared.lens is not None
    assert rig.visible.lens is not None
    assert rig.infrared.lens.fx == pytest.approx(343, rel=0.005)
    assert rig.visible.lens.fx == pytest.approx(562, rel=0.005)
    assert rig.visible.lens.model_dump() == answer.document["visible"]["lens"]
    written = catalog.read_text()
    assert [line for line in written.splitlines() if "lens" not in line] == [
        line for line in CATALOG.splitlines() if not line.startswith("    infrared")
    ]
    kept = catalog.parent / "work" / "calibration" / "mast" / "infrared.json"
    record = CameraCalibration.model_validate_json(kept.read_text())
    assert json.loads(record.model_dump_json()) == answer.document["infrared"]
    for band in ("infrared", "visible"):
        picture = Path(answer.document["pictures"][band])
        assert picture == kept.with_name(f"{band}.png")
        assert read_image(picture).shape[1:] == (WIDTH_PX, 3)


def test_refused_footage_leaves_the_catalog_as_it_is(footage: Path, catalog: Path) -> None:
    answer = calibrate(catalog, "mast", footage / "few", "--infrared", "thermal.mkv")

    assert answer.code == 1
    assert answer.document["accepted"] is False
    assert answer.document["visible"] is None
    (reason,) = answer.document["infrared"]["reasons"]
    assert "3 different poses; 8 are needed" in reason
    assert catalog.read_text() == CATALOG
    (kept,) = (path for path in (catalog.parent / "work").rglob("*") if path.is_file())
    assert answer.document["pictures"] == {"infrared": str(kept)}
    assert kept.name == "infrared-refused.png"


def test_a_camera_that_is_determined_is_kept_though_the_other_is_refused(
    footage: Path, catalog: Path
) -> None:
    files: dict[Band, Path] = {
        "infrared": footage / "few" / "thermal.mkv",
        "visible": footage / "good" / "visible.mp4",
    }

    found = calibrate_rig(catalog, "mast", files, BOARD, catalog.parent / "work")

    assert not found.accepted
    (rig,) = load_catalog(catalog).rigs
    assert rig.infrared.lens is None
    assert rig.visible.lens is not None
    said = "\n".join(calibration_lines(found))
    assert "infrared: refused; board in 3 of 3 frames" in said
    assert "20 are good" in said
    assert "mast has its visible lens" in said


def test_a_rig_that_the_catalog_has_not_is_named(footage: Path, catalog: Path) -> None:
    files: dict[Band, Path] = {"infrared": footage / "few" / "thermal.mkv"}

    with pytest.raises(CalibrateError, match="has no rig boat; it has mast"):
        calibrate_rig(catalog, "boat", files, BOARD, catalog.parent / "work")


@pytest.mark.parametrize(
    ("folder", "said"),
    [("few", r"holds neither infrared\.\* nor visible\.\*"), ("none", "is no folder")],
)
def test_footage_that_is_not_there_is_missed(footage: Path, folder: str, said: str) -> None:
    with pytest.raises(CalibrateError, match=said):
        footage_in(footage / folder, {})


def test_two_videos_of_one_band_are_not_chosen_between(tmp_path: Path) -> None:
    for name in ("infrared.mkv", "infrared.mp4", "infrared.csv"):
        (tmp_path / name).touch()

    with pytest.raises(
        CalibrateError, match=r"infrared\.mkv and infrared\.mp4; choose one with --infrared"
    ):
        footage_in(tmp_path, {})


@pytest.mark.parametrize("board", ["9", "9x", "2x6", "9x6x3", "nine", "100x6"])
def test_a_board_that_is_none_is_wrong_usage(catalog: Path, tmp_path: Path, board: str) -> None:
    with running(
        COMMAND, "calibrate", "mast", tmp_path, "-c", catalog, "--board", board
    ) as command:
        answer = command.answer()

    assert answer.code == 2
    assert "9x6" in answer.complaints
