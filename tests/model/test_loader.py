"""Batches go on where they stopped, with other workers, ranks and sizes; turns come on arrival."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.clips import ClipWindows
from model.loader import Batch, Share, WindowLoader, collate, pack, to_device, turned
from schemas.errors import TrainError
from tests.model.clip_fixtures import PlannedClip, Shelf, write_release
from tests.model.test_train import MovingSquares

LENGTH = 40


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return write_release(tmp_path_factory.mktemp("work"), PlannedClip("dock-000", pairs=LENGTH))


def windows_of(shelf: Shelf, **settings: Any) -> ClipWindows:
    return ClipWindows(shelf.release, frames=2, crop=8, **settings)


def samples(loaders: list[WindowLoader], consumed: int = 0) -> list[Tensor]:
    """The infrared crops of an epoch in the order of their positions, all ranks together."""
    first = consumed % len(loaders)
    loaders = loaders[first:] + loaders[:first]
    batches = [[batch["infrared"] for batch in loader] for loader in loaders]
    assert len({tuple(map(len, rank)) for rank in batches}) == 1  # else ranks wait for each other
    shares = [torch.cat(rank) for rank in batches]
    return [share[place] for place in range(len(shares[0])) for share in shares]


def same(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(found) == len(wanted) and all(map(torch.equal, found, wanted))


@settings(max_examples=25)
@given(
    batch=st.integers(1, 9),
    ranks=st.integers(1, 4),
    taken=st.integers(0, 12),
    later_batch=st.integers(1, 9),
    later_ranks=st.integers(1, 4),
)
def test_a_run_resumed_in_mid_epoch_reads_what_an_undisturbed_one_reads(
    shelf: Shelf, *, batch: int, ranks: int, taken: int, later_batch: int, later_ranks: int
) -> None:
    undisturbed = samples([WindowLoader(windows_of(shelf), batch=5, seed=4)])
    loaders = [
        WindowLoader(windows_of(shelf), batch=batch, seed=4, share=Share(rank, ranks))
        for rank in range(ranks)
    ]
    running = [iter(loader) for loader in loaders]
    for _ in range(min(taken, len(loaders[0]) - 1)):
        for batches in running:
            next(batches)
    states = [loader.state_dict() for loader in loaders]
    consumed = states[0]["consumed"]
    assert isinstance(consumed, int)

    later = [
        WindowLoader(windows_of(shelf), batch=later_batch, seed=4, share=Share(rank, later_ranks))
        for rank in range(later_ranks)
    ]
    for loader in later:
        loader.load_state_dict(states[0])
    rest = samples(later, consumed)

    assert all(state == states[0] for state in states)
    assert same(rest[: LENGTH - consumed], undisturbed[consumed:])
    ends = [loader.state_dict() for loader in later]
    assert all((end["epoch"], end["consumed"]) == (1, 0) for end in ends)


@pytest.mark.parametrize(("workers", "later_workers"), [(0, 2), (2, 1)])
def test_what_workers_read_ahead_is_not_counted_and_epochs_follow_each_other(
    shelf: Shelf, workers: int, later_workers: int
) -> None:
    alone = WindowLoader(windows_of(shelf), batch=4)
    expected = [batch["infrared"] for _ in range(2) for batch in alone]
    loader = WindowLoader(windows_of(shelf), batch=4, workers=workers)
    first = [batch["infrared"] for batch in loader]
    second: list[Tensor] = []
    for batch in loader:
        second.append(batch["infrared"])
        if len(second) == 3:
            break
    state = loader.state_dict()

    again = WindowLoader(windows_of(shelf), batch=4, workers=later_workers)
    again.load_state_dict(state)
    rest = [batch["infrared"] for batch in again]

    assert (state["epoch"], state["consumed"]) == (1, 12)
    assert same(first + second + rest, expected)
    assert not same(first, expected[len(first) :])


def test_no_window_is_left_out_where_batches_do_not_fill(shelf: Shelf) -> None:
    loader = WindowLoader(windows_of(shelf), batch=7)

    sizes = [len(batch["visible"]) for batch in loader]

    assert sizes == [7] * 5 + [5]
    assert loader.state_dict()["epoch"] == 1


def test_a_state_of_another_order_or_of_other_data_is_refused(shelf: Shelf) -> None:
    state = WindowLoader(windows_of(shelf), batch=4, seed=1).state_dict()
    loader = WindowLoader(windows_of(shelf), batch=4, seed=2)

    with pytest.raises(TrainError, match="seed 1, this run has 2"):
        loader.load_state_dict(state)
    other = WindowLoader(windows_of(shelf, seed=3), batch=4, seed=1)
    with pytest.raises(TrainError, match="data state has seed 0, this run has 3"):
        other.load_state_dict(state)
    elsewhere = {**windows_of(shelf, seed=3).state_dict(), "root_hash": "f" * 64}
    with pytest.raises(TrainError, match=f"root_hash '{'f' * 64}', this run has '"):
        other.load_state_dict({**state, "windows": elsewhere})
    with pytest.raises(TrainError, match="consumed"):
        other.load_state_dict({**state, "consumed": "all"})
    with pytest.raises(TrainError, match="instead of"):
        other.load_state_dict({"epoch": 1})


class DyingWindows(MovingSquares):
    """Windows whose third one is the death of the process that reads it."""

    def __getitem__(self, index: int) -> Batch:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_killed_worker_is_an_error_and_no_hang() -> None:
    begun = time.monotonic()

    with pytest.raises(TrainError, match=r"has died.*fewer workers"):
        list(WindowLoader(DyingWindows(5), batch=1, workers=1))

    assert time.monotonic() - begun < 60


def test_colours_stay_together_in_memory_and_arrive_in_order(shelf: Shelf) -> None:
    windows = windows_of(shelf)
    batch = collate([windows[0], windows[1]])

    arrived = to_device(batch, "cpu")

    assert batch["visible"].shape == (2, 2, 3, 8, 8)
    assert batch["visible"].stride(2) == 1
    assert arrived["visible"].is_contiguous()
    assert arrived["visible"].dtype == torch.float32
    assert torch.equal(
        arrived["visible"], torch.stack([windows[0]["visible"], windows[1]["visible"]]) / 255
    )


def test_a_packed_batch_is_the_collated_one_in_a_single_piece_of_memory(shelf: Shelf) -> None:
    windows = windows_of(shelf, augment=True)
    samples = [windows[0], windows[1]]

    packed = pack(samples).batch()

    expected = collate(samples)
    assert packed.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(packed[name], tensor), name
    assert packed["visible"].stride(2) == 1
    assert len({tensor.untyped_storage().data_ptr() for tensor in packed.values()}) == 1


def test_turns_are_done_on_arrival(shelf: Shelf) -> None:
    windows = windows_of(shelf, augment=True)
    chosen = [windows[index] for index in range(12)]
    arrived = to_device(collate(chosen), "cpu")

    assert "turn" not in arrived
    for sample, frames in zip(chosen, arrived["infrared"], strict=True):
        code = int(sample["turn"])
        expected = sample["infrared"]
        expected = expected.flip(0) if code & 4 else expected
        expected = expected.flip(2) if code & 2 else expected
        expected = expected.flip(3) if code & 1 else expected
        expected = expected.rot90(code >> 3, (2, 3))
        assert torch.equal(frames, expected / 255)


def test_every_code_is_a_turn_of_its_own() -> None:
    frames = torch.arange(2 * 9, dtype=torch.uint8).view(1, 2, 1, 3, 3)

    seen = {turned(frames, [code]).numpy().tobytes() for code in range(32)}

    assert len(seen) == 16  # eight of the square, each forwards and backwards
    assert turned(frames, [0]) is frames


def test_a_deleted_shard_is_an_error_in_the_worker_too(tmp_path: Path) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-000", pairs=9))
    (shelf.store("dock-000") / "visible/c/0/0/0/0").unlink()
    loader = WindowLoader(windows_of(shelf), batch=1, workers=1)

    with pytest.raises(Exception, match=r"visible/c/0/0/0/0 is missing"):
        list(loader)
