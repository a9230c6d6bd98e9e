"""Offset, drift and homography of two video files, without a catalog."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.ingest import run_ingest
from pipeline.register import run_register
from pipeline.sync import run_sync
from pipeline.video_files import probe
from pipeline.workspace import Workspace
from schemas.catalog import Camera, Recording, RecordingPlan, Rig
from schemas.errors import RegisterError, SyncError
from schemas.facts import Alignment, RegisterFacts, SyncFacts
from schemas.recipe import Recipe


def align_videos(infrared: Path, visible: Path) -> Alignment:
    """Relate two videos in time and space; a refusal is an answer too, with its reason.

    Args:
        infrared: a video file or a folder of frames.
        visible: the same for the other camera.

    Raises:
        VideoError, IngestError: a file cannot be used at all.
    """
    with TemporaryDirectory(prefix="twinband-align-") as folder:
        workspace = Workspace(Path(folder))
        plan = _plan(infrared.resolve(), visible.resolve())
        run_ingest(plan, workspace)
        try:
            sync = run_sync(plan, workspace)
        except SyncError as error:
            return Alignment(accepted=False, reason=str(error))
        try:
            register = run_register(plan, workspace)
        except RegisterError as error:
            return _alignment(sync, None, reason=str(error))
        return _alignment(sync, register, reason=None)


def _plan(infrared: Path, visible: Path) -> RecordingPlan:
    """A recording of its own for two files anywhere on the disk."""
    root = Path(infrared.anchor)
    return RecordingPlan(
        recording=Recording(
            id="pair",
            site="unknown",
            infrared=infrared.relative_to(root).as_posix(),
            visible=visible.relative_to(root).as_posix(),
        ),
        session="align",
        rig=Rig(id="unknown", infrared=_camera(infrared), visible=_camera(visible)),
        data_root=root,
        recipe=Recipe(),
    )


def _camera(video: Path) -> Camera:
    found = probe(video)
    return Camera(width=found.width, height=found.height)


def _alignment(sync: SyncFacts, register: RegisterFacts | None, *, reason: str | None) -> Alignment:
    return Alignment(
        accepted=register is not None,
        reason=reason,
        offset_s=sync.offset_s,
        drift_ppm=sync.drift_ppm,
        sync_confidence=sync.confidence,
        homography=register.homography if register else None,
        registration_confidence=register.confidence if register else None,
        mean_residual_px=register.mean_residual_px if register else None,
        parallax_px=register.parallax_px if register else None,
        pairs=sync.pairs,
    )
