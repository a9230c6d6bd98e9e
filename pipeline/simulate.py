"""Films the synthetic world with a known rig, and writes footage, catalog and truth."""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pipeline.image_files import written_whole
from pipeline.simulate_board import film_board
from pipeline.simulate_filming import Frame, film
from pipeline.simulate_truth import (
    Schedule,
    calibration_takes,
    calibration_truth,
    recording_truth,
    schedule_frames,
    takes_of,
)
from pipeline.video_files import write_video
from pipeline.workspace import load, save
from schemas.base import BANDS, Band
from schemas.catalog import CatalogFile, Dataset, Recording, Rig, Session, SplitRule, Timestamps
from schemas.errors import SimulateError
from schemas.simulation import SimulatedRecording, SimulationSettings

SETTINGS_NAME = "simulation.json"
TRUTH_NAME = "truth.json"
CATALOG_NAME = "catalog.yaml"
CALIBRATION_NAME = "calibration"
VIDEO_NAMES: dict[Band, str] = {"infrared": "infrared.mkv", "visible": "visible.mp4"}
VIDEO_CODECS: dict[Band, Literal["h264", "ffv1"]] = {"infrared": "ffv1", "visible": "h264"}
Commented = TypeVar("Commented", CommentedMap, CommentedSeq)


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
    for rig, band in product(plain["rigs"], BANDS):
        rig[band]["lens"] = _on_one_line(CommentedMap(rig[band]["lens"]))
    for session in plain["sessions"]:
        session["date"] = dt.date.fromisoformat(session["date"])
        for recording in session["recordings"]:
            recording["tags"] = _on_one_line(CommentedSeq(recording["tags"]))
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
    writer.width = 120
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    writer.dump(plain, stream)
    return stream.getvalue()


def _on_one_line(collection: Commented) -> Commented:
    """The same values, to be written as {..} or [..]."""
    collection.fa.set_flow_style()
    return collection


def check_folder(
    folder: Path,
    present: Collection[str],
    filmed: SimulationSettings | None,
    settings: SimulationSettings,
) -> None:
    """Make sure that filming into `folder` destroys nothing.

    Args:
        folder: named in the message.
        present: names of what it holds.
        filmed: the settings that it was filmed with so far, if it was.
        settings: what is to be filmed.

    Raises:
        SimulateError: the folder holds other files or another simulation.
    """
    if SETTINGS_NAME in present:
        if filmed != settings:
            raise SimulateError(
                f"{folder} holds a simulation with other settings (see {SETTINGS_NAME}); "
                "choose another folder or delete this one"
            )
        return
    foreign = sorted(name for name in present if ".partial" not in name)
    if foreign:
        shown = ", ".join(foreign[:3]) + f" and {len(foreign) - 3} more" * (len(foreign) > 3)
        raise SimulateError(
            f"{folder} already holds {shown}; choose a new or an empty folder, or move them away"
        )


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
    if folder.exists() and not folder.is_dir():
        raise SimulateError(f"{folder} is a file; choose a new or an empty folder")
    mark, catalog = folder / SETTINGS_NAME, folder / CATALOG_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = [path.name for path in folder.iterdir()]
        check_folder(folder, present, load(mark, SimulationSettings), settings)
        if not mark.exists():
            save(settings, mark)
        for session in settings.sessions:
            for recording in session.recordings:
                _run_recording(folder / session.id / recording.id, settings, recording)
        _run_calibration(folder / CALIBRATION_NAME, settings)
        if not catalog.exists():
            with written_whole(catalog) as partial:
                partial.write_text(catalog_text(catalog_of(settings)), encoding="utf-8")
    except OSError as error:
        raise SimulateError(
            f"{folder}: {error.strerror or error}; make room there or choose another folder"
        ) from error
    return catalog


def _run_recording(
    folder: Path, settings: SimulationSettings, recording: SimulatedRecording
) -> None:
    """Write both streams of a recording; its truth comes last and marks it as complete."""
    if (folder / TRUTH_NAME).exists():
        return
    schedules: dict[Band, Schedule] = {}
    for band, take in takes_of(settings, recording).items():
        schedule = schedule_frames(recording, take.camera, band, settings.seed)
        frames = with_faults(film(take, schedule.true_times_s), schedule)
        video = folder / VIDEO_NAMES[band]
        write_video(video, frames, fps=take.camera.fps, codec=VIDEO_CODECS[band])
        with written_whole(folder / f"{band}.csv") as partial:
            partial.write_text(timestamps_csv(schedule), encoding="utf-8")
        schedules[band] = schedule
    save(recording_truth(settings, recording, schedules), folder / TRUTH_NAME)


def _run_calibration(folder: Path, settings: SimulationSettings) -> None:
    """Write the board's footage; its truth comes last and marks it as complete."""
    board = settings.calibration
    if board is None or (folder / TRUTH_NAME).exists():
        return
    truth = calibration_truth(settings, board)
    for band, take in calibration_takes(settings).items():
        frames = film_board(board, truth.poses, take)
        write_video(folder / VIDEO_NAMES[band], frames, fps=board.fps, codec=VIDEO_CODECS[band])
    save(truth, folder / TRUTH_NAME)
