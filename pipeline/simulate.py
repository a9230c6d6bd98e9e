"""Films the synthetic world with a known rig, and writes footage, catalog and truth."""

from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipeline.board import film_board
from pipeline.filming import Frame, film
from pipeline.ground_truth import (
    Schedule,
    calibration_takes,
    calibration_truth,
    recording_truth,
    schedule_frames,
    takes_of,
)
from pipeline.image_files import written_whole
from pipeline.video_files import write_video
from pipeline.workspace import load, save
from schemas.catalog import CatalogFile, Dataset, Recording, Rig, Session, SplitRule, Timestamps
from schemas.errors import SimulateError
from schemas.simulation import Band, SimulatedRecording, SimulationSettings

SETTINGS_NAME = "simulation.json"
TRUTH_NAME = "truth.json"
CATALOG_NAME = "catalog.yaml"
CALIBRATION_NAME = "calibration"
VIDEO_NAMES: dict[Band, str] = {"infrared": "infrared.mkv", "visible": "visible.mp4"}
BANDS: tuple[Band, Band] = ("infrared", "visible")
VIDEO_CODECS: dict[Band, Literal["h264", "ffv1"]] = {"infrared": "ffv1", "visible": "h264"}


def with_faults(frames: Iterable[Frame], schedule: Schedule) -> Iterator[Frame]:
    """The frames as recorded: some repeat their predecessor, some are blank."""
    before: Frame | None = None
    for index, frame in enumerate(frames):
        recorded = np.zeros_like(frame) if index in schedule.dead else frame
        if index in schedule.repeated and before is not None:
            recorded = before
        yield recorded
        before = recorded


def timestamps_csv(schedule: Schedule) -> str:
    """The camera's own record: one row per frame of the file, microseconds."""
    rows = (f"{frame},{stamp_s:.6f}\n" for frame, stamp_s in enumerate(schedule.stamps_s))
    return "frame,time_s\n" + "".join(rows)


def catalog_of(settings: SimulationSettings) -> CatalogFile:
    """The catalog an operator of this rig would write."""
    return CatalogFile(
        dataset=Dataset(
            name=settings.name,
            description="A synthetic street filmed by twinband's simulated rig; every truth known.",
            licence="cc0-1.0",
        ),
        rigs=(
            Rig(
                id=settings.rig, infrared=settings.infrared.camera, visible=settings.visible.camera
            ),
        ),
        sessions=tuple(
            Session(
                id=session.id,
                rig=settings.rig,
                date=session.date,
                recordings=tuple(
                    _catalog_recording(f"{session.id}/{recording.id}", recording)
                    for recording in session.recordings
                ),
            )
            for session in settings.sessions
        ),
        splits=SplitRule(sites=settings.sites),
    )


def _catalog_recording(place: str, recording: SimulatedRecording) -> Recording:
    return Recording(
        id=recording.id,
        site=recording.site,
        infrared=f"{place}/{VIDEO_NAMES['infrared']}",
        visible=f"{place}/{VIDEO_NAMES['visible']}",
        timestamps=Timestamps(infrared=f"{place}/infrared.csv", visible=f"{place}/visible.csv"),
        tags=recording.tags,
    )


def catalog_text(catalog: CatalogFile) -> str:
    """The catalog as YAML for people: only what was said, with a few comments."""
    plain = CommentedMap(catalog.model_dump(mode="json", exclude_unset=True))
    plain["dataset"] = CommentedMap(plain["dataset"])
    for rig in plain["rigs"]:
        for band in BANDS:
            rig[band]["lens"] = CommentedMap(rig[band]["lens"])
            rig[band]["lens"].fa.set_flow_style()
    for session in plain["sessions"]:
        for recording in session["recordings"]:
            recording["tags"] = list(recording["tags"])
    plain.yaml_set_start_comment(
        "Written by `twinband simulate`; the truth lies beside every recording in truth.json.\n"
    )
    for section, comment in {
        "rigs": "The cameras as calibrated; undistorted pixels keep fx, fy, cx and cy.",
        "sessions": "Offset, drift and homography are left out: `twinband build` finds them.",
        "splits": "Fixed by hand here; other sites are dealt by a hash of their name.",
    }.items():
        plain.yaml_set_comment_before_after_key(section, before="\n" + comment)
    writer = YAML()
    writer.width = 100
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    writer.dump(plain, stream)
    return stream.getvalue()


def run_simulate(folder: Path, settings: SimulationSettings) -> Path:
    """Film everything the settings ask for into `folder`; what is already filmed is kept.

    Args:
        folder: new, empty, or holding (part of) the same simulation.
        settings: what to film.

    Returns:
        The catalog, written last: where it stands, the simulation is complete.

    Raises:
        SimulateError: the folder holds something else, or cannot be written.
        VideoError: a video cannot be written.
    """
    try:
        _claim(folder, settings)
        for session in settings.sessions:
            for recording in session.recordings:
                _film_recording(folder / session.id / recording.id, settings, recording)
        _film_calibration(folder / CALIBRATION_NAME, settings)
        if not (folder / CATALOG_NAME).exists():
            _write_text(folder / CATALOG_NAME, catalog_text(catalog_of(settings)))
    except OSError as error:
        raise SimulateError(
            f"{folder}: {error.strerror or error}; make room there or choose another folder"
        ) from error
    return folder / CATALOG_NAME


def _claim(folder: Path, settings: SimulationSettings) -> None:
    """Make sure that the folder is ours, and leave the settings in it."""
    if folder.exists() and not folder.is_dir():
        raise SimulateError(f"{folder} is a file; choose a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / SETTINGS_NAME
    if mark.exists():
        if load(mark, SimulationSettings) != settings:
            raise SimulateError(
                f"{folder} holds a simulation with other settings (see {mark}); "
                "choose another folder or delete this one"
            )
        return
    present = sorted(path.name for path in folder.iterdir() if ".partial" not in path.name)
    if present:
        shown = ", ".join(present[:3]) + (f" and {len(present) - 3} more" * (len(present) > 3))
        raise SimulateError(
            f"{folder} already holds {shown}; choose a new or an empty folder, or move them away"
        )
    save(settings, mark)


def _film_recording(
    folder: Path, settings: SimulationSettings, recording: SimulatedRecording
) -> None:
    """Write both streams of a recording; its truth comes last and marks it as complete."""
    if (folder / TRUTH_NAME).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    schedules: dict[Band, Schedule] = {}
    for band, take in takes_of(settings, recording).items():
        schedule = schedule_frames(recording, take.camera, band, settings.seed)
        frames = with_faults(film(take, schedule.true_times_s), schedule)
        write_video(
            folder / VIDEO_NAMES[band], frames, fps=take.camera.fps, codec=VIDEO_CODECS[band]
        )
        _write_text(folder / f"{band}.csv", timestamps_csv(schedule))
        schedules[band] = schedule
    save(recording_truth(settings, recording, schedules), folder / TRUTH_NAME)


def _film_calibration(folder: Path, settings: SimulationSettings) -> None:
    board = settings.calibration
    if board is None or (folder / TRUTH_NAME).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    truth = calibration_truth(settings, board)
    for band, take in calibration_takes(settings).items():
        frames = film_board(board, truth.poses, take)
        write_video(folder / VIDEO_NAMES[band], frames, fps=board.fps, codec=VIDEO_CODECS[band])
    save(truth, folder / TRUTH_NAME)


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
