"""What a file of frames is, whatever kind of file it is."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StreamProbe:
    """What a video file, a folder of frames, a raw file or a topic of a ROS bag is."""

    container: str
    codec: str
    pixel_format: str
    color_range: str
    width: int
    height: int
    bit_depth: int
    """8 or 16: bits that a sample takes when decoded."""
    times_s: NDArray[np.float64]
    """When each frame is shown, increasing, (T,)."""
    time_source: Literal["presentation", "declared", "received"]
    """Who says so: the file, the frame rate that was declared, or the recorder's own clock."""
    is_lossless: bool
    """Frames are the camera's own to the last bit, as far as the file can tell."""
