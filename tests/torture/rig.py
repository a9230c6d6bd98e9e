"""Tiny footage whose whole journey takes half a second, without Prefect and without threads."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from flows.release import release_dataset
from pipeline.clip_seals import verify_clip
from pipeline.clip_stores import open_clip
from pipeline.ingest import run_ingest
from pipeline.outcomes import current_outcome
from pipeline.publish_verify import verify_release
from pipeline.register import run_register
from pipeline.shard import run_find_whole, run_shard
from pipeline.sync import run_sync
from pipeline.video_files import write_video
from pipeline.workspace import Workspace, load, load_arrays
from schemas.base import StrictModel
from schemas.catalog import (
    Camera,
    CatalogFile,
    Dataset,
    Recording,
    Rig,
    Session,
    SplitRule,
    Timestamps,
)
from schemas.catalog_reading import load_catalog
from schemas.facts import IngestFacts, RegisterFacts, ShardFacts, SyncFacts
from schemas.recipe import Recipe

WIDTH, HEIGHT, FRAMES, FPS = 64, 48, 20, 25.0
GAP_AFTER = 10
VERSION = "v1.0.0"

FACTS: dict[str, type[StrictModel]] = {
    "ingest": IngestFacts,
    "sync": SyncFacts,
    "register": RegisterFacts,
    "shard": ShardFacts,
}


def film(folder: Path) -> None:
    """A catalog of two recordings: one registered with a gap in it, one to be warped."""
    shifted = ((1.0, 0.0, 3.0), (0.0, 1.0, -2.0), (0.0, 0.0, 1.0))
    for seed, name in enumerate(("gap", "warp")):
        film_pair(folder, name, seed)
    times_s = np.arange(FRAMES) / FPS + (np.arange(FRAMES) >= GAP_AFTER)
    rows = "".join(f"{index},{time_s:.6f}\n" for index, time_s in enumerate(times_s))
    (folder / "gap.csv").write_text(f"frame,time_s\n{rows}")
    logs = Timestamps(infrared="gap.csv", visible="gap.csv")
    recordings = (
        Recording(
            id="gap",
            site="quay",
            infrared="gap-infrared.mkv",
            visible="gap-visible.mp4",
            registered=True,
            timestamps=logs,
        ),
        Recording(
            id="warp",
            site="pier",
            infrared="warp-infrared.mkv",
            visible="warp-visible.mp4",
            homography=shifted,
            offset_s=0.0,
        ),
    )
    camera = Camera(width=WIDTH, height=HEIGHT)
    catalog = CatalogFile(
        dataset=Dataset(name="torture", data_root=str(folder)),
        rigs=(Rig(id="mast", infrared=camera, visible=camera),),
        sessions=(Session(id="day", rig="mast", recordings=recordings),),
        recipe=Recipe(),
        splits=SplitRule.model_validate({"sites": {"quay": "train", "pier": "val"}}),
    )
    text = catalog.model_dump_json(exclude_unset=True, by_alias=True, indent=1)
    (folder / "catalog.yaml").write_text(text)


def film_pair(folder: Path, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground = rng.integers(30, 220, (HEIGHT // 4, WIDTH // 4, 3)).repeat(4, 0).repeat(4, 1)
    frames = [np.roll(ground, index, 1).astype(np.uint8) for index in range(FRAMES)]
    infrared = (np.ascontiguousarray(frame[..., 0]) for frame in frames)
    write_video(folder / f"{name}-infrared.mkv", infrared, fps=FPS, codec="ffv1")
    write_video(folder / f"{name}-visible.mp4", iter(frames), fps=FPS, codec="h264")


def journey(catalog: Path, work: Path) -> str:
    """Build and release; gives the root hash."""
    build(catalog, work)
    return release_dataset(catalog, VERSION, work).root_hash


def build(catalog: Path, work: Path) -> None:
    """What `twinband build` does, without Prefect."""
    with Workspace(work).owned() as held:
        for plan in load_catalog(catalog).plans():
            outcome = current_outcome(plan, held)
            if outcome is None or not run_find_whole(outcome, held):
                run_ingest(plan, held)
                run_sync(plan, held)
                run_register(plan, held)
                run_shard(plan, held)


def half_made(work: Path) -> list[str]:
    """Whatever stands under a final name and is not whole, as a reader would find it."""
    workspace = Workspace(work)
    found = [str(path) for path in work.glob("facts/*/.*")]
    for store in work.glob("clips/*/*"):
        found += [f"{fault.clip}: {fault.file}: {fault.what}" for fault in verify_clip(store)]
        group, attributes = open_clip(store)
        found += [
            f"{store}: {name} has other pairs than {attributes.pairs}"
            for name, array in group.arrays()
            if name != "valid" and array.shape[0] != attributes.pairs
        ]
    for folder in work.glob("releases/*"):
        faults = verify_release(folder.name, workspace)
        found += [f"{fault.clip}: {fault.file}: {fault.what}" for fault in faults]
    for path in work.glob("facts/*/*.json"):
        if load(path, FACTS[path.stem]) is None:
            found.append(f"{path} does not fit")
    for path in work.glob("facts/*/*.npz"):
        load_arrays(path)
    return found


def debris(work: Path, leases: Iterable[str] = ()) -> list[str]:
    """What a build that ended well must not leave."""
    staged = list((work / "staging").iterdir()) if (work / "staging").exists() else []
    hidden = [path for path in work.glob(".*") if path.name not in leases]
    return [str(path) for path in (*staged, *hidden, *work.rglob("*.partial*"))]


def content(work: Path) -> dict[str, bytes]:
    """Every file that a build and a release leave, but for what they keep of damaged stores."""
    return {
        path.relative_to(work).as_posix(): path.read_bytes()
        for folder in ("clips", "facts", "releases")
        for path in sorted((work / folder).rglob("*"))
        if path.is_file()
    }
