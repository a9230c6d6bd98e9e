"""Charts as images, all in one style, drawn without a screen."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 100

INK, FAINT, BLUE, ORANGE, RED = "#282828", "#8a8a8a", "#1f6fb4", "#ff7800", "#b3261e"
"""Orange is that of infrared outlines in overlays (pipeline.overlays)."""

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.1,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@contextmanager
def styled(width_px: int, height_px: int) -> Iterator[Figure]:
    """A white figure of that size, to be filled and `rendered` inside the `with`."""
    with rc_context(STYLE):
        yield Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, layout="constrained")


def rendered(figure: Figure) -> NDArray[np.uint8]:
    """The figure as an image, RGB (H, W, 3)."""
    content = BytesIO()
    figure.savefig(content, format="rgba", dpi=DPI)
    width, height = (round(side * DPI) for side in figure.get_size_inches())
    pixels = np.frombuffer(content.getvalue(), np.uint8).reshape(height, width, 4)
    return pixels[..., :3].copy()


def drawn(figure: Figure) -> bytes:
    """The figure as SVG, its words as text; equal figures give equal bytes."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "twinband"}):
        content = BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()


def show_image(axes: Axes, image: NDArray[np.uint8], title: str) -> None:
    """An image under its title, without axes; pixel centres at integers."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    bare(axes, title)


def bare(axes: Axes, title: str) -> None:
    """A title over a panel without axes."""
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def colour_bar(axes: Axes, shown: ScalarMappable, unit: str) -> None:
    """The scale of what is shown by colour, to the right of its panel."""
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02, label=unit)
    bar.outline.set_visible(False)
