"""What we measure: the small, readable results of the stages, kept under `work/facts`."""

from typing import Literal

from pydantic import Field

from schemas.base import Fingerprint, Matrix3x3, Sha256, Slug, StrictModel
from schemas.catalog import Lens

Stage = Literal["ingest", "sync", "register", "degrade", "shard", "publish", "review"]


class ToneMapping(StrictModel):
    """One linear mapping of a recording's 16-bit counts to grey levels, for registration.

    Clips follow the curve of each frame instead, which is saved beside the signals.
    """

    low_counts: float = Field(description="Counts that become grey level 0.")
    high_counts: float = Field(description="Counts that become grey level 255.")


class StreamFacts(StrictModel):
    """One camera's file, as it was found."""

    path: str = Field(description="Below the data root, as the catalog names it.")
    sha256: Sha256 = Field(description="Of the file, or of a folder's sorted names and hashes.")
    size_bytes: int
    container: str
    codec: str
    pixel_format: str
    color_range: str
    width: int
    height: int
    bit_depth: int = Field(description="Significant bits of a sample as stored: 8 or 16.")
    frames: int
    fps: float = Field(description="Frames per second: one over the median spacing.")
    time_source: Literal["timestamps", "presentation", "declared", "received"] = Field(
        description="The camera's log, the file's own times, a declared frame rate, or when a ROS "
        "recorder received each frame."
    )
    first_time_s: float
    last_time_s: float
    missing_frames: int = Field(description="Frames lost, by the spacing of the times.")
    repeated_frames: tuple[int, ...] = Field(
        description="Frames equal to their predecessor, by index."
    )
    dead_frames: tuple[int, ...] = Field(description="Frames of one single value, by index.")
    torn_frames: tuple[int, ...] = Field(
        (),
        description="Frames whose upper or lower rows are those of the frame before, or blank, by "
        "index; told of lossless streams alone.",
    )
    tone: ToneMapping | None = Field(None, description="None for 8-bit streams.")


class IngestFacts(StrictModel):
    """What the files of a recording hold."""

    recording: Slug
    fingerprint: Fingerprint
    infrared: StreamFacts
    visible: StreamFacts


class SyncFacts(StrictModel):
    """How the two clocks relate: infrared time = visible time * (1 + drift) + offset."""

    recording: Slug
    fingerprint: Fingerprint
    source: Literal["estimated", "declared", "registered"]
    offset_s: float
    drift_ppm: float
    confidence: float = Field(ge=0, le=1)
    pairs: int
    mean_residual_s: float = Field(description="Mean distance of a pair's two instants.")
    max_residual_s: float
    unpaired_infrared: int = Field(description="Infrared frames without a visible partner.")
    wander_s: float | None = Field(
        None,
        description="Largest distance of what a part of the recording says about the offset from "
        "the straight clock that was found: about a frame period where timestamps hide lost "
        "frames. None: not estimated.",
    )


class Stretch(StrictModel):
    """Pairs over which the rig kept still."""

    first_pair: int = Field(description="Of the recording's list of pairs, from 0.")
    end_pair: int = Field(description="One after the last.")
    homography: Matrix3x3 = Field(description="Visible pixels to infrared pixels.")
    confidence: float = Field(ge=0, le=1)
    mean_residual_px: float | None
    parallax_px: float | None = None


class RegisterFacts(StrictModel):
    """How the visible image maps onto the infrared one."""

    recording: Slug
    fingerprint: Fingerprint
    source: Literal["estimated", "declared", "registered"]
    homography: Matrix3x3 = Field(description="Visible pixels to infrared pixels.")
    confidence: float = Field(ge=0, le=1)
    mean_residual_px: float | None = Field(
        description="Mean disagreement of local matches with the homography; None: not measured."
    )
    parallax_px: float | None = Field(
        None,
        description="How far local matches spread about the homography along the direction in "
        "which they spread most: about what things at other depths miss it by. Where they do so "
        "is kept beside the facts. None: not measured.",
    )
    crop: tuple[int, int, int, int] = Field(
        description="x, y, width, height of the largest infrared rectangle both cameras see."
    )
    stretches: tuple[Stretch, ...] = Field(
        (),
        description="Where the rig moved: what holds when, in order; pairs between two of them "
        "belong to none. The homography above is that of the longest, the crop suits them all. "
        "Empty: the homography holds for all pairs.",
    )


class Alignment(StrictModel):
    """How two videos lie to each other in time and space; the answer of `twinband align`."""

    accepted: bool
    reason: str | None = Field(description="Why not, where it was refused.")
    offset_s: float | None = None
    drift_ppm: float | None = None
    sync_confidence: float | None = None
    homography: Matrix3x3 | None = Field(None, description="Visible pixels to infrared pixels.")
    registration_confidence: float | None = None
    mean_residual_px: float | None = None
    parallax_px: float | None = None
    pairs: int | None = None
    crop: tuple[int, int, int, int] | None = Field(
        None, description="x, y, width, height of what both cameras see, infrared pixels."
    )
    stretches: tuple[Stretch, ...] = Field(
        (), description="Where the rig moved; empty: the homography holds for all pairs."
    )


class ClipQuality(StrictModel):
    """Figures by which people judge a clip."""

    infrared_mean_levels: float
    infrared_contrast_levels: float = Field(description="Mean over frames of the deviation.")
    infrared_flicker_levels: float | None = Field(
        None,
        description="Largest change from frame to frame that the whole picture has in common; "
        "None: made before this was measured.",
    )
    visible_mean_levels: float
    visible_contrast_levels: float
    visible_sharpness: float = Field(description="Mean variance of the Laplacian of the luma.")
    mean_residual_s: float = Field(description="Mean distance in time of a pair's two frames.")
    sync_confidence: float
    registration_confidence: float


class LevelSums(StrictModel):
    """Exact sums over samples in grey levels; those of several clips add up."""

    samples: int = 0
    levels: int = 0
    squared_levels: int = 0


class ClipFacts(StrictModel):
    """One clip that was cut and sealed."""

    clip: Slug
    fingerprint: Fingerprint
    pairs: int
    fps: float
    width: int
    height: int
    root_hash: Sha256
    homography: Matrix3x3 = Field(description="Visible pixels to infrared pixels.")
    offset_s: float
    drift_ppm: float
    quality: ClipQuality
    infrared_levels: LevelSums = Field(description="Over the valid pixels of the clean frames.")
    visible_levels: LevelSums = Field(description="The same of the luma.")


class LeftOut(StrictModel):
    """A run of pairs that became no clip."""

    first_infrared_frame: int
    pairs: int
    reason: str


class Rejection(StrictModel):
    """A recording that cannot be used, and why."""

    recording: Slug
    stage: Stage
    reason: str


class ShardFacts(StrictModel):
    """What became of a recording: its clips, or its rejection."""

    recording: Slug
    fingerprint: Fingerprint
    sources: dict[str, Sha256] = Field(
        {}, description="Of every file of the recording, by its place there; none of a rejection."
    )
    clips: tuple[ClipFacts, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    rejection: Rejection | None = None


class RawFile(StrictModel):
    """What an object store said of a file when it was fetched."""

    size_bytes: int
    e_tag: str = Field(description="Changes with every write of other content.")


class RawFacts(StrictModel):
    """The files of a recording that lie on an object store, and their hashes as they were then."""

    address: str
    files: dict[str, RawFile] = Field(description="By path below the data root.")
    hashes: dict[str, Sha256] = Field(description="By place in the recording.")


class Checkerboard(StrictModel):
    """The board of calibration footage."""

    columns: int = Field(ge=3, le=100, description="Inner corners a row.")
    rows: int = Field(ge=3, le=100, description="Inner corners a column.")
    square_mm: float | None = Field(
        None, gt=0, description="Side of a square; scales distances alone, never the lens."
    )


class LensDeviations(StrictModel):
    """Standard deviations of a lens' numbers, as the corners' scatter leaves them; pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    k1: float
    k2: float
    p1: float
    p2: float
    k3: float = Field(description="0 where k3 is held at 0.")


class BoardView(StrictModel):
    """One frame on which the board was found."""

    source: str = Field(description="A video's frame by index, or the name of an image.")
    left_out: str | None = Field(None, description="Why it had no say; None: it had.")
    mean_residual_px: float | None = Field(
        None, description="Mean distance of its corners from where the lens puts them."
    )
    max_residual_px: float | None = None
    tilt_deg: float | None = Field(None, description="Between the board and the image plane.")
    distance_m: float | None = Field(None, description="None where no square_mm was given.")


class CameraCalibration(StrictModel):
    """A camera's lens as its checkerboard footage tells it, or why the footage cannot."""

    accepted: bool
    reasons: tuple[str, ...] = Field((), description="Why not, and what to do; all at once.")
    footage: str
    board: Checkerboard
    width: int
    height: int
    looked_at: int = Field(description="Frames in which the board was sought.")
    found: int = Field(description="Frames in which it was found.")
    used: int = Field(description="Views that the lens rests on.")
    lens: Lens | None = Field(None, description="Best fit, also of most refused footage.")
    deviations: LensDeviations | None = None
    mean_residual_px: float | None = Field(
        None, description="Reprojection error: mean over all corners of the views used."
    )
    coverage: tuple[tuple[int, ...], ...] = Field(
        description="Corners of the views used in every cell of the image, row by row."
    )
    coverage_share: float = Field(ge=0, le=1, description="Cells that hold a corner.")
    views: tuple[BoardView, ...] = ()


class CalibrationFacts(StrictModel):
    """The cameras of a rig that were calibrated; the answer of `twinband calibrate`."""

    accepted: bool = Field(description="Whether every camera that was filmed is determined.")
    rig: Slug
    catalog: str
    infrared: CameraCalibration | None = Field(None, description="None: not filmed.")
    visible: CameraCalibration | None = Field(None, description="None: not filmed.")
    pictures: dict[Literal["infrared", "visible"], str] = Field(
        {}, description="Of every camera that was filmed: coverage, misses and bend."
    )
