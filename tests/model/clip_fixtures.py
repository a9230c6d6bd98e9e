"""Small releases on disk, written by the real writer, with frames that the tests know."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clip_seals import array_hashes
from pipeline.clip_stores import ClipWriter
from pipeline.degrade import degrade_block
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.workspace import Workspace, save
from schemas.base import Band, fingerprint
from schemas.catalog import Dataset, Split, SplitRule
from schemas.degradations import (
    Degradation,
    DroppedFrames,
    FixedPatternDrift,
    GaussianBlur,
    JpegCompression,
    Misregistration,
    MotionBlur,
    Rain,
    RepeatedFrames,
    StripeNoise,
    VideoCompression,
)
from schemas.facts import ClipQuality
from schemas.recipe import DegradeRecipe, Recipe
from schemas.release import MANIFEST_NAME, Release, ReleaseClip
from schemas.store import PROFILES, SHARD_PAIRS, ClipAttributes, SourceFacts

Frames = dict[str, NDArray[Any]]

SEED = 11
DEGRADE = DegradeRecipe(
    infrared=(StripeNoise(), GaussianBlur(sigma_px=(0.5, 1.0))),
    visible=(GaussianBlur(sigma_px=(1.0, 2.0)), StripeNoise()),
)
SOURCE = SourceFacts(path="dock.mkv", sha256="a" * 64, codec="ffv1", pixel_format="gray")
QUALITY = ClipQuality(
    infrared_mean_levels=100,
    infrared_contrast_levels=30,
    visible_mean_levels=100,
    visible_contrast_levels=30,
    visible_sharpness=50,
    mean_residual_s=0,
    sync_confidence=1,
    registration_confidence=1,
)

LOOKING_AROUND = DegradeRecipe(
    infrared=(
        FixedPatternDrift(period_frames=5, shutter_frames=2),
        VideoCompression(group_frames=4),
        RepeatedFrames(share=(0.4, 0.4)),
        StripeNoise(),
    ),
    visible=(
        MotionBlur(),
        DroppedFrames(share=(0.3, 0.3), recovery_frames=4),
        Misregistration(),
        Rain(drops_per_megapixel=(9000, 9000)),
        JpegCompression(),
    ),
)
"""Chains that look at other frames, at other pixels, and at where they are in the frame."""


@dataclass(frozen=True)
class PlannedClip:
    """A clip to be written."""

    name: str
    split: Split = "train"
    pairs: int = 10
    height: int = 48
    width: int = 64
    materialise: bool = True
    profile: PROFILES = "default"
    with_counts: bool = False
    degrade: DegradeRecipe = DEGRADE
    given: tuple[Band, ...] = ()
    """Bands whose degraded frames were brought along."""


@dataclass(frozen=True)
class Shelf:
    """A workspace with one release, and the frames of its clips by clip and array."""

    workspace: Workspace
    release: Path
    frames: dict[str, Frames]

    def clips(self) -> tuple[ReleaseClip, ...]:
        return Release.model_validate_json((self.release / MANIFEST_NAME).read_bytes()).clips

    def store(self, clip: str) -> Path:
        return next((self.workspace.root / "clips" / clip).iterdir())


def clean_frames(plan: PlannedClip) -> Frames:
    """Frames that differ from pair to pair, from pixel to pixel and between clips."""
    rng = np.random.default_rng([len(plan.name), *plan.name.encode()])
    shape = (plan.pairs, plan.height, plan.width)
    return {
        "infrared": rng.integers(0, 256, shape, np.uint8),
        "visible": rng.integers(0, 256, (*shape, 3), np.uint8),
    }


def degraded_frames(clip: str, clean: Frames, degrade: DegradeRecipe = DEGRADE) -> Frames:
    """What the shard stage stores: whole frames degraded, time first, channels last."""
    infrared = torch.from_numpy(clean["infrared"])[:, None]
    visible = torch.from_numpy(clean["visible"]).permute(0, 3, 1, 2)
    return {
        "infrared_degraded": _degraded(infrared, degrade.infrared, clip, "infrared")[:, 0].numpy(),
        "visible_degraded": _degraded(visible, degrade.visible, clip, "visible")
        .permute(0, 2, 3, 1)
        .numpy(),
    }


def _degraded(
    frames: torch.Tensor, chain: tuple[Degradation, ...], clip: str, band: Band
) -> torch.Tensor:
    window = Window(0, 0, *frames.shape[-2:])
    return degrade_block(
        frames, chain, DegradationDraw(SEED, clip, band), indices=range(len(frames)), window=window
    )


def write_release(root: Path, *plans: PlannedClip) -> Shelf:
    """A workspace at `root` with the planned clips, released as v0.1.0."""
    workspace = Workspace(root)
    frames, clips = {}, []
    for plan in plans:
        clean = clean_frames(plan)
        degraded = degraded_frames(plan.name, clean, plan.degrade)
        counts: Frames = {"infrared_counts": clean["infrared"].astype(np.uint16) * 257}
        frames[plan.name] = {**clean, **degraded, **counts}
        streams: Frames = {
            **clean,
            **{
                name: stream
                for name, stream in degraded.items()
                if plan.materialise or name.removesuffix("_degraded") in plan.given
            },
            **(counts if plan.with_counts else {}),
        }
        clips.append(_write_clip(workspace, plan, streams))
    release = Release(
        version="v0.1.0",
        dataset=Dataset(name="shelf"),
        recipe=Recipe(seed=SEED, degrade=DEGRADE),
        splits=SplitRule(),
        clips=tuple(sorted(clips, key=lambda clip: clip.clip)),
        rejections=(),
        statistics=None,
        root_hash="0" * 64,
    ).sealed()
    folder = workspace.release(release.version)
    save(release, folder / MANIFEST_NAME)
    return Shelf(workspace, folder, frames)


def _write_clip(workspace: Workspace, plan: PlannedClip, streams: Frames) -> ReleaseClip:
    attributes = ClipAttributes(
        clip=plan.name,
        fingerprint=fingerprint(plan.name),
        recording="dock",
        session="spring",
        rig="mast",
        site="harbour",
        tags=("night",),
        fps=25.0,
        pairs=plan.pairs,
        width=plan.width,
        height=plan.height,
        first_infrared_frame=0,
        homography=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        crop=(0, 0, plan.width, plan.height),
        offset_s=0,
        drift_ppm=0,
        sources={f"{band}_degraded": SOURCE for band in plan.given},
        degraded="given" if plan.given else "materialised" if plan.materialise else "at-load",
        degrade=plan.degrade,
        seed=SEED,
        profile=plan.profile,
    )
    with ClipWriter(workspace, attributes, tuple(streams)) as writer:
        for first in range(0, plan.pairs, SHARD_PAIRS):
            writer.write({k: v[first : first + SHARD_PAIRS] for k, v in streams.items()})
        manifest = writer.seal(
            time_s=np.arange(plan.pairs) / 25, valid=np.ones((plan.height, plan.width), np.bool_)
        )
    shared = attributes.model_dump(
        include={
            *("clip", "recording", "session", "rig", "site", "tags", "pairs", "fps", "width"),
            *("height", "fingerprint", "homography", "offset_s", "drift_ppm"),
        }
    )
    return ReleaseClip(
        **shared,
        split=plan.split,
        store=workspace.clip_path(attributes.clip, attributes.fingerprint),
        root_hash=manifest.root_hash,
        size_bytes=sum(file.size_bytes for file in manifest.files),
        arrays=array_hashes(manifest),
        quality=QUALITY,
    )
