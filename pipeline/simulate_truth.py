"""What the simulated rig plants for others to find: clocks, faults, mappings, the board's poses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline.simulate_board import hold_board
from pipeline.simulate_cameras import (
    Take,
    homography_between,
    image_from_plane,
    rotation_of,
    rows_of,
    transform,
)
from pipeline.simulate_figures import Nearness
from pipeline.simulate_scene import build_scene, generator
from schemas.base import Band
from schemas.errors import SimulateError
from schemas.simulation import (
    CalibrationBoard,
    CalibrationTruth,
    FrameFaults,
    ObjectTruth,
    RecordingTruth,
    SimulatedCamera,
    SimulatedRecording,
    SimulationSettings,
    StreamTruth,
)

FIRST_INSTANT_S = 2.0
"""Filming starts this long after the world's clock, so that an offset of -1 s stays above 0."""

FAULT_SPACING_FRAMES = 3
"""Repeated and dead frames keep this distance, so that no repeated frame repeats a dead one."""

OVERSAMPLING: dict[Band, int] = {"infrared": 2, "visible": 1}
"""Canvas pixels per sensor pixel; the visible camera already has the finer grid."""

BOARD_FINER = 2
"""The board's footage is short and its corners are to be found to a twentieth of a pixel."""

NEAREST: Nearness = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Schedule:
    """When a camera's recorded frames were exposed and what happened to them.

    Attributes:
        true_times_s: instants on the world's clock, rising.
        stamps_s: what the camera's own clock wrote down, rising.
        dropped_after: a frame was lost after each of these frames.
        repeated: frames that show their predecessor's pixels.
        dead: frames of one single value.
    """

    true_times_s: tuple[float, ...]
    stamps_s: tuple[float, ...]
    dropped_after: tuple[int, ...]
    repeated: tuple[int, ...]
    dead: tuple[int, ...]


def schedule_frames(
    recording: SimulatedRecording, camera: SimulatedCamera, band: Band, seed: int
) -> Schedule:
    """The instants of a stream: even on the camera's own clock, stamped with jitter.

    The visible clock is the world's; infrared time = visible time * (1 + drift) + offset.

    Raises:
        SimulateError: more frames are to go wrong than the recording can spare.
    """
    faults: FrameFaults = getattr(recording, band)
    gain = 1 + recording.drift_ppm * 1e-6 if band == "infrared" else 1.0
    offset_s = recording.offset_s if band == "infrared" else 0.0
    rng = generator(seed, recording.id, band, "clock")
    exposed = int(np.floor(recording.duration_s * camera.fps * (1 + 1e-9)))
    spare = np.arange(1, max(exposed - 1, 1))
    candidates = np.arange(2, exposed - faults.dropped - 1, FAULT_SPACING_FRAMES)
    if faults.dropped > spare.size // 2 or faults.repeated + faults.dead > candidates.size:
        raise SimulateError(
            f"{recording.id}: {band}: {faults.dropped} dropped, {faults.repeated} repeated and "
            f"{faults.dead} dead frames do not fit into {exposed}; plant fewer or film longer"
        )
    begins_s = (FIRST_INSTANT_S + rng.uniform(0, 1 / camera.fps)) * gain + offset_s
    dropped = np.sort(rng.choice(spare, faults.dropped, replace=False))
    kept = np.setdiff1d(np.arange(exposed), dropped)
    own_s = begins_s + kept / camera.fps
    furthest_s = min(3 * recording.jitter_s, 0.45 / camera.fps)
    jitter_s = np.clip(rng.normal(0, recording.jitter_s, kept.size), -furthest_s, furthest_s)
    faulty = rng.permutation(candidates)[: faults.repeated + faults.dead]
    return Schedule(
        true_times_s=_floats((own_s - offset_s) / gain),
        stamps_s=_floats(own_s + jitter_s),
        dropped_after=tuple(int(np.searchsorted(kept, frame)) - 1 for frame in dropped),
        repeated=tuple(sorted(int(frame) for frame in faulty[: faults.repeated])),
        dead=tuple(sorted(int(frame) for frame in faulty[faults.repeated :])),
    )


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 9) for value in values)


def takes_of(settings: SimulationSettings, recording: SimulatedRecording) -> dict[Band, Take]:
    """Both cameras before the world of a recording."""
    scene = build_scene(recording, settings.seed)
    return {
        band: Take(
            scene=scene,
            camera=camera,
            band=band,
            position_m=position_m,
            depth_m=recording.depth_m,
            rig_motion=recording.rig_motion,
            seed=settings.seed,
            recording=recording.id,
            oversampling=OVERSAMPLING[band],
        )
        for band, camera, position_m in _rig(settings)
    }


def _rig(
    settings: SimulationSettings,
) -> tuple[tuple[Band, SimulatedCamera, tuple[float, float, float]], ...]:
    return (
        ("infrared", settings.infrared, (0.0, 0.0, 0.0)),
        ("visible", settings.visible, (settings.baseline_m, 0.0, 0.0)),
    )


def recording_truth(
    settings: SimulationSettings, recording: SimulatedRecording, schedules: dict[Band, Schedule]
) -> RecordingTruth:
    """What an estimate on a recording should find."""
    takes = takes_of(settings, recording)
    visible, infrared = takes["visible"], takes["infrared"]
    homography = homography_between(visible, infrared)
    return RecordingTruth(
        recording=recording.id,
        homography=rows_of(homography),
        parallax_px=_largest_parallax_px(visible, infrared),
        offset_s=recording.offset_s,
        drift_ppm=recording.drift_ppm,
        depth_m=recording.depth_m,
        baseline_m=settings.baseline_m,
        infrared=_stream_truth(settings.infrared, schedules["infrared"]),
        visible=_stream_truth(settings.visible, schedules["visible"]),
        objects=tuple(_one_band_objects(takes)),
    )


def _largest_parallax_px(visible: Take, infrared: Take) -> float:
    """Infrared pixels between where the nearest plane is and where the homography puts it."""
    camera = visible.camera.camera
    corners = np.array(
        [(x, y) for x in (0.0, camera.width - 1.0) for y in (0.0, camera.height - 1.0)]
    )
    said = transform(corners, homography_between(visible, infrared))
    true = transform(corners, homography_between(visible, infrared, NEAREST))
    return float(np.linalg.norm(said - true, axis=1).max())


def _stream_truth(camera: SimulatedCamera, schedule: Schedule) -> StreamTruth:
    return StreamTruth(
        lens=camera.lens,
        true_times_s=schedule.true_times_s,
        dropped_after=schedule.dropped_after,
        repeated_frames=schedule.repeated,
        dead_frames=schedule.dead,
    )


def _one_band_objects(takes: dict[Band, Take]) -> Iterator[ObjectTruth]:
    for shape in takes["infrared"].scene.one_band_shapes():
        outlines = {
            band: transform(shape.outline, image_from_plane(take, shape.nearness))
            for band, take in takes.items()
        }
        yield ObjectTruth(
            name=shape.name or "unnamed",
            band="visible" if shape.infrared_c is None else "infrared",
            infrared_outline_px=tuple((float(x), float(y)) for x, y in outlines["infrared"]),
            visible_outline_px=tuple((float(x), float(y)) for x, y in outlines["visible"]),
        )


def calibration_takes(settings: SimulationSettings) -> dict[Band, Take]:
    """Both cameras in the yard where the board is held."""
    yard = SimulatedRecording(id="calibration", site="calibration-yard")
    takes = takes_of(settings, yard)
    return {
        band: replace(take, oversampling=BOARD_FINER * take.oversampling)
        for band, take in takes.items()
    }


def calibration_truth(settings: SimulationSettings, board: CalibrationBoard) -> CalibrationTruth:
    """The poses of the board and the lenses that saw it."""
    takes = calibration_takes(settings)
    poses = hold_board(
        board, takes["infrared"], takes["visible"], generator(settings.seed, "board")
    )
    visible_from_infrared = (
        rotation_of(settings.visible.rotation_deg) @ rotation_of(settings.infrared.rotation_deg).T
    )
    return CalibrationTruth(
        board=board,
        infrared_lens=settings.infrared.lens,
        visible_lens=settings.visible.lens,
        visible_from_infrared=rows_of(visible_from_infrared),
        visible_position_m=takes["visible"].position_m,
        poses=poses,
    )
