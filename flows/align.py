"""Offset, drift and homography of two video files, without a catalog."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.progress import Show, silence
from pipeline.ingest import run_ingest
from pipeline.register import run_register
from pipeline.sync import run_sync
from pipeline.video_files import probe
from pipeline.workspace import Workspace
from schemas.base import Band
from schemas.catalog import Camera, CatalogFile, Recording, RecordingPlan, Rig
from schemas.errors import CatalogError, TwinbandError
from schemas.facts import Alignment, RegisterFacts, SyncFacts
from schemas.layouts import Layouts
from schemas.recipe import Recipe
from schemas.yaml_files import load_yaml, parse, plain_of

NAME = "pair"
"""Of the recording that two files are taken for."""

Illustrate = Callable[[RecordingPlan, Workspace, Alignment], None]
"""Draws what an answer rests on, from the facts of the stages that ran."""


@dataclass(frozen=True)
class Known:
    """What is known of two files beforehand, as a catalog would say it."""

    layouts: Layouts = field(default_factory=Layouts)
    timestamps: Mapping[Band, Path | None] = field(default_factory=dict)
    """CSV files with the columns frame,time_s."""
    fps: float | None = None
    """Of folders of frames and of raw files."""
    offset_s: float | None = None
    rig: Rig | None = None
    """Whose lenses are taken into account; None: both images are taken as undistorted."""


NOTHING_KNOWN = Known()


def align_videos(
    infrared: Path,
    visible: Path,
    known: Known = NOTHING_KNOWN,
    *,
    illustrate: Illustrate | None = None,
    report: Show = silence,
) -> Alignment:
    """Relate two videos in time and space; a refusal is an answer too, with its reason.

    Args:
        infrared: what a catalog's recording may name: a video, a folder of frames, a raw file, a
            bag.
        visible: the same for the other camera.
        known: what need not be found out.
        illustrate: called last, where the files could be read.
        report: told of every step.
    """
    with TemporaryDirectory(prefix="twinband-align-") as folder:
        workspace = Workspace(Path(folder))
        sync: SyncFacts | None = None
        register: RegisterFacts | None = None
        try:
            report(0, 3, "reading")
            plan = _plan(infrared, visible, known)
            run_ingest(plan, workspace)
        except TwinbandError as error:
            return _alignment(None, None, reason=_reason(error))
        reason = None
        try:
            report(1, 3, "relating the clocks")
            sync = run_sync(plan, workspace)
            report(2, 3, "registering")
            register = run_register(plan, workspace)
        except TwinbandError as error:
            reason = _reason(error)
        alignment = _alignment(sync, register, reason=reason)
        if illustrate is not None:
            report(3, 3, "drawing")
            illustrate(plan, workspace, alignment)
        return alignment


def rig_of(catalog: Path, rig: str) -> Rig:
    """A rig of a catalog, with its lenses.

    Raises:
        CatalogError: the catalog has problems, or no such rig.
    """
    rigs = {each.id: each for each in load_yaml(catalog, CatalogFile).rigs}
    if rig not in rigs:
        raise CatalogError(f"{catalog}: has no rig {rig}; use one of {', '.join(rigs)}")
    return rigs[rig]


def layouts_of(written: Mapping[Band, str | None]) -> Layouts:
    """The layouts of both streams.

    Args:
        written: YAML as it stands in a catalog below `layouts`, by band.

    Raises:
        CatalogError: lists every problem.
    """
    return parse(
        {
            band: plain_of(text, f"--layout-{band}")
            for band, text in written.items()
            if text is not None
        },
        Layouts,
        "layouts",
    )


def _plan(infrared: Path, visible: Path, known: Known) -> RecordingPlan:
    """A recording of its own for two files anywhere on the disk."""
    root = Path(infrared.resolve().anchor)
    written = {
        "id": NAME,
        "site": "unknown",
        "infrared": _below(root, infrared),
        "visible": _below(root, visible),
        "layouts": known.layouts,
        "timestamps": {
            band: _below(root, path) for band, path in known.timestamps.items() if path is not None
        },
        "fps": known.fps,
        "offset_s": known.offset_s,
    }
    recording = parse(written, Recording, "align")
    rig = known.rig or Rig(
        id="unknown",
        infrared=_camera(root / recording.infrared, known, "infrared"),
        visible=_camera(root / recording.visible, known, "visible"),
    )
    return RecordingPlan(
        recording=recording, session="align", rig=rig, data_root=root, recipe=Recipe()
    )


def _below(root: Path, path: Path) -> str:
    return path.resolve().relative_to(root).as_posix()


def _camera(path: Path, known: Known, band: Band) -> Camera:
    found = probe(path, fps=known.fps, layout=getattr(known.layouts, band))
    size = {"width": found.width, "height": found.height}
    return parse(size, Camera, str(path))


def _reason(error: TwinbandError) -> str:
    return str(error).removeprefix(f"{NAME}: ")


def _alignment(
    sync: SyncFacts | None, register: RegisterFacts | None, *, reason: str | None
) -> Alignment:
    return Alignment(
        accepted=register is not None,
        reason=reason,
        offset_s=sync.offset_s if sync else None,
        drift_ppm=sync.drift_ppm if sync else None,
        sync_confidence=sync.confidence if sync else None,
        homography=register.homography if register else None,
        registration_confidence=register.confidence if register else None,
        mean_residual_px=register.mean_residual_px if register else None,
        parallax_px=register.parallax_px if register else None,
        pairs=sync.pairs if sync else None,
        crop=register.crop if register else None,
        stretches=register.stretches if register else (),
    )


def alignment_lines(found: Alignment) -> list[str]:
    """What was found, for people."""
    lines = [] if found.accepted else [f"refused: {found.reason}"]
    if found.offset_s is not None:
        lines.append(
            f"infrared time = visible time {found.offset_s:+.4f} s, drift {found.drift_ppm:+.1f} "
            f"ppm (confidence {found.sync_confidence:.2f}); {found.pairs} pairs"
        )
    if found.homography is not None:
        residual = found.mean_residual_px
        missed = "" if residual is None else f", mean residual {residual:.2f} px"
        lines.append(
            "infrared pixels from visible pixels "
            f"(confidence {found.registration_confidence:.2f}{missed}):"
        )
        lines += ["  " + "  ".join(f"{value:13.6g}" for value in row) for row in found.homography]
    if len(found.stretches) > 1:
        lines.append(f"the rig moved; that is the longest of {len(found.stretches)} stretches")
    return lines
