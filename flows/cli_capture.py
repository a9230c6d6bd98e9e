"""The commands that relate two cameras: `twinband align` and `twinband calibrate`."""

import re
from functools import partial
from pathlib import Path

import click

from flows.cli_answers import (
    ANYTHING,
    FILE,
    FOLDER,
    Answer,
    answering,
    catalog_option,
    work_folder_option,
)


@answering
@click.argument("infrared", type=ANYTHING)
@click.argument("visible", type=ANYTHING)
@click.option("--picture", type=FILE, help="A .png to draw: both bands, and what it rests on.")
@click.option("--timestamps-infrared", type=FILE, help="CSV with the columns frame,time_s.")
@click.option("--timestamps-visible", type=FILE, help="The same of the visible camera.")
@click.option("--layout-infrared", metavar="YAML", help="As below layouts in a catalog.")
@click.option("--layout-visible", metavar="YAML", help="Such as '{crop: [640, 0, 640, 480]}'.")
@click.option("--fps", type=float, help="Frame rate of folders of frames and of raw files.")
@click.option("--offset", type=float, help="Seconds to add to visible time, where known.")
@click.option("--rig", help="Rig of the catalog whose lenses filmed.  [default: no distortion]")
@catalog_option
def align(
    *,
    infrared: Path,
    visible: Path,
    picture: Path | None,
    timestamps_infrared: Path | None,
    timestamps_visible: Path | None,
    layout_infrared: str | None,
    layout_visible: str | None,
    fps: float | None,
    offset: float | None,
    rig: str | None,
    catalog: Path,
) -> Answer:
    """Find offset, drift and homography between two videos, without a catalog."""
    from flows.align import Known, align_videos, alignment_lines, layouts_of, rig_of
    from flows.progress import progress

    illustrate = None
    if picture is not None:
        from pipeline.align_picture import run_align_picture

        illustrate = partial(run_align_picture, picture)
    known = Known(
        layouts=layouts_of({"infrared": layout_infrared, "visible": layout_visible}),
        timestamps={"infrared": timestamps_infrared, "visible": timestamps_visible},
        fps=fps,
        offset_s=offset,
        rig=None if rig is None else rig_of(catalog, rig),
    )
    with progress("aligning") as show:
        found = align_videos(infrared, visible, known, illustrate=illustrate, report=show)
    document = found.model_dump(mode="json")
    return Answer(document, alignment_lines(found), refused=not found.accepted)


def _board_size(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, int]:
    sides = re.fullmatch(r"([3-9]|[1-9]\d)x([3-9]|[1-9]\d)", value.lower())
    if sides is None:
        raise click.BadParameter(f"{value!r} is not COLUMNSxROWS of 3 to 99 corners, as in 9x6")
    return int(sides[1]), int(sides[2])


@answering
@click.argument("rig")
@click.argument("folder", type=FOLDER)
@catalog_option
@work_folder_option
@click.option(
    "--board",
    required=True,
    callback=_board_size,
    metavar="COLUMNSxROWS",
    help="Inner corners of the board, such as 9x6.",
)
@click.option("--square-mm", type=click.FloatRange(0, min_open=True), help="Side of a square.")
@click.option("--infrared", help="Name of its footage in FOLDER.  [default: infrared.*]")
@click.option("--visible", help="Name of its footage in FOLDER.  [default: visible.*]")
def calibrate(
    rig: str,
    folder: Path,
    catalog: Path,
    work: Path,
    board: tuple[int, int],
    square_mm: float | None,
    infrared: str | None,
    visible: str | None,
) -> Answer:
    """Find the lenses of RIG from checkerboard footage in FOLDER; write them into the catalog."""
    from flows.calibrate import calibrate_rig, calibration_lines, footage_in
    from flows.progress import progress
    from schemas.facts import Checkerboard

    columns, rows = board
    shown = Checkerboard(columns=columns, rows=rows, square_mm=square_mm)
    footage = footage_in(folder, {"infrared": infrared, "visible": visible})
    with progress("calibrating") as show:
        found = calibrate_rig(catalog, rig, footage, shown, work, show)
    document = found.model_dump(mode="json")
    return Answer(document, calibration_lines(found), refused=not found.accepted)
