"""Real frames laid out for every loader that is compared: PNG folders, releases, plain arrays."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from flows.release import release_dataset
from pipeline.image_files import Frame, as_infrared, as_visible, read_image
from pipeline.importers import LAYOUTS, M3SVD_FPS, slug_of
from pipeline.ingest import run_ingest
from pipeline.register import run_register
from pipeline.shard import run_shard
from pipeline.sync import run_sync
from pipeline.workspace import Workspace
from schemas.catalog import Camera, CatalogFile, Dataset, Recording, Rig, Session, SplitRule
from schemas.catalog_reading import load_catalog
from schemas.recipe import Recipe, ShardRecipe
from schemas.store import PROFILES

STREAMS = LAYOUTS["frames"]
"""Array of a clip store -> folder of M3SVD."""

VERSION = "v1.0.0"


@dataclass(frozen=True)
class Footage:
    """The same frames in every layout, below one folder."""

    folder: Path
    clips: tuple[str, ...]
    pairs: int
    height: int
    width: int

    @property
    def frames(self) -> int:
        """Of one stream, all clips together."""
        return len(self.clips) * self.pairs

    def png(self, stream: str, clip: str, pair: int) -> Path:
        return self.folder / "png" / STREAMS[stream] / clip / f"{pair:04d}.png"

    def array(self, stream: str, clip: str) -> Path:
        """All frames of a stream of a clip: (T, H, W) infrared, (T, H, W, 3) visible, uint8."""
        return self.folder / "npy" / clip / f"{stream}.npy"

    def release(self, profile: PROFILES) -> Path:
        return Workspace(self.folder / profile).release(VERSION)


def prepare(source: Path, folder: Path, *, pairs: int) -> Footage:
    """Lay out the frames of an M3SVD split folder, such as `val`; what is there already stays.

    Args:
        source: holds a folder for each of STREAMS with a folder of PNGs for each clip.
        folder: to write to.
        pairs: of every clip; a clip that has fewer begins again.
    """
    clips = tuple(sorted(path.name for path in (source / STREAMS["infrared"]).iterdir()))
    first = read_image(next((source / STREAMS["infrared"] / clips[0]).glob("*.png")))
    footage = Footage(folder, clips, pairs, *first.shape[:2])
    if footage.release(get_args(PROFILES)[-1]).exists():
        return footage
    for clip in clips:
        for stream, name in STREAMS.items():
            _lay_out(sorted((source / name / clip).glob("*.png")), footage, stream, clip)
    for profile in get_args(PROFILES):
        _release(footage, profile)
    return footage


def folder_bytes(folder: Path) -> int:
    """Of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _lay_out(sources: Sequence[Path], footage: Footage, stream: str, clip: str) -> None:
    """The published files as they are, and their pixels as an array."""
    frames: list[Frame] = []
    footage.png(stream, clip, 0).parent.mkdir(parents=True, exist_ok=True)
    footage.array(stream, clip).parent.mkdir(parents=True, exist_ok=True)
    for pair in range(footage.pairs):
        source = sources[pair % len(sources)]
        shutil.copyfile(source, footage.png(stream, clip, pair))
        pixels = read_image(source)
        is_infrared = stream.startswith("infrared")
        frames.append(as_infrared(pixels) if is_infrared else as_visible(pixels, source))
    np.save(footage.array(stream, clip), np.stack(frames))


def _release(footage: Footage, profile: PROFILES) -> None:
    """Build and release all clips, all of them for training."""
    camera = Camera(width=footage.width, height=footage.height)
    recordings = tuple(
        Recording.model_validate(
            {"id": slug_of(clip), "site": slug_of(clip), "fps": M3SVD_FPS, "registered": True}
            | {stream: f"{name}/{clip}" for stream, name in STREAMS.items()}
        )
        for clip in footage.clips
    )
    catalog = CatalogFile(
        dataset=Dataset(name="bench", data_root=str(footage.folder / "png")),
        rigs=(Rig(id="rig", infrared=camera, visible=camera),),
        sessions=(Session(id="session", rig="rig", recordings=recordings),),
        recipe=Recipe(shard=ShardRecipe(profile=profile)),
        splits=SplitRule(sites={recording.site: "train" for recording in recordings}),
    )
    path = footage.folder / f"{profile}.yaml"
    path.write_text(catalog.model_dump_json(exclude_unset=True, by_alias=True))
    workspace = Workspace(footage.folder / profile)
    for plan in load_catalog(path).plans():
        for run in (run_ingest, run_sync, run_register, run_shard):
            run(plan, workspace)
    release_dataset(path, VERSION, workspace.root)
