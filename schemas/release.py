"""A release: an immutable, versioned list of clips."""

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, ValidationError
from pydantic_core import from_json

from schemas.base import Fingerprint, Matrix3x3, Sha256, Slug, StrictModel, Version, canonical_json
from schemas.catalog import Dataset, Rig, Span, Split, SplitRule
from schemas.errors import ReleaseError
from schemas.facts import ClipQuality, Rejection, Stage
from schemas.layouts import Layouts
from schemas.recipe import Recipe
from schemas.store import StoredFile

MANIFEST_NAME = "release.json"

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""Every split, in the order people name them."""

UNHASHED = ("version", "root_hash", "files")
"""Sections of a release that its root hash does not stand for."""

RESTORE = "bring back a copy, or delete its folder and make the release again"

Declarable = Literal["fps", "registered", "offset_s", "homography"]
"""What a recording may declare instead of having it measured."""


class ClipSource(StrictModel):
    """One of the files that a clip was made from."""

    path: str = Field(description="Below the data root, as the catalog names it.")
    sha256: Sha256


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
    sources: dict[str, ClipSource] = Field(
        {}, description="Every file of the recording, by its place there; empty: not noted."
    )
    declared: tuple[Declarable, ...] = Field(
        (), description="What the recording declared; the rest was measured."
    )
    layouts: Layouts = Field(Layouts(), description="Where its frames lie in its files.")
    leave_out: tuple[Span, ...] = Field(
        (), description="Parts of its recording that the catalog leaves out."
    )


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
    rigs: tuple[Rig, ...] = Field((), description="Those of the clips, sorted; empty: not noted.")
    stage_versions: dict[Stage, int] = Field(
        {}, description="Of the code that made the clips; empty: not noted."
    )
    statistics: Statistics | None = Field(description="None where no clip is in the train split.")
    root_hash: Sha256
    files: tuple[StoredFile, ...] = Field(
        (),
        description="Card, index, pictures and videos beside this file: made from the rest, so "
        "outside the root hash (a newer encoder writes other bytes of the same content).",
    )

    def split_counts(self) -> dict[str, int]:
        """Clips in each split that has any: train, val, test."""
        splits = [clip.split for clip in self.clips]
        return {split: splits.count(split) for split in SPLITS if split in splits}

    def content_hash(self) -> str:
        """The sha256 that `root_hash` must be."""
        return content_hash(self.model_dump(mode="json"))

    def sealed(self) -> Self:
        """The same release with its root hash computed."""
        return self.model_copy(update={"root_hash": self.content_hash()})

    @classmethod
    def read(cls, content: bytes) -> Self:
        """The release of a release.json, proven by its root hash.

        The hash is taken of what is written, so that a release made before a field was thought of
        is still proven by its own.

        Raises:
            ReleaseError: the content was changed, or is no release; the file's name is to be put
                before the message.
        """
        with uncollected():
            return cls._proven(content)

    @classmethod
    def _proven(cls, content: bytes) -> Self:
        try:
            document = from_json(content, cache_strings="keys")
            if not isinstance(document, dict) or not isinstance(document.get("dataset"), dict):
                raise ReleaseError(f"is no release; {RESTORE}")
            found = content_hash(document)
        except (ValueError, RecursionError) as error:
            raise ReleaseError(f"is no release: {error}; {RESTORE}") from error
        if document.get("root_hash") != found:
            raise ReleaseError(
                f"was changed after it was released: its content has the root hash {found} and its "
                f"root_hash is {document.get('root_hash')}; {RESTORE}"
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "content"
            raise ReleaseError(
                f"was written by another version of twinband: {where}: {first['msg']}; "
                "read it with that version, or with a newer one"
            ) from error


def content_hash(document: Mapping[str, Any]) -> str:
    """The sha256 of all that a release's root hash stands for.

    Args:
        document: the release as JSON values, with a mapping `dataset`.
    """
    content = {name: value for name, value in document.items() if name not in UNHASHED}
    content["dataset"] = {
        name: value for name, value in document["dataset"].items() if name != "data_root"
    }
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


ChangeKind = Literal["recipe", "source", "declared", "code", "measured", "rejection", "unexplained"]


class Change(StrictModel):
    """One thing that two releases have differently."""

    kind: ChangeKind
    what: str = Field(description="A dotted path, or a property of something named.")
    old: JsonValue = Field(description="null: there was none.")
    new: JsonValue = Field(description="null: there is none.")


class ClipDiff(StrictModel):
    """A clip that one of two releases lacks or has differently."""

    clip: Slug
    recording: Slug
    why: tuple[Change, ...]
    effects: tuple[str, ...] = Field(
        (), description="Measured fields and arrays that came out otherwise."
    )


class ReleaseDiff(StrictModel):
    """What a release has otherwise than an older one, and why; clips are sorted by name."""

    old: Version
    new: Version
    old_root_hash: Sha256
    new_root_hash: Sha256
    release: tuple[Change, ...] = Field(description="In all but the clips.")
    added: tuple[ClipDiff, ...]
    removed: tuple[ClipDiff, ...]
    changed: tuple[ClipDiff, ...]
    unchanged: int

    def is_empty(self) -> bool:
        """Whether both hold the same."""
        return not (self.release or self.added or self.removed or self.changed)


class Garbage(StrictModel):
    """Something in a workspace that nothing names any more."""

    path: str = Field(description="Below the root of the workspace.")
    kind: Literal["clip", "facts", "look", "debris"]
    size_bytes: int


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


class PublishPlan(StrictModel):
    """What publishing a release would move."""

    version: Version
    destination: str
    is_new: bool = Field(description="Whether the place has to be made.")
    send: tuple[StoredFile, ...] = Field(
        description="By path at the destination; the Hub takes content that it has already under "
        "another path without sending."
    )
    remove: tuple[str, ...] = Field(description="Of the release that was published there before.")
    files_kept: int

    @property
    def bytes_to_send(self) -> int:
        """Of all files to send together."""
        return sum(file.size_bytes for file in self.send)


@contextmanager
def uncollected() -> Iterator[None]:
    """Hold off the search for reference cycles while releases are made into objects.

    A release of 10,000 clips makes a million objects and no cycle among them; looking through all
    again and again as they grow in number doubles the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def newest(versions: Iterable[str], before: str | None = None) -> str | None:
    """The highest of some versions, or the highest below another one; None: there is none."""
    ordered = sorted(versions, key=_numbers)
    if before is not None:
        ordered = [version for version in ordered if _numbers(version) < _numbers(before)]
    return ordered[-1] if ordered else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))
