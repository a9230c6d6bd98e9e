"""Calibration on simulated checkerboard footage with known lenses, beside plain OpenCV."""

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.calibrate import calibrate_camera
from pipeline.calibrate_corners import Corners, find_corners, luma
from pipeline.calibrate_fit import View, board_points
from pipeline.simulate_board import film_board
from pipeline.simulate_truth import calibration_takes, calibration_truth
from pipeline.video_files import Frame
from schemas.base import BANDS, Band
from schemas.catalog import Lens
from schemas.facts import Checkerboard
from schemas.simulation import (
    CalibrationBoard,
    SimulatedCamera,
    SimulationSettings,
    default_infrared,
    default_visible,
)
from tests.benchmarks.measuring import Spread
from tests.benchmarks.tables import Claim, Section, Table
from tests.pipeline.board_views import bent_px

FILMED = CalibrationBoard(frames_per_pose=1)
BOARD = Checkerboard(columns=FILMED.columns, rows=FILMED.rows)

LENSES: dict[str, tuple[float, dict[str, float]]] = {
    "usual": (1.0, {}),
    "wide": (0.7, {"k1": -0.26, "k2": 0.07, "p1": 0.0008, "p2": -0.0006}),
    "long": (2.0, {"k1": 0.12, "k2": -0.1, "p1": -0.0005, "p2": 0.0004}),
}
"""Focal length in that of the simulated rig's cameras, and how the lens bends otherwise."""

BLUR_PX = {"infrared": 1.2, "visible": 1.5}
"""Deviation of the blur of a lens out of focus."""

NOISIER = 4.0
"""Noise of a bad sensor over that of the simulated rig's."""

SMEAR_PX, SMEARED = 8, 4
"""Length of the path of a board in motion, and every which view shows one."""

TUTORIAL_WINDOW = (11, 11)
ENDS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-3)
"""Of OpenCV's own calibration tutorial."""

OURS = "twinband"

RIGS_OWN = "usual"

FOCAL_SHARE, CENTRE_PX, RESIDUAL_PX, BENT_PX = 0.005, 2.0, 0.3, 0.3
"""What is promised of footage with noise and blur."""

logger = logging.getLogger(__name__)

Spoil = Callable[[int, Frame, Band], Frame]

Fitted = tuple[Lens | None, float, int, float]
"""Lens, mean reprojection error, views used, standard deviation of the centre; pixels."""


@dataclass(frozen=True)
class Footage:
    """Frames of the board and the lens that imaged them."""

    band: Band
    lens_name: str
    spoilt: str
    frames: tuple[Frame, ...]
    lens: Lens
    size: tuple[int, int]


@dataclass(frozen=True)
class Result:
    """What one method made of one footage; None: it was refused, or nothing was found."""

    method: str
    footage: Footage
    lens: Lens | None
    residual_px: float
    views: int
    centre_sigma_px: float
    """What the method itself says of the centre's error; NaN: nothing."""
    seconds: float

    @property
    def focal_share(self) -> float:
        """Relative error of the worse focal length."""
        truth, lens = self.footage.lens, self.lens
        if lens is None:
            return float("nan")
        return max(abs(lens.fx / truth.fx - 1), abs(lens.fy / truth.fy - 1))

    @property
    def centre_px(self) -> float:
        """Distance of the principal points."""
        truth, lens = self.footage.lens, self.lens
        if lens is None:
            return float("nan")
        return float(np.hypot(lens.cx - truth.cx, lens.cy - truth.cy))

    @property
    def bent_px(self) -> float:
        """Of lines that ought to be straight."""
        if self.lens is None:
            return float("nan")
        return bent_px(self.footage.lens, self.lens, self.footage.size)


def as_filmed(_index: int, frame: Frame, _band: Band) -> Frame:
    """A sharp frame."""
    return frame


def out_of_focus(_index: int, frame: Frame, band: Band) -> Frame:
    """The same frame with a soft lens."""
    return _same_type(cv2.GaussianBlur(frame, (0, 0), BLUR_PX[band]), frame)


def smeared(index: int, frame: Frame, band: Band) -> Frame:
    """Out of focus, and every fourth board in motion."""
    soft = out_of_focus(index, frame, band)
    if index % SMEARED:
        return soft
    path = np.eye(SMEAR_PX + 1, dtype=np.float32)[:: (-1) ** index] / (SMEAR_PX + 1)
    return _same_type(cv2.filter2D(soft, -1, path), frame)


def _same_type(image: NDArray[np.generic], frame: Frame) -> Frame:
    if frame.dtype == np.uint16:
        return np.asarray(image, np.uint16)
    return np.asarray(image, np.uint8)


LEVELS: dict[str, tuple[float, Spoil]] = {
    "noise": (1.0, as_filmed),
    "noise, blur": (1.0, out_of_focus),
    "4 x noise, blur": (NOISIER, out_of_focus),
    "noise, blur, smear": (1.0, smeared),
}
"""Noise in that of the simulated rig's cameras, and what else is done to the frames."""


def footages(
    seeds: int, lenses: Sequence[str] = tuple(LENSES), levels: Sequence[str] = tuple(LEVELS)
) -> Iterator[Footage]:
    """Of both bands, those lenses and levels, so many times."""
    for name, level, seed in product(lenses, levels, range(seeds)):
        noise, spoil = LEVELS[level]
        rig = SimulationSettings(
            seed=seed,
            infrared=_camera(default_infrared(), name, noise),
            visible=_camera(default_visible(), name, noise),
        )
        poses = calibration_truth(rig, FILMED).poses
        for band, take in calibration_takes(rig).items():
            frames = enumerate(film_board(FILMED, poses, take))
            camera = take.camera.camera
            yield Footage(
                band=band,
                lens_name=name,
                spoilt=level,
                frames=tuple(spoil(index, frame, band) for index, frame in frames),
                lens=take.camera.lens,
                size=(camera.width, camera.height),
            )


def _camera(usual: SimulatedCamera, name: str, noise: float) -> SimulatedCamera:
    longer, bend = LENSES[name]
    lens = usual.lens.model_copy(
        update={"fx": longer * usual.lens.fx, "fy": longer * usual.lens.fy, **bend}
    )
    camera = usual.camera.model_copy(update={"lens": lens})
    return usual.model_copy(update={"camera": camera, "noise": noise * usual.noise})


def ours(footage: Footage) -> Fitted:
    """As `twinband calibrate` does it."""
    seen = [(index, find_corners(frame, BOARD)) for index, frame in enumerate(footage.frames)]
    views = [View(str(index), corners) for index, corners in seen if corners is not None]
    found = calibrate_camera(views, BOARD, footage.size, footage="", looked=len(seen))
    lens = found.lens if found.accepted else None
    sigma_px = float("nan")
    if found.deviations is not None:
        sigma_px = float(np.hypot(found.deviations.cx, found.deviations.cy))
    return lens, found.mean_residual_px or float("nan"), found.used, sigma_px


def tutorial(footage: Footage) -> Fitted:
    """OpenCV's tutorial on the full range of counts; frames are inverted where that helps."""
    seen: list[Corners] = []
    for frame in footage.frames:
        levels = _eight_bits(frame)
        for picture in (levels, 255 - levels):
            found, corners = cv2.findChessboardCorners(picture, (BOARD.columns, BOARD.rows))
            if found:
                refined = cv2.cornerSubPix(picture, corners, TUTORIAL_WINDOW, (-1, -1), ENDS)
                seen.append(np.asarray(refined, np.float64).reshape(-1, 2))
                break
    return _fitted(seen, footage)


def sectors(footage: Footage) -> Fitted:
    """OpenCV's sector-based detector as it stands, and all that it finds."""
    seen: list[Corners] = []
    for frame in footage.frames:
        found, corners = cv2.findChessboardCornersSB(
            _eight_bits(frame), (BOARD.columns, BOARD.rows)
        )
        if found:
            seen.append(np.asarray(corners, np.float64).reshape(-1, 2))
    return _fitted(seen, footage)


def _eight_bits(frame: Frame) -> NDArray[np.uint8]:
    grey = luma(frame)
    low, high = float(grey.min()), float(grey.max())
    return np.asarray((grey - low) * (255 / max(high - low, 1)), np.uint8)


def _fitted(seen: Sequence[Corners], footage: Footage) -> Fitted:
    if not seen:
        return None, float("nan"), 0, float("nan")
    points = [board_points(BOARD)] * len(seen)
    corners = [each.astype(np.float32)[:, None] for each in seen]
    _, matrix, bend, turns, places = cv2.calibrateCamera(
        points, corners, footage.size, np.eye(3), np.zeros(5)
    )
    said = [
        cv2.projectPoints(points[0], turn, place, matrix, bend)[0].reshape(-1, 2)
        for turn, place in zip(turns, places, strict=True)
    ]
    missed_px = float(np.linalg.norm(np.array(said) - np.array(seen), axis=-1).mean())
    numbers = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *np.ravel(bend)[:5]]
    lens = Lens(**{k: float(v) for k, v in zip(Lens.model_fields, numbers, strict=True)})
    return lens, missed_px, len(seen), float("nan")


METHODS = {OURS: ours, "OpenCV tutorial": tutorial, "OpenCV sectors": sectors}


def measured(found: Iterable[Footage]) -> Iterator[Result]:
    """Every method on every footage, one after the other."""
    for footage in found:
        for method, calibrate in METHODS.items():
            begin = time.process_time()
            fitted = calibrate(footage)
            yield Result(method, footage, *fitted, seconds=time.process_time() - begin)


def section(found: Sequence[Result]) -> Section:
    """Claims on all footage, and the table of all methods."""
    own = [each for each in found if (each.method, each.footage.lens_name) == (OURS, RIGS_OWN)]
    kept = [each for each in own if each.lens is not None]
    count = f"worst of {len(kept)} footages through the rig's own lenses"
    claims = (
        Claim(
            f"focal length, {count}",
            Spread((100 * max(each.focal_share for each in kept),)),
            "<=",
            100 * FOCAL_SHARE,
            "%",
        ),
        Claim(
            f"principal point, {count}",
            Spread((max(each.centre_px for each in kept),)),
            "<=",
            CENTRE_PX,
            "px",
        ),
        Claim(
            f"mean reprojection error, {count}",
            Spread((max(each.residual_px for each in kept),)),
            "<=",
            RESIDUAL_PX,
            "px",
        ),
        Claim(
            f"undistorted straight lines, {count}",
            Spread((max(each.bent_px for each in kept),)),
            "<=",
            BENT_PX,
            "px",
        ),
        Claim(
            "of that footage accepted",
            Spread((len(kept) / len(own),)),
            ">=",
            1.0,
            "of all",
        ),
    )
    method = (
        f"The simulated rig films a warmed 9x6 board in {FILMED.poses} poses before both cameras, "
        "through its own lenses, wider ones (0.7 times the focal length, k1 -0.26) and longer ones "
        "(2 times, k1 0.12), with its own noise (5 counts of a contrast of some 1,000; 2 grey "
        "levels) and with more, sharp, out of focus, and with every fourth board in motion: "
        f"{len(found) // len(METHODS)} footages. Corners of its pictures are true to 0.04 px. "
        "*Tutorial* is findChessboardCorners, cornerSubPix and calibrateCamera as in OpenCV's "
        "tutorial, frames inverted where that helps; *sectors* is findChessboardCornersSB and "
        "calibrateCamera. Errors are median / 90th percentile / worst; a refusal has none. That of "
        "the focal length is of the worse of fx and fy. A long lens tells its centre less well, in "
        "pixels, and says so by its standard deviation; in sigmas is the error over it."
    )
    return Section("Calibration", method, claims, (table(found), table_by_lens(found)))


def table(results: Sequence[Result]) -> Table:
    """By level, band and method, over all lenses."""
    header = (
        "footage", "band", "method", "lenses found", "views used", "focal length %", "centre px",
        "reprojection px", "straight lines px", "CPU s",
    )  # fmt: skip
    rows = []
    for level, band, method in product(LEVELS, BANDS, METHODS):
        some = [
            each
            for each in results
            if (each.footage.spoilt, each.footage.band, each.method) == (level, band, method)
        ]
        kept = [each for each in some if each.lens is not None]
        if not some:
            continue
        rows.append(
            (
                level, band, method, f"{len(kept)} of {len(some)}",
                f"{np.median([each.views for each in some]):.0f}",
                _three([100 * each.focal_share for each in kept]),
                _three([each.centre_px for each in kept]),
                _three([each.residual_px for each in kept]),
                _three([each.bent_px for each in kept]),
                f"{np.median([each.seconds for each in some]):.1f}",
            )
        )  # fmt: skip
    return Table(header, tuple(rows))


def table_by_lens(results: Sequence[Result]) -> Table:
    """Ours by lens and band, over all levels."""
    header = (
        "lens", "band", "accepted", "focal length %", "centre px", "centre in sigmas",
        "straight lines px",
    )  # fmt: skip
    rows = []
    for name, band in product(LENSES, BANDS):
        some = [
            each
            for each in results
            if (each.footage.lens_name, each.footage.band, each.method) == (name, band, OURS)
        ]
        kept = [each for each in some if each.lens is not None]
        if some:
            rows.append(
                (
                    name, band, f"{len(kept)} of {len(some)}",
                    _three([100 * each.focal_share for each in kept]),
                    _three([each.centre_px for each in kept]),
                    _three([each.centre_px / each.centre_sigma_px for each in kept]),
                    _three([each.bent_px for each in kept]),
                )
            )  # fmt: skip
    return Table(header, tuple(rows))


def _three(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle, high = np.median(values), np.quantile(values, 0.9, method="higher")
    return f"{middle:.3f} / {high:.3f} / {max(values):.3f}"


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bench_calibration", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=1, help="footages of each lens and level")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    found = []
    for result in measured(footages(given.seeds)):
        at = (result.footage.spoilt, result.footage.lens_name, result.footage.band, result.method)
        logger.info(
            "%s: %d views, %s, focal %.3f %%, centre %.2f px, %.3f px, bent %.3f px",
            at, result.views, "found" if result.lens else "refused", 100 * result.focal_share,
            result.centre_px, result.residual_px, result.bent_px,
        )  # fmt: skip
        found.append(result)
    logger.info("%s", section(found).markdown())


if __name__ == "__main__":
    main()
