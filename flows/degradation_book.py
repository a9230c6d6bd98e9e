"""The picture book of degradations: every kind at five strengths, in both bands (`make docs`)."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.degrade import degrade_block
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.pictures import Panel, SheetRow, contact_sheet
from pipeline.simulate_filming import film
from pipeline.simulate_truth import takes_of
from schemas.base import Band
from schemas.degradations import Degradation, Step
from schemas.simulation import SimulationSettings

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)

FRAMES, SHOWN, FPS = 24, 20, 30.0
"""Frames filmed, and which of them is shown: far enough in for what looks back."""

PANEL_WIDTH_PX, PANEL_HEIGHT_PX = 224, 160
"""Cut from the middle of the frame and shown pixel for pixel: noise scaled down is no noise."""

JPEG_QUALITY = 75

SEED = 3

HEAD = """# Degradations

Written by `make docs`; the numbers are the defaults of `schemas/degradations.py`, where ranges are
drawn once a clip. `strength` scales each of them from nothing (0) to what they say (1), and
`probability` is the share of clips that get it. A chain is a list of them, done in this order:

```yaml
recipe:
  degrade:
    preset: m3svd          # or m3svd-release, night, weather, handheld, radio-link
    visible:               # a band that is given replaces the preset's
      - {kind: motion-blur, path_px: [4, 10], probability: 0.5}
      - {kind: jpeg-compression, quality: [20, 60]}
```

From Python, `pipeline.degrade.degrade_batch` degrades blocks of clips, on a CPU or a GPU, to the
same pixels as a build, the loader and `twinband degrade`.

The simulated rig's street, at strengths 0.2 to 1:
[infrared](pictures/degradations-infrared.jpg), [visible](pictures/degradations-visible.jpg).
"""


def kind_rows(band: Band, frames: NDArray[np.uint8]) -> list[SheetRow]:
    """A row a kind: one frame at five strengths.

    Args:
        band: of the frames.
        frames: (T, H, W) grey or (T, H, W, 3) RGB.
    """
    clip = torch.from_numpy(np.atleast_3d(frames) if frames.ndim == 4 else frames[..., None])
    clip = clip.permute(0, 3, 1, 2)
    window = Window(0, 0, *clip.shape[-2:])
    draw = DegradationDraw(SEED, "book", band)
    rows = []
    for kind in kinds():
        panels = []
        for strength in STRENGTHS:
            chain: list[Any] = [kind(strength=(strength, strength))]
            made = degrade_block(clip, chain, draw, indices=range(len(clip)), window=window)
            panels.append(Panel(f"{strength:g}", _middle(made[SHOWN].permute(1, 2, 0).numpy())))
        rows.append(SheetRow(kind.model_fields["kind"].default, tuple(panels)))
    return rows


def _middle(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a panel shows of a frame (H, W, channels)."""
    y = (frame.shape[0] - PANEL_HEIGHT_PX) // 2
    x = (frame.shape[1] - PANEL_WIDTH_PX) // 2
    return frame[y : y + PANEL_HEIGHT_PX, x : x + PANEL_WIDTH_PX].squeeze()


def kinds() -> Sequence[type[Step]]:
    """Every kind of degradation, in the order of its schema."""
    found: tuple[type[Step], ...] = get_args(get_args(Degradation)[0])
    return found


def described() -> str:
    """The page that tells what every kind does, its numbers and its source."""
    parts = [HEAD]
    for kind in kinds():
        lines = [f"## {kind.model_fields['kind'].default}", "", _plain(kind.__doc__ or ""), ""]
        lines += [f"Source: {kind.source}.", ""]
        lines += ["| field | default | |", "|---|---|---|"]
        for name, field in kind.model_fields.items():
            if name in ("kind", *Step.model_fields):
                continue
            default = str(field.default).replace("(", "[").replace(")", "]")
            lines.append(f"| `{name}` | {default} | {field.description or ''} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _plain(docstring: str) -> str:
    return "\n".join(line.strip() for line in docstring.strip().splitlines())


def _run_filmed() -> dict[Band, NDArray[np.uint8]]:
    """A moment of the simulated rig's first recording, both bands in grey levels or colours."""
    settings = SimulationSettings()
    takes = takes_of(settings, settings.sessions[0].recordings[0])
    times_s = [number / FPS for number in range(FRAMES)]
    counts = np.stack(list(film(takes["infrared"], times_s))).astype(np.float64)
    low, high = np.percentile(counts, (0.1, 99.9))
    levels = np.clip((counts - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    visible = np.stack(list(film(takes["visible"], times_s))).astype(np.uint8)
    return {"infrared": levels, "visible": visible}


def run_book(folder: Path) -> None:
    """Write the page and its pictures into `folder`."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for band, frames in _run_filmed().items():
        sheet = contact_sheet(kind_rows(band, frames), PANEL_WIDTH_PX)
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), quality)
        (folder / "pictures" / f"degradations-{band}.jpg").write_bytes(encoded.tobytes())
    (folder / "degradations.md").write_text(described(), encoding="utf-8")


if __name__ == "__main__":
    run_book(Path(sys.argv[1]))
