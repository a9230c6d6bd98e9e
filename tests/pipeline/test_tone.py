"""One mapping of counts to grey levels for a whole recording."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tone import tone_mapped
from schemas.facts import ToneMapping

TONE = ToneMapping(low_counts=7000, high_counts=8020)


def test_the_ends_of_the_range_become_black_and_white() -> None:
    counts = np.array([0, 7000, 7004, 8020, 65535], np.uint16)

    assert tone_mapped(counts, TONE).tolist() == [0, 0, 1, 255, 255]


@given(st.integers(0, 65534))
def test_more_counts_are_never_darker(counts: int) -> None:
    pair = np.array([counts, counts + 1], np.uint16)

    darker, brighter = tone_mapped(pair, TONE).tolist()

    assert darker <= brighter


def test_a_level_stands_for_the_counts_nearest_to_it() -> None:
    levels = np.arange(256)
    counts = (7000 + 4 * levels).astype(np.uint16)

    assert tone_mapped(counts, TONE).tolist() == levels.tolist()
