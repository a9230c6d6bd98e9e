"""A release: an immutable, versioned list of clips."""

import hashlib
from typing import Literal, Self

from pydantic import Field

from schemas.base import Fingerprint, Matrix3x3, Sha256, Slug, StrictModel, Version, canonical_json
from schemas.catalog import Dataset, Split, SplitRule
from schemas.facts import ClipQuality, Rejection
from schemas.recipe import Recipe

MANIFEST_NAME = "release.json"


class ReleaseClip(StrictModel):
    """One clip of a release, with all that its row in the index tells."""

    clip: Slug
    recording: Slug
    session: Slug
    rig: Slug
    site: Slug
    split: Split
    tags: tuple[Slug, ...]
    pairs: int
    fps: float
    width: int
    height: int
    fingerprint: Fingerprint
    store: str = Field(description="Path of the zarr group below the root of the release.")
    root_hash: Sha256
    size_bytes: int
    arrays: dict[str, Sha256] = Field(description="A hash over the files of each array.")
    homography: Matrix3x3
    offset_s: float
    drift_ppm: float
    quality: ClipQuality


class BandStatistics(StrictModel):
    """Mean and deviation of one band over the training clips, grey levels."""

    mean_levels: float
    deviation_levels: float


class Statistics(StrictModel):
    """Measured on the training split alone."""

    infrared: BandStatistics
    visible: BandStatistics


class Release(StrictModel):
    """The manifest of a release; `root_hash` stands for everything in it but the version."""

    schema_version: Literal[1] = 1
    version: Version
    dataset: Dataset
    recipe: Recipe
    splits: SplitRule
    clips: tuple[ReleaseClip, ...] = Field(description="Sorted by clip.")
    rejections: tuple[Rejection, ...]
    statistics: Statistics | None = Field(description="None where no clip is in the train split.")
    root_hash: Sha256

    def split_counts(self) -> dict[str, int]:
        """Clips in each split that has any."""
        counts: dict[str, int] = {}
        for clip in self.clips:
            counts[clip.split] = counts.get(clip.split, 0) + 1
        return counts

    def content_hash(self) -> str:
        """The sha256 that `root_hash` must be."""
        content = self.model_dump(mode="json", exclude={"version", "root_hash"})
        content["dataset"].pop("data_root")
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def sealed(self) -> Self:
        """The same release with its root hash computed."""
        return self.model_copy(update={"root_hash": self.content_hash()})
