"""A release: an immutable, versioned list of clips."""

import hashlib
from typing import Literal, Self

from pydantic import Field

from schemas.base import Fingerprint, Matrix3x3, Sha256, Slug, StrictModel, Version, canonical_json
from schemas.catalog import Dataset, Split, SplitRule
from schemas.facts import ClipQuality, Rejection
from schemas.recipe import Recipe
from schemas.store import StoredFile

MANIFEST_NAME = "release.json"

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""Every split, in the order people name them."""


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
    """The manifest of a release; `root_hash` stands for all of it but the version and `files`."""

    schema_version: Literal[1] = 1
    version: Version
    dataset: Dataset
    recipe: Recipe
    splits: SplitRule
    clips: tuple[ReleaseClip, ...] = Field(description="Sorted by clip.")
    rejections: tuple[Rejection, ...]
    statistics: Statistics | None = Field(description="None where no clip is in the train split.")
    root_hash: Sha256
    files: tuple[StoredFile, ...] = Field(
        (),
        description="Card, index and picture beside this file: made from the rest, so outside the "
        "root hash (a newer Parquet or PNG encoder writes other bytes of the same content).",
    )

    def split_counts(self) -> dict[str, int]:
        """Clips in each split that has any: train, val, test."""
        splits = [clip.split for clip in self.clips]
        return {split: splits.count(split) for split in SPLITS if split in splits}

    def content_hash(self) -> str:
        """The sha256 that `root_hash` must be."""
        content = self.model_dump(mode="json", exclude={"version", "root_hash", "files"})
        content["dataset"].pop("data_root")
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def sealed(self) -> Self:
        """The same release with its root hash computed."""
        return self.model_copy(update={"root_hash": self.content_hash()})


class Publication(StrictModel):
    """What publishing a release moved."""

    version: Version
    destination: str
    files_sent: int
    bytes_sent: int
    files_kept: int = Field(
        description="Found at the destination, byte for byte as they should be."
    )
    clips_removed: int = Field(description="Of the release that was published there before.")
