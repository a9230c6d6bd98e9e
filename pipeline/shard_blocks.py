"""Gathers aligned frames of several streams into the blocks of pairs that are written at once."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from pipeline.degrade import degrade_block, reach
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.geometry import Resampling, resample
from pipeline.tone import levels_of
from schemas.base import BANDS, Band
from schemas.degradations import Degradation
from schemas.errors import ShardError
from schemas.store import CHUNK_PAIRS, CLIP_STORE, SHARD_PAIRS, ClipAttributes

Frames = Iterator[NDArray[Any]]
"""Frames of one stream, (H, W) or (H, W, 3), in the order of the pairs."""


def frames_at(
    frames: Iterable[NDArray[Any]], indices: NDArray[np.int64], *, first: int, stream: str
) -> Frames:
    """The frames at `indices` of a stream that is read once, from its frame `first` on.

    Args:
        frames: the stream's frames, from `first` on.
        indices: strictly increasing, the smallest not below `first`.
        first: index of the first frame that `frames` gives.
        stream: its name in the catalog, for the message.

    Raises:
        ShardError: the stream ends too early.
    """
    numbered = enumerate(frames, first)
    for wanted in indices.tolist():
        for index, frame in numbered:
            if index == wanted:
                yield frame
                break
        else:
            raise ShardError(
                f"{stream}: frame {wanted} is wanted and the file ends before it; "
                "bring back the whole file, or remove this stream from the recording"
            )


def aligned(frames: Iterable[NDArray[Any]], resampling: Resampling | None) -> Frames:
    """Each frame resampled once, or untouched where there is nothing to resample."""
    for frame in frames:
        yield frame if resampling is None else resample(frame, resampling)


def room_in(room: NDArray[Any] | None, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of `shape`, time first, to be written to: in `room` where there is one.

    Blocks of a clip lie where the block before lay: large arrays made anew for each would scatter
    the heap, and a long recording would take more memory than a short one.
    """
    return np.empty(shape, dtype) if room is None else room[: shape[0]]


def stacked(
    frames: Frames,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    stream: str,
    room: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """The next frames of a stream as one array of `shape`, time first.

    Args:
        frames: the stream.
        shape: of the block.
        dtype: of the block.
        stream: its name, for the message.
        room: an array of such a block, to be written over; None: there is none.

    Raises:
        ShardError: a frame has another size or depth.
    """
    block = room_in(room, shape, dtype)
    for index, frame in enumerate(islice(frames, shape[0])):
        if frame.shape != block.shape[1:] or frame.dtype != block.dtype:
            raise ShardError(
                f"{stream}: a frame of shape {frame.shape}, {frame.dtype}, where the clip needs "
                f"{block.shape[1:]}, {block.dtype}; streams of a registered recording must all "
                "have the size of its infrared frames, degraded ones 8 bits"
            )
        block[index] = frame
    return block


def levels(
    counts: NDArray[np.uint16],
    curves: NDArray[np.float32],
    *,
    room: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Grey levels of a block of counts, (T, H, W), each frame under its own curve.

    Args:
        counts: the block.
        curves: the tone curve of each frame.
        room: as for `stacked`.
    """
    made = room_in(room, counts.shape, np.uint8)
    for index, pair in enumerate(zip(counts, curves, strict=True)):
        made[index] = levels_of(*pair)
    return made


def _chain_of(band: Band, about: ClipAttributes) -> tuple[Sequence[Degradation], DegradationDraw]:
    """What is done to a band of a clip, and what its chances are drawn from."""
    chain = about.degrade.infrared if band == "infrared" else about.degrade.visible
    return chain, DegradationDraw(seed=about.seed, clip=about.clip, band=band)


def frames_before(band: Band, about: ClipAttributes) -> int:
    """How many clean frames before one decide its degraded version."""
    return reach(*_chain_of(band, about)).frames_before


def degraded(
    clean: NDArray[np.uint8],
    band: Band,
    about: ClipAttributes,
    *,
    first_pair: int,
    before: NDArray[np.uint8] | None = None,
    room: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The degraded version of whole frames, the same that a loader would make of them.

    Args:
        clean: (T, H, W) infrared or (T, H, W, 3) visible frames.
        band: which of the two.
        about: names the clip, the seed and the chain of degradations.
        first_pair: index in the clip of the first frame.
        before: the clean frames before it, as `looked_back_at` keeps them; None: there are none.
        room: as for `stacked`.
    """
    chain, draw = _chain_of(band, about)
    window = Window(y=0, x=0, frame_height=about.height, frame_width=about.width)
    back = reach(chain, draw).frames_before
    made = room_in(room, clean.shape, clean.dtype)
    # A frame at a time stays in the processor's cache, and leaves no large holes in the heap.
    at_once = CHUNK_PAIRS if back else 1
    for start in range(0, len(clean), at_once):
        stop = min(start + at_once, len(clean))
        indices = range(max(0, first_pair + start - back), first_pair + stop)
        known = clean[max(0, start - back) : stop]
        if before is not None and len(known) < len(indices):
            known = np.concatenate([before[len(known) - len(indices) :], known])
        part = torch.from_numpy(known)
        part = part[:, None] if band == "infrared" else part.permute(0, 3, 1, 2)  # (T, C, H, W)
        part = degrade_block(part, chain, draw, indices=indices, window=window)
        part = part[start - stop :]
        part = part[:, 0] if band == "infrared" else part.permute(0, 2, 3, 1)
        made[start:stop] = part.numpy()
    return made


def looked_back_at(
    before: Mapping[Band, NDArray[np.uint8]],
    block: Mapping[str, NDArray[Any]],
    about: ClipAttributes,
) -> dict[Band, NDArray[np.uint8]]:
    """The last clean frames up to the end of `block` that the next one's degradations look at.

    Args:
        before: the same up to the beginning of `block`; empty at the beginning of a clip.
        block: what `next_block` gave.
        about: the clip.
    """
    kept: dict[Band, NDArray[np.uint8]] = {}
    for band in BANDS:
        if back := frames_before(band, about):
            known = [before[band], block[band]] if band in before else [block[band]]
            kept[band] = np.concatenate(known)[-back:].copy()
    return kept


def next_block(
    streams: Mapping[str, Frames],
    names: Collection[str],
    about: ClipAttributes,
    curves: NDArray[np.float32] | None,
    *,
    first_pair: int,
    before: Mapping[Band, NDArray[np.uint8]],
    room: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """The frame arrays `names` of the next pairs of a clip, as they are stored.

    Args:
        streams: aligned frames by the array they are for, standing at `first_pair`; `infrared`
            gives counts where there are tone curves.
        names: the arrays wanted; degraded ones that no stream gives are made from clean ones.
        about: the clip.
        curves: the tone curve of every infrared frame of the clip; None for 8-bit infrared.
        first_pair: index in the clip of the block's first pair.
        before: clean frames before it, as `looked_back_at` keeps them.
        room: the block before, which is written over; empty at the beginning of a clip.
    """
    pairs = min(SHARD_PAIRS, about.pairs - first_pair)
    block: dict[str, NDArray[Any]] = {}
    for stream, frames in streams.items():
        is_counts = stream == "infrared" and curves is not None
        name = "infrared_counts" if is_counts else stream
        shape = (pairs, about.height, about.width, 3)[: len(CLIP_STORE[name].axes)]
        dtype = CLIP_STORE[name].dtype
        block[name] = stacked(frames, shape, dtype, stream=stream, room=room.get(name))
    if curves is not None:
        here = slice(first_pair, first_pair + pairs)
        block["infrared"] = levels(
            block["infrared_counts"], curves[here], room=room.get("infrared")
        )
    for band in BANDS:
        if (name := f"{band}_degraded") in names and name not in block:
            block[name] = degraded(
                block[band],
                band,
                about,
                first_pair=first_pair,
                before=before.get(band),
                room=room.get(name),
            )
    return {name: block[name] for name in names}


def blocks_of(
    streams: Mapping[str, Frames],
    names: Collection[str],
    about: ClipAttributes,
    curves: NDArray[np.float32] | None,
    *,
    pairs: range | None = None,
    lead: int = 0,
) -> Iterator[dict[str, NDArray[Any]]]:
    """The blocks of a clip, or of a part of it, each lying where the last one lay.

    Args:
        streams: as for `next_block`, standing at the first pair of the lead.
        names: the arrays wanted.
        about: the clip.
        curves: as for `next_block`.
        pairs: the part's, from the beginning of a shard on; None: the whole clip.
        lead: pairs before them, whole shards, that what looks back looks at; of their blocks only
            clean frames are given.
    """
    pairs = range(about.pairs) if pairs is None else pairs
    clean = [name for name in names if name in streams or not name.endswith("_degraded")]
    before: dict[Band, NDArray[np.uint8]] = {}
    block: dict[str, NDArray[Any]] = {}
    for first in range(pairs.start - lead, pairs.stop, SHARD_PAIRS):
        wanted = names if first >= pairs.start else clean
        block = next_block(
            streams, wanted, about, curves, first_pair=first, before=before, room=block
        )
        yield block
        before = looked_back_at(before, block, about)
