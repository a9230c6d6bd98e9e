"""The order in which the windows of an epoch are read: one sequence, however many read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from torch.utils.data import Sampler

SAMPLER_VERSION = 1
"""Raised whenever the same seed and epoch give another sequence."""

ROUNDS = 4
"""Of the Feistel network: three make a pseudorandom permutation (Luby and Rackoff, SIAM Journal
on Computing 17(2), 1988), a fourth keeps it one under both directions."""

MASK = (1 << 64) - 1

MAX_WINDOWS = 1 << 62


@dataclass(frozen=True)
class WindowOrder:
    """A permutation of the numbers below `length` that the seed and the epoch decide.

    Each place is computed by itself, so that a worker needs no list of ten million numbers and a
    resumed run no replay. With `block`, neighbouring windows stay together: blocks of that many
    are read in a random order, `mixed_blocks` of them shuffled among each other, so that few shards
    are open at a time on slow disks and far stores.
    """

    length: int
    seed: int
    epoch: int
    block: int = 1
    mixed_blocks: int = 16

    def at(self, position: int) -> int:
        """The window at `position` of the epoch.

        Raises:
            IndexError: there is no such position.
        """
        if not 0 <= position < self.length:
            raise IndexError(f"position {position} of {self.length}; positions start at 0")
        if self.block == 1:
            return self._permuted(position, self.length, "windows")
        whole = self.length // self.block * self.block
        if position >= whole:  # the last block, which is shorter, comes last
            return whole + self._permuted(position - whole, self.length - whole, "tail")
        blocks = whole // self.block
        group = position // (self.block * self.mixed_blocks)
        first = group * self.mixed_blocks
        count = min(self.mixed_blocks, blocks - first)
        place = position - first * self.block
        mixed = self._permuted(place, count * self.block, f"group-{group}")
        block = self._permuted(first + mixed // self.block, blocks, "blocks")
        return block * self.block + mixed % self.block

    def _permuted(self, place: int, size: int, name: str) -> int:
        """Where `place` goes in a permutation of `size` numbers (cycle walking)."""
        if size <= 1:
            return 0
        half = max(1, ((size - 1).bit_length() + 1) // 2)
        keys = _keys(self.seed, self.epoch, name)
        while True:
            left, right = place >> half, place & ((1 << half) - 1)
            for key in keys:
                left, right = right, left ^ (_hash(right ^ key) & ((1 << half) - 1))
            place = left << half | right
            if place < size:
                return place


@lru_cache(maxsize=256)
def _keys(seed: int, epoch: int, name: str) -> tuple[int, ...]:
    """A 64-bit key a round."""
    state = _hash(_hash(seed & MASK) ^ epoch)
    for byte in name.encode():
        state = _hash(state ^ byte)
    return tuple(_hash(state + number) for number in range(ROUNDS))


def _hash(value: int) -> int:
    """SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, figure 17)."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
    return value ^ value >> 31


class WindowSampler(Sampler[int]):
    """One rank's share of an epoch's windows, from any place of the epoch on.

    Position p of the epoch belongs to rank p mod ranks, so that all ranks together read the one
    sequence of `WindowOrder` whatever their number. What is left is read in rounds of a window a
    rank; the last one is filled up from the beginning of the epoch: nothing is left out, every rank
    reads as many, and fewer windows than there are ranks come twice.
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        block: int = 1,
    ) -> None:
        """Sample an epoch of `length` windows.

        Args:
            length: windows of an epoch.
            seed: of the order.
            rank: which of the processes that train together this is.
            ranks: how many they are.
            block: neighbouring windows that stay together, 1 for none; 64 pairs share a shard.

        Raises:
            ValueError: a number is out of its range.
        """
        if not 1 <= length <= MAX_WINDOWS or not 0 <= rank < ranks or block < 1:
            raise ValueError(
                f"{length} windows, rank {rank} of {ranks}, blocks of {block}; there must be a "
                "window, a rank below the number of ranks, and blocks of at least 1"
            )
        self._length = length
        self._seed = seed
        self._rank = rank
        self._ranks = ranks
        self._block = block
        self.epoch = 0
        self.start = 0
        """Position of the epoch that the next pass begins at; for all ranks together."""

    @property
    def is_over(self) -> bool:
        """Whether every window of the epoch was read."""
        return self.start >= self._length

    @property
    def own_positions(self) -> range:
        """The positions of this rank that are left, as many as every other rank's.

        They end beyond the last window where the last round is filled up.
        """
        rounds = -(-max(0, self._length - self.start) // self._ranks)
        first = self.start + (self._rank - self.start) % self._ranks
        return range(first, first + rounds * self._ranks, self._ranks)

    def window(self, position: int) -> int:
        """The window at `position` of this epoch; beyond its end, from its beginning again."""
        return self._order.at(position % self._length)

    def __len__(self) -> int:
        return len(self.own_positions)

    def __iter__(self) -> Iterator[int]:
        order = self._order
        for position in self.own_positions:
            yield order.at(position % self._length)

    @property
    def _order(self) -> WindowOrder:
        return WindowOrder(self._length, self._seed, self.epoch, self._block)
