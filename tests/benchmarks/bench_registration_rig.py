"""Registration on the simulated rig, whose homography is known, after calibration.

Every rig's cameras point elsewhere. Their lenses are found from footage of the checkerboard, their
frames undistorted by these, and the homography is judged where it counts: on raw pixels, by how far
from the corners of the infrared image it puts what the visible camera sees there.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.calibrate import calibrate_camera
from pipeline.calibrate_corners import find_corners
from pipeline.calibrate_fit import View
from pipeline.geometry import (
    distorted,
    full_frame,
    infrared_maps,
    matrix_of,
    project,
    resample,
    undistorted,
)
from pipeline.register_estimate import HomographyFit, estimate_homography
from pipeline.simulate_board import film_board
from pipeline.simulate_cameras import Take, homography_between
from pipeline.simulate_filming import film
from pipeline.simulate_truth import calibration_takes, calibration_truth, takes_of
from pipeline.tone import tone_mapped
from schemas.base import BANDS, Band
from schemas.catalog import Camera, Lens
from schemas.errors import RegisterError
from schemas.facts import Checkerboard, ToneMapping
from schemas.recipe import IngestRecipe, RegisterRecipe
from schemas.simulation import (
    CalibrationBoard,
    SimulatedRecording,
    SimulatedSession,
    SimulationSettings,
)
from tests.benchmarks.measuring import Spread
from tests.benchmarks.tables import Claim, Section, Table

FILMED = CalibrationBoard(frames_per_pose=1)
BOARD = Checkerboard(columns=FILMED.columns, rows=FILMED.rows)

TURN_DEG = 1.5
"""Furthest that the visible camera points from where the infrared one does, about every axis."""

TAGS = ("day", "night", "low-light")

NEAREST_M = (150.0, 20.0, 10.0, 6.0, 4.0, 2.5)
"""Depth of the nearest thing before a background 1 km away; the rig's cameras are 6 cm apart."""

TIMES_S = tuple(float(time_s) for time_s in 2.5 + np.arange(8))

MEDIAN_PX, P90_PX = 0.5, 1.0
"""What is promised of the corners of a distant scene."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RigDraw:
    """One estimate on the simulated rig; figures are None where it was refused."""

    seed: int
    tag: str
    nearest_m: float
    planted_px: float
    """Between what is nearest and the background, infrared pixels."""
    error_px: float | None
    """Mean over the corners."""
    parallax_px: float | None
    confidence: float | None
    seconds: float


@dataclass(frozen=True)
class RigEffort:
    """How much is filmed."""

    draws: int = 20
    depth_draws: int = 2
    """Rigs before which the nearest thing comes nearer."""


def settings_of(seed: int, tag: str, nearest_m: float) -> SimulationSettings:
    """A rig whose visible camera points somewhere near where the infrared one does."""
    plain = SimulationSettings(seed=seed, calibration=FILMED)
    turn = np.random.default_rng([seed, 77]).uniform(-TURN_DEG, TURN_DEG, 3)
    recording = SimulatedRecording.model_validate(
        {"id": "street", "site": "street", "tags": (tag,), "depth_m": (nearest_m, 1000.0)}
    )
    session = SimulatedSession.model_validate(
        {"id": "outing", "date": "2024-04-11", "recordings": (recording,)}
    )
    visible = plain.visible.model_copy(update={"rotation_deg": tuple(turn.tolist())})
    return plain.model_copy(update={"visible": visible, "sessions": (session,), "sites": {}})


def calibrated(settings: SimulationSettings) -> dict[Band, Lens]:
    """The lenses as footage of the board tells them."""
    truth = calibration_truth(settings, FILMED)
    lenses: dict[Band, Lens] = {}
    for band, take in calibration_takes(settings).items():
        frames = list(film_board(FILMED, truth.poses, take))
        views = [
            View(str(index), corners)
            for index, frame in enumerate(frames)
            if (corners := find_corners(frame, BOARD)) is not None
        ]
        size = (take.camera.camera.width, take.camera.camera.height)
        found = calibrate_camera(views, BOARD, size, footage=band, looked=len(frames))
        if found.lens is None:
            raise AssertionError(f"the {band} board footage gives no lens: {found.reasons}")
        lenses[band] = found.lens
    return lenses


def measured(effort: RigEffort) -> Iterator[RigDraw]:
    """Distant scenes of many rigs, then nearer and nearer ones of a few."""
    lenses = calibrated(settings_of(0, TAGS[0], NEAREST_M[0]))
    for seed in range(effort.draws):
        yield _drawn(seed, TAGS[seed % len(TAGS)], NEAREST_M[0], lenses)
    for seed in range(effort.depth_draws):
        for nearest_m in NEAREST_M:
            yield _drawn(seed, TAGS[0], nearest_m, lenses)


def _drawn(seed: int, tag: str, nearest_m: float, lenses: dict[Band, Lens]) -> RigDraw:
    settings = settings_of(seed, tag, nearest_m)
    takes = takes_of(settings, settings.sessions[0].recordings[0])
    frames = {band: list(film(takes[band], TIMES_S)) for band in BANDS}
    counts = np.stack(frames["infrared"]).astype(np.float64)
    low, high = np.percentile(counts, IngestRecipe().tone_percentiles)
    tone = ToneMapping(low_counts=float(low), high_counts=float(high))
    cameras = {
        band: takes[band].camera.camera.model_copy(update={"lens": lenses[band]}) for band in BANDS
    }
    straight = {
        band: [np.asarray(_straight(frame, cameras[band])) for frame in frames[band]]
        for band in BANDS
    }
    begin = time.process_time()
    fit: HomographyFit | None
    try:
        fit = estimate_homography(
            [tone_mapped(np.asarray(frame, np.uint16), tone) for frame in straight["infrared"]],
            [np.asarray(frame, np.uint8) for frame in straight["visible"]],
            RegisterRecipe(),
        )
    except RegisterError as error:
        logger.info("seed %d, %s: %s", seed, tag, error)
        fit = None
    nearer = homography_between(takes["visible"], takes["infrared"], (0.0, 0.0, 1.0))
    farther = homography_between(takes["visible"], takes["infrared"])
    corners = _corners(cameras["visible"])
    apart = np.linalg.norm(project(corners, nearer) - project(corners, farther), axis=-1)
    return RigDraw(
        seed=seed,
        tag=tag,
        nearest_m=nearest_m,
        planted_px=float(apart.mean()),
        error_px=_error_px(fit, takes, cameras) if fit else None,
        parallax_px=fit.parallax_px if fit else None,
        confidence=fit.confidence if fit else None,
        seconds=time.process_time() - begin,
    )


def _straight(frame: NDArray[np.uint8] | NDArray[np.uint16], camera: Camera) -> NDArray[np.generic]:
    maps = infrared_maps(camera, full_frame(camera))
    return frame if maps is None else resample(frame, maps)


def _corners(camera: Camera) -> NDArray[np.float64]:
    right, bottom = camera.width - 1.0, camera.height - 1.0
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])


def _error_px(fit: HomographyFit, takes: dict[Band, Take], cameras: dict[Band, Camera]) -> float:
    """Mean distance of the raw infrared image's corners from where the visible ones are put."""
    corners = _corners(cameras["infrared"])
    true = {band: takes[band].camera.lens for band in BANDS}
    back = np.asarray(
        np.linalg.inv(homography_between(takes["visible"], takes["infrared"])), np.float64
    )
    seen = distorted(project(undistorted(corners, true["infrared"]), back), true["visible"])
    said = project(undistorted(seen, cameras["visible"].lens), matrix_of(fit.homography))
    put = distorted(said, cameras["infrared"].lens)
    return float(np.linalg.norm(put - corners, axis=-1).mean())


def tables(draws: Sequence[RigDraw]) -> tuple[Table, Table]:
    """Distant scenes by tag, and the parallax of nearer ones."""
    distant = [draw for draw in draws if draw.nearest_m == NEAREST_M[0]]
    kinds: dict[str, list[RigDraw]] = {"all": distant}
    for tag in dict.fromkeys(draw.tag for draw in distant):
        kinds[tag] = [draw for draw in distant if draw.tag == tag]
    rows = []
    for name, some in kinds.items():
        errors = _errors(some)
        median, p90 = np.median(errors), np.quantile(errors, 0.9, method="higher")
        rows.append(
            (
                name, str(len(some)), f"{median:.2f}", f"{p90:.2f}", f"{errors.max():.2f}",
                f"{len(errors) / len(some):.0%}", f"{np.median([d.seconds for d in some]):.1f}",
            )
        )  # fmt: skip
    header = ("scene", "rigs", "median px", "p90", "max", "accepted", "CPU s")
    by_depth = [
        (
            str(draw.seed), f"{draw.nearest_m:g}", f"{draw.planted_px:.2f}",
            "refused" if draw.parallax_px is None else f"{draw.parallax_px:.2f}",
            "refused" if draw.error_px is None else f"{draw.error_px:.2f}",
        )
        for draw in _by_depth(draws)
    ]  # fmt: skip
    depth_header = ("rig", "nearest m", "planted px", "parallax_px", "corners off background px")
    return Table(header, tuple(rows)), Table(depth_header, tuple(by_depth))


def _errors(draws: Sequence[RigDraw]) -> NDArray[np.float64]:
    return np.array([draw.error_px for draw in draws if draw.error_px is not None] or [np.nan])


def _by_depth(draws: Sequence[RigDraw]) -> list[RigDraw]:
    seeds = {draw.seed for draw in draws if draw.nearest_m != NEAREST_M[0]}
    found = {(d.seed, d.nearest_m): d for d in draws if d.seed in seeds and d.tag == TAGS[0]}
    return [found[key] for key in sorted(found, key=lambda key: (key[0], -key[1]))]


def rising(draws: Sequence[RigDraw]) -> float:
    """Share of steps to a nearer thing over which the parallax rises."""
    steps = [
        float((after.parallax_px or 0.0) > (before.parallax_px or 0.0))
        for before, after in zip(_by_depth(draws), _by_depth(draws)[1:], strict=False)
        if before.seed == after.seed
    ]
    return float(np.mean(steps)) if steps else 0.0


def claims(draws: Sequence[RigDraw]) -> tuple[Claim, ...]:
    """What is promised of the rig."""
    errors = _errors([draw for draw in draws if draw.nearest_m == NEAREST_M[0]])
    p90 = float(np.quantile(errors, 0.9, method="higher"))
    return (
        Claim(
            "rig, distant scene: corners, median", _one(np.median(errors)), "<=", MEDIAN_PX, "px"
        ),
        Claim("rig, distant scene: corners, p90", _one(p90), "<=", P90_PX, "px"),
        Claim("rig: steps nearer at which parallax_px rises", _one(rising(draws)), ">=", 1.0, ""),
    )


def _one(value: float) -> Spread:
    return Spread((float(value),))


def section(effort: RigEffort) -> Section:
    """For docs/benchmarks.md."""
    draws = list(measured(effort))
    method = " ".join((__doc__ or "").split())
    return Section("Registration on the simulated rig", method, claims(draws), tables(draws))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bench_registration_rig", description=__doc__
    )
    parser.add_argument("--draws", type=int, default=RigEffort.draws)
    parser.add_argument("--depth-draws", type=int, default=RigEffort.depth_draws)
    effort = RigEffort(**vars(parser.parse_args()))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    draws = []
    for draw in measured(effort):
        logger.info("%s", draw)
        draws.append(draw)
    for table in tables(draws):
        logger.info("%s", table.markdown())
    for claim in claims(draws):
        logger.info("%s", " | ".join(claim.cells()))


if __name__ == "__main__":
    main()
