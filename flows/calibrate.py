"""Calibration of a rig from checkerboard footage; the lenses are kept in its catalog."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copymode

import numpy as np
from numpy.typing import NDArray

from flows.progress import Show, silence
from pipeline.calibrate import run_calibrate
from pipeline.calibrate_catalog import with_lens
from pipeline.calibrate_picture import draw
from pipeline.image_files import write_image, written_whole
from pipeline.workspace import Workspace, save
from schemas.base import BANDS, Band
from schemas.catalog import CatalogFile, Lens, Rig
from schemas.errors import CalibrateError
from schemas.facts import CalibrationFacts, CameraCalibration, Checkerboard
from schemas.yaml_files import load_yaml

NO_FOOTAGE = (".csv", ".json", ".txt", ".yaml", ".md")
"""Endings of what people keep beside footage under the same name."""


def calibrate_rig(
    catalog: Path,
    rig_id: str,
    footage: Mapping[Band, Path],
    board: Checkerboard,
    work: Path,
    report: Show = silence,
) -> CalibrationFacts:
    """Find the lenses of a rig's cameras, and write those that are determined into the catalog.

    Each camera stands for itself: a refused one keeps the lens it has. How every lens was found is
    kept in the workspace, with a picture; of refused footage the picture alone.

    Args:
        catalog: the YAML file that declares the rig; its comments and layout stay.
        rig_id: which rig.
        footage: a video or a folder of images of each camera filmed.
        board: what was filmed.
        work: folder of the workspace.
        report: told of every frame that was looked at.

    Raises:
        CatalogError: the catalog has problems, or no place for a lens.
        CalibrateError: there is no such rig, or the footage is not its cameras'.
        VideoError: footage cannot be read.
    """
    rig = _rig_of(load_yaml(catalog, CatalogFile), rig_id, catalog)
    workspace = Workspace(work)
    found: dict[Band, CameraCalibration] = {}
    pictures: dict[Band, NDArray[np.uint8]] = {}
    for band in BANDS:
        if band in footage:
            camera = rig.infrared if band == "infrared" else rig.visible
            found[band], views = run_calibrate(footage[band], band, camera, board, report)
            pictures[band] = draw(f"{rig_id}, {band}", found[band], views)
    lenses: dict[Band, Lens] = {
        band: one.lens for band, one in found.items() if one.accepted and one.lens is not None
    }
    if lenses:
        _write_lenses(catalog, rig_id, lenses)
        for band in lenses:
            save(found[band], workspace.calibration(rig_id, band))
    return CalibrationFacts(
        accepted=len(lenses) == len(found),
        rig=rig_id,
        catalog=str(catalog),
        infrared=found.get("infrared"),
        visible=found.get("visible"),
        pictures={
            band: str(
                _save_picture(
                    picture, workspace.calibration(rig_id, band), is_accepted=band in lenses
                )
            )
            for band, picture in pictures.items()
        },
    )


def _save_picture(picture: NDArray[np.uint8], record: Path, *, is_accepted: bool) -> Path:
    """Write the picture beside the record of an accepted lens, which a refusal leaves alone."""
    refused = record.with_name(f"{record.stem}-refused.png")
    if not is_accepted:
        write_image(refused, picture)
        return refused
    accepted = record.with_suffix(".png")
    write_image(accepted, picture)
    refused.unlink(missing_ok=True)
    return accepted


def footage_in(folder: Path, named: Mapping[Band, str | None]) -> dict[Band, Path]:
    """The footage of each band in a folder.

    Args:
        folder: holds `infrared.*` or a folder `infrared`, and the same for visible.
        named: other names inside the folder.

    Raises:
        CalibrateError: there is none, or two of one band.
    """
    if not folder.is_dir():
        raise CalibrateError(f"{folder}: is no folder; name the one that holds the footage")
    footage: dict[Band, Path] = {}
    for band in BANDS:
        name = named.get(band)
        candidates = [folder / name] if name else _candidates(folder, band)
        if len(candidates) > 1:
            raise CalibrateError(
                f"{folder}: holds {' and '.join(path.name for path in candidates)}; choose one "
                f"with --{band}"
            )
        for path in candidates:
            if not path.exists():
                raise CalibrateError(f"{path}: does not exist; correct --{band}")
            footage[band] = path
    if not footage:
        raise CalibrateError(
            f"{folder}: holds neither infrared.* nor visible.*; rename the footage, or name it "
            "with --infrared and --visible"
        )
    return footage


def _candidates(folder: Path, band: Band) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.stem == band and path.suffix.lower() not in NO_FOOTAGE
    )


def _rig_of(catalog: CatalogFile, rig_id: str, file: Path) -> Rig:
    for rig in catalog.rigs:
        if rig.id == rig_id:
            return rig
    known = ", ".join(rig.id for rig in catalog.rigs)
    raise CalibrateError(f"{file}: has no rig {rig_id}; it has {known}: use one, or declare it")


def _write_lenses(catalog: Path, rig_id: str, lenses: Mapping[Band, Lens]) -> None:
    """Set lenses in the catalog as it is now, in one step."""
    catalog = catalog.resolve()
    text = catalog.read_bytes().decode("utf-8")
    for band, lens in lenses.items():
        text = with_lens(text, rig_id, band, lens, file=str(catalog))
    with written_whole(catalog) as partial:
        partial.write_bytes(text.encode("utf-8"))
        copymode(catalog, partial)


def calibration_lines(facts: CalibrationFacts) -> list[str]:
    """What was found, for people."""
    lines: list[str] = []
    stored: list[str] = []
    for band in BANDS:
        camera = facts.infrared if band == "infrared" else facts.visible
        if camera is not None:
            lines += _camera_lines(band, camera)
            lines += [f"  picture: {facts.pictures[band]}"] if band in facts.pictures else []
            stored += [band] if camera.accepted else []
    if stored:
        lines.append(
            f"{facts.catalog}: {facts.rig} has its {' and '.join(stored)} lens; the next twinband "
            "build applies it to all recordings of the rig"
        )
    return lines


def _camera_lines(band: Band, camera: CameraCalibration) -> Iterator[str]:
    seen = f"board in {camera.found} of {camera.looked_at} frames, {camera.used} views used"
    yield f"{band}: {'' if camera.accepted else 'refused; '}{seen}"
    if camera.accepted and camera.lens and camera.deviations:
        lens, deviations = camera.lens, camera.deviations
        yield (
            f"  focal length {lens.fx:.2f} x {lens.fy:.2f} px (+-{2 * deviations.fx:.2f}), centre "
            f"{lens.cx:.2f}, {lens.cy:.2f} px (+-{2 * deviations.cx:.2f})"
        )
        yield (
            f"  k1 {lens.k1:.4f}, k2 {lens.k2:.4f}, p1 {lens.p1:.5f}, p2 {lens.p2:.5f}, "
            f"k3 {lens.k3:.4f}"
        )
        yield f"  mean reprojection error {camera.mean_residual_px:.3f} px"
    yield from (f"  {reason}" for reason in camera.reasons)
    if camera.used:
        yield f"  covered {camera.coverage_share:.0%} of the image (o: corners of the board)"
        for row in camera.coverage:
            yield "    " + " ".join("o" if corners else "." for corners in row)
    for view in camera.views:
        if view.left_out and "miss the common lens" in view.left_out:
            yield f"  left out {view.source}: {view.left_out}"
