"""Bounds of what is drawn or measured, each with the values that it can sensibly take."""

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field


def ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    """The same bounds, if the smaller number comes first.

    Raises:
        ValueError: it does not.
    """
    low, high = bounds
    if low > high:
        raise ValueError(f"the range [{low}, {high}] runs backwards; put the smaller number first")
    return bounds


def rising(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """The same points, if their clean levels rise from each to the next.

    Raises:
        ValueError: they do not.
    """
    for (before, _), (after, _) in pairwise(points):
        if after <= before:
            raise ValueError(f"clean level {after} follows {before}; let them rise from each point")
    return points


Share = Annotated[float, Field(ge=0, le=1)]

ShareRange = Annotated[tuple[Share, Share], AfterValidator(ordered)]

NoiseLevels = Annotated[float, Field(ge=0, le=64)]
"""Four times 64 already spans all 256 grey levels."""

NoiseRange = Annotated[tuple[NoiseLevels, NoiseLevels], AfterValidator(ordered)]
"""Standard deviations in grey levels."""

BlurPixels = Annotated[float, Field(ge=0, le=16)]

BlurRange = Annotated[tuple[BlurPixels, BlurPixels], AfterValidator(ordered)]
"""Standard deviations or radii in pixels; the widest blur measured is 2 (CAPTURE.md section 1)."""

PathPixels = Annotated[float, Field(ge=0, le=48)]

PathRange = Annotated[tuple[PathPixels, PathPixels], AfterValidator(ordered)]

Level = Annotated[float, Field(ge=0, le=255)]

LevelRange = Annotated[tuple[Level, Level], AfterValidator(ordered)]

Stops = Annotated[float, Field(ge=0, le=8)]

StopRange = Annotated[tuple[Stops, Stops], AfterValidator(ordered)]
"""Exposure in stops: a factor of two of light each."""

Gain = Annotated[float, Field(ge=0, le=4)]

GainRange = Annotated[tuple[Gain, Gain], AfterValidator(ordered)]

Side = Annotated[float, Field(ge=1, le=16)]

SideRange = Annotated[tuple[Side, Side], AfterValidator(ordered)]

DropCount = Annotated[float, Field(ge=0, le=20_000)]

DropRange = Annotated[tuple[DropCount, DropCount], AfterValidator(ordered)]

Slope = Annotated[float, Field(ge=-1, le=1)]

SlopeRange = Annotated[tuple[Slope, Slope], AfterValidator(ordered)]

Quality = Annotated[float, Field(ge=1, le=100)]

QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(ordered)]

Quantiser = Annotated[float, Field(ge=0, le=51)]

QuantiserRange = Annotated[tuple[Quantiser, Quantiser], AfterValidator(ordered)]

BandCount = Annotated[float, Field(ge=0, le=64)]

BandRange = Annotated[tuple[BandCount, BandCount], AfterValidator(ordered)]

Gamma = Annotated[float, Field(ge=0.1, le=10)]

GammaRange = Annotated[tuple[Gamma, Gamma], AfterValidator(ordered)]

Offset = Annotated[float, Field(ge=-255, le=255)]

OffsetRange = Annotated[tuple[Offset, Offset], AfterValidator(ordered)]

Frames = Annotated[int, Field(ge=1, le=10_000)]
