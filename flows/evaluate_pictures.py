"""An evaluation as pictures: metrics over time, a column over time, and frames side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.evaluate import ClipViews, Scored
from pipeline.charts import drawn, styled
from pipeline.image_files import write_image
from pipeline.pictures import Panel, SheetRow, contact_sheet, jpeg
from schemas.evaluation import Scores

SHOWN_METRICS = ("flowD", "SSIM", "VIF", "MI", "EN", "SD")
"""Over time, one panel each; those of the paper's table."""

PANELS = (2, 3)

CHART_PX = (1400, 620)

SLICE_WIDTH_PX = 640
"""Of a slice of a clip with fewer frames, about; columns are repeated."""


def write_pictures(found: Mapping[str, Scored], folder: Path) -> list[Path]:
    """Write pictures/<clip>-{metrics.svg,slices.png,strip.jpg} for every clip; returns their paths.

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
    rows = [panels[first : first + 3] for first in range(0, len(panels), 3)]
    title = f"{clip}: the middle column, frame beside frame"
    titles = [title, *[""] * (len(rows) - 1)]
    return contact_sheet(
        [SheetRow(words, tuple(row)) for words, row in zip(titles, rows, strict=True)],
        SLICE_WIDTH_PX,
    )


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
    first = shown[0][1]
    panels = [
        Panel("infrared", first.infrared[0].numpy()),
        Panel("visible", first.visible.permute(1, 2, 0).numpy()),
        *(Panel(name, frame.fused.permute(1, 2, 0).numpy()) for name, frame in shown),
    ]
    rows = [panels[start : start + 5] for start in range(0, len(panels), 5)]
    titles = [f"{clip}, the frame in the middle", *[""] * (len(rows) - 1)]
    return contact_sheet(
        [SheetRow(words, tuple(row)) for words, row in zip(titles, rows, strict=True)]
    )
