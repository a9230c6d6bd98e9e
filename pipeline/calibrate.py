"""Calibration: from footage of a checkerboard to the lens of a camera, or why it cannot be told."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.calibrate_corners import find_corners, luma
from pipeline.calibrate_doubts import doubts_about_lens, doubts_about_views, too_few_views
from pipeline.calibrate_fit import Fit, View, fit_without_outliers, spread_views
from pipeline.image_files import IMAGE_SUFFIXES
from pipeline.video_files import Frame, probe, read_frames, read_image
from schemas.base import Band
from schemas.catalog import Camera, Lens
from schemas.errors import CalibrateError
from schemas.facts import BoardView, CameraCalibration, Checkerboard

MOST_LOOKS = 240
"""Frames in which the board is sought; on one core each takes some 0.1 s where it is seen, 0.3 s
where it is not, and up to 2 s in images 1,280 px wide."""

CELLS = (6, 8)
"""Rows and columns of the coverage map."""

Report = Callable[[int, int, str], None]
"""Told how many frames were looked at, of how many, and a word on them."""


def stillest(frames: Iterable[Frame], span: int) -> Iterator[tuple[int, Frame]]:
    """Of every `span` frames the one that differs least from its predecessor, with its index.

    A board held still is sharp; one on its way from pose to pose is smeared.
    """
    before: NDArray[np.float32] | None = None
    best: tuple[float, int, Frame] | None = None
    for index, frame in enumerate(frames):
        if span > 1:
            small = cv2.resize(luma(frame), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
            change = np.inf if before is None else float(np.abs(small - before).mean())
            before = np.asarray(small, np.float32)
        else:
            change = 0.0
        if best is None or change < best[0]:
            best = (change, index, frame)
        if index % span == span - 1:
            yield best[1], best[2]
            best = None
    if best is not None:
        yield best[1], best[2]


def calibrate_camera(
    views: Sequence[View], board: Checkerboard, size: tuple[int, int], *, footage: str, looked: int
) -> CameraCalibration:
    """What the views of a board tell about a camera's lens, and whether that is enough.

    Args:
        views: every frame on which the board was found.
        board: what they show.
        size: width and height of the images, pixels.
        footage: name of where they are from.
        looked: frames in which the board was sought.
    """
    chosen, left_out = spread_views(views, board, size)
    fit: Fit | None = None
    reasons = list(too_few_views(len(views), len(chosen), board, looked))
    if not reasons:
        try:
            chosen, fit, outliers = fit_without_outliers(chosen, board, size)
            left_out |= outliers
        except CalibrateError as error:
            reasons = [str(error)]
    coverage = coverage_of(chosen, size)
    share = float((coverage > 0).mean())
    if fit is not None:
        reasons = [*doubts_about_views(fit, share), *doubts_about_lens(fit, size)]
    return CameraCalibration(
        accepted=not reasons,
        reasons=tuple(reasons),
        footage=footage,
        board=board,
        width=size[0],
        height=size[1],
        looked_at=looked,
        found=len(views),
        used=len(chosen),
        lens=rounded(fit.lens) if fit else None,
        deviations=fit.deviations if fit else None,
        mean_residual_px=fit.mean_residual_px if fit else None,
        coverage=tuple(tuple(int(corners) for corners in row) for row in coverage),
        coverage_share=share,
        views=tuple(_board_views(views, chosen, fit, left_out, board)),
    )


def rounded(lens: Lens) -> Lens:
    """The lens as people can read it: a ten-thousandth of a pixel, seven digits behind the point.

    What is cut off moves no pixel of a 16,384 pixel image by a hundredth.
    """
    digits = {"fx": 4, "fy": 4, "cx": 4, "cy": 4}
    return Lens(**{name: round(value, digits.get(name, 7)) for name, value in lens})


def coverage_of(views: Sequence[View], size: tuple[int, int]) -> NDArray[np.int64]:
    """How many corners lie in every cell of the image, (6, 8)."""
    corners = np.concatenate([np.empty((0, 2)), *(view.corners for view in views)])
    width, height = size
    counts, _, _ = np.histogram2d(
        corners[:, 1], corners[:, 0], bins=CELLS, range=((-0.5, height - 0.5), (-0.5, width - 0.5))
    )
    return np.asarray(counts, np.int64)


def _board_views(
    views: Sequence[View],
    used: Sequence[View],
    fit: Fit | None,
    left_out: dict[str, str],
    board: Checkerboard,
) -> Iterator[BoardView]:
    places = {view.source: index for index, view in enumerate(used)}
    for view in views:
        if fit is None or view.source not in places:
            yield BoardView(source=view.source, left_out=left_out.get(view.source))
            continue
        index = places[view.source]
        residuals = fit.residuals_px[index]
        squares = float(np.linalg.norm(fit.centres_squares[index]))
        yield BoardView(
            source=view.source,
            mean_residual_px=float(residuals.mean()),
            max_residual_px=float(residuals.max()),
            tilt_deg=float(np.degrees(np.arccos(min(1.0, abs(fit.normals[index, 2]))))),
            distance_m=None if board.square_mm is None else squares * board.square_mm / 1000,
        )


def run_calibrate(
    footage: Path, band: Band, camera: Camera, board: Checkerboard, report: Report
) -> tuple[CameraCalibration, list[View]]:
    """Look for the board in a camera's footage and find the lens; also gives what was found of it.

    Args:
        footage: a video, or a folder of images.
        band: which camera filmed it.
        camera: as the catalog declares it.
        board: what was filmed.
        report: told of every frame that was looked at.

    Raises:
        CalibrateError: the footage has another size than the camera, or holds no image.
        VideoError: it cannot be read.
    """
    size = (camera.width, camera.height)
    looked, views = 0, list[View]()
    frames, total = _run_images(footage) if footage.is_dir() else _run_video(footage, band)
    for source, frame in frames:
        found_size = (frame.shape[1], frame.shape[0])
        if found_size != size:
            raise CalibrateError(
                f"{footage}: {source} is {found_size[0]}x{found_size[1]} and the rig's {band} "
                f"camera {size[0]}x{size[1]}; film with the settings of the recordings, or "
                "correct the rig"
            )
        corners = find_corners(frame, board)
        looked += 1
        if corners is not None:
            views.append(View(source, corners))
        report(looked, total, f"{band}: {len(views)} boards")
    return calibrate_camera(views, board, size, footage=str(footage), looked=looked), views


def _run_video(path: Path, band: Band) -> tuple[Iterator[tuple[str, Frame]], int]:
    """The frames of a video to look at, with their names, and how many they are."""
    count = probe(path).times_s.size
    span = -(-count // MOST_LOOKS)
    frames = stillest(read_frames(path, band), span)
    return ((f"frame {index}", frame) for index, frame in frames), -(-count // span)


def _run_images(folder: Path) -> tuple[Iterator[tuple[str, Frame]], int]:
    """The images of a folder to look at, by name, and how many they are."""
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    if not paths:
        raise CalibrateError(f"{folder}: holds no images; it may hold {', '.join(IMAGE_SUFFIXES)}")
    paths = paths[:: -(-len(paths) // MOST_LOOKS)]
    return ((path.name, read_image(path)) for path in paths), len(paths)
