"""Training windows out of a release: each a pure function of (seed, epoch, index)."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.loader import QUARTER_TURN, TURN
from model.places import is_address
from model.releases import open_release
from model.shards import OpenShards
from model.stores import OpenClip, open_clip, read_frames, store_fault
from pipeline.degrade import degrade_block, frames_for_window, reach, read_for_crop
from pipeline.degrade_draws import DegradationDraw, Window
from schemas.base import BANDS, Band
from schemas.catalog import Split
from schemas.errors import StoreError, TrainError
from schemas.release import ReleaseClip

MAX_OPEN_CLIPS = 512
"""Clips whose metadata a worker keeps, so that its memory does not grow with the release: twice
M3SVD's 220. No file stays open between reads."""

WORD = (1 << 64) - 1
"""A word of 64 bits, all set."""

PHILOX_FACTORS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
PHILOX_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
"""What Philox 4x64 multiplies by, and adds to its keys (Salmon et al., 2011, table 2)."""


class Placement(NamedTuple):
    """Where one sample is taken from, and how it is to be turned."""

    clip: str
    first_pair: int
    interval: int
    """Pairs from one frame to the next."""
    y: int
    x: int
    height: int
    width: int
    turn: int
    """A code of model/loader.py."""
    draw: str
    """Whose degradations: the clip's own, or those of this one sample."""

    def pairs(self, frames: int) -> range:
        """The pairs of a window of `frames`."""
        return range(self.first_pair, self.first_pair + frames * self.interval, self.interval)


class ClipWindows(Dataset[dict[str, Tensor]]):
    """Windows of a release's clips: one sample for each pair of the split, MODEL.md section 2.6.

    A sample starts at its pair; near the end of its clip, where no whole window is left, at any
    pair from which one is. It is a dictionary of uint8 tensors `infrared` and `infrared_degraded`
    (T, 1, h, w), `visible` and `visible_degraded` (T, 3, h, w), cut by one and the same crop;
    colours lie beside each other in memory, as in the store. With `augment` there is `turn` as
    well, a code by which `model.loader.to_device` turns the sample where it is used.

    Each sample is a function of (seed, epoch, index) alone: workers, ranks, order and batch size
    change nothing. Processes share the epoch, so that `set_epoch` reaches workers already running.
    """

    def __init__(
        self,
        release: str | Path,
        split: Split = "train",
        frames: int = 7,
        crop: int | None = 128,
        seed: int = 0,
        *,
        intervals: tuple[int, int] = (1, 1),
        augment: bool = False,
        redraw: bool = False,
    ) -> None:
        """Open the release at `release`; stores are opened when they are first read.

        Args:
            release: a release's folder, in a workspace or published, its release.json, or the
                address of a published one (model/places.py).
            split: which of the splits to read.
            frames: pairs of a window.
            crop: height and width of the random crop, pixels; None takes whole frames.
            seed: of the crops and turns.
            intervals: least and most pairs from one frame of a window to the next; less where a
                clip is too short.
            augment: mirror, turn upside down and reverse in time, each half of the time, and turn
                square samples by quarters.
            redraw: degrade each sample by draws of its own instead of the clip's, which the
                recipe's seed decides; within a sample they hold together over time as a clip's do.
                Degraded frames that were filmed or given, not made, stay what they are.

        Raises:
            ReleaseError: there is no release, or it is damaged.
            TrainError: a clip of the split is too short or too small, or there is none.
        """
        self.release, self.place = open_release(release)
        self.clips = tuple(clip for clip in self.release.clips if clip.split == split)
        _check_clips(self.clips, split, frames, crop)
        if not 1 <= intervals[0] <= intervals[1]:
            raise TrainError(f"intervals {intervals} must be two rising numbers from 1")
        self.split: Split = split
        self.frames = frames
        self.crop = crop
        self.seed = seed
        self.intervals = intervals
        self.augment = augment
        self.redraw = redraw
        self._release = release if is_address(release) else Path(release).resolve()
        self._ends = list(accumulate(clip.pairs for clip in self.clips))
        self.share_epoch(torch.zeros((), dtype=torch.int64))
        self._opened: dict[int, OpenClip] = {}
        self._shards = OpenShards()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The sample of pair `index` in this epoch.

        Raises:
            IndexError: there is no such pair.
            StoreError: the store is missing, incomplete or damaged.
        """
        place = self.placement(index)
        clip = self._clip(bisect_right(self._ends, index))
        sample: dict[str, Tensor] = {}
        for band in BANDS:
            sample[band], sample[f"{band}_degraded"] = read_band(clip, band, place, self.frames)
        if self.augment:
            sample[TURN] = torch.tensor(place.turn, dtype=torch.uint8)
        return sample

    def __reduce__(self) -> tuple[Callable[..., "ClipWindows"], tuple[object, ...]]:
        """Pickle the path of the release instead of its clips: some hundred bytes in all."""
        again = partial(
            ClipWindows,
            *(self._release, self.split, self.frames, self.crop, self.seed),
            intervals=self.intervals,
            augment=self.augment,
            redraw=self.redraw,
        )
        return _reopened, (again, self.state_dict(), self._epoch)

    @property
    def epoch(self) -> int:
        """The pass over the data that crops and turns are drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw other crops and turns from the next sample on."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch} must not be negative")
        self._epoch.fill_(epoch)

    def state_dict(self) -> dict[str, object]:
        """All that decides which samples come, as plain values."""
        return {
            "root_hash": self.release.root_hash,
            "split": self.split,
            "frames": self.frames,
            "crop": self.crop,
            "seed": self.seed,
            "intervals": list(self.intervals),
            "augment": self.augment,
            "redraw": self.redraw,
            "epoch": self.epoch,
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on in the epoch of `state`.

        Raises:
            TrainError: the state belongs to another release or other settings.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise TrainError(f"the saved data state has {sorted(state)} instead of {sorted(own)}")
        for name in own.keys() - {"epoch"}:
            if state[name] != own[name]:
                raise TrainError(
                    f"the saved data state has {name} {state[name]!r}, this run has {own[name]!r}; "
                    "go on with the same data and settings, or start anew"
                )
        epoch = state["epoch"]
        if not isinstance(epoch, int):
            raise TrainError(f"the saved data state has the epoch {epoch!r}, which is no number")
        self.set_epoch(epoch)

    def share_epoch(self, epoch: Tensor) -> None:
        """Follow an epoch that another process sets, an int64 scalar in shared memory."""
        epoch.untyped_storage().share_memory_()
        self._epoch = epoch

    def placement(self, index: int) -> Placement:
        """Where sample `index` of this epoch lies.

        Raises:
            IndexError: there is no such pair.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}; indices start at 0")
        number = bisect_right(self._ends, index)
        clip = self.clips[number]
        first_pair = index - (self._ends[number] - clip.pairs)
        height, width = (self.crop or clip.height), (self.crop or clip.width)
        start, y, x, rest = draw_words(self.seed, self.epoch, index)
        turn, spacing = rest >> 59, rest & 0xFFFFFFFF
        if height != width:
            turn &= QUARTER_TURN - 1
        least, most = self.intervals
        interval = least + ((most - least + 1) * spacing >> 32)
        interval = max(1, min(interval, (clip.pairs - 1) // max(1, self.frames - 1)))
        last_start = clip.pairs - 1 - (self.frames - 1) * interval
        return Placement(
            clip=clip.clip,
            first_pair=first_pair if first_pair <= last_start else _below(last_start + 1, start),
            interval=interval,
            y=_below(clip.height - height + 1, y),
            x=_below(clip.width - width + 1, x),
            height=height,
            width=width,
            turn=turn if self.augment else 0,
            draw=f"{clip.clip} {self.seed} {self.epoch} {index}" if self.redraw else clip.clip,
        )

    def where(self, index: int) -> str:
        """Where sample `index` of this epoch lies, for messages."""
        place = self.placement(index)
        spaced = f" by {place.interval}" if place.interval > 1 else ""
        return (
            f"clip {place.clip}, {self.frames} pairs from pair {place.first_pair}{spaced}, crop "
            f"{place.width}x{place.height} at x {place.x}, y {place.y}"
        )

    def _clip(self, number: int) -> OpenClip:
        if number not in self._opened:
            if len(self._opened) >= MAX_OPEN_CLIPS:
                del self._opened[next(iter(self._opened))]
            self._opened[number] = open_clip(self.place, self.clips[number], self._shards)
        return self._opened[number]


def read_band(clip: OpenClip, band: Band, place: Placement, frames: int) -> tuple[Tensor, Tensor]:
    """Clean and degraded frames of one band, uint8, shape (T, C, h, w), not turned.

    Degraded frames are read where they are stored. Elsewhere, and where the sample has draws of its
    own, they are made by the process that reads, from the crop and all that it takes around it, so
    that they equal the crop of degraded whole frames.

    Raises:
        StoreError: the store is incomplete or damaged.
    """
    attributes, stored = clip.attributes, f"{band}_degraded"
    is_given = stored in attributes.sources
    is_redrawn = place.draw != place.clip and not is_given
    if stored not in clip.arrays and (is_given or attributes.degraded == "materialised"):
        what = f"degraded frames are {attributes.degraded}, but there is no array {stored}"
        raise StoreError(store_fault(attributes.clip, clip.path, what))
    if stored not in clip.arrays or is_redrawn:
        return _made_band(clip, band, place, frames)
    cut = (
        slice(place.first_pair, place.first_pair + (frames - 1) * place.interval + 1),
        slice(place.y, place.y + place.height),
        slice(place.x, place.x + place.width),
    )
    clean, degraded = read_frames(clip, band, cut), read_frames(clip, stored, cut)
    if place.interval == 1:
        return clean, degraded
    return clean[:: place.interval], degraded[:: place.interval]


def _made_band(clip: OpenClip, band: Band, place: Placement, frames: int) -> tuple[Tensor, Tensor]:
    attributes, wanted = clip.attributes, place.pairs(frames)
    crop = Window(place.y, place.x, attributes.height, attributes.width)
    chain = attributes.degrade.infrared if band == "infrared" else attributes.degrade.visible
    draw = DegradationDraw(attributes.seed, place.draw, band)
    needed = reach(chain, draw)
    indices = frames_for_window(needed, wanted)
    read = read_for_crop(crop, height=place.height, width=place.width, halo_px=needed.halo_px)
    pairs = slice(indices[0], indices[-1] + 1)
    block = read_frames(clip, band, (pairs, read.rows, read.columns))
    block = block[torch.tensor(indices) - indices[0]] if len(indices) < len(block) else block
    degraded = degrade_block(block, chain, draw, indices=indices, window=read.window)
    kept = torch.tensor([indices.index(pair) for pair in wanted])
    return read.keep(block)[kept], read.keep(degraded)[kept]


def draw_words(seed: int, epoch: int, index: int) -> tuple[int, int, int, int]:
    """Four random 64-bit words of sample `index` in `epoch`: one block of Philox 4x64-10.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. They are the first words
    of numpy's Philox with the key (seed, epoch) and the counter (0, index, 0, 0); to make one of
    those generators for each sample takes as long as to read an infrared stream of it.
    """
    first, second, third, fourth = 1, index, 0, 0  # numpy counts before it draws
    for key, other in _philox_keys(seed, epoch):
        product, another = PHILOX_FACTORS[0] * first, PHILOX_FACTORS[1] * third
        first, second, third, fourth = (
            another >> 64 ^ second ^ key,
            another & WORD,
            product >> 64 ^ fourth ^ other,
            product & WORD,
        )
    return first, second, third, fourth


@lru_cache(maxsize=16)
def _philox_keys(seed: int, epoch: int) -> tuple[tuple[int, int], ...]:
    """The keys of the ten rounds."""
    if not 0 <= seed <= WORD:
        raise ValueError(f"seed {seed} must be from 0 to {WORD}")
    step, other = PHILOX_STEPS
    return tuple((seed + n * step & WORD, epoch + n * other & WORD) for n in range(10))


def _below(bound: int, word: int) -> int:
    """A number from 0 to bound - 1, evenly drawn by a 64-bit word."""
    return (bound * word) >> 64


def _check_clips(clips: Sequence[ReleaseClip], split: str, frames: int, crop: int | None) -> None:
    if frames < 1 or (crop is not None and crop < 1):
        raise TrainError(f"frames {frames} and crop {crop} must be at least 1")
    if not clips:
        raise TrainError(
            f"the release has no clip in the split {split!r}; give sites to it under `splits` in "
            "catalog.yaml and release again, or name another split"
        )
    for clip in clips:
        if clip.pairs < frames:
            raise TrainError(
                f"clip {clip.clip!r} has {clip.pairs} pairs, fewer than the {frames} frames of a "
                f"window; use at most {min(c.pairs for c in clips)} frames, or raise "
                "recipe.shard.min_pairs in catalog.yaml and build again"
            )
        if crop is not None and crop > min(clip.height, clip.width):
            smallest = min(min(c.height, c.width) for c in clips)
            raise TrainError(
                f"clip {clip.clip!r} is {clip.width} x {clip.height} pixels, smaller than the "
                f"crop of {crop}; use a crop of at most {smallest}"
            )


def _reopened(
    again: Callable[[], ClipWindows], state: dict[str, object], epoch: Tensor
) -> ClipWindows:
    """The data set in another process, at the epoch that the processes share."""
    windows = again()
    windows.load_state_dict(state)
    windows.share_epoch(epoch)
    return windows
