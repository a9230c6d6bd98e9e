"""Random numbers of degradations: each a hash of what it belongs to, never the next of a stream."""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from schemas.base import canonical_json

MAX_PIXELS_A_SIDE = 1 << 16
MAX_FRAMES = 1 << 31
"""Rows, groups of columns and frames each have bits of their own in the counter of a draw."""

HASH_STEP = 0x9E3779B97F4A7C15 - (1 << 64)
HASH_FACTORS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
HASH_SHIFTS = (30, 27, 31)
"""SplitMix64 as signed 64-bit numbers: Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014, figure 17 (variant 13 of Stafford's finalisers)."""

DRAWS_A_HASH = 4
"""Draws of 16 bits taken from one hash of 64, for four neighbouring columns."""

RANKS = 1 << 16
"""Values of a draw; a share of pixels is met to 1/65,536."""

NORMAL_UNIT = 1 << 12
"""A normal draw is one of 65,536 quantiles (at most 4.3 sigma) in steps of 1/4096 sigma."""

Band = Literal["infrared", "visible"]


@dataclass(frozen=True)
class DegradationDraw:
    """Which of all possible draws: the recipe's seed, the clip and the band."""

    seed: int
    clip: str
    band: Band

    def key(self, place: str) -> int:
        """A signed 64-bit key for what is drawn at `place`."""
        text = canonical_json(["degrade", self.seed, self.clip, self.band, place])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)

    def uniform(self, bounds: tuple[float, float], place: str) -> float:
        """A number between the bounds, one a clip, the same whenever it is asked for."""
        low, high = bounds
        return low + (high - low) * ((self.key(place) >> 11) / (1 << 53) + 0.5)


@dataclass(frozen=True)
class Window:
    """Where a block of pixels lies inside the whole frame, pixels."""

    y: int
    x: int
    frame_height: int
    frame_width: int


@dataclass(frozen=True)
class View:
    """Which frames and which part of them a block shows."""

    indices: tuple[int, ...]
    """Inside the clip, increasing."""
    window: Window
    device: torch.device

    def frames(self) -> Tensor:
        """The indices, int64, shape (T,)."""
        return torch.tensor(self.indices, dtype=torch.int64, device=self.device)


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
        return (self.key(f"{name}/{index}") >> 11) / (1 << 53) + 0.5


def ranks(key: int, frames: Tensor, window: Window, size: tuple[int, int] | torch.Size) -> Tensor:
    """Whole numbers below 65,536, evenly drawn, each a function of (key, frame, y, x) alone.

    Four columns share a hash; its 16-bit quarters, lowest first (as little-endian machines lay
    them out, which all that torch is released for are), are four draws.

    Args:
        key: names the set of draws; 64 bits, signed.
        frames: int64, shape (T,), 0 to 2**31 - 1.
        window: where the first row and column of the draws lie.
        size: rows and columns wanted.

    Returns:
        int32, shape (T, h, w).
    """
    height, width = size
    device = frames.device
    rows = torch.arange(window.y, window.y + height, device=device)
    first_group = window.x // DRAWS_A_HASH
    groups = torch.arange(first_group, (window.x + width - 1) // DRAWS_A_HASH + 1, device=device)
    state = (
        ((frames << 32) * HASH_STEP)[:, None, None]
        + ((rows << 16) * HASH_STEP + key)[:, None]
        + groups * HASH_STEP
    )
    drawn = mixed(state).view(torch.uint16)  # (T, h, 4 * groups)
    skipped = window.x - first_group * DRAWS_A_HASH
    return drawn[..., skipped : skipped + width].to(torch.int32)


def normal_draws(
    key: int, frames: Tensor, window: Window, size: tuple[int, int] | torch.Size
) -> Tensor:
    """Standard normal draws in units of 1/4096, int32, shape (T, h, w); arguments as of `ranks`."""
    drawn = ranks(key, frames, window, size)
    return normal_quantiles(frames.device).index_select(0, drawn.flatten()).view(drawn.shape)


def mixed(state: Tensor) -> Tensor:
    """The SplitMix64 hash of each 64-bit number; overwrites `state`."""
    for shift, factor in zip(HASH_SHIFTS, (*HASH_FACTORS, 1), strict=True):
        # int64 is shifted with its sign: the mask makes it the shift of an unsigned number
        state ^= (state >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        if factor != 1:
            state *= factor
    return state


@cache
def normal_quantiles(device: torch.device) -> Tensor:
    """Normal quantiles in units of 1/4096, int32, shape (65536,), mirrored about zero."""
    probability = (torch.arange(RANKS // 2, dtype=torch.float64) + 0.5) / RANKS
    lower = torch.special.ndtri(probability).mul(NORMAL_UNIT).round().to(torch.int32)
    return torch.cat([lower, -lower.flip(0)]).to(device)


def rank_below(share: float) -> int:
    """Ranks below this number make up `share` of all."""
    return math.floor(share * RANKS + 0.5)
