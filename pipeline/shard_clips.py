"""What is known of clips before they are written, and what is noted of them afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.clips import stretch_of
from pipeline.geometry import valid_mask
from pipeline.quality import QualitySums, clip_quality
from schemas.base import BANDS, canonical_json, fingerprint
from schemas.catalog import RecordingPlan
from schemas.facts import (
    ClipFacts,
    IngestFacts,
    LeftOut,
    RegisterFacts,
    StreamFacts,
    SyncFacts,
    ToneMapping,
)
from schemas.store import ClipAttributes, SourceFacts

STAGE_VERSION = 5
"""Raised with every change that can move a byte of a clip store: in any module of the stage, in the
tone mapping, the geometry, the degradations, or the store's writer."""


def shard_fingerprint(plan: RecordingPlan, upstream: str) -> str:
    """What the clips of a recording depend on, beyond what `upstream` stands for.

    Names and paths belong to it because they go into the stores' attributes: equal fingerprints
    mean equal bytes.
    """
    recording, recipe = plan.recording, plan.recipe
    paths = {field: path for field, path in recording.files() if "." not in field}
    named = [plan.session, recording.id, recording.site, recording.tags, paths]
    return fingerprint(
        STAGE_VERSION,
        upstream,
        canonical_json(named),
        plan.rig,
        recipe.seed,
        recipe.degrade,
        recipe.shard,
        *recording.leave_out,
    )


@dataclass(frozen=True)
class Measured:
    """What the earlier stages found out about a recording."""

    ingest: IngestFacts
    sync: SyncFacts
    register: RegisterFacts

    def during(self, run: range) -> "Measured":
        """With the homography that holds for these pairs."""
        stretch = stretch_of(run, self.register.stretches)
        if stretch is None:
            return self
        held = {
            "homography": stretch.homography,
            "confidence": stretch.confidence,
            "mean_residual_px": stretch.mean_residual_px,
            "parallax_px": stretch.parallax_px,
        }
        return replace(self, register=self.register.model_copy(update=held))


@dataclass(frozen=True)
class PairList:
    """The pairs of a recording or of one of its runs; arrays have the shape (P,)."""

    infrared_frames: NDArray[np.int64]
    visible_frames: NDArray[np.int64]
    infrared_times_s: NDArray[np.float64]
    residual_s: NDArray[np.float64]
    curves: NDArray[np.float32] | None = None
    """Tone curves of the infrared frames, (P, knots); None for 8-bit infrared."""

    def at(self, places: slice | NDArray[np.int64]) -> "PairList":
        """Some of the pairs."""
        return PairList(
            infrared_frames=self.infrared_frames[places],
            visible_frames=self.visible_frames[places],
            infrared_times_s=self.infrared_times_s[places],
            residual_s=self.residual_s[places],
            curves=None if self.curves is None else self.curves[places],
        )

    def seconds(self) -> NDArray[np.float64]:
        """Since the first of the pairs, (pairs,)."""
        return np.asarray(self.infrared_times_s - self.infrared_times_s[0])


def clip_fingerprint(recording_fingerprint: str, pairs: PairList) -> str:
    """What one clip depends on: its recording, and which of its frames it holds."""
    first, last = int(pairs.infrared_frames[0]), int(pairs.infrared_frames[-1])
    return fingerprint(recording_fingerprint, first, last)


def array_names(plan: RecordingPlan, tone: ToneMapping | None) -> tuple[str, ...]:
    """The frame arrays that the recording's clips hold."""
    recording, recipe = plan.recording, plan.recipe
    names: list[str] = [*BANDS]
    for band, given in zip(
        BANDS, (recording.infrared_degraded, recording.visible_degraded), strict=True
    ):
        if given is not None or recipe.degrade.materialise:
            names.append(f"{band}_degraded")
    if tone is not None and recipe.shard.keep_counts:
        names.append("infrared_counts")
    return tuple(names)


def clip_attributes(
    plan: RecordingPlan,
    measured: Measured,
    pairs: PairList,
    sources: dict[str, SourceFacts],
    recording_fingerprint: str,
) -> ClipAttributes:
    """What the zarr group of a clip tells about itself.

    `degraded` is "given" as soon as one degraded stream was brought along; `sources` names which.
    """
    given = any(name.endswith("_degraded") for name in sources)
    made: Literal["materialised", "at-load"] = (
        "materialised" if plan.recipe.degrade.materialise else "at-load"
    )
    *_, width, height = measured.register.crop
    return ClipAttributes(
        clip=f"{plan.recording.id}-{int(pairs.infrared_frames[0]):06d}",
        fingerprint=clip_fingerprint(recording_fingerprint, pairs),
        recording=plan.recording.id,
        session=plan.session,
        rig=plan.rig.id,
        site=plan.recording.site,
        tags=plan.recording.tags,
        fps=round(float(1 / np.median(np.diff(pairs.infrared_times_s))), 6),
        pairs=pairs.infrared_frames.size,
        width=width,
        height=height,
        first_infrared_frame=int(pairs.infrared_frames[0]),
        homography=measured.register.homography,
        crop=measured.register.crop,
        offset_s=measured.sync.offset_s,
        drift_ppm=measured.sync.drift_ppm,
        sources=sources,
        degraded="given" if given else made,
        degrade=plan.recipe.degrade,
        seed=plan.recipe.seed,
        profile=plan.recipe.shard.profile,
    )


def source_facts(path: str, facts: StreamFacts) -> SourceFacts:
    """Where the pixels of a clean stream come from; the path is the catalog's of today."""
    return SourceFacts(
        path=path, sha256=facts.sha256, codec=facts.codec, pixel_format=facts.pixel_format
    )


def seen_by_both(plan: RecordingPlan, register: RegisterFacts) -> NDArray[np.bool_]:
    """Which pixels of the clips show what both cameras see, (height, width)."""
    x, y, width, height = register.crop
    if register.source == "registered":
        return np.ones((height, width), np.bool_)
    return valid_mask(plan.rig, register.homography)[y : y + height, x : x + width]


def clip_facts(
    about: ClipAttributes, pairs: PairList, sums: QualitySums, measured: Measured, root_hash: str
) -> ClipFacts:
    """What is noted of a sealed clip."""
    return ClipFacts(
        clip=about.clip,
        fingerprint=about.fingerprint,
        pairs=about.pairs,
        fps=about.fps,
        width=about.width,
        height=about.height,
        root_hash=root_hash,
        homography=about.homography,
        offset_s=about.offset_s,
        drift_ppm=about.drift_ppm,
        quality=clip_quality(
            sums,
            residual_s=pairs.residual_s,
            sync_confidence=measured.sync.confidence,
            registration_confidence=measured.register.confidence,
        ),
        infrared_levels=sums.infrared,
        visible_levels=sums.visible,
    )


def too_short(left_out: Sequence[LeftOut], min_pairs: int) -> str:
    """Why a recording has no clip."""
    longest = max((run.pairs for run in left_out), default=0)
    return (
        f"the longest of {len(left_out)} gap-free runs has {longest} pairs and a clip needs "
        f"{min_pairs}; lower recipe.shard.min_pairs or record longer without dropped frames"
    )
