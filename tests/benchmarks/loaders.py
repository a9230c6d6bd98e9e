"""The loaders that are compared: each gives the same window of the same four streams."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from zarr.storage import LocalStore

from model.releases import open_release
from model.stores import OpenClip, open_clip, read_frames
from schemas.store import PROFILES
from tests.benchmarks.footage import STREAMS, Footage

FRAMES = 7
"""Pairs of a window (MODEL.md section 2.4)."""

FULL_LEVELS = 255.0


@dataclass(frozen=True)
class Place:
    """A window of a clip."""

    clip: int
    first_pair: int
    y: int
    x: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        return (
            slice(self.first_pair, self.first_pair + FRAMES),
            slice(self.y, self.y + self.height),
            slice(self.x, self.x + self.width),
        )


Sample = dict[str, Tensor]
Loader = Callable[[Place], Sample]


def draw_places(footage: Footage, side: int | None, count: int) -> list[Place]:
    """Windows drawn evenly over clips, pairs and positions; the same ones every time.

    Args:
        footage: what to draw from.
        side: height and width of the crop, pixels; None: whole frames.
        count: how many.
    """
    rng = np.random.default_rng(0)
    height, width = (footage.height, footage.width) if side is None else (side, side)
    return [
        Place(
            clip=int(rng.integers(len(footage.clips))),
            first_pair=int(rng.integers(footage.pairs - FRAMES + 1)),
            y=int(rng.integers(footage.height - height + 1)),
            x=int(rng.integers(footage.width - width + 1)),
            height=height,
            width=width,
        )
        for _ in range(count)
    ]


def png_folders(footage: Footage) -> Loader:
    """As restoration code commonly does: whole frames of three channels, as floats, then cut."""

    def load(place: Place) -> Sample:
        pairs, rows, columns = place.slices
        sample: Sample = {}
        for stream in STREAMS:
            frames: list[NDArray[np.float32]] = []
            for pair in range(pairs.start, pairs.stop):
                path = footage.png(stream, footage.clips[place.clip], pair)
                pixels = cv2.cvtColor(_decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
                frames.append((pixels.astype(np.float32) / FULL_LEVELS)[rows, columns])
            stacked = np.stack(frames).transpose(0, 3, 1, 2)
            sample[stream] = torch.from_numpy(np.ascontiguousarray(stacked))
        return sample

    return load


def png_careful(footage: Footage) -> Loader:
    """The best that PNG folders allow: grey infrared, bytes, cut before anything else."""

    def load(place: Place) -> Sample:
        pairs, rows, columns = place.slices
        sample: Sample = {}
        for stream in STREAMS:
            is_grey = stream.startswith("infrared")
            frames: list[NDArray[Any]] = []
            for pair in range(pairs.start, pairs.stop):
                path = footage.png(stream, footage.clips[place.clip], pair)
                flag = cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_COLOR
                cut = _decoded(path, flag)[rows, columns]
                frames.append(cut if is_grey else cut[..., ::-1])
            sample[stream] = as_tensor(np.stack(frames))
        return sample

    return load


def memory_maps(footage: Footage) -> Loader:
    """Plain arrays, mapped: what reading cannot be faster than."""
    arrays = [
        {stream: np.load(footage.array(stream, clip), mmap_mode="r") for stream in STREAMS}
        for clip in footage.clips
    ]

    def load(place: Place) -> Sample:
        own = arrays[place.clip]
        return {stream: as_tensor(np.array(own[stream][place.slices])) for stream in STREAMS}

    return load


def direct(footage: Footage, profile: PROFILES) -> Loader:
    """Our stores through the door that training reads them by."""
    release, root = open_release(footage.release(profile))
    clips: list[OpenClip] = [open_clip(root, clip) for clip in release.clips]

    def load(place: Place) -> Sample:
        clip = clips[place.clip]
        return {stream: read_frames(clip, stream, place.slices) for stream in STREAMS}

    return load


def plain_zarr(footage: Footage, profile: PROFILES) -> Loader:
    """Our stores through zarr-python, as any reader of zarr would."""
    arrays = [
        {stream: _zarr_array(store / stream) for stream in STREAMS}
        for store in stores(footage, profile)
    ]

    def load(place: Place) -> Sample:
        own = arrays[place.clip]
        return {stream: as_tensor(np.asarray(own[stream][place.slices])) for stream in STREAMS}

    return load


def stores(footage: Footage, profile: PROFILES) -> list[Path]:
    """The stores of a release in the order of the footage's clips."""
    release, root = open_release(footage.release(profile))
    return [root.root / clip.store for clip in release.clips]


def as_tensor(frames: NDArray[Any]) -> Tensor:
    """Frames (T, h, w) or (T, h, w, 3) as (T, C, h, w), without a copy."""
    tensor = torch.from_numpy(frames)
    return tensor[:, None] if tensor.dim() == 3 else tensor.permute(0, 3, 1, 2)


def _decoded(path: Path, flag: int) -> NDArray[Any]:
    pixels = cv2.imread(str(path), flag)
    if pixels is None:
        raise ValueError(f"{path} is no image; lay the frames out again")
    return pixels


def _zarr_array(path: Path) -> zarr.Array[Any]:
    return zarr.open_array(LocalStore(path, read_only=True), mode="r")


class Windows(Dataset[Sample]):
    """A loader for torch's DataLoader; opened in the process that reads."""

    def __init__(self, footage: Footage, opened: Callable[[Footage], Loader], places: list[Place]):
        self._footage, self._opened, self._places = footage, opened, places
        self._load: Loader | None = None

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        if self._load is None:
            self._load = self._opened(self._footage)
        return self._load(self._places[index])
