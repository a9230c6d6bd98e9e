"""What the operator declares: the dataset, its rigs, sessions and recordings."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from schemas.base import BANDS, Matrix3x3, Slug, StrictModel
from schemas.layouts import MAX_CAMERA_PIXELS, Layouts, StreamLayout
from schemas.recipe import Recipe

Split = Literal["train", "val", "test"]

HUB_REPO = r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$"
"""How the Hub names a repository: organisation/name."""


def _inside(path: str) -> str:
    if "\0" in path or "\\" in path:
        raise ValueError(f"{path!r} must be a path with forward slashes and no NUL")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(
            f"{path!r} leaves the data root; give a path relative to dataset.data_root"
        )
    return path


DataPath = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_inside)]
"""A file or folder below the data root, with forward slashes."""


class Dataset(StrictModel):
    """What the dataset is, for people and for the Hub."""

    name: Slug = Field(description="Name of the dataset, also of its Hub repository.")
    description: str = Field("", max_length=5000, description="A few sentences for the card.")
    licence: str = Field("other", max_length=100, description="SPDX or Hub licence identifier.")
    citation: str = Field(
        "", max_length=5000, description="How to cite the dataset, for the card: BibTeX, or plain."
    )
    hub_repo: str | None = Field(
        None,
        pattern=HUB_REPO,
        description="Hub repository, organisation/name.",
    )
    data_root: str = Field(
        ".",
        min_length=1,
        description="Folder of the recordings: absolute, or relative to this file; or an address "
        "of an object store, such as s3://bucket/path.",
    )


class Lens(StrictModel):
    """Pinhole camera with radial and tangential distortion, OpenCV's model; pixels."""

    fx: float = Field(gt=0)
    fy: float = Field(gt=0)
    cx: float
    cy: float
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0


class Camera(StrictModel):
    """One camera of a rig."""

    width: int = Field(ge=16, le=MAX_CAMERA_PIXELS, description="Image width, pixels.")
    height: int = Field(ge=16, le=MAX_CAMERA_PIXELS, description="Image height, pixels.")
    lens: Lens | None = Field(None, description="From calibration; None: taken as undistorted.")


class Rig(StrictModel):
    """An infrared and a visible camera on one mount."""

    id: Slug
    infrared: Camera
    visible: Camera


class Timestamps(StrictModel):
    """CSV files with the columns `frame,time_s`: one row per recorded frame, the camera's clock."""

    infrared: DataPath | None = None
    visible: DataPath | None = None


class PointPair(StrictModel):
    """One place as both cameras show it: x, y, pixels of the frames as recorded."""

    infrared: tuple[float, float]
    visible: tuple[float, float]


class Span(StrictModel):
    """A part of a recording that is to become no clip."""

    from_s: float = Field(ge=0, description="Seconds since the first infrared frame.")
    to_s: float = Field(gt=0, description="Where it ends; that instant is kept again.")
    reason: str = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _begins_first(self) -> Self:
        if self.from_s >= self.to_s:
            raise ValueError(f"from_s {self.from_s:g} must be below to_s {self.to_s:g}; swap them")
        return self


class Review(StrictModel):
    """A person's decision on a recording."""

    decision: Literal["accept", "reject"]
    reason: str | None = Field(None, max_length=1000)

    @model_validator(mode="after")
    def _say_why(self) -> Self:
        if self.decision == "reject" and not self.reason:
            raise ValueError("a rejection needs a reason; add `reason:`")
        return self


class Recording(StrictModel):
    """An infrared and a visible video filmed side by side."""

    id: Slug = Field(
        max_length=70,
        description="Stable name; prefixes every clip cut from this recording.",
    )
    site: Slug = Field(description="Where it was filmed. A site never spans two splits.")
    infrared: DataPath = Field(
        description="Video file, folder of numbered frames, ROS bag or MCAP file."
    )
    visible: DataPath = Field(description="The same; it may be the same file, see layouts.")
    layouts: Layouts = Field(
        Layouts(), description="For raw files, for one file of both cameras, and for ROS topics."
    )
    infrared_degraded: DataPath | None = Field(
        None, description="Degraded infrared made elsewhere, frame by frame; kept as it is."
    )
    visible_degraded: DataPath | None = Field(
        None, description="Degraded visible made elsewhere, frame by frame; kept as it is."
    )
    timestamps: Timestamps = Timestamps()
    fps: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Frame rate of folders of frames and of raw files without timestamps.",
    )
    offset_s: float | None = Field(
        None,
        ge=-60,
        le=60,
        description="Seconds to add to visible time to get infrared time; None: estimated.",
    )
    homography: Matrix3x3 | None = Field(
        None,
        description="Visible pixels to infrared pixels, undistorted ones where the rig has lenses; "
        "None: estimated.",
    )
    point_pairs: Annotated[tuple[PointPair, ...], Field(min_length=4, max_length=4)] | None = Field(
        None, description="Four places seen by both cameras, instead of a homography."
    )
    registered: bool = Field(
        False, description="Both videos already show the same view at the same instants."
    )
    tags: tuple[Slug, ...] = ()
    leave_out: tuple[Span, ...] = Field((), description="Parts that are to become no clip.")
    review: Review | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.infrared == self.visible and not self.shares_a_file():
            raise ValueError(
                f"infrared and visible are both {self.infrared}; list one file per camera, or "
                "give each a crop or a topic of its own in layouts"
            )
        if self.registered and self.is_declared():
            raise ValueError(
                "registered: true leaves no room for homography, point_pairs or offset_s; remove "
                "one of them"
            )
        if self.homography is not None and self.point_pairs is not None:
            raise ValueError("homography and point_pairs say the same; remove one of them")
        if not self.registered and (self.infrared_degraded or self.visible_degraded):
            raise ValueError(
                "degraded streams can only be kept for registered recordings; "
                "set registered: true or remove them"
            )
        return self

    def is_declared(self) -> bool:
        """Whether anything about clocks or geometry is given by hand."""
        given = (self.homography, self.point_pairs, self.offset_s)
        return any(value is not None for value in given)

    def shares_a_file(self) -> bool:
        """Whether the layouts tell the two cameras apart where one file holds both."""
        infrared, visible = (
            layout or StreamLayout() for layout in (self.layouts.infrared, self.layouts.visible)
        )
        if infrared.topic != visible.topic and None not in (infrared.topic, visible.topic):
            return True
        if infrared.crop is None or visible.crop is None:
            return False
        return any(
            max(infrared.crop[axis], visible.crop[axis])
            >= min(crop[axis] + crop[axis + 2] for crop in (infrared.crop, visible.crop))
            for axis in (0, 1)
        )

    def files(self) -> Iterator[tuple[str, str]]:
        """Every path the recording names, with its place inside the recording."""
        for field in ("infrared", "visible", "infrared_degraded", "visible_degraded"):
            if (path := getattr(self, field)) is not None:
                yield field, path
        for band in BANDS:
            if (path := getattr(self.timestamps, band)) is not None:
                yield f"timestamps.{band}", path


class Session(StrictModel):
    """One outing with a rig."""

    id: Slug
    rig: Slug
    date: dt.date | None = None
    recordings: tuple[Recording, ...] = Field(min_length=1)


class SplitRule(StrictModel):
    """How sites are dealt to splits; a site's place depends on its name and the seed alone."""

    train: float = Field(0.8, ge=0, le=1, description="Share of sites for training.")
    val: float = Field(0.1, ge=0, le=1, description="Share of sites for validation.")
    test: float = Field(0.1, ge=0, le=1, description="Share of sites for testing.")
    seed: int = Field(0, ge=0)
    sites: dict[Slug, Split] = Field({}, description="Sites whose split is fixed by hand.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + val + test is {total:g}; make the shares add up to 1")
        return self


def _inline_or_file(entry: object) -> str:
    return "file" if isinstance(entry, str) else "session"


SessionEntry = Annotated[
    Annotated[Session, Tag("session")] | Annotated[DataPath, Tag("file")],
    Discriminator(_inline_or_file),
]
"""A session written in place, or the path of its own YAML file beside the catalog."""


class RecordingPlan(StrictModel):
    """One recording with all that its stages need to know."""

    recording: Recording
    session: Slug
    rig: Rig
    data_root: Path
    data_address: str | None = Field(
        None, description="Where the files come from; they are below data_root once they are here."
    )
    recipe: Recipe


class CatalogFile(StrictModel):
    """catalog.yaml as written; a session may be the path of a YAML file of its own."""

    dataset: Dataset
    rigs: tuple[Rig, ...] = Field(min_length=1)
    sessions: tuple[SessionEntry, ...]
    recipe: Recipe = Recipe()
    splits: SplitRule = SplitRule()


class Catalog(StrictModel):
    """A checked catalog: sessions read in, ids unique, every file at hand."""

    dataset: Dataset
    data_root: Path = Field(
        description="Absolute folder below which every recording lies; of no use with an address."
    )
    data_address: str | None = Field(
        None, description="Address of an object store below which every recording lies instead."
    )
    rigs: tuple[Rig, ...]
    sessions: tuple[Session, ...]
    recipe: Recipe
    splits: SplitRule

    def plans(self) -> Iterator[RecordingPlan]:
        """Every recording ready to be built, in catalog order."""
        rigs = {rig.id: rig for rig in self.rigs}
        for session, recording in self.recordings():
            yield RecordingPlan(
                recording=recording,
                session=session.id,
                rig=rigs[session.rig],
                data_root=self.data_root,
                data_address=self.data_address,
                recipe=self.recipe,
            )

    def recordings(self) -> Iterator[tuple[Session, Recording]]:
        """Every recording with its session, in catalog order."""
        for session in self.sessions:
            for recording in session.recordings:
                yield session, recording
