"""Recordings whose clocks are known: real clips cut, moved and encoded anew, and simulated ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.simulate_cameras import rig_rotation
from pipeline.video_files import Frame, probe, read_frames
from schemas.base import Band
from schemas.catalog import Camera, Recording, RecordingPlan, Rig
from schemas.recipe import Recipe
from schemas.simulation import (
    FrameFaults,
    SimulatedRecording,
    SimulatedSession,
    SimulationSettings,
    default_sessions,
)

KEYFRAMES: dict[Band, int] = {"infrared": 17, "visible": 25}
"""Frames from keyframe to keyframe of what is encoded anew; those of M3SVD come every 12 in both
bands and would betray the cut (CAPTURE.md section 3)."""

QUALITY = "20"
"""Of x264, of 51: about that of the files."""

FOCAL_PX = 560.0
"""Of the camera that is turned when a clip is made to move: a 60 degree view on 640 pixels."""

CUT_FRAMES = 300
"""Length of a cut where the clip is long enough."""

MARGIN_FRAMES = 31
"""What a cut leaves of a clip that is not, for the cut of the other band to lie elsewhere."""

MOST_APART_FRAMES = 40


@dataclass(frozen=True)
class Cut:
    """Which frames of a clip each camera is given, and what is done to them."""

    infrared: slice
    visible: slice
    homography: NDArray[np.float64]
    """Planted: untouched visible pixels to those of the cut, (3, 3)."""
    motion: str
    """Of the rig: still, shake or pan."""

    @property
    def offset_frames(self) -> int:
        """To add to the visible cut's frame number to get that of the infrared one."""
        return int(self.visible.start - self.infrared.start)


def draw_cut(rng: np.random.Generator, frames: int, shape: tuple[int, int], motion: str) -> Cut:
    """A cut up to 40 frames apart, corners of the visible image moved by up to 32 px."""
    length = min(CUT_FRAMES, frames - MARGIN_FRAMES)
    first = int(rng.integers(0, frames - length + 1))
    apart = int(rng.integers(-MOST_APART_FRAMES, MOST_APART_FRAMES + 1))
    second = int(np.clip(first + apart, 0, frames - length))
    height, width = shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + rng.uniform(-32, 32, (4, 2)).astype(np.float32)
    return Cut(
        slice(first, first + length),
        slice(second, second + length),
        np.asarray(cv2.getPerspectiveTransform(corners, moved), np.float64),
        motion,
    )


def write_cut(source: Path, clip: str, cut: Cut, folder: Path) -> tuple[Path, Path]:
    """Both files of a cut, encoded anew.

    Args:
        source: the sample of M3SVD.
        clip: by name.
        cut: of the clip.
        folder: to write to.
    """
    paths = []
    for band, keyframes in KEYFRAMES.items():
        path = video_of(source, band, clip)
        planted = np.eye(3) if band == "infrared" else cut.homography
        kept = cut.infrared if band == "infrared" else cut.visible
        out = folder / f"{band}.mkv"
        encode(out, _moved(path, band, kept, planted, cut.motion), _fps(path), keyframes)
        paths.append(out)
    return paths[0], paths[1]


def video_of(source: Path, band: Band, clip: str) -> Path:
    """A whole video of the sample."""
    return source / "Video" / "test" / band / f"{clip}.mp4"


def _fps(path: Path) -> float:
    return float(1 / np.median(np.diff(probe(path).times_s)))


def _moved(
    path: Path, band: Band, kept: slice, planted: NDArray[np.float64], motion: str
) -> Iterator[Frame]:
    """The frames of a slice as a rig that moves would have filmed them."""
    fps = _fps(path)
    for number, frame in enumerate(read_frames(path, band)):
        if number >= kept.stop:
            return
        if number < kept.start:
            continue
        height, width = frame.shape[:2]
        lens = np.array([[FOCAL_PX, 0, width / 2], [0, FOCAL_PX, height / 2], [0, 0, 1]])
        turned = lens @ _rotation(motion, number / fps) @ np.linalg.inv(lens)
        yield np.asarray(
            cv2.warpPerspective(
                frame, planted @ turned, (width, height), borderMode=cv2.BORDER_REFLECT_101
            ),
            np.uint8,
        )


def _rotation(motion: str, time_s: float) -> NDArray[np.float64]:
    if motion == "shake":
        return rig_rotation("shake", time_s)
    return rig_rotation("pan" if motion == "pan" else "still", time_s)


def encode(path: Path, frames: Iterator[Frame], fps: float, keyframes: int) -> None:
    """A video with a keyframe every so many frames, none elsewhere.

    Args:
        path: .mkv.
        frames: uint8, grey (H, W) or RGB (H, W, 3), even sides.
        fps: constant.
        keyframes: from one to the next.
    """
    options = {"crf": QUALITY, "preset": "veryfast", "sc_threshold": "0"}
    options |= {"g": str(keyframes), "keyint_min": str(keyframes)}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(fps).limit_denominator(1001), options)
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt, stream.thread_count = "yuv420p", 1
            layout = "rgb24" if frame.ndim > 2 else "gray"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame, np.uint8), layout)
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def plan_of(infrared: Path, visible: Path) -> RecordingPlan:
    """A recording of two files of 640x480, nothing else being known."""
    camera = Camera(width=640, height=480)
    return RecordingPlan(
        recording=Recording(
            id="pair", site="unknown", infrared=infrared.name, visible=visible.name
        ),
        session="bench",
        rig=Rig(id="unknown", infrared=camera, visible=camera),
        data_root=infrared.parent,
        recipe=Recipe(),
    )


def held(frame: Frame, count: int, rng: np.random.Generator) -> Iterator[Frame]:
    """A still scene: one frame and a sensor's noise of two grey levels."""
    for _ in range(count):
        noisy = frame + rng.normal(0, 2, frame.shape)
        yield np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


@dataclass(frozen=True)
class Simulated:
    """A recording to be simulated, by cameras of these frame rates."""

    recording: SimulatedRecording
    infrared_fps: float = 25.0
    visible_fps: float = 30.0

    def settings(self, seed: int) -> SimulationSettings:
        """What is filmed: this recording alone."""
        plain = SimulationSettings(
            seed=seed,
            sessions=(
                SimulatedSession(
                    id="outing",
                    date=default_sessions()[0].date,
                    recordings=(self.recording,),
                ),
            ),
            sites={self.recording.site: "test"},
            calibration=None,
        )
        rates = {"infrared": self.infrared_fps, "visible": self.visible_fps}
        return plain.model_copy(
            update={
                band: getattr(plain, band).model_copy(update={"fps": fps})
                for band, fps in rates.items()
            }
        )


def simulated() -> Sequence[Simulated]:
    """The default outings, unlike frame rates, and minutes that drift."""
    drops = FrameFaults(dropped=3)
    minute = {"duration_s": 60.0, "infrared": drops, "visible": drops}
    return (
        *(Simulated(each) for session in default_sessions() for each in session.recordings),
        Simulated(
            SimulatedRecording(id="nine-hertz", site="park", duration_s=12, offset_s=0.9), 9.0
        ),
        Simulated(
            SimulatedRecording(id="equal-rates", site="quay", duration_s=12, offset_s=-0.61), 30.0
        ),
        Simulated(
            SimulatedRecording.model_validate(
                minute | {"id": "minute-day", "site": "mall", "offset_s": 0.5, "drift_ppm": 120}
            )
        ),
        Simulated(
            SimulatedRecording.model_validate(
                minute
                | {"id": "minute-dusk", "site": "yard", "offset_s": -0.5, "drift_ppm": -80}
                | {"tags": ("low-light",)}
            )
        ),
        Simulated(
            SimulatedRecording.model_validate(
                minute
                | {"id": "minute-shake", "site": "hill", "offset_s": -1.5, "drift_ppm": 60}
                | {"rig_motion": "shake"}
            )
        ),
    )
