"""`twinband simulate` writes footage, catalog and truth that agree, the same each time."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.simulate import catalog_of, catalog_text, run_simulate
from pipeline.video_files import read_frames, read_timestamps
from pipeline.workspace import load
from schemas.base import BANDS
from schemas.catalog_reading import load_catalog
from schemas.errors import SimulateError
from schemas.simulation import (
    CalibrationBoard,
    CalibrationTruth,
    FrameFaults,
    RecordingTruth,
    SimulatedRecording,
    SimulationSettings,
    small_simulation,
)

FAULTY = SimulatedRecording(
    id="faulty",
    site="market-street",
    duration_s=1.2,
    offset_s=0.3,
    drift_ppm=80,
    infrared=FrameFaults(dropped=2, repeated=2, dead=1),
    visible=FrameFaults(dropped=3),
)


@pytest.fixture(scope="module")
def settings() -> SimulationSettings:
    board = CalibrationBoard(poses=2, frames_per_pose=1)
    return small_simulation(FAULTY).model_copy(update={"calibration": board})


@pytest.fixture(scope="module")
def filmed(settings: SimulationSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    run_simulate(folder, settings)
    return folder


def truth_of(folder: Path) -> RecordingTruth:
    truth = load(folder / "outing" / "faulty" / "truth.json", RecordingTruth)
    assert truth is not None
    return truth


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_catalog_is_complete(filmed: Path) -> None:
    catalog = load_catalog(filmed / "catalog.yaml")

    (plan,) = catalog.plans()
    assert plan.recording.id == "faulty"
    assert plan.rig.infrared.lens is not None
    assert plan.rig.visible.width == 192
    assert catalog.splits.sites == {"market-street": "train"}


def test_every_frame_has_its_stamp_and_its_truth(filmed: Path) -> None:
    truth = truth_of(filmed)
    for band in BANDS:
        video = (
            filmed / "outing" / "faulty" / ("infrared.mkv" if band == "infrared" else "visible.mp4")
        )
        frames = sum(1 for _ in read_frames(video, band))
        stamps_s = read_timestamps(video.with_name(f"{band}.csv"))

        stream = truth.infrared if band == "infrared" else truth.visible
        assert frames == len(stamps_s) == len(stream.true_times_s)


def test_stamps_of_both_cameras_agree_with_offset_and_drift(filmed: Path) -> None:
    truth = truth_of(filmed)
    folder = filmed / "outing" / "faulty"

    visible_s = read_timestamps(folder / "visible.csv")
    infrared_s = read_timestamps(folder / "infrared.csv")

    visible_true_s = np.array(truth.visible.true_times_s)
    infrared_true_s = np.array(truth.infrared.true_times_s)
    assert np.abs(visible_s - visible_true_s).max() < 0.003
    assert np.abs(infrared_s - (infrared_true_s * (1 + 80e-6) + 0.3)).max() < 0.003


def test_infrared_faults_are_where_the_truth_says_and_nowhere_else(filmed: Path) -> None:
    truth = truth_of(filmed)
    frames = list(read_frames(filmed / "outing" / "faulty" / "infrared.mkv", "infrared"))

    dead = tuple(i for i, frame in enumerate(frames) if np.ptp(frame) == 0)
    repeated = tuple(i for i in range(1, len(frames)) if (frames[i] == frames[i - 1]).all())

    assert frames[0].dtype == np.uint16
    assert dead == truth.infrared.dead_frames
    assert repeated == truth.infrared.repeated_frames


def test_calibration_footage_stands_beside_its_truth(filmed: Path) -> None:
    truth = load(filmed / "calibration" / "truth.json", CalibrationTruth)

    assert truth is not None
    assert len(truth.poses) == 2
    assert len(list(read_frames(filmed / "calibration" / "infrared.mkv", "infrared"))) == 2
    assert len(list(read_frames(filmed / "calibration" / "visible.mp4", "visible"))) == 2


def test_filming_again_elsewhere_gives_the_same_bytes(
    filmed: Path, settings: SimulationSettings, tmp_path: Path
) -> None:
    run_simulate(tmp_path / "again", settings)

    assert hashes(tmp_path / "again") == hashes(filmed)


def test_filming_into_a_finished_simulation_changes_nothing(
    filmed: Path, settings: SimulationSettings
) -> None:
    before = {path: path.stat().st_mtime_ns for path in filmed.rglob("*")}

    run_simulate(filmed, settings)

    assert {path: path.stat().st_mtime_ns for path in filmed.rglob("*")} == before


def test_an_interrupted_simulation_is_finished(
    filmed: Path, settings: SimulationSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "interrupted"
    run_simulate(folder, settings)
    for lost in ("outing/faulty/truth.json", "outing/faulty/visible.mp4", "catalog.yaml"):
        (folder / lost).unlink()

    run_simulate(folder, settings)

    assert hashes(folder) == hashes(filmed)


def test_a_folder_with_other_files_is_refused_and_left_alone(
    settings: SimulationSettings, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")

    with pytest.raises(SimulateError, match=r"already holds thesis.tex; choose a new"):
        run_simulate(tmp_path, settings)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_simulation_is_not_overwritten(filmed: Path, settings: SimulationSettings) -> None:
    before = hashes(filmed)

    with pytest.raises(SimulateError, match=r"other settings.*simulation.json"):
        run_simulate(filmed, settings.model_copy(update={"seed": 1}))

    assert hashes(filmed) == before


def test_a_file_in_place_of_the_folder_is_refused(
    settings: SimulationSettings, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(SimulateError, match=r"taken is a file"):
        run_simulate(tmp_path / "taken", settings)


def test_the_default_simulation_reaches_every_split_and_tag() -> None:
    settings = SimulationSettings()
    recordings = [r for session in settings.sessions for r in session.recordings]

    splits = {settings.sites[recording.site] for recording in recordings}
    tags = {tag for recording in recordings for tag in recording.tags}

    assert splits == {"train", "val", "test"}
    assert tags == {"day", "night", "occlusion", "disguise", "low-light", "overexposure"}
    assert "# The cameras as calibrated" in catalog_text(catalog_of(settings))
