"""The simulated rig: what it is told to film, and the truth about what it filmed."""

import datetime as dt
from collections import Counter
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import Band, Matrix3x3, Slug, StrictModel
from schemas.catalog import Camera, Lens, Split
from schemas.recipe import Range

SceneTag = Literal["day", "night", "occlusion", "disguise", "low-light", "overexposure"]
"""The tags of M3SVD; each changes what the simulated scene holds or how it is lit."""


class SimulatedCamera(StrictModel):
    """One camera of the simulated rig."""

    camera: Camera
    fps: float = Field(gt=0, le=240, description="Frames per second of the camera's own clock.")
    rotation_deg: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description="Turn about the x (down), y (right) and z (roll) axis."
    )
    noise: float = Field(
        ge=0, description="Temporal noise, standard deviation: counts or grey levels."
    )

    @model_validator(mode="after")
    def _has_lens(self) -> Self:
        if self.camera.lens is None:
            raise ValueError("a simulated camera needs a lens; add camera.lens")
        return self

    @property
    def lens(self) -> Lens:
        """The lens, which a simulated camera always has."""
        if self.camera.lens is None:
            raise AssertionError("checked when the camera was made")
        return self.camera.lens


class FrameFaults(StrictModel):
    """How many frames of a stream go wrong; which ones is drawn from the seed."""

    dropped: int = Field(0, ge=0, description="Absent from the video and from the timestamps.")
    repeated: int = Field(0, ge=0, description="Show their predecessor's pixels again.")
    dead: int = Field(0, ge=0, description="Hold one single value.")


class SimulatedRecording(StrictModel):
    """What one recording shows and what is wrong with it."""

    id: Slug
    site: Slug
    tags: tuple[SceneTag, ...] = ("day",)
    duration_s: float = Field(8.0, gt=0, le=3600)
    offset_s: float = Field(
        0.0, ge=-60, le=60, description="What to add to visible time to get infrared time."
    )
    drift_ppm: float = Field(
        0.0, ge=-2000, le=2000, description="Infrared clock gain over visible."
    )
    jitter_s: float = Field(
        0.0008, ge=0, le=0.005, description="Standard deviation of a stamp about its instant."
    )
    infrared: FrameFaults = FrameFaults()
    visible: FrameFaults = FrameFaults()
    depth_m: Range = Field(
        (150.0, 1000.0),
        description="Nearest and farthest thing. Apparent sizes stay, so depth alone rules "
        "parallax; by default one homography is right to about 0.1 px.",
    )
    rig_motion: Literal["still", "shake", "pan"] = "still"

    @model_validator(mode="after")
    def _has_depth(self) -> Self:
        if self.depth_m[0] <= 0:
            raise ValueError(f"depth_m starts at {self.depth_m[0]:g} m; give depths above 0")
        return self


class SimulatedSession(StrictModel):
    """One outing of the simulated rig."""

    id: Slug
    date: dt.date
    recordings: tuple[SimulatedRecording, ...] = Field(min_length=1)


class CalibrationBoard(StrictModel):
    """A heated checkerboard held before both cameras."""

    columns: int = Field(9, ge=3, description="Inner corners a row.")
    rows: int = Field(6, ge=3, description="Inner corners a column.")
    square_m: float = Field(0.08, gt=0, description="Side of a square, metres.")
    poses: int = Field(25, ge=1, description="Ways in which the board is held.")
    frames_per_pose: int = Field(2, ge=1)
    fps: float = Field(5.0, gt=0)


def default_infrared() -> SimulatedCamera:
    """An uncooled 320x256 camera with a 50 degree view."""
    return SimulatedCamera(
        camera=Camera(
            width=320,
            height=256,
            lens=Lens(
                fx=343.0, fy=343.0, cx=161.2, cy=126.4, k1=-0.11, k2=0.03, p1=0.0004, p2=-0.0003
            ),
        ),
        fps=25.0,
        noise=5.0,
    )


def default_visible() -> SimulatedCamera:
    """A 640x480 colour camera that sees a bit more all round than the infrared one."""
    return SimulatedCamera(
        camera=Camera(
            width=640,
            height=480,
            lens=Lens(
                fx=562.0, fy=561.0, cx=316.8, cy=242.1, k1=-0.07, k2=0.015, p1=-0.0003, p2=0.0005
            ),
        ),
        fps=30.0,
        rotation_deg=(0.5, -0.8, 0.7),
        noise=2.0,
    )


def default_sessions() -> tuple[SimulatedSession, ...]:
    """Two outings, four sites, six recordings of 8 s: every tag, moderate clock errors."""
    spring = (
        SimulatedRecording(
            id="market-noon", site="market-street", tags=("day",), offset_s=0.35, drift_ppm=40.0,
            infrared=FrameFaults(dropped=2), visible=FrameFaults(dropped=1),
        ),
        SimulatedRecording(
            id="market-film", site="market-street", tags=("day", "occlusion"), offset_s=-0.82,
            drift_ppm=-75.0, visible=FrameFaults(dropped=3),
        ),
        SimulatedRecording(
            id="park-walk", site="river-park", tags=("day", "disguise"), offset_s=0.12,
            drift_ppm=100.0, rig_motion="shake", infrared=FrameFaults(dropped=1),
        ),
    )  # fmt: skip
    autumn = (
        SimulatedRecording(
            id="park-night", site="river-park", tags=("night",), offset_s=0.96, drift_ppm=-20.0,
            infrared=FrameFaults(dropped=1, repeated=3),
        ),
        SimulatedRecording(
            id="depot-dusk", site="old-depot", tags=("low-light",), offset_s=-0.4,
            drift_ppm=60.0, visible=FrameFaults(dropped=2),
        ),
        SimulatedRecording(
            id="gate-glare", site="north-gate", tags=("day", "overexposure"), offset_s=0.58,
            drift_ppm=-100.0, rig_motion="pan", infrared=FrameFaults(dropped=2),
        ),
    )  # fmt: skip
    return (
        SimulatedSession(id="spring-outing", date=dt.date(2024, 4, 11), recordings=spring),
        SimulatedSession(id="autumn-outing", date=dt.date(2024, 10, 23), recordings=autumn),
    )


DEFAULT_SITES: dict[Slug, Split] = {
    "market-street": "train",
    "river-park": "train",
    "old-depot": "val",
    "north-gate": "test",
}
"""Fixed by hand, so that no split of so few sites is empty."""


class SimulationSettings(StrictModel):
    """Everything the simulated rig films; equal settings give equal bytes."""

    name: Slug = "simulated-street"
    seed: int = Field(0, ge=0, lt=2**63)
    rig: Slug = "simulated-rig"
    infrared: SimulatedCamera = Field(default_factory=default_infrared)
    visible: SimulatedCamera = Field(default_factory=default_visible)
    baseline_m: float = Field(
        0.06, ge=-1, le=1, description="How far right of the infrared camera the visible one sits."
    )
    sessions: tuple[SimulatedSession, ...] = Field(default_factory=default_sessions, min_length=1)
    sites: dict[Slug, Split] = Field(
        DEFAULT_SITES, description="Splits fixed by hand, for the catalog."
    )
    calibration: CalibrationBoard | None = CalibrationBoard()

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for noun, ids in (
            ("session", [session.id for session in self.sessions]),
            ("recording", [r.id for session in self.sessions for r in session.recordings]),
        ):
            repeated = [name for name, count in Counter(ids).items() if count > 1]
            if repeated:
                raise ValueError(f"{noun} ids repeat: {', '.join(repeated)}; make each one unique")
        if "calibration" in (session.id for session in self.sessions):
            raise ValueError("session id calibration is taken by the board's folder; rename it")
        return self


class StreamTruth(StrictModel):
    """The truth about one stream; frames are indices into the file."""

    lens: Lens
    true_times_s: tuple[float, ...] = Field(
        description="Instant of every recorded frame on the world's clock, which the visible "
        "camera's clock follows; a repeated frame shows what its predecessor showed."
    )
    dropped_after: tuple[int, ...] = Field(
        description="A frame was lost after each of these frames; a number twice: two in a row."
    )
    repeated_frames: tuple[int, ...]
    dead_frames: tuple[int, ...]


class ObjectTruth(StrictModel):
    """A resting thing that one band shows and the other does not."""

    name: Slug
    band: Band
    infrared_outline_px: tuple[tuple[float, float], ...] = Field(
        description="Where it is, or would be, in undistorted infrared pixels, rig at rest."
    )
    visible_outline_px: tuple[tuple[float, float], ...] = Field(
        description="The same in undistorted visible pixels."
    )


class RecordingTruth(StrictModel):
    """What an estimate on this recording should find."""

    recording: Slug
    homography: Matrix3x3 = Field(
        description="Visible to infrared pixels, undistorted; exact for the farthest background."
    )
    parallax_px: float = Field(
        description="Infrared pixels by which the nearest thing misses that homography."
    )
    offset_s: float
    drift_ppm: float
    depth_m: Range
    baseline_m: float
    infrared: StreamTruth
    visible: StreamTruth
    objects: tuple[ObjectTruth, ...]


class BoardPose(StrictModel):
    """Where the board was: board point (x right, y down, z away) to the infrared camera's axes."""

    rotation: Matrix3x3
    translation_m: tuple[float, float, float] = Field(description="Of the first inner corner.")


class CalibrationTruth(StrictModel):
    """What a calibration from the board's footage should find."""

    board: CalibrationBoard
    infrared_lens: Lens
    visible_lens: Lens
    visible_from_infrared: Matrix3x3 = Field(description="Rotation between the cameras' axes.")
    visible_position_m: tuple[float, float, float] = Field(
        description="Centre of the visible camera, in the infrared camera's axes."
    )
    poses: tuple[BoardPose, ...] = Field(description="In order; each lasts frames_per_pose frames.")


SMALL_RECORDING = SimulatedRecording(id="walk", site="park", duration_s=4, offset_s=0.2)
"""Enough to relate two clocks by, and built within seconds."""


def small_simulation(recording: SimulatedRecording, *, seed: int = 0) -> SimulationSettings:
    """One recording by a rig of a third of the default's size, without calibration footage."""
    infrared, visible = default_infrared(), default_visible()
    return SimulationSettings(
        name="simulated-small",
        seed=seed,
        infrared=_resized(infrared, 96, 80),
        visible=_resized(visible, 192, 144),
        sessions=(
            SimulatedSession(id="outing", date=dt.date(2024, 4, 11), recordings=(recording,)),
        ),
        sites={recording.site: "train"},
        calibration=None,
    )


def _resized(simulated: SimulatedCamera, width: int, height: int) -> SimulatedCamera:
    """The same view on another pixel grid; pixel centres are integers, hence the half pixels."""
    across, down = width / simulated.camera.width, height / simulated.camera.height
    lens = simulated.lens
    camera = Camera(
        width=width,
        height=height,
        lens=lens.model_copy(
            update={
                "fx": lens.fx * across,
                "fy": lens.fy * down,
                "cx": (lens.cx + 0.5) * across - 0.5,
                "cy": (lens.cy + 0.5) * down - 0.5,
            }
        ),
    )
    return simulated.model_copy(update={"camera": camera})
