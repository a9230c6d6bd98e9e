"""Pictures for people: sheets of labelled panels, of clips and of whatever else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.clip_stores import read_pairs
from pipeline.overlays import overlay
from schemas.base import BANDS
from schemas.store import ClipAttributes

PANEL_WIDTH_PX = 320
"""Five panels and their gaps fit a 1920 pixel screen; half of a 640 pixel frame."""

JPEG_QUALITY = 80
"""A picture of 640 x 240 takes about 20 kB."""

GAP_PX = 8
STRIP_PX = 22
BASELINE_PX = 7
BACKGROUND = (255, 255, 255)
INK = (40, 40, 40)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.45


@dataclass(frozen=True)
class Panel:
    """One image of a sheet and the words above it."""

    label: str
    image: NDArray[np.uint8]
    """(H, W) grey levels or (H, W, 3) RGB."""


@dataclass(frozen=True)
class SheetRow:
    """Panels side by side, and the words above them all."""

    title: str
    panels: tuple[Panel, ...]


def clip_row(title: str, frames: Mapping[str, NDArray[np.uint8]]) -> SheetRow:
    """A row of one instant: both bands, one laid over the other, and whatever else there is.

    Args:
        title: words above the row.
        frames: `infrared` (H, W), `visible` (H, W, 3), and others of the same instant in the
            order they are to stand in, such as `infrared_degraded`, `visible_degraded`, `fused`.
    """
    panels = {
        "infrared": frames["infrared"],
        "visible": frames["visible"],
        "overlay": overlay(frames["infrared"], frames["visible"]),
        **{name: frame for name, frame in frames.items() if name not in BANDS},
    }
    return SheetRow(title, tuple(Panel(n.replace("_", " "), frame) for n, frame in panels.items()))


def run_read_pair(
    group: zarr.Group, attributes: ClipAttributes, pair: int
) -> dict[str, NDArray[np.uint8]]:
    """Both bands of one pair, clean and degraded: as stored, or as a loader degrades them.

    Args:
        group: of the clip, open.
        attributes: of the clip.
        pair: which of its pairs.

    Returns:
        `infrared` (H, W), `visible` RGB (H, W, 3), `infrared_degraded` and `visible_degraded`.
    """
    shown: dict[str, NDArray[np.uint8]] = {}
    for band in BANDS:
        name = f"{band}_degraded"
        if name in group:
            for stored in (band, name):
                (shown[stored],) = read_pairs(group, stored, pair, pair + 1)
        else:
            # Torch takes a second to import, for frames that most clips have.
            blocks = import_module("pipeline.shard_blocks")
            first = max(0, pair - blocks.frames_before(band, attributes))
            clean = read_pairs(group, band, first, pair + 1)
            shown[band] = clean[-1]
            (shown[name],) = blocks.degraded(
                clean[-1:], band, attributes, first_pair=pair, before=clean[:-1]
            )
    return shown


def scaled(image: NDArray[np.uint8], width: int, *, multiple: int = 1) -> NDArray[np.uint8]:
    """An image as RGB, `width` pixels wide, in its proportions.

    Args:
        image: grey (H, W) or RGB (H, W, 3).
        width: pixels.
        multiple: of which the height is one; 2 for videos.
    """
    color = image if image.ndim == 3 else np.repeat(image[..., np.newaxis], 3, axis=2)
    height = multiple * max(1, round(color.shape[0] * width / color.shape[1] / multiple))
    interpolation = cv2.INTER_AREA if width < color.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(color, (width, height), interpolation=interpolation).astype(np.uint8)


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A picture, RGB (H, W, 3), as a small file."""
    how = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, content = cv2.imencode(".jpg", picture[..., ::-1], how)
    return content.tobytes()


def contact_sheet(
    rows: Sequence[SheetRow], panel_width_px: int = PANEL_WIDTH_PX
) -> NDArray[np.uint8]:
    """Rows of labelled panels on one white sheet.

    Every panel is scaled to the same width and keeps its proportions; a row is as high as its
    highest panel. Rows may differ in length.

    Args:
        rows: at least one row of at least one panel.
        panel_width_px: width of a panel on the sheet, pixels.

    Returns:
        RGB, (H, W, 3).

    Raises:
        ValueError: there is no row, or a row without a panel.
    """
    if not rows or not all(row.panels for row in rows):
        raise ValueError("a sheet needs at least one row, and every row at least one panel")
    strips = [_row_strip(row, panel_width_px) for row in rows]
    width = max(strip.shape[1] for strip in strips) + GAP_PX
    gap = _blank(GAP_PX, width)
    return np.concatenate([*(_widened(strip, width) for strip in strips), gap])


def _row_strip(row: SheetRow, panel_width_px: int) -> NDArray[np.uint8]:
    """Title, labels and panels of one row, with a gap above it and to the left of each panel."""
    images = [scaled(panel.image, panel_width_px) for panel in row.panels]
    height = max(image.shape[0] for image in images)
    columns = []
    for panel, image in zip(row.panels, images, strict=True):
        label = _text_strip(panel.label, panel_width_px, thickness=1)
        below = _blank(height - image.shape[0], panel_width_px)
        column = np.concatenate([label, image, below])
        columns += [_blank(column.shape[0], GAP_PX), column]
    panels = np.concatenate(columns, axis=1)
    title = _text_strip(row.title, panels.shape[1] - GAP_PX, thickness=2)
    above, indent = _blank(GAP_PX, panels.shape[1]), _blank(STRIP_PX, GAP_PX)
    return np.concatenate([above, np.concatenate([indent, title], axis=1), panels])


def _text_strip(text: str, width: int, *, thickness: int) -> NDArray[np.uint8]:
    """One line of text, cut where the strip ends."""
    strip = _blank(STRIP_PX, width)
    cv2.putText(
        strip, text, (0, STRIP_PX - BASELINE_PX), FONT, FONT_SCALE, INK, thickness, cv2.LINE_AA
    )
    return strip


def _blank(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def _widened(strip: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return np.concatenate([strip, _blank(strip.shape[0], width - strip.shape[1])], axis=1)
