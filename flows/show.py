"""One clip in the terminal: what is known of it, and its frame in the middle."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.clip_stores import open_clip, read_pairs
from pipeline.workspace import Workspace
from schemas.base import BANDS
from schemas.errors import StoreError
from schemas.store import ClipAttributes

UPPER_HALF = "\u2580"
"""A character whose upper half is ink and whose lower half is paper: two pixels."""

GAP = "  "


@dataclass(frozen=True)
class ShownClip:
    """A clip and both bands of one pair."""

    store: Path
    attributes: ClipAttributes
    pair: int
    infrared: NDArray[np.uint8]
    """(H, W)."""
    visible: NDArray[np.uint8]
    """RGB, (H, W, 3)."""


def open_shown(clip: str, root: Path, pair: int | None = None) -> ShownClip:
    """The newest store of a clip.

    Args:
        clip: its id, or the path of a store.
        root: the workspace's folder.
        pair: which to show; None: the one in the middle.

    Raises:
        StoreError: there is no such clip or pair, or the store is damaged.
    """
    stores = (
        [Path(clip)] if clip.endswith(".zarr") else list((root / "clips" / clip).glob("*.zarr"))
    )
    if not stores:
        raise StoreError(f"{clip} is no clip in {root}; known are {_known(root)}")
    store = max(stores, key=lambda path: path.stat().st_mtime_ns)
    group, attributes = open_clip(store)
    number = attributes.pairs // 2 if pair is None else pair
    if not 0 <= number < attributes.pairs:
        raise StoreError(f"{clip}: has the pairs 0 to {attributes.pairs - 1}, not {number}")
    infrared, visible = (read_pairs(group, band, number, number + 1)[0] for band in BANDS)
    return ShownClip(store, attributes, number, infrared, visible)


def _known(root: Path) -> str:
    workspace = Workspace(root)
    names = sorted(path.name for path in (workspace.root / "clips").glob("*"))
    return (", ".join(names[:8]) or "none") + (", ..." if len(names) > 8 else "")


def lines(shown: ShownClip, columns: int | None) -> list[str]:
    """What is known, and where there are columns for it, both bands of the pair in colour."""
    about = shown.attributes
    seconds = about.pairs / about.fps
    told = {
        "clip": about.clip,
        "recording": f"{about.recording} of session {about.session}, site {about.site}",
        "filmed by": about.rig,
        "tags": ", ".join(about.tags) or "-",
        "pairs": f"{about.pairs} of {about.width}x{about.height}, {about.fps:.3g} a second, "
        f"{seconds:.1f} s",
        "clocks": f"offset {1000 * about.offset_s:+.1f} ms, drift {about.drift_ppm:+.1f} ppm",
        "degraded": f"{about.degraded}, profile {about.profile}",
        "store": str(shown.store),
    }
    width = max(map(len, told))
    found = [f"{name:<{width}}  {value}" for name, value in told.items()]
    if columns is not None:
        side = max(8, (columns - len(GAP)) // 2)
        bands = [in_blocks(frame, side) for frame in (shown.infrared, shown.visible)]
        found += ["", f"pair {shown.pair}: infrared and visible"]
        found += [GAP.join(row) for row in zip(*bands, strict=True)]
    return found


def in_blocks(frame: NDArray[np.uint8], columns: int) -> list[str]:
    """A frame as lines of half blocks in 24-bit colours.

    Args:
        frame: (H, W) or RGB (H, W, 3).
        columns: characters a line, a pixel each.
    """
    rgb = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
    rows = max(1, round(columns * rgb.shape[0] / rgb.shape[1] / 2))
    small = cv2.resize(rgb, (columns, 2 * rows), interpolation=cv2.INTER_AREA)
    return [
        "".join(
            f"\x1b[38;2;{r};{g};{b}m\x1b[48;2;{x};{y};{z}m{UPPER_HALF}"
            for (r, g, b), (x, y, z) in zip(small[2 * row], small[2 * row + 1], strict=True)
        )
        + "\x1b[0m"
        for row in range(rows)
    ]
