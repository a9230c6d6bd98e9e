"""What an evaluation found."""

from typing import Literal

from pydantic import Field

from schemas.base import StrictModel
from schemas.training import Precision

Scores = dict[str, float | None]
"""By metric; None where a clip is too short for one, or a value is not finite."""

Sources = Literal["clean", "degraded"]

Stretch = Literal["none", "frame"]
"""Whether a network's fused frames keep their range, or each is stretched to 0..255 by its own
lowest and highest value, as the paper's tester does (MODEL.md section 2.9); then they flicker."""

DEFINITIONS = {
    "EN": "entropy, bits",
    "MI": "mutual information with infrared plus that with visible, bits",
    "MI_nats": "the same in nats",
    "MI_matlab": "the same in bits, levels 254 and 255 in one bin of the joint histogram",
    "SD": "standard deviation, grey levels",
    "SSIM": "mean over both sources, dynamic range 255, 11 x 11 window of sigma 1.5",
    "SSIM_L1": "the same with a dynamic range of 1 on levels of 0..255, as MATLAB's default",
    "VIF": "pixel domain, four scales, sum over both sources",
    "VIF_mean": "the same, mean over both sources",
    "AG": "average gradient, grey levels a pixel",
    "SF": "spatial frequency, grey levels",
    "CC": "correlation, mean over both sources",
    "SCD": "sum of the correlations of differences",
    "Qabf": "edges kept, 0 to 1",
    "flowD": "distance to the frame before moved along the visible video's flow, RGB, grey levels",
    "BiSWE": "distance to both neighbours moved along the fused video's own flow, grey levels",
    "MS2R": "change of motion that the sources do not show, pixels",
    "PSNR_infrared": "restored infrared against the clean one, dB; of a method that restores "
    "nothing, the degraded one",
    "SSIM_infrared": "the same in structural similarity, dynamic range 255",
    "PSNR_visible": "restored visible against the clean one, dB, likewise",
    "SSIM_visible": "the same in structural similarity, mean of the colours",
}
"""What each metric is; MODEL.md section 1 has the formulas."""


DetectedStream = Literal["infrared", "visible", "fused"]


class StreamDetections(StrictModel):
    """Objects that a detector found and followed in one stream."""

    frames: int
    boxes: int = Field(description="Of followed objects, over all frames.")
    confidence: float | None = Field(description="Mean of the boxes; None where there are none.")
    tracks: int = Field(description="Objects told apart.")
    track_frames: float | None = Field(description="Frames in which one is seen, mean.")
    id_switches: int = Field(
        description="Boxes of neighbouring frames that overlap by half and have two tracks."
    )


Detections = dict[DetectedStream, StreamDetections]
"""Empty where no detector was asked for."""


class EvaluationSettings(StrictModel):
    """All that decides the numbers beside the frames."""

    fused: str = Field(description="What was scored: a folder, a method or weights.")
    sources: Sources = Field(description="Which frames fusion is compared with.")
    flow: str = Field(description="Method of optical flow; values of others are not comparable.")
    direction: Literal["backward", "literal"] = Field(description="Of the flow of flowD.")
    stretch: Stretch = Field("none", description="Of a network's fused frames.")
    precision: Precision = Field("float32", description="Of a network's arithmetic.")
    detector: str | None = Field(None, description="Whose objects were followed.")
    metrics: dict[str, str] = Field(description="What each metric is.")


class ClipScores(StrictModel):
    """Means over the frames of one clip."""

    clip: str
    frames: int
    tags: tuple[str, ...] = ()
    scores: Scores
    detections: Detections = Field(default_factory=dict)


class TagScores(StrictModel):
    """Means over the frames of all clips with one tag."""

    tag: str
    clips: int
    scores: Scores


class Evaluation(StrictModel):
    """Scores of fused videos."""

    overall: Scores = Field(description="Means over all frames of all clips.")
    intervals: dict[str, tuple[float, float] | None] = Field(
        description="95 % of the mean, by drawing clips anew; None for less than two clips."
    )
    settings: EvaluationSettings
    clips: tuple[ClipScores, ...]
    tags: tuple[TagScores, ...] = ()
    detections: Detections = Field(default_factory=dict, description="Over all clips.")


class Comparison(StrictModel):
    """Several things scored on the same clips."""

    subjects: tuple[Evaluation, ...] = Field(description="In the order they were asked for.")
