"""What a reviewer sends: decisions about a recording, each alone or several at once."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Slug, StrictModel
from schemas.catalog import Span

Point = tuple[float, float]

FourPoints = Annotated[tuple[Point, ...], Field(min_length=4, max_length=4)]


class Correction(StrictModel):
    """Four places of the visible image of a clip, and where they belong."""

    clip: Slug
    seen_at: FourPoints = Field(description="x, y, pixels of the clip, as it is registered now.")
    belong_at: FourPoints


class ReviewEdit(StrictModel):
    """Changes of one recording; what is not given stays."""

    decision: Literal["accept", "reject", "undecided"] | None = None
    reason: str | None = Field(None, max_length=1000)
    tags: tuple[Slug, ...] | None = None
    leave_out: tuple[Span, ...] | None = None
    offset_s: float | None = Field(None, ge=-60, le=60)
    correction: Correction | None = None

    @model_validator(mode="after")
    def _say_why(self) -> Self:
        if self.decision == "reject" and not (self.reason or "").strip():
            raise ValueError("a rejection needs a reason; say why")
        return self
