"""16-bit infrared counts to grey levels, by one mapping for a whole recording."""

import numpy as np
from numpy.typing import NDArray

from schemas.facts import ToneMapping

WHITE = 255


def tone_mapped(counts: NDArray[np.uint16], tone: ToneMapping) -> NDArray[np.uint8]:
    """Grey levels of counts: linear from `low_counts` to `high_counts`, clamped beyond.

    The same mapping for every frame of a recording, so that nothing flickers (CAPTURE.md
    section 4).

    Args:
        counts: of any shape.
        tone: the recording's mapping.
    """
    span = np.float32(tone.high_counts - tone.low_counts)
    levels = (counts.astype(np.float32) - np.float32(tone.low_counts)) * (np.float32(WHITE) / span)
    return np.asarray(np.rint(np.clip(levels, 0, WHITE)), np.uint8)
