"""Where the frames of a camera lie in a file that does not say so itself."""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import StrictModel

MAX_CAMERA_PIXELS = 16384
"""Largest side of a camera image, pixels; beyond it a typing error is likelier than a camera."""


class RawLayout(StrictModel):
    """How the frames of a file without any container lie: grey, row by row, one after the other."""

    width: int = Field(ge=1, le=MAX_CAMERA_PIXELS, description="Pixels of a row.")
    height: int = Field(ge=1, le=MAX_CAMERA_PIXELS, description="Rows of a frame.")
    bits: Literal[8, 16] = Field(16, description="16: Y16, also of sensors of 10 to 14 bits.")
    endianness: Literal["little", "big"] = Field("little", description="Of 16-bit samples.")
    header_bytes: int = Field(0, ge=0, le=2**30, description="Before the first frame.")
    frame_header_bytes: int = Field(0, ge=0, le=2**30, description="Before every frame.")

    @property
    def frame_bytes(self) -> int:
        """Of a frame and its header."""
        return self.frame_header_bytes + self.width * self.height * self.bits // 8


class StreamLayout(StrictModel):
    """Where a camera's frames lie in its file, where the file does not say so itself."""

    raw: RawLayout | None = Field(None, description="Of a file of nothing but frames.")
    crop: tuple[int, int, int, int] | None = Field(
        None,
        description="x, y, width, height of this camera's picture, where one file shows more; "
        "pixels of the frame as players show it.",
    )
    topic: str | None = Field(
        None, min_length=1, max_length=1000, description="Of its images in a ROS bag or MCAP file."
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.crop is not None:
            x, y, width, height = self.crop
            if min(x, y) < 0 or min(width, height) < 1:
                raise ValueError(
                    f"crop {list(self.crop)} is no part of a picture; give [x, y, width, height]"
                )
        if self.raw is not None and self.topic is not None:
            raise ValueError("raw and topic exclude each other; remove one of them")
        return self


class Layouts(StrictModel):
    """The layouts of both streams; None: the file says all itself."""

    infrared: StreamLayout | None = None
    visible: StreamLayout | None = None
