"""Degrading any video or folder of frames, and measuring how a clean one was degraded."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.progress import Show, silence
from pipeline.degrade import degrade_block, reach
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.degrade_fit import InfraredFit, VisibleFit, fit_infrared, fit_visible
from pipeline.durable import make_folder, new_folder
from pipeline.image_files import numbered_frames, write_image
from pipeline.video_encoding import write_video
from pipeline.video_files import probe, read_frames
from schemas.base import Band
from schemas.degradations import Degradation
from schemas.errors import DegradeError
from schemas.recipe import DegradeRecipe
from schemas.yaml_files import load_yaml

BLOCK_FRAMES = 16
"""Frames degraded at once: half a gigabyte of float32 at 1920 x 1080."""

FIT_FRAMES = 32
"""Frames that parameters are measured on: CAPTURE.md section 1 measured 20 of each clip."""

LOSSY_SUFFIX = ".mp4"


def degraded_frames(
    frames: Iterable[NDArray[Any]], recipe: DegradeRecipe, draw: DegradationDraw
) -> Iterator[NDArray[np.uint8]]:
    """The frames of a clip degraded one after the other, in constant memory.

    Args:
        frames: grey (H, W) for infrared, RGB (H, W, 3) for visible, uint8, from the first on.
        recipe: the chain of the draw's band is used.
        draw: the seed, the name of the clip and the band.
    """
    chain = recipe.infrared if draw.band == "infrared" else recipe.visible
    before: deque[torch.Tensor] = deque(maxlen=reach(chain, draw).frames_before)
    source, first = iter(frames), 0
    while block := list(islice(source, BLOCK_FRAMES)):
        clean = [torch.from_numpy(np.atleast_3d(frame)).permute(2, 0, 1) for frame in block]
        known = [*before, *clean]
        made = degrade_block(
            torch.stack(known),
            chain,
            draw,
            indices=range(first + len(clean) - len(known), first + len(clean)),
            window=Window(0, 0, *clean[0].shape[-2:]),
        )
        for frame in made[-len(clean) :]:
            yield frame.permute(1, 2, 0).numpy().squeeze()
        before.extend(clean)
        first += len(clean)


def degrade_video(
    source: Path, out: Path, recipe: DegradeRecipe, draw: DegradationDraw, report: Show = silence
) -> int:
    """Degrade a video, or a folder of frames, into a video or a folder; returns the frames.

    Args:
        source: what to degrade, 8 bits.
        out: an .mp4, or a folder of PNG frames, each whole or not there at all; frames of a folder
            keep their names.
        recipe: what is done.
        draw: the seed, the name of the clip and the band.
        report: told of every frame.

    Raises:
        VideoError: `source` cannot be read or `out` not be written.
        DegradeError: `source` has 16 bits, or `out` holds something or is no such file.
    """
    found = probe(source, fps=1.0 if source.is_dir() else None)
    if found.bit_depth > 8:
        raise DegradeError(
            f"{source} has 16 bits a pixel and degradations are measured in 8-bit levels; "
            "build it into clips first, or convert it"
        )
    _check_out(out)
    total = found.times_s.size

    def watched() -> Iterator[NDArray[np.uint8]]:
        made = degraded_frames(read_frames(source, draw.band), recipe, draw)
        for done, frame in enumerate(made, 1):
            report(done, total, "")
            yield frame

    if out.suffix == LOSSY_SUFFIX:
        fps = 25.0 if source.is_dir() else 1 / float(np.median(np.diff(found.times_s)))
        return write_video(out, watched(), fps=fps, codec="h264")
    names = [path.stem for _, path in numbered_frames(source)] if source.is_dir() else None
    make_folder(out.parent)
    with new_folder(out.with_name(f".{os.getpid()}.partial.{out.name}"), out) as folder:
        count = 0
        for count, frame in enumerate(watched(), 1):
            name = names[count - 1] if names else f"{count - 1:06d}"
            write_image(folder / f"{name}.png", frame)
    return count


def _check_out(out: Path) -> None:
    if out.suffix and out.suffix != LOSSY_SUFFIX:
        raise DegradeError(f"{out}: give a file that ends in .mp4, or a folder for PNG frames")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DegradeError(f"{out} holds something already; name another place or remove it")


def read_recipe(path: Path | None, preset: str) -> DegradeRecipe:
    """The recipe of a YAML file, or that of a preset.

    Raises:
        CatalogError: the file cannot be read or does not fit; lists every problem.
    """
    if path is not None:
        return load_yaml(path, DegradeRecipe)
    return DegradeRecipe.model_validate({"preset": preset})


def fit_degradation(clean: Path, degraded: Path, band: Band) -> InfraredFit | VisibleFit:
    """The parameters of M3SVD's degradation of that band, measured on a clip and its version.

    Args:
        clean: a video or a folder of frames.
        degraded: the same frames degraded.
        band: infrared for stripes, white noise and tone; visible for blur, gain and offset.

    Raises:
        VideoError: a file cannot be read.
        DegradeError: they differ in size or number, have 16 bits, or fewer than two frames.
    """
    before, after = _first_frames(clean, band), _first_frames(degraded, band)
    if before.shape != after.shape or len(before) < 2:
        described = (
            f"{path} has {len(frames)} frames of {frames.shape[2]} x {frames.shape[1]} pixels"
            for path, frames in ((clean, before), (degraded, after))
        )
        raise DegradeError(
            f"{', '.join(described)} (of its first {FIT_FRAMES}); give a clip and its degraded "
            "version, two frames or more, of one size and as many"
        )
    return (fit_infrared if band == "infrared" else fit_visible)(before, after)


def fit_as_recipe(fit: InfraredFit | VisibleFit) -> list[str]:
    """A recipe, as lines of YAML, that does what was measured; what it leaves out as comments."""
    chain: tuple[Degradation, ...]
    if isinstance(fit, InfraredFit):
        band, chain = "infrared", (fit.tone, fit.noise)
        comment = f"stripes correlate by {fit.stripe_correlation:.4f} from frame to frame"
    else:
        band, chain = "visible", (fit.blur, fit.tone)
        comment = f"clean frames degraded so are {fit.psnr_db:.1f} dB from the degraded ones"
    items = [step.model_dump(mode="json", exclude={"strength", "probability"}) for step in chain]
    return [f"# {comment}", f"{band}:", *(f"  - {json.dumps(item)}" for item in items)]


def _first_frames(path: Path, band: Band) -> NDArray[np.uint8]:
    frames = np.stack(list(islice(read_frames(path, band), FIT_FRAMES)))
    if frames.dtype != np.uint8:
        raise DegradeError(f"{path} has 16 bits a pixel; give 8-bit frames")
    return frames.astype(np.uint8, copy=False)
