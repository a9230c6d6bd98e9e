"""Workspaces with thousands of tiny built clips: real catalogs, facts and sealed zarr stores."""

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np

from pipeline.clip_seals import read_manifest
from pipeline.clip_stores import ClipWriter
from pipeline.outcomes import final_fingerprint
from pipeline.quality import QualitySums, clip_quality, with_block
from pipeline.workspace import Workspace, save
from schemas.base import fingerprint
from schemas.catalog import RecordingPlan
from schemas.catalog_reading import load_catalog
from schemas.facts import ClipFacts, ShardFacts
from schemas.recipe import DegradeRecipe
from schemas.store import MANIFEST_NAME, ClipAttributes, ClipManifest, StoredFile

CLIPS_PER_RECORDING = 20
"""Runs without a gap that a recording is cut into."""

RECORDINGS_PER_SITE = 5

PAIRS, HEIGHT, WIDTH, FPS = 8, 16, 16, 25.0

STREAMS = ("infrared", "visible", "infrared_degraded", "visible_degraded")

CATALOG = """\
dataset: {name: crowd}
rigs:
  - {id: mast, infrared: {width: 16, height: 16}, visible: {width: 16, height: 16}}
sessions:
  - id: outing
    rig: mast
    recordings:
"""

MOST_LINKS = 30_000
"""Names of one file; ext4 takes 65,000."""

NO_PREVIEWS = "{publish: {preview_pairs: 0}}"
"""Each takes a quarter of a second, once; what is measured is the rest."""

METADATA = "zarr.json"


def write_catalog(folder: Path, recordings: int, *, recipe: str = NO_PREVIEWS) -> Path:
    """A catalog of tiny raw files, each with other bytes.

    Args:
        folder: to write into; raw files that are there already stay.
        recordings: how many.
        recipe: YAML of the recipe.
    """
    lines = [CATALOG.rstrip("\n")]
    footage = folder / "footage"
    footage.mkdir(parents=True, exist_ok=True)
    for number in range(recordings):
        name, site = f"dock-{number:05d}", f"site-{number // RECORDINGS_PER_SITE}"
        paths = {band: f"footage/{name}-{band}.mkv" for band in ("infrared", "visible")}
        for band, path in paths.items():
            if not (folder / path).exists():
                (folder / path).write_bytes(f"{name} {band}".encode())
        lines.append(
            f"      - {{id: {name}, site: {site}, infrared: {paths['infrared']}, "
            f"visible: {paths['visible']}, registered: true}}"
        )
    lines.append(f"recipe: {recipe}\n")
    catalog = folder / "catalog.yaml"
    catalog.write_text("\n".join(lines))
    return catalog


def build_clips(catalog: Path, workspace: Workspace, *, clips: int = CLIPS_PER_RECORDING) -> int:
    """Leave what a build of `catalog` would, with copies of one clip's pixels.

    Returns:
        How many clips there are.
    """
    plans = list(load_catalog(catalog).plans())
    template = _write_template(workspace, plans[0])
    linked = 0
    for plan in plans:
        linked += clips
        if linked > MOST_LINKS:
            shutil.rmtree(template[0])
            template, linked = _write_template(workspace, plans[0]), clips
        identity = final_fingerprint(plan)
        made = [_copy_clip(template, workspace, plan, identity, place) for place in range(clips)]
        hashes = {
            place: sha256((plan.data_root / path).read_bytes()).hexdigest()
            for place, path in plan.recording.files()
        }
        outcome = ShardFacts(
            recording=plan.recording.id, fingerprint=identity, sources=hashes, clips=tuple(made)
        )
        save(outcome, workspace.facts(plan.recording.id, "shard"))
    shutil.rmtree(template[0])
    return len(plans) * clips


Template = tuple[Path, ClipAttributes, ClipManifest, ClipFacts]


def _write_template(workspace: Workspace, plan: RecordingPlan) -> Template:
    """One clip written by the real writer, for the others to be copied from."""
    rng = np.random.default_rng(0)
    shape = (PAIRS, HEIGHT, WIDTH)
    frames = {
        name: rng.integers(0, 256, shape if "infrared" in name else (*shape, 3), np.uint8)
        for name in STREAMS
    }
    valid = np.ones((HEIGHT, WIDTH), np.bool_)
    attributes = _attributes(plan, "template", "0" * 32)
    with ClipWriter(workspace, attributes, STREAMS) as writer:
        writer.write(frames)
        manifest = writer.seal(time_s=np.arange(PAIRS) / FPS, valid=valid)
    sums = with_block(QualitySums(), frames["infrared"], frames["visible"], valid)
    quality = clip_quality(
        sums, residual_s=np.zeros(PAIRS), sync_confidence=1, registration_confidence=1
    )
    facts = ClipFacts(
        clip=attributes.clip,
        fingerprint=attributes.fingerprint,
        pairs=PAIRS,
        fps=FPS,
        width=WIDTH,
        height=HEIGHT,
        root_hash=manifest.root_hash,
        homography=attributes.homography,
        offset_s=0,
        drift_ppm=0,
        quality=quality,
        infrared_levels=sums.infrared,
        visible_levels=sums.visible,
    )
    store = workspace.clip(attributes.clip, attributes.fingerprint)
    return store, attributes, read_manifest(store), facts


def _attributes(plan: RecordingPlan, clip: str, identity: str) -> ClipAttributes:
    return ClipAttributes(
        clip=clip,
        fingerprint=identity,
        recording=plan.recording.id,
        session=plan.session,
        rig=plan.rig.id,
        site=plan.recording.site,
        tags=plan.recording.tags,
        fps=FPS,
        pairs=PAIRS,
        width=WIDTH,
        height=HEIGHT,
        first_infrared_frame=0,
        homography=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        crop=(0, 0, WIDTH, HEIGHT),
        offset_s=0,
        drift_ppm=0,
        sources={},
        degraded="materialised",
        degrade=DegradeRecipe(),
        seed=0,
        profile="default",
    )


def _copy_clip(
    template: Template, workspace: Workspace, plan: RecordingPlan, identity: str, place: int
) -> ClipFacts:
    """The template under another name: its own metadata and manifest, linked shards."""
    source, _, manifest, facts = template
    clip = f"{plan.recording.id}-{place:06d}"
    own = fingerprint(identity, place)
    store = workspace.clip(clip, own)
    group = json.loads((source / METADATA).read_text())
    group["attributes"] = _attributes(plan, clip, own).model_dump(mode="json")
    metadata = json.dumps(group).encode()
    listed: list[StoredFile] = []
    for folder in sorted({(store / file.path).parent for file in manifest.files}):
        folder.mkdir(parents=True, exist_ok=True)
    for file in manifest.files:
        if file.path == METADATA:
            (store / METADATA).write_bytes(metadata)
            digest = sha256(metadata).hexdigest()
            listed.append(StoredFile(path=METADATA, size_bytes=len(metadata), sha256=digest))
        else:
            os.link(source / file.path, store / file.path)
            listed.append(file)
    sealed = ClipManifest.seal(clip, own, tuple(listed))
    (store / MANIFEST_NAME).write_text(sealed.model_dump_json(indent=2) + "\n")
    return facts.model_copy(
        update={"clip": clip, "fingerprint": own, "root_hash": sealed.root_hash}
    )
