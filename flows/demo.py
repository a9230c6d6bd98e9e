"""The whole journey on the simulated rig: film, build, release, publish, train, fuse, look."""

from pathlib import Path
from shutil import rmtree

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flows.build import build_dataset
from flows.fuse import fuse_clip
from flows.progress import Show, silence
from flows.publish import publish_release
from flows.release import release_dataset
from flows.train import train_release, training_recipe
from model.checkpoint import load_checkpoint
from model.clips import ClipWindows
from model.train import WEIGHTS_NAME
from model.train_step import initial_network
from model.train_validation import validated
from pipeline.clip_stores import open_clip
from pipeline.pictures import clip_row, contact_sheet, run_read_pair
from pipeline.simulate import run_simulate
from pipeline.video_files import read_frames_at, write_image
from schemas.base import StrictModel
from schemas.release import Release
from schemas.simulation import SimulationSettings

VERSION = "v0.1.0"

FILMED = ("market-noon", "park-night", "depot-dusk", "gate-glare")
"""Recordings of the simulated rig's default: one a site, so that every split has a clip."""

TRAINING_STEPS = 100
TRAINING_FRAMES = 3
WARM_UP_STEPS = 10
"""About a minute on two cores: enough for a picture, not for a trained network."""

JUDGED_WINDOWS = 12
"""Of the val split, before and after training; the batches of two trained on differ too much."""

FUSED_PAIRS = 10
"""Pairs of each shown clip that are fused: a third of a second of video."""

SHOWN_CLIPS = 3

STEPS = 7


class Demo(StrictModel):
    """What the demo made; paths."""

    release: str
    clips: str
    picture: str = Field(description="A sheet of infrared, visible, overlay, degraded and fused.")
    checkpoint: str
    fused: str
    published: str
    first_loss: float = Field(description="Of the untrained network, on clips it never trains on.")
    last_loss: float = Field(description="Of the trained network on the same windows.")

    def lines(self) -> list[str]:
        """The same for people."""
        return [
            f"picture     {self.picture}   (look at this first)",
            f"fused video {self.fused}",
            f"clips       {self.clips}   (zarr groups, one a clip)",
            f"release     {self.release}",
            f"published   {self.published}   (as on the Hub; has a README.md)",
            f"weights     {self.checkpoint}   (loss {self.first_loss:.2f} -> {self.last_loss:.2f})",
            f"next: read {self.published}/README.md, or build your own: twinband schema",
        ]


def run_demo(folder: Path, report: Show = silence) -> Demo:
    """Do the main job below `folder`, from filming to fused frames; running again reuses clips.

    Raises:
        SimulateError: `folder` holds something else.
    """
    folder = folder.resolve()
    work, run = folder / "work", folder / "run"
    report(0, STEPS, "filming the simulated rig")
    catalog = run_simulate(folder / "rig", _filmed())
    report(1, STEPS, "building clips")
    build_dataset(catalog, work)
    report(2, STEPS, f"releasing {VERSION}")
    release = release_dataset(catalog, VERSION, work)
    report(3, STEPS, "publishing to a folder")
    published = folder / "published"
    publish_release(VERSION, str(published), work)
    report(4, STEPS, "training a small network")
    rmtree(run, ignore_errors=True)
    recipe = training_recipe(
        None,
        "small",
        steps=TRAINING_STEPS,
        frames=TRAINING_FRAMES,
        warm_up_steps=WARM_UP_STEPS,
    )
    trained = train_release(str(published), work, run, recipe)
    unseen = ClipWindows(
        published, split="val", frames=recipe.frames, crop=recipe.crop, seed=recipe.seed
    )
    first_loss, last_loss = (
        validated(network, unseen, recipe, JUDGED_WINDOWS).loss
        for network in (initial_network(recipe), load_checkpoint(trained.checkpoint))
    )
    report(5, STEPS, "fusing")
    shown = _shown(release)
    videos = [folder / "fused" / f"{clip}.mp4" for clip in shown]
    for clip, video in zip(shown, videos, strict=True):
        fuse_clip(work / shown[clip], video, run / WEIGHTS_NAME, pairs=FUSED_PAIRS)
    report(6, STEPS, "drawing the picture")
    picture = folder / "demo.png"
    write_image(picture, _sheet(work, shown, videos))
    report(STEPS, STEPS, "done")
    return Demo(
        release=str(work / "releases" / VERSION),
        clips=str(work / "clips"),
        picture=str(picture),
        checkpoint=str(trained.checkpoint),
        fused=str(videos[0]),
        published=str(published),
        first_loss=first_loss,
        last_loss=last_loss,
    )


def _filmed() -> SimulationSettings:
    """The default rig on some of its recordings, without the board that calibrates it."""
    sessions = SimulationSettings().sessions
    chosen = [
        session.model_copy(
            update={"recordings": tuple(r for r in session.recordings if r.id in FILMED)}
        )
        for session in sessions
    ]
    return SimulationSettings(sessions=tuple(chosen), calibration=None)


def _shown(release: Release) -> dict[str, str]:
    """The longest clip of some sites, by name, with the paths of their stores."""
    longest = sorted(release.clips, key=lambda clip: -clip.pairs)
    by_site = {clip.site: clip for clip in reversed(longest)}
    shown = sorted(by_site.values(), key=lambda clip: clip.clip)[:SHOWN_CLIPS]
    return {clip.clip: clip.store for clip in shown}


def _sheet(work: Path, shown: dict[str, str], videos: list[Path]) -> NDArray[np.uint8]:
    """One row a clip: its middle fused pair in every form it has."""
    rows = []
    for (clip, store), video in zip(shown.items(), videos, strict=True):
        group, attributes = open_clip(work / store)
        pair = min(FUSED_PAIRS, attributes.pairs) // 2
        frames = run_read_pair(group, attributes, pair)
        (fused,) = read_frames_at(video, "visible", [pair])
        frames["fused"] = np.asarray(fused, np.uint8)
        rows.append(clip_row(f"{clip}, pair {pair}", frames))
    return contact_sheet(rows)
