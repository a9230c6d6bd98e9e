"""What a person wants to see of a clip at a glance: a film of all its streams, and figures.

Looks are kept under `work/looks`, by the fingerprint of their clip, for every report that shows it.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
import zarr
from filelock import FileLock
from numpy.typing import NDArray

from pipeline.clip_stores import open_clip, read_pairs
from pipeline.durable import new_folder
from pipeline.overlays import overlay
from pipeline.pictures import jpeg, scaled
from pipeline.quality import flicker
from pipeline.register_estimate import views_of
from pipeline.register_residuals import MIN_BLOCKS, residuals_of
from pipeline.register_search import checked, judges_of
from pipeline.shard_blocks import degraded, looked_back_at
from pipeline.video_encoding import open_video
from pipeline.workspace import Workspace, load, save
from schemas.base import BANDS, Band
from schemas.errors import StoreError
from schemas.report import LOOK_VERSION, BandLook, ClipLook
from schemas.store import SHARD_PAIRS, ClipAttributes

FILM_PAIRS = 150
"""Five seconds at 30 frames a second, about 1 MB."""

TILE_WIDTH_PX = 400
"""Three beside each other fill a laptop's screen."""

FILM_QUALITY = 23
"""H.264's constant rate factor: stripes and blur are still told from the codec's own."""

TILES = ("infrared", "visible", "overlay", "infrared_degraded", "visible_degraded", "difference")
"""Of the film, three a row; the last shows how far the degraded visible frame is from the clean."""

BINS = 64

BLACK, WHITE = 5, 250
"""Levels up to and from which a pixel tells nothing: black and white, with the codecs' noise."""

HASH_SIDE, HASH_GRID = 8, 32
"""Of the perceptual hash: the lowest 8 x 8 frequencies of a picture of 32 x 32 (Zauner, 2010)."""

INSTANTS = (0.1, 0.5, 0.9)
"""Of a clip, where it is hashed."""

DRIFT_PAIRS = 5
"""Pooled at the beginning, the middle and the end; noise of single frames cancels."""

Levels = NDArray[np.uint8]


@dataclass
class Seen:
    """Sums over the frames of one band, as they stream past."""

    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    changes_levels: list[float] = field(default_factory=list)
    repeated: int = 0
    frames: int = 0
    before: Levels | None = None

    def add(self, frame: Levels, valid: NDArray[np.bool_]) -> None:
        """Count one more frame, grey (H, W)."""
        self.histogram += np.bincount(frame[valid], minlength=256)
        if self.before is not None:
            self.changes_levels.append(flicker(frame, self.before, valid))
            self.repeated += bool(np.array_equal(frame, self.before))
        self.before = frame
        self.frames += 1

    def look(self, hashes: Sequence[str]) -> BandLook:
        """The figures of all frames so far."""
        total = max(1, int(self.histogram.sum()))
        return BandLook(
            histogram=tuple(int(n) for n in self.histogram.reshape(BINS, -1).sum(axis=1)),
            changes_levels=tuple(round(change, 3) for change in self.changes_levels),
            repeated_share=self.repeated / max(1, self.frames - 1),
            black_share=float(self.histogram[: BLACK + 1].sum() / total),
            white_share=float(self.histogram[WHITE:].sum() / total),
            hashes=tuple(hashes),
        )


def perceptual_hash(frame: Levels) -> str:
    """64 bits that stay nearly the same when a picture is scaled, coded or slightly graded.

    The signs of its lowest frequencies about their median (Zauner, "Implementation and benchmarking
    of perceptual image hash functions", 2010).

    Args:
        frame: grey (H, W).

    Returns:
        16 hexadecimal digits.
    """
    small = cv2.resize(frame, (HASH_GRID, HASH_GRID), interpolation=cv2.INTER_AREA)
    lowest = cv2.dct(small.astype(np.float32))[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = lowest > np.median(lowest[1:])  # the first is the mean, which outweighs all
    return np.packbits(bits).tobytes().hex()


def median_move_px(
    infrared: Sequence[Levels], visible: Sequence[Levels]
) -> tuple[float, float] | None:
    """By how much visible things lie beside the infrared ones of the same instants.

    Args:
        infrared: registered frames, (H, W) each.
        visible: RGB, (H, W, 3) each, as many.

    Returns:
        x and y, pixels, the median of all blocks that match clearly; None: too few do.
    """
    here, there = views_of(infrared, visible)
    if here.is_flat or there.is_flat:
        return None
    judge = judges_of(here)[-1]
    found = residuals_of(checked(judge, there, np.eye(3)), judge.scale)
    moves = found.moves_px[found.is_trusted]
    if len(moves) < MIN_BLOCKS:
        return None
    x, y = (float(value) for value in np.median(moves, axis=0))
    return round(x, 3), round(y, 3)


def film_frame(streams: dict[str, Levels]) -> Levels:
    """All tiles of one instant, RGB.

    Args:
        streams: every tile's name but `overlay` and `difference`, whole frames.
    """
    tiles = {name: scaled(frame, TILE_WIDTH_PX, multiple=2) for name, frame in streams.items()}
    tiles["overlay"] = overlay(tiles["infrared"][..., 0].copy(), tiles["visible"])
    tiles["difference"] = cv2.absdiff(tiles["visible"], tiles["visible_degraded"]).astype(np.uint8)
    rows = [
        np.concatenate([tiles[name] for name in TILES[first : first + 3]], 1) for first in (0, 3)
    ]
    return np.concatenate(rows)


def _grey(frame: Levels) -> Levels:
    return (
        frame if frame.ndim == 2 else np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
    )


def run_look(store: str, workspace: Workspace) -> tuple[ClipLook, Path]:
    """What is seen of a clip, and the folder with film.mp4 and picture.jpg; made where it is not.

    Args:
        store: path of the clip's store below the root of the workspace.
        workspace: where looks are kept.

    Raises:
        StoreError: the store is missing or damaged.
        VideoError: the film cannot be written.
        OSError: the disk is full or failing.
    """
    folder = workspace.look(store)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace.looks / ".lock"):  # a report and a review may want the same
        known = load(folder / "look.json", ClipLook)
        if known is not None and known.version == LOOK_VERSION:
            return known, folder
        shutil.rmtree(folder, ignore_errors=True)
        staged = folder.with_name(f".{folder.name}.{uuid4().hex}")
        with new_folder(staged, folder) as made, workspace.at_hand(store) as path:
            look = _run_film(*open_clip(path), made)
            save(look, made / "look.json")
    return look, folder


def _run_film(group: zarr.Group, about: ClipAttributes, folder: Path) -> ClipLook:
    valid = _run_valid(group)
    seen = {band: Seen() for band in BANDS}
    pairs = min(FILM_PAIRS, about.pairs)
    size = (0, 0)
    with open_video(folder / "film.mp4", fps=about.fps, codec="h264", crf=FILM_QUALITY) as film:
        for number, streams in enumerate(_run_streams(group, about, pairs)):
            for band in BANDS:
                seen[band].add(_grey(streams[band]), valid)
            frame = film_frame(streams)
            film.write(frame)
            if number == pairs // 2:
                size = (frame.shape[1] // 3, frame.shape[0] // 2)
                (folder / "picture.jpg").write_bytes(jpeg(frame[: size[1], : 2 * size[0]]))
    instants = [round(share * (about.pairs - 1)) for share in INSTANTS]
    hashes = {
        band: [perceptual_hash(_grey(read_pairs(group, band, n, n + 1)[0])) for n in instants]
        for band in BANDS
    }
    last = max(0, about.pairs - DRIFT_PAIRS)
    return ClipLook(
        pairs=pairs,
        tile_width=size[0],
        tile_height=size[1],
        has_degraded="infrared_degraded" in group or "visible_degraded" in group,
        infrared=seen["infrared"].look(hashes["infrared"]),
        visible=seen["visible"].look(hashes["visible"]),
        moves_px=tuple(
            median_move_px(*(list(read_pairs(group, band, n, n + DRIFT_PAIRS)) for band in BANDS))
            for n in (0, last // 2, last)
        ),
    )


def _run_streams(
    group: zarr.Group, about: ClipAttributes, pairs: int
) -> Iterator[dict[str, Levels]]:
    """Both bands clean and degraded, pair by pair; degraded ones that are not stored are made."""
    before: dict[Band, Levels] = {}
    for first in range(0, pairs, SHARD_PAIRS):
        last = min(first + SHARD_PAIRS, pairs)
        block: dict[str, Levels] = {band: read_pairs(group, band, first, last) for band in BANDS}
        for band in BANDS:
            name = f"{band}_degraded"
            if name in group:
                block[name] = read_pairs(group, name, first, last)
            else:
                block[name] = degraded(
                    block[band],
                    band,
                    about,
                    first_pair=first,
                    before=before.get(band),
                    room=None,
                )
        before = looked_back_at(before, block, about)
        for place in range(last - first):
            yield {name: frames[place] for name, frames in block.items()}


def _run_valid(group: zarr.Group) -> NDArray[np.bool_]:
    array = group["valid"]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{group.store_path}: valid is no array; build the recording again")
    return np.asarray(array[:], np.bool_)
