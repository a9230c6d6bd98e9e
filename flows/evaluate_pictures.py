"""An evaluation as pictures: metrics and a column over time, frames side by side, objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.evaluate import Scored
from flows.evaluate_views import ClipViews, Followed
from model.evaluate import ScoredFrame
from pipeline.charts import drawn, styled
from pipeline.image_files import write_image
from pipeline.pictures import FONT, PANEL_WIDTH_PX, Panel, SheetRow, contact_sheet, jpeg
from schemas.base import BANDS
from schemas.evaluation import DetectedStream, Scores

SHOWN_METRICS = ("flowD", "SSIM", "VIF", "MI", "EN", "SD")
"""Over time, one panel each; those of the paper's table."""

PANELS = (2, 3)

CHART_PX = (1400, 620)

SHEET_COLUMNS, SLICE_COLUMNS, OBJECT_COLUMNS = 5, 3, 3
"""Panels side by side."""

OBJECT_WIDTH_PX = 480
"""Of a frame with boxes, so that their words can be read."""

TRACK_COLOURS = (
    (230, 60, 50), (40, 160, 70), (50, 110, 230), (240, 160, 30), (160, 70, 200), (20, 180, 190),
)  # fmt: skip
"""RGB, told apart on grey and on colour."""

SLICE_WIDTH_PX = 640
"""Of a slice of a clip with fewer frames, about; columns are repeated."""


def write_pictures(found: Mapping[str, Scored], folder: Path) -> list[Path]:
    """Write pictures/<clip>-{metrics.svg,slices.png,strip.jpg} for every clip; returns their paths.

    Where objects were followed, <clip>-objects.jpg too.

    Args:
        found: by the name of what was scored, all on the same clips.
        folder: to write in.

    Raises:
        OSError: a file cannot be written.
    """
    written = []
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for clip in next(iter(found.values())).views:
        views = {name: one.views[clip] for name, one in found.items()}
        paths = [
            folder / "pictures" / f"{clip}-{name}"
            for name in ("metrics.svg", "slices.png", "strip.jpg")
        ]
        rows = {name: one.rows[clip] for name, one in found.items()}
        paths[0].write_bytes(metrics_chart(clip, rows))
        write_image(paths[1], slices(clip, views))
        paths[2].write_bytes(jpeg(strip(clip, views)))
        if any(one.followed for one in views.values()):
            paths.append(folder / "pictures" / f"{clip}-objects.jpg")
            paths[3].write_bytes(jpeg(objects(clip, views)))
        written += paths
    return written


def metrics_chart(clip: str, rows: Mapping[str, Sequence[Scores]]) -> bytes:
    """The paper's metrics of every frame of a clip, a line for each subject; SVG."""
    with styled(*CHART_PX) as figure:
        figure.suptitle(clip, x=0.01, ha="left", fontsize=12)
        panels = figure.subplots(*PANELS).flat
        for name, axes in zip(SHOWN_METRICS, panels, strict=True):
            for subject, scores in rows.items():
                known = np.array([np.nan if (v := row.get(name)) is None else v for row in scores])
                axes.plot(known, linewidth=1.2, label=subject)
            axes.set_title(name)
            axes.set_xlabel("frame")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
        return drawn(figure)


def slices(clip: str, views: Mapping[str, ClipViews]) -> NDArray[np.uint8]:
    """The middle column over time, a panel for each subject; RGB."""
    panels = [Panel(name, slice_over_time(one.columns)) for name, one in views.items()]
    title = f"{clip}: the middle column, frame beside frame"
    return _sheet(title, panels, SLICE_COLUMNS, SLICE_WIDTH_PX)


def slice_over_time(columns: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """One column of the picture, frame beside frame: what flickers is striped, what moves leans.

    Args:
        columns: RGB, (H, 3) each, in the order of the frames.

    Returns:
        RGB, (H, W, 3).
    """
    stacked = np.stack(columns, axis=1)
    return np.repeat(stacked, max(1, SLICE_WIDTH_PX // len(columns)), axis=1)


def strip(clip: str, views: Mapping[str, ClipViews]) -> NDArray[np.uint8]:
    """The frame in the middle: both sources, and what each subject made of them; RGB."""
    shown = [(name, one.middle) for name, one in views.items() if one.middle is not None]
    panels = [
        *(Panel(band, image_of(shown[0][1], band)) for band in BANDS),
        *(Panel(name, image_of(frame, "fused")) for name, frame in shown),
    ]
    return _sheet(f"{clip}, the frame in the middle", panels, SHEET_COLUMNS, PANEL_WIDTH_PX)


def objects(clip: str, views: Mapping[str, ClipViews]) -> NDArray[np.uint8]:
    """The same with the boxes of the objects that are followed, each track in a colour; RGB."""
    first = next(iter(views.values()))
    shown: list[tuple[str, ClipViews, DetectedStream]] = [
        ("infrared", first, "infrared"),
        ("visible", first, "visible"),
        *((name, one, "fused") for name, one in views.items()),
    ]
    panels = [
        Panel(name, boxed(image_of(one.middle, stream), one.followed[stream][one.pairs // 2]))
        for name, one, stream in shown
        if one.middle is not None
    ]
    title = f"{clip}, objects followed, the frame in the middle"
    return _sheet(title, panels, OBJECT_COLUMNS, OBJECT_WIDTH_PX)


def image_of(frame: ScoredFrame, stream: str) -> NDArray[np.uint8]:
    """A stream's frame: grey levels (H, W) of infrared, otherwise RGB (H, W, 3)."""
    image = np.asarray(getattr(frame, stream).permute(1, 2, 0).numpy(), np.uint8)
    return image[..., 0] if image.shape[2] == 1 else image


def boxed(image: NDArray[np.uint8], found: Followed) -> NDArray[np.uint8]:
    """A frame with what is followed in it; RGB (H, W, 3)."""
    drawn_on = np.array(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))
    for box, track, kind in zip(found.boxes_px, found.tracks, found.kinds, strict=True):
        left, top, right, bottom = (round(float(edge)) for edge in box)
        colour = TRACK_COLOURS[int(track) % len(TRACK_COLOURS)]
        cv2.rectangle(drawn_on, (left, top), (right, bottom), colour, 2, cv2.LINE_AA)
        place = (left + 2, max(top - 4, 12))
        cv2.putText(drawn_on, f"{kind} {track}", place, FONT, 0.45, colour, 1, cv2.LINE_AA)
    return drawn_on


def _sheet(title: str, panels: list[Panel], columns: int, width_px: int) -> NDArray[np.uint8]:
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    titles = [title, *[""] * (len(rows) - 1)]
    return contact_sheet(
        [SheetRow(words, tuple(row)) for words, row in zip(titles, rows, strict=True)], width_px
    )
