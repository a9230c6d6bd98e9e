"""What a report says of clips, beyond what their release does."""

from typing import Literal

from pydantic import Field

from schemas.base import Slug, StrictModel

LOOK_VERSION = 1
"""Raised whenever looking at the same clip gives anything else."""

ConcernKind = Literal[
    "alike",
    "leak",
    "frozen",
    "over-exposed",
    "under-exposed",
    "blurred",
    "drifting",
    "misregistered",
]


class BandLook(StrictModel):
    """One band of a clip, over the pairs that were looked at."""

    histogram: tuple[int, ...] = Field(description="Valid pixels by grey level, 64 bins of 4.")
    changes_levels: tuple[float, ...] = Field(
        description="From each pair to the next: what the whole picture has in common."
    )
    repeated_share: float = Field(description="Frames equal to the one before, to the last bit.")
    black_share: float = Field(description="Pixels of level 5 and below.")
    white_share: float = Field(description="Pixels of level 250 and above.")
    hashes: tuple[str, ...] = Field(
        description="64 bits each, hexadecimal, of the frames at a tenth, half, and nine tenths."
    )


class ClipLook(StrictModel):
    """What was seen of a clip when its film was made."""

    version: int = LOOK_VERSION
    pairs: int = Field(description="From the first on: so many are in the film.")
    tile_width: int = Field(description="Of each of the six tiles of the film, pixels.")
    tile_height: int
    has_degraded: bool = Field(description="Whether degraded frames were stored, not made for it.")
    infrared: BandLook
    visible: BandLook
    moves_px: tuple[tuple[float, float] | None, ...] = Field(
        description="At the beginning, in the middle and at the end: by how much visible things "
        "lie beside infrared ones in the median, x and y; None: too little to tell."
    )


class Concern(StrictModel):
    """Something about a clip that a person should look at."""

    kind: ConcernKind
    clip: Slug
    other: Slug | None = Field(None, description="The clip that it shares the concern with.")
    value: float
    bound: float = Field(description="Beyond which it is a concern.")
    text: str
