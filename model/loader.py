"""Batches of windows: one sequence for any number of workers and ranks, resumable at any batch."""

import math
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, UntypedStorage
from torch.utils.data import DataLoader, Dataset, get_worker_info

from model.sampler import SAMPLER_VERSION, WindowSampler
from schemas.errors import TrainError

TURN = "turn"
"""How a sample is to be turned on the device: a sum of the bits below, uint8, one a sample."""

MIRRORED, UPSIDE_DOWN, REVERSED, QUARTER_TURN = 1, 2, 4, 8
"""The last counts quarter turns: 8, 16 and 24 for one, two and three."""

Batch = dict[str, Tensor]
"""uint8 tensors `infrared`, `infrared_degraded` (B, T, 1, H, W), `visible`, `visible_degraded`
(B, T, 3, H, W), and `turn` (B,) where samples are turned."""


class Windows(Protocol):
    """What a loader needs of a data set of windows; `model.clips.ClipWindows` is one."""

    def __len__(self) -> int:
        """Number of windows."""
        ...

    def __getitem__(self, index: int, /) -> dict[str, Tensor]:
        """One window: the tensors of `Batch` without their first axis."""
        ...

    def where(self, index: int, /) -> str:
        """Where that window lies in this epoch, for messages."""
        ...

    def set_epoch(self, epoch: int, /) -> None:
        """Draw other crops and starts than in the epochs before."""
        ...

    def state_dict(self) -> dict[str, object]:
        """All that decides which samples come, as plain values."""
        ...

    def load_state_dict(self, state: dict[str, object], /) -> None:
        """Go on where `state` was taken."""
        ...


@dataclass(frozen=True)
class Share:
    """Which of the processes that train together this is."""

    rank: int = 0
    ranks: int = 1


class _Indexed(Dataset[dict[str, Tensor]]):
    """The windows as torch's loader wants them; nothing but the windows is sent to a worker."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._windows[index]


class WindowLoader:
    """Batches of one epoch a pass; every pass goes on where the last one or a saved state ended.

    The sequence of windows is that of the seed and the epoch, whatever the number of workers, ranks
    and windows a batch. `state_dict` counts the batches that were handed out, not those that
    workers have read ahead. The last batch of an epoch may be shorter; no window is left out, and
    every rank has as many batches of the same sizes.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch: int,
        seed: int = 0,
        workers: int = 0,
        share: Share = Share(),
        block: int = 1,
    ) -> None:
        """Read `windows` in batches of `batch`.

        Args:
            windows: a map-style data set.
            batch: windows a batch, on this rank.
            seed: of the order.
            workers: processes that read; 0 reads in this one. They start by `forkserver`, so that
                no lock or thread of this process is copied, and stay for all passes.
            share: the rank of this process.
            block: neighbouring windows that stay together in the order; 1 for none.
        """
        self._windows = windows
        self._batch = batch
        self._seed = seed
        self._share = share
        self._block = block
        self._sampler = WindowSampler(
            len(windows), seed=seed, rank=share.rank, ranks=share.ranks, block=block
        )
        self._loader: DataLoader[dict[str, Tensor]] = DataLoader(
            _Indexed(windows),
            batch_size=batch,
            sampler=self._sampler,
            num_workers=workers,
            collate_fn=pack if workers else collate,
            multiprocessing_context="forkserver" if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else every pass takes a number from torch's own
            worker_init_fn=_leave_interrupts_to_the_parent,
        )
        self._handed_out = range(0)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to."""
        return self._sampler.epoch

    def handed_out(self) -> list[int]:
        """The windows that the latest batches of all ranks together hold."""
        return [self._sampler.window(position) for position in self._handed_out]

    def __len__(self) -> int:
        """Batches left in this epoch."""
        return math.ceil(len(self._sampler) / self._batch)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of this epoch.

        Raises:
            StoreError: a store is missing, incomplete or damaged.
            TrainError: a process that reads was killed.
        """
        sampler = self._sampler
        self._windows.set_epoch(sampler.epoch)
        for loaded in _told_of_death(self._loader):
            batch = loaded.batch() if isinstance(loaded, PackedBatch) else loaded
            windows = next(iter(batch.values())).shape[0] * self._share.ranks
            self._handed_out = range(sampler.start, sampler.start + windows)
            sampler.start += windows
            yield batch
        sampler.epoch += 1
        sampler.start = 0

    def state_dict(self) -> dict[str, object]:
        """Where the next batch begins, as plain values; the same on every rank."""
        sampler = self._sampler
        return {
            "sampler_version": SAMPLER_VERSION,
            "seed": self._seed,
            "block": self._block,
            "epoch": sampler.epoch + sampler.is_over,
            "consumed": 0 if sampler.is_over else sampler.start,
            "windows": self._windows.state_dict(),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on where `state` was taken, by any number of workers and ranks.

        Raises:
            TrainError: the state is of other data, another order or no such state.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise TrainError(f"the saved loader state has {sorted(state)} instead of {sorted(own)}")
        for name in ("sampler_version", "seed", "block"):
            if state[name] != own[name]:
                raise TrainError(
                    f"the saved loader state has {name} {state[name]!r}, this run has "
                    f"{own[name]!r}; go on with the same settings, or start anew"
                )
        epoch, consumed, windows = state["epoch"], state["consumed"], state["windows"]
        if not isinstance(epoch, int) or not isinstance(consumed, int) or epoch < 0 or consumed < 0:
            raise TrainError(
                f"the saved loader state has epoch {epoch!r} and {consumed!r} windows consumed; "
                "both must be whole numbers from 0"
            )
        if not isinstance(windows, dict):
            raise TrainError(f"the saved loader state has the windows {windows!r}, no such state")
        self._windows.load_state_dict(windows)
        self._sampler.epoch, self._sampler.start = epoch, consumed


def _leave_interrupts_to_the_parent(_worker: int) -> None:
    """A terminal sends Ctrl-C to every process, and the parent still wants what is being read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _told_of_death(loader: DataLoader[dict[str, Tensor]]) -> Iterator["Batch | PackedBatch"]:
    """The batches of `loader`; a worker that was killed is told as what it is."""
    try:
        yield from loader
    except (RuntimeError, ConnectionError, EOFError) as error:
        # torch has no type of its own for it
        if isinstance(error, RuntimeError) and "exited unexpectedly" not in str(error):
            raise
        raise TrainError(
            "a process that reads windows has died, most likely killed for want of memory; "
            "use fewer workers or a smaller batch, then go on from the last checkpoint"
        ) from error


def collate(samples: list[dict[str, Tensor]]) -> Batch:
    """A batch of samples in the order of their bytes, so that colours are not pulled apart here."""
    return {name: _stacked([sample[name] for sample in samples]) for name in samples[0]}


def _stacked(tensors: list[Tensor]) -> Tensor:
    if not _is_channels_last(tensors[0]):
        return torch.stack(tensors)
    return torch.stack([tensor.permute(0, 2, 3, 1) for tensor in tensors]).permute(0, 1, 4, 2, 3)


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and not tensor.is_contiguous()


@dataclass(frozen=True)
class PackedBatch:
    """A batch as one tensor, which crosses from a worker in one piece of shared memory.

    Every piece costs both processes about a millisecond, as much as to read half a sample.
    """

    together: Tensor
    """(B, elements of a sample)."""
    layout: tuple[tuple[str, tuple[int, ...], bool], ...]
    """Of a sample: names, shapes, and whether colours lie beside each other."""

    def pin_memory(self) -> "PackedBatch":
        """The same in pinned memory; torch's loader asks for it."""
        return PackedBatch(self.together.pin_memory(), self.layout)

    def batch(self) -> Batch:
        """The tensors by name, which lie where they arrived."""
        sizes = [math.prod(shape) for _, shape, _ in self.layout]
        found: Batch = {}
        for part, (name, shape, is_last) in zip(
            torch.split(self.together, sizes, dim=1), self.layout, strict=True
        ):
            tensor = torch.unflatten(part, 1, shape) if shape else part[:, 0]
            found[name] = tensor.permute(0, 1, 4, 2, 3) if is_last else tensor
        return found


def pack(samples: list[dict[str, Tensor]]) -> PackedBatch:
    """The batch that `collate` makes, in one piece, each frame copied once.

    Args:
        samples: of one type and the same shapes.
    """
    layout = []
    for name, tensor in samples[0].items():
        is_last = _is_channels_last(tensor)
        layout.append((name, tuple(_as_it_lies(tensor, is_last=is_last).shape), is_last))
    sizes = [math.prod(shape) for _, shape, _ in layout]
    together = _room(len(samples), sum(sizes), next(iter(samples[0].values())))
    for sample, row in zip(samples, together, strict=True):
        for part, (name, shape, is_last) in zip(row.split(sizes), layout, strict=True):
            part.view(shape).copy_(_as_it_lies(sample[name], is_last=is_last))
    return PackedBatch(together, tuple(layout))


def _as_it_lies(tensor: Tensor, *, is_last: bool) -> Tensor:
    return tensor.permute(0, 2, 3, 1) if is_last else tensor


def _room(rows: int, elements: int, like: Tensor) -> Tensor:
    """An empty tensor, which lies in shared memory where a worker makes it."""
    if get_worker_info() is None:
        return like.new_empty((rows, elements))
    size_bytes = rows * elements * like.element_size()
    # what torch's own collating calls, for want of a public way; untyped
    shared = UntypedStorage._new_shared(size_bytes)  # type: ignore[no-untyped-call]  # noqa: SLF001
    return like.new_empty(0).set_(shared, 0, (rows, elements), (elements, 1))


def to_device(batch: Batch, device: torch.device | str) -> Batch:
    """The frames of a batch on `device`, turned there, as float32 in [0, 1].

    One transfer of bytes for each tensor; on a GPU it overlaps with what runs there.
    """
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    turns = batch[TURN].tolist() if TURN in batch else None
    return {
        name: _unit_range(frames if turns is None else turned(frames, turns))
        for name, frames in moved.items()
        if name != TURN
    }


def _unit_range(levels: Tensor) -> Tensor:
    return levels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def turned(frames: Tensor, turns: list[int]) -> Tensor:
    """Frames (B, T, C, h, w), each sample mirrored, turned and reversed as its code says."""
    if not any(turns):
        return frames
    return torch.stack([_turned(sample, turn) for sample, turn in zip(frames, turns, strict=True)])


def _turned(sample: Tensor, turn: int) -> Tensor:
    axes = [axis for axis, bit in ((-4, REVERSED), (-2, UPSIDE_DOWN), (-1, MIRRORED)) if turn & bit]
    flipped = sample.flip(axes) if axes else sample
    return flipped.rot90(turn // QUARTER_TURN, (-2, -1)) if turn >= QUARTER_TURN else flipped
