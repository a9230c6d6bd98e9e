"""Random numbers of degradations: each a hash of what it belongs to, never the next of a stream."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.base import Band, canonical_json

MAX_PIXELS_A_SIDE = 1 << 16
MAX_FRAMES = 1 << 31
"""Rows, groups of columns and frames each have bits of their own in the counter of a draw."""

HASH_STEP = 0x9E3779B97F4A7C15
HASH_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
HASH_SHIFTS = (30, 27, 31)
"""SplitMix64: Steele, Lea, Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014, figure 17 (variant 13 of Stafford's finalisers)."""

DRAWS_A_HASH = 4
"""Draws of 16 bits taken from one hash of 64, for four neighbouring columns."""

RANKS = 1 << 16
"""Values of a draw; a share of pixels is met to 1/65,536."""

NORMALS_A_HASH = 8
"""Normal draws taken from one hash of 64 bits, for eight neighbouring columns, in four pairs."""

NORMAL_UNIT = 1 << 12
"""A normal draw is one of 65,536 quantiles (at most 4.3 sigma) in steps of 1/4096 sigma."""


@dataclass(frozen=True)
class DegradationDraw:
    """Which of all possible draws: the recipe's seed, the clip and the band."""

    seed: int
    clip: str
    band: Band

    @cached_property
    def _begun(self) -> "hashlib._Hash":
        text = canonical_json(["degrade", self.seed, self.clip, self.band])
        return hashlib.sha256(text.encode())

    def key(self, place: str) -> int:
        """A 64-bit key for what is drawn at `place`."""
        begun = self._begun.copy()
        begun.update(place.encode())
        return int.from_bytes(begun.digest()[:8], "big")

    def share(self, place: str) -> float:
        """A number from 0 to below 1, one a clip, the same whenever it is asked for."""
        return (self.key(place) >> 11) / (1 << 53)

    def uniform(self, bounds: tuple[float, float], place: str) -> float:
        """A number between the bounds, one a clip."""
        low, high = bounds
        return low if low == high else low + (high - low) * self.share(place)


@dataclass(frozen=True)
class Window:
    """Where a block of pixels lies inside the whole frame, pixels."""

    y: int
    x: int
    frame_height: int
    frame_width: int


@dataclass(frozen=True)
class Grid:
    """Frames, rows and columns that something is drawn for, one number each."""

    frames: Sequence[int]
    """0 to 2**31 - 1."""
    y: int
    x: int
    height: int
    width: int
    device: torch.device


@dataclass(frozen=True)
class View:
    """Which frames and which part of them a block shows."""

    indices: tuple[int, ...]
    """Inside the clip, increasing."""
    window: Window
    device: torch.device

    def grid(self, frames: Tensor) -> Grid:
        """Of every pixel of the block (T, C, h, w) in every frame."""
        height, width = frames.shape[-2:]
        return Grid(self.indices, self.window.y, self.window.x, height, width, self.device)

    def still(self, frames: Tensor) -> Grid:
        """Of every pixel of the block, the same in all frames."""
        return replace(self.grid(frames), frames=(0,))


@dataclass(frozen=True)
class StepDraw:
    """What one step of a chain draws in this clip, and what the block it works on shows."""

    draw: DegradationDraw
    place: str
    strength: float
    """0 to 1."""
    view: View

    def key(self, name: str) -> int:
        """A key for what the step draws under `name`."""
        return self.draw.key(f"{self.place}/{name}")

    def uniform(self, bounds: tuple[float, float], name: str) -> float:
        """A number between the bounds, one a clip."""
        return self.draw.uniform(bounds, f"{self.place}/{name}")

    def scaled(self, bounds: tuple[float, float], name: str, identity: float = 0.0) -> float:
        """The same, drawn towards the value that changes nothing as the strength falls."""
        return identity + (self.uniform(bounds, name) - identity) * self.strength

    def at(self, name: str, index: int) -> float:
        """A number from 0 to below 1 that belongs to `index`."""
        return self.draw.share(f"{self.place}/{name}/{index}")


def ranks(key: int, grid: Grid) -> Tensor:
    """Whole numbers below 65,536, evenly drawn, each a function of (key, frame, y, x) alone.

    Four columns share a hash; its 16-bit quarters, lowest first (as little-endian machines lay
    them out, which all that torch is released for are), are four draws.

    Args:
        key: names the set of draws; 64 bits.
        grid: of T frames, h rows and w columns.

    Returns:
        int32, shape (T, h, w).
    """
    drawn, skipped = _words(lines(key, grid), grid, DRAWS_A_HASH)
    drawn = drawn[:, skipped : skipped + grid.width].to(torch.int32)
    return drawn.view(len(grid.frames), grid.height, grid.width)


def lines(key: int, grid: Grid) -> NDArray[np.uint64]:
    """What the hashes along each row of each frame begin with, (T * h,)."""
    frames = np.array(grid.frames, np.uint64)[:, None] << np.uint64(32)
    rows = np.arange(grid.y, grid.y + grid.height, dtype=np.uint64) << np.uint64(16)
    return ((frames + rows) * np.uint64(HASH_STEP) + np.uint64(key)).ravel()


def _words(starts: NDArray[np.uint64], grid: Grid, columns_a_hash: int) -> tuple[Tensor, int]:
    """The 16-bit quarters of all hashes that a grid's columns touch, uint16, shape (lines, words).

    Also tells how many of the first hash's columns lie left of the grid.
    """
    first, last = grid.x // columns_a_hash, (grid.x + grid.width - 1) // columns_a_hash
    groups = np.arange(first, last + 1, dtype=np.uint64) * np.uint64(HASH_STEP)
    state = _signed(starts, grid.device)[:, None] + _signed(groups, grid.device)
    return mixed(state).view(torch.uint16), grid.x - first * columns_a_hash


def _signed(numbers: NDArray[np.uint64], device: torch.device) -> Tensor:
    return torch.from_numpy(numbers.view(np.int64)).to(device)


def normal_draws(key: int, grid: Grid) -> Tensor:
    """Standard normal draws in units of 1/4096, int32, shape (T, h, w)."""
    drawn = line_normals(lines(key, grid), grid)
    return drawn.view(len(grid.frames), grid.height, grid.width)


def line_normals(starts: NDArray[np.uint64], grid: Grid) -> Tensor:
    """Normal draws along the grid's columns in units of 1/4096, int32, shape (lines, w).

    Eight columns share a hash, each of whose 16-bit quarters draws one of `normal_pairs`.

    Args:
        starts: of lines, which may belong to several keys.
        grid: whose columns and device are used.
    """
    drawn, skipped = _words(starts, grid, NORMALS_A_HASH)
    pairs = normal_pairs(grid.device).index_select(0, as_type(drawn, torch.int32).flatten())
    normals = pairs.view(torch.int32).view(len(starts), -1)
    return normals[:, skipped : skipped + grid.width]


def as_type(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of another type, contiguous."""
    made = torch.empty(numbers.shape, dtype=dtype, device=numbers.device)
    put(made, numbers)
    return made


def put(target: Tensor, source: Tensor) -> None:
    """Copy between types, fractions cut off; numpy does it two to eight times as fast as torch."""
    if target.device.type == "cpu":
        np.copyto(target.numpy(), source.numpy(), casting="unsafe")
    else:
        target.copy_(source)


def mixed(state: Tensor) -> Tensor:
    """The SplitMix64 hash of each 64-bit number; overwrites `state`."""
    if state.device.type != "cpu":
        return mixed_signed(state)
    hashed = state.numpy().view(np.uint64)  # of which numpy multiplies twice as many as torch
    shifted = np.empty_like(hashed)  # one for all: memory that is new costs more than the hash
    for shift, factor in zip(HASH_SHIFTS, (*HASH_FACTORS, 1), strict=True):
        np.right_shift(hashed, shift, out=shifted)
        hashed ^= shifted
        if factor != 1:
            hashed *= np.uint64(factor)
    return state


def mixed_signed(state: Tensor) -> Tensor:
    """The same on any device, whose torch has no unsigned numbers of 64 bits."""
    for shift, factor in zip(HASH_SHIFTS, (*HASH_FACTORS, 1), strict=True):
        # int64 is shifted with its sign: the mask makes it the shift of an unsigned number
        state ^= (state >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        if factor != 1:
            state *= factor - (factor >> 63 << 64)
    return state


@cache
def normal_pairs(device: torch.device) -> Tensor:
    """Pairs of normal draws in units of 1/4096, int32 side by side in int64, shape (65536,).

    A word's upper byte says in which 1/256 of the distribution the first draw lies, its lower byte
    the same of the second, so the two are independent to a 1/256; where inside it, the other's
    byte says, its bits turned round so that neighbouring parts of one are scattered over the other.
    Each draw alone takes every one of 65,536 quantiles, mirrored about zero, exactly once.
    """
    probability = (torch.arange(RANKS // 2, dtype=torch.float64) + 0.5) / RANKS
    lower = torch.special.ndtri(probability).mul(NORMAL_UNIT).round().to(torch.int32)
    quantiles = torch.cat([lower, -lower.flip(0)])
    turned = torch.tensor([int(f"{byte:08b}"[::-1], 2) for byte in range(256)])
    first = quantiles.view(256, 256)[:, turned]
    return torch.stack([first, first.T], dim=-1).view(torch.int64).flatten().to(device)


def rank_below(share: float) -> int:
    """Ranks below this number make up `share` of all."""
    return math.floor(share * RANKS + 0.5)
