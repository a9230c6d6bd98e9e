"""Training windows out of a release: each a pure function of (seed, epoch, index)."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import Dataset

from model.stores import OpenClip, open_clip, read_frames, store_fault
from pipeline.degrade import (
    Band,
    DegradationDraw,
    Window,
    degrade_block,
    halo_px,
    read_for_crop,
)
from schemas.catalog import Split
from schemas.errors import ReleaseError, StoreError, TrainError
from schemas.release import MANIFEST_NAME, Release, ReleaseClip

BANDS: tuple[Band, ...] = ("infrared", "visible")

MAX_OPEN_CLIPS = 512
"""Clips whose metadata a worker keeps, so that its memory does not grow with the release: twice
M3SVD's 220. No file stays open between reads."""

RELEASES_FOLDER, CLIPS_FOLDER = "releases", "clips"
"""A workspace has its clips beside the folder of all releases, a published release beside its
release.json (DESIGN.md section 5)."""


@dataclass(frozen=True)
class Placement:
    """Where one sample is taken from, and how it is turned."""

    clip: str
    first_pair: int
    y: int
    x: int
    height: int
    width: int
    is_mirrored: bool
    is_upside_down: bool
    is_reversed: bool


class ClipWindows(Dataset[dict[str, Tensor]]):
    """Windows of a release's clips: one sample for each pair of the split, MODEL.md section 2.6.

    A sample starts at its pair; near the end of its clip, where no whole window is left, at any
    pair from which one is. It is a dictionary of uint8 tensors `infrared` and `infrared_degraded`
    (T, 1, h, w), `visible` and `visible_degraded` (T, 3, h, w), cut by one and the same crop.
    Workers, ranks, order and batch size change nothing; the sampler of the loader shuffles.
    Processes share the epoch, so that `set_epoch` reaches workers that are already running.
    """

    def __init__(
        self,
        release: str | Path,
        split: Split = "train",
        frames: int = 7,
        crop: int | None = 128,
        seed: int = 0,
        *,
        augment: bool = False,
    ) -> None:
        """Open the release at `release`; stores are opened when they are first read.

        Args:
            release: a release's folder, in a workspace or published, or its release.json.
            split: which of the splits to read.
            frames: pairs of a window.
            crop: height and width of the random crop, pixels; None takes whole frames.
            seed: of the crops and turns; draws of degradations follow the recipe's seed.
            augment: mirror, turn upside down and reverse in time, each half of the time.

        Raises:
            ReleaseError: there is no release, or it is damaged.
            TrainError: a clip of the split is too short or too small, or there is none.
        """
        self.release, self.root = open_release(release)
        self.clips = tuple(clip for clip in self.release.clips if clip.split == split)
        _check_clips(self.clips, split, frames, crop)
        self.split: Split = split
        self.frames = frames
        self.crop = crop
        self.seed = seed
        self.augment = augment
        self._release_path = Path(release).resolve()
        self._ends = list(accumulate(clip.pairs for clip in self.clips))
        self.share_epoch(torch.zeros((), dtype=torch.int64))
        self._opened: dict[int, OpenClip] = {}

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
            clean, degraded = read_band(clip, band, place, self.frames)
            sample[band] = _turned(clean, place)
            sample[f"{band}_degraded"] = _turned(degraded, place)
        return sample

    def __reduce__(self) -> tuple[Callable[..., "ClipWindows"], tuple[object, ...]]:
        """Pickle the path of the release instead of its clips: some hundred bytes in all."""
        settings = (self._release_path, self.split, self.frames, self.crop, self.seed)
        again = partial(ClipWindows, *settings, augment=self.augment)
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
            "augment": self.augment,
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
        last_start = clip.pairs - self.frames
        start, y, x, turn = draw_words(self.seed, self.epoch, index)
        turns = turn >> 61 if self.augment else 0  # three bits
        return Placement(
            clip=clip.clip,
            first_pair=first_pair if first_pair <= last_start else _below(last_start + 1, start),
            y=_below(clip.height - height + 1, y),
            x=_below(clip.width - width + 1, x),
            height=height,
            width=width,
            is_mirrored=bool(turns & 1),
            is_upside_down=bool(turns & 2),
            is_reversed=bool(turns & 4),
        )

    def _clip(self, number: int) -> OpenClip:
        if number not in self._opened:
            if len(self._opened) >= MAX_OPEN_CLIPS:
                del self._opened[next(iter(self._opened))]
            self._opened[number] = open_clip(self.root, self.clips[number])
        return self._opened[number]


def open_release(path: str | Path) -> tuple[Release, Path]:
    """A release and the folder that its clips' stores are relative to.

    Args:
        path: the folder of a release, in a workspace or published, or its release.json.

    Raises:
        ReleaseError: there is none, or its content is not what was released.
    """
    given = Path(path)
    folder = (given.parent if given.name == MANIFEST_NAME else given).resolve()
    file = folder / MANIFEST_NAME
    try:
        release = Release.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReleaseError(
            f"{file} does not exist; give the folder of a release, such as work/releases/v1.0.0 "
            "or a folder that was published to"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise ReleaseError(f"{file} is no release: {where}: {first['msg']}") from error
    if release.root_hash != (found := release.content_hash()):
        raise ReleaseError(
            f"{file} was changed after it was released: its content has the root hash {found} "
            f"instead of {release.root_hash}; fetch or make the release again"
        )
    in_workspace = folder.parent.name == RELEASES_FOLDER and not (folder / CLIPS_FOLDER).is_dir()
    return release, folder.parent.parent if in_workspace else folder


def read_band(clip: OpenClip, band: Band, place: Placement, frames: int) -> tuple[Tensor, Tensor]:
    """Clean and degraded frames of one band, uint8, shape (T, C, h, w), not turned.

    Degraded frames are read where they are stored. Elsewhere they are made, from the crop and the
    halo round it, so that they equal the crop of degraded whole frames.

    Raises:
        StoreError: the store is incomplete or damaged.
    """
    attributes, stored = clip.attributes, f"{band}_degraded"
    pairs = slice(place.first_pair, place.first_pair + frames)
    crop = Window(place.y, place.x, attributes.height, attributes.width)
    if stored in clip.arrays:
        rows = slice(place.y, place.y + place.height)
        columns = slice(place.x, place.x + place.width)
        place_read = (pairs, rows, columns)
        return read_frames(clip, band, place_read), read_frames(clip, stored, place_read)
    if attributes.degraded != "at-load":
        what = f"degraded frames are {attributes.degraded}, but there is no array {stored}"
        raise StoreError(store_fault(attributes.clip, clip.path, what))
    chain = attributes.degrade.infrared if band == "infrared" else attributes.degrade.visible
    draw = DegradationDraw(attributes.seed, attributes.clip, band)
    read = read_for_crop(crop, height=place.height, width=place.width, halo_px=halo_px(chain, draw))
    block = read_frames(clip, band, (pairs, read.rows, read.columns))
    degraded = degrade_block(block, chain, draw, first_frame=place.first_pair, window=read.window)
    return read.keep(block), read.keep(degraded)


def draw_words(seed: int, epoch: int, index: int) -> tuple[int, int, int, int]:
    """Four random 64-bit words of sample `index` in `epoch`: one block of the Philox generator.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The raw words are used
    because numpy keeps those, not the methods above them, the same from version to version.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, index, 0, 0], dtype=np.uint64)
    first, second, third, fourth = np.random.Philox(key=key, counter=counter).random_raw(4)
    return int(first), int(second), int(third), int(fourth)


def _below(bound: int, word: int) -> int:
    """A number from 0 to bound - 1, evenly drawn by a 64-bit word."""
    return (bound * word) >> 64


def _turned(frames: Tensor, place: Placement) -> Tensor:
    """Frames (T, C, h, w) mirrored, turned and reversed as `place` says, in memory of their own."""
    turns = ((-4, place.is_reversed), (-2, place.is_upside_down), (-1, place.is_mirrored))
    axes = [axis for axis, is_turned in turns if is_turned]
    turned = frames.flip(axes) if axes else frames
    return turned.clone(memory_format=torch.contiguous_format)


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
