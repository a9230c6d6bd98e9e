"""What we choose: one section per stage, each number with its unit and its source."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.base import StrictModel


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if low > high:
        raise ValueError(f"the range [{low}, {high}] runs backwards; put the smaller number first")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Lowest and highest value of a uniform draw; equal ends fix the value."""


NoiseRange = Annotated[
    tuple[Annotated[float, Field(ge=0, le=64)], Annotated[float, Field(ge=0, le=64)]],
    AfterValidator(_ordered),
]
"""Standard deviations in grey levels; four times 64 already spans all 256 of them."""

BlurRange = Annotated[
    tuple[Annotated[float, Field(ge=0, le=16)], Annotated[float, Field(ge=0, le=16)]],
    AfterValidator(_ordered),
]
"""Standard deviations in pixels; the widest blur measured is 2 (CAPTURE.md section 1)."""


class IngestRecipe(StrictModel):
    """How raw files are read and measured."""

    tone_percentiles: Range = Field(
        (0.1, 99.9),
        description="Percentiles of 16-bit infrared counts, pooled over the recording, that become "
        "grey levels 0 and 255 (CAPTURE.md section 4).",
    )
    drop_repeated: bool = Field(
        False,
        description="Leave repeated frames out of the pairs. Off by default, since lossy codecs "
        "repeat frames of a still scene rightly; switch it on for lossless recordings.",
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
        0.22,
        ge=0,
        le=1,
        description="Least lead of the best offset's correlation over any other's. On six "
        "simulated recordings the right videos led by 0.27 to 0.75, wrong ones by 0.17 or less.",
    )


class RegisterRecipe(StrictModel):
    """How the visible image is mapped onto the infrared one."""

    frames: int = Field(8, ge=1, le=64, description="Pairs pooled for one estimate.")
    min_confidence: float = Field(
        0.28,
        ge=0,
        le=1,
        description="Lowest accepted descriptor correlation (CAPTURE.md section 2, gate).",
    )
    min_overlap: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Smallest accepted share of the infrared image that the visible camera sees.",
    )


class StripeNoise(StrictModel):
    """Static column stripes and white noise, in grey levels of 0..255 (CAPTURE.md section 1)."""

    kind: Literal["stripe-noise"] = "stripe-noise"
    stripe_sigma_levels: NoiseRange = Field(
        (7.0, 12.0), description="Standard deviation of the column offsets, drawn once a clip."
    )
    white_sigma_levels: NoiseRange = Field(
        (9.0, 14.0), description="Standard deviation of the noise new in every frame."
    )


class GaussianBlur(StrictModel):
    """Isotropic blur, the same in every frame of a clip (CAPTURE.md section 1)."""

    kind: Literal["gaussian-blur"] = "gaussian-blur"
    sigma_px: BlurRange = Field((1.0, 2.0), description="Standard deviation, pixels, one a clip.")


Degradation = Annotated[StripeNoise | GaussianBlur, Field(discriminator="kind")]


class DegradeRecipe(StrictModel):
    """What is done to clean frames to obtain degraded ones, in this order."""

    infrared: tuple[Degradation, ...] = (StripeNoise(),)
    visible: tuple[Degradation, ...] = (GaussianBlur(),)
    materialise: bool = Field(
        True, description="Store degraded frames; otherwise the loader makes the same ones."
    )


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


class Recipe(StrictModel):
    """Every choice that shapes a dataset."""

    seed: int = Field(0, ge=0, lt=2**63, description="Every random draw follows from it.")
    ingest: IngestRecipe = IngestRecipe()
    sync: SyncRecipe = SyncRecipe()
    register_: RegisterRecipe = Field(RegisterRecipe(), alias="register")
    degrade: DegradeRecipe = DegradeRecipe()
    shard: ShardRecipe = ShardRecipe()
    publish: PublishRecipe = PublishRecipe()
