"""One order of windows, computed place by place, shared out evenly and resumable anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.sampler import WindowOrder, WindowSampler


def sequence(order: WindowOrder) -> list[int]:
    return [order.at(position) for position in range(order.length)]


@settings(max_examples=150)
@given(
    length=st.integers(1, 700),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 2**31),
    block=st.sampled_from([1, 2, 7, 64]),
)
def test_every_window_comes_once_an_epoch(length: int, seed: int, epoch: int, block: int) -> None:
    assert sorted(sequence(WindowOrder(length, seed, epoch, block))) == list(range(length))


def test_epochs_and_seeds_have_orders_of_their_own_and_neighbours_part() -> None:
    first = sequence(WindowOrder(5000, seed=1, epoch=0))

    assert first != sequence(WindowOrder(5000, seed=1, epoch=1))
    assert first != sequence(WindowOrder(5000, seed=2, epoch=0))
    together = sum(abs(a - b) == 1 for a, b in pairwise(first))
    assert together < 12  # two are expected of a random order


def test_the_order_has_not_moved() -> None:
    assert [WindowOrder(1000, 7, 3).at(p) for p in range(6)] == [992, 359, 533, 569, 468, 285]
    blocks = WindowOrder(1000, 7, 3, block=64)
    assert [blocks.at(p) for p in range(6)] == [
        221,
        927,
        339,
        551,
        954,
        665,
    ]


def test_a_place_in_ten_million_windows_needs_no_list() -> None:
    order = WindowOrder(10_000_000, seed=1, epoch=2)

    assert len({order.at(position) for position in range(9_999_000, 10_000_000)}) == 1000


def test_blocks_keep_few_shards_open_at_a_time() -> None:
    order = WindowOrder(64 * 200, seed=0, epoch=0, block=64)
    positions = range(64 * 16 * 3, 64 * 16 * 4)

    assert len({order.at(position) // 64 for position in positions}) == 16
    assert [order.at(position) for position in positions] != sorted(map(order.at, positions))


@settings(max_examples=100)
@given(
    length=st.integers(1, 200),
    ranks=st.integers(1, 7),
    later_ranks=st.integers(1, 7),
    rounds=st.integers(0, 40),
)
def test_ranks_share_one_sequence_and_others_may_go_on_with_it(
    length: int, ranks: int, later_ranks: int, rounds: int
) -> None:
    order = WindowOrder(length, seed=3, epoch=0)
    consumed = min(length, rounds * ranks)
    before = interleaved([WindowSampler(length, seed=3, rank=r, ranks=ranks) for r in range(ranks)])
    samplers = [
        WindowSampler(length, seed=3, rank=r, ranks=later_ranks) for r in range(later_ranks)
    ]
    for sampler in samplers:
        sampler.start = consumed
    after = interleaved(samplers)

    assert before[:length] == sequence(order)
    assert len(before) == -(-length // ranks) * ranks
    resumed = before[:consumed] + after
    assert resumed[:length] == sequence(order)
    assert {len(sampler) for sampler in samplers} == {-(-(length - consumed) // later_ranks)}


def interleaved(samplers: list[WindowSampler]) -> list[int]:
    """What the ranks read, in the order of their positions: rank by rank of every round."""
    shares = {id(sampler): list(sampler) for sampler in samplers}
    start = samplers[0].start
    turned = samplers[start % len(samplers) :] + samplers[: start % len(samplers)]
    return [shares[id(sampler)][place] for place in range(len(samplers[0])) for sampler in turned]


@pytest.mark.parametrize(
    ("length", "rank", "ranks", "block"), [(0, 0, 1, 1), (5, 2, 2, 1), (5, -1, 2, 1), (5, 0, 1, 0)]
)
def test_numbers_out_of_range_are_refused(length: int, rank: int, ranks: int, block: int) -> None:
    with pytest.raises(ValueError, match=f"{length} windows, rank {rank} of {ranks}"):
        WindowSampler(length, rank=rank, ranks=ranks, block=block)
