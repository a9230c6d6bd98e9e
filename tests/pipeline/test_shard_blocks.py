"""Frames are taken from a stream read once, and gathered with their kind checked."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.shard_blocks import frames_at, stacked
from schemas.errors import ShardError

FRAMES = 40


def numbered(first: int, read: list[int]) -> Iterator[NDArray[Any]]:
    """Frames that hold their own index; `read` tells which ones were asked for."""
    for index in range(first, FRAMES):
        read.append(index)
        yield np.full((2, 3), index, np.uint8)


@given(
    wanted=st.sets(st.integers(0, FRAMES - 1), min_size=1).map(sorted), skipped=st.integers(0, 9)
)
def test_gives_the_frames_asked_for_and_reads_none_twice(wanted: list[int], skipped: int) -> None:
    first = max(0, wanted[0] - skipped)
    read: list[int] = []

    found = list(frames_at(numbered(first, read), np.array(wanted), first=first, stream="ir.mkv"))

    assert [int(frame[0, 0]) for frame in found] == wanted
    assert read == list(range(first, wanted[-1] + 1))


def test_a_stream_that_ends_early_is_named() -> None:
    frames = frames_at(numbered(0, []), np.array([3, FRAMES]), first=0, stream="ir.mkv")

    assert next(frames)[0, 0] == 3
    with pytest.raises(ShardError, match=r"ir.mkv: frame 40 is wanted and the file ends before it"):
        next(frames)


def test_blocks_go_on_where_the_last_one_ended() -> None:
    frames = numbered(0, [])

    blocks = [stacked(frames, (pairs, 2, 3), np.uint8, stream="infrared") for pairs in (4, 2)]

    assert [block[:, 0, 0].tolist() for block in blocks] == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize(("shape", "dtype"), [((1, 3, 2), np.uint8), ((1, 2, 3), np.uint16)])
def test_a_frame_of_another_kind_is_named_with_both(
    shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    with pytest.raises(ShardError, match=r"visible: a frame of shape \(2, 3\), uint8, where the"):
        stacked(numbered(0, []), shape, dtype, stream="visible")
