"""What we choose: one section per stage, each number with its unit and its source."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from schemas.base import Sha256, StrictModel
from schemas.degradations import (
    BadPixels,
    Degradation,
    DroppedFrames,
    FixedPatternDrift,
    GainAndOffset,
    GaussianBlur,
    Haze,
    ImpulseNoise,
    JpegCompression,
    LowContrast,
    LowLight,
    Misregistration,
    MotionBlur,
    Rain,
    RepeatedFrames,
    StripeNoise,
    ToneCurve,
    VideoCompression,
)
from schemas.ranges import ordered

Range = Annotated[tuple[float, float], AfterValidator(ordered)]
"""Lowest and highest value of a uniform draw; equal ends fix the value."""


class IngestRecipe(StrictModel):
    """How raw files are read and measured."""

    tone_percentiles: Range = Field(
        (0.1, 99.9),
        description="Percentiles of 16-bit infrared counts, pooled over the recording, that become "
        "grey levels 0 and 255 (CAPTURE.md section 4).",
    )
    tone_smoothing_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Standard deviation of the window in time over which counts are averaged "
        "before they become a tone curve, seconds (2 or more: CAPTURE.md section 4).",
    )
    tone_plateau: float = Field(
        5.0,
        ge=1,
        le=64,
        description="Steepest part of a tone curve, in slopes of a straight line; 1 is one. "
        "Steeper curves show more of where most pixels are, and less within the few warm things. "
        "The least whole number whose detail is that of CLAHE with a clip limit of 3 on every "
        "recording of the simulated rig (tests/benchmarks/bench_tone.py).",
    )
    drop_repeated: bool = Field(
        False,
        description="Leave repeated frames out of the pairs. Off by default, since lossy codecs "
        "repeat frames of a still scene rightly; switch it on for lossless recordings.",
    )
    drop_torn: bool = Field(
        True,
        description="Leave torn frames out of the pairs; those of registered recordings stay, "
        "which somebody else has chosen.",
    )


class SyncRecipe(StrictModel):
    """How the two clocks are related."""

    max_offset_s: float = Field(5.0, gt=0, le=60, description="Largest offset tried, seconds.")
    max_drift_ppm: float = Field(
        200.0, ge=0, le=2000, description="Largest relative clock error tried, parts per million."
    )
    max_residual_frames: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Furthest a pair's instants may lie apart, in periods of the slower camera.",
    )
    min_confidence: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least lead of the best offset over any other, times the share of "
        "the movement that says the same. Set above the 0.47 that the highest of 60 foreign pairs "
        "of the three whole videos of M3SVD and of simulated streets reached by motion alone; "
        "110 other draws of the same videos stayed below 0.32. Own pairs reach 0.1 to 0.7 by "
        "motion alone, 0.7 to 0.9 through the view of what rests.",
    )


class EdgeMatcher(StrictModel):
    """Directions of edges, compared without any learned weights."""

    kind: Literal["edges"] = "edges"


class LoftrMatcher(StrictModel):
    """Kornia's LoFTR finds matches, with weights that the user has.

    The homography through them is tried first and judged like any other; where it does not hold,
    the edges are searched as without it.
    """

    kind: Literal["loftr"]
    weights: str = Field(
        min_length=1,
        description="A local checkpoint of kornia.feature.LoFTR, .safetensors or as torch saves "
        "it; relative to the folder of the recordings.",
    )
    sha256: Sha256 = Field(description="Of that file, so that other weights are another recipe.")


Matcher = Annotated[EdgeMatcher | LoftrMatcher, Field(discriminator="kind")]


class RegisterRecipe(StrictModel):
    """How the visible image is mapped onto the infrared one."""

    frames: int = Field(8, ge=1, le=64, description="Pairs pooled for one estimate.")
    matcher: Matcher = Field(EdgeMatcher(), description="What proposes the first homography.")
    min_confidence: float = Field(
        0.28,
        ge=0,
        le=1,
        description="Least share of the texture whose own best match lies where the homography "
        "puts it. On M3SVD right ones have 0.36 or more, those of two different clips 0.13 or less "
        "(tests/benchmarks/bench_registration.py).",
    )
    min_overlap: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Smallest accepted share of the infrared image that the visible camera sees.",
    )


DegradePreset = Literal["m3svd", "m3svd-release", "night", "weather", "handheld", "radio-link"]

M3SVD_NOISE = StripeNoise(stripe_sigma_levels=(7.55, 11.3), white_sigma_levels=(8.9, 13.9))
M3SVD_BLUR = GaussianBlur(sigma_px=(1.08, 1.94))
"""What M3SVD's nine validation clips span (CAPTURE.md section 1): stripes of 7.3 to 11.7 levels,
drawn in by the standard error that 640 columns leave, so that clips measured again lie within it.
The kinds' own defaults are these ranges rounded outwards: one draw in seven lies beyond them."""

DEGRADE_PRESETS: dict[DegradePreset, dict[str, tuple[Degradation, ...]]] = {
    "m3svd": {"infrared": (M3SVD_NOISE,), "visible": (M3SVD_BLUR,)},
    "m3svd-release": {
        "infrared": (ToneCurve(), M3SVD_NOISE),
        "visible": (M3SVD_BLUR, GainAndOffset()),
    },
    "night": {
        "infrared": (LowContrast(), FixedPatternDrift(), BadPixels()),
        "visible": (LowLight(),),
    },
    "weather": {
        "infrared": (LowContrast(), GaussianBlur(sigma_px=(0.5, 1.0))),
        "visible": (Haze(), Rain()),
    },
    "handheld": {
        "infrared": (MotionBlur(path_px=(2.0, 6.0)), StripeNoise(strength=(0.3, 0.6))),
        "visible": (MotionBlur(), Misregistration(), JpegCompression()),
    },
    "radio-link": {
        "infrared": (VideoCompression(), ImpulseNoise(), RepeatedFrames()),
        "visible": (VideoCompression(), ImpulseNoise(), DroppedFrames()),
    },
}
"""Chains with a name. m3svd has the published degradations; m3svd-release adds the tone of the
authors' files, which may not belong to them (CAPTURE.md section 1). The others put together what
meets a rig at night, in bad weather, in the hand, and behind a poor radio link."""


class DegradeRecipe(StrictModel):
    """What is done to clean frames to obtain degraded ones, in this order."""

    preset: DegradePreset = Field(
        "m3svd", description="The chains of the bands that are not given."
    )
    infrared: tuple[Degradation, ...] = DEGRADE_PRESETS["m3svd"]["infrared"]
    visible: tuple[Degradation, ...] = DEGRADE_PRESETS["m3svd"]["visible"]
    materialise: bool = Field(
        True, description="Store degraded frames; otherwise the loader makes the same ones."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", "m3svd")
        known = isinstance(preset, str) and preset in DEGRADE_PRESETS
        return {**DEGRADE_PRESETS[preset], **given} if known else given


class ShardRecipe(StrictModel):
    """How clips are cut and written."""

    profile: Literal["default", "publish", "cache"] = Field(
        "default",
        description="default: fastest compressed training reads; publish: smallest; "
        "cache: uncompressed for a local disk (STORE.md section 6).",
    )
    min_pairs: int = Field(
        7, ge=2, description="Shortest clip, pairs: one training window (MODEL.md section 2.4)."
    )
    keep_counts: bool = Field(
        True, description="Keep 16-bit infrared counts beside the 8-bit frames."
    )


class PublishRecipe(StrictModel):
    """What a published release shows."""

    card_clips: int = Field(
        6, ge=0, le=24, description="Clips shown in the picture of the dataset card."
    )
    preview_pairs: int = Field(
        60,
        ge=0,
        le=600,
        description="Pairs of the preview video of every clip; 0: neither video nor picture.",
    )


class Recipe(StrictModel):
    """Every choice that shapes a dataset."""

    seed: int = Field(0, ge=0, lt=2**63, description="Every random draw follows from it.")
    ingest: IngestRecipe = IngestRecipe()
    sync: SyncRecipe = SyncRecipe()
    register_: RegisterRecipe = Field(RegisterRecipe(), alias="register")
    degrade: DegradeRecipe = DegradeRecipe()
    shard: ShardRecipe = ShardRecipe()
    publish: PublishRecipe = PublishRecipe()
