"""A workspace with small built clips, as the tests of releases and of publishing need it."""

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.clip_stores import ClipWriter
from pipeline.publish import run_release
from pipeline.quality import QualitySums, with_block
from pipeline.workspace import Workspace
from schemas.catalog import Camera, Catalog, Dataset, Recording, Rig, Session, SplitRule
from schemas.facts import ClipFacts, ClipQuality, ShardFacts
from schemas.recipe import DegradeRecipe, PublishRecipe, Recipe
from schemas.release import Release
from schemas.store import ClipAttributes

WIDTH, HEIGHT, PAIRS, FPS = 32, 24, 9, 30.0
HOMOGRAPHY = ((1.0, 0.25, 3.0), (0.0, 1.5, -2.0), (0.0, 0.0, 1.0))
NO_PREVIEWS = PublishRecipe(preview_pairs=0)
"""Each takes as long as all the rest of a small release."""

SITES = {"quay": "train", "roof": "train", "pier": "val"}


def clip_frames(seed: int) -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    shapes = {
        "infrared": (PAIRS, HEIGHT, WIDTH),
        "visible": (PAIRS, HEIGHT, WIDTH, 3),
        "infrared_degraded": (PAIRS, HEIGHT, WIDTH),
        "visible_degraded": (PAIRS, HEIGHT, WIDTH, 3),
    }
    return {name: rng.integers(0, 256, shape, np.uint8) for name, shape in shapes.items()}


def valid_mask() -> NDArray[np.bool_]:
    valid = np.ones((HEIGHT, WIDTH), np.bool_)
    valid[:, :5] = False
    return valid


def build(workspace: Workspace, recording: Recording, *, seed: int) -> ShardFacts:
    """What a build leaves of a recording: one sealed clip and its facts."""
    clip = f"{recording.id}-000"
    digits = f"{seed:032x}"
    attributes = ClipAttributes(
        clip=clip,
        fingerprint=digits,
        recording=recording.id,
        session="outing",
        rig="mast",
        site=recording.site,
        tags=recording.tags,
        fps=FPS,
        pairs=PAIRS,
        width=WIDTH,
        height=HEIGHT,
        first_infrared_frame=0,
        homography=HOMOGRAPHY,
        crop=(0, 0, WIDTH, HEIGHT),
        offset_s=0.125,
        drift_ppm=40.0,
        sources={},
        degraded="materialised",
        degrade=DegradeRecipe(),
        seed=0,
        profile="default",
    )
    frames = clip_frames(seed)
    sums = with_block(QualitySums(), frames["infrared"], frames["visible"], valid_mask())
    with ClipWriter(workspace, attributes, list(frames)) as writer:
        writer.write(frames)
        manifest = writer.seal(time_s=np.arange(PAIRS) / FPS, valid=valid_mask())
    quality = ClipQuality(
        infrared_mean_levels=float(seed),
        infrared_contrast_levels=1.0,
        visible_mean_levels=2.0,
        visible_contrast_levels=3.0,
        visible_sharpness=4.0,
        mean_residual_s=0.005,
        sync_confidence=0.75,
        registration_confidence=0.5,
    )
    facts = ClipFacts(
        clip=clip,
        fingerprint=digits,
        pairs=PAIRS,
        fps=FPS,
        width=WIDTH,
        height=HEIGHT,
        root_hash=manifest.root_hash,
        homography=attributes.homography,
        offset_s=attributes.offset_s,
        drift_ppm=attributes.drift_ppm,
        quality=quality,
        infrared_levels=sums.infrared,
        visible_levels=sums.visible,
    )
    hashes = {place: sha256(path.encode()).hexdigest() for place, path in recording.files()}
    return ShardFacts(recording=recording.id, fingerprint=digits, sources=hashes, clips=(facts,))


def make_recording(site: str, tags: Sequence[str] = ("day",)) -> Recording:
    return Recording(
        id=f"{site}-walk",
        site=site,
        infrared=f"{site}/infrared.mp4",
        visible=f"{site}/visible.mp4",
        tags=tuple(tags),
    )


def make_catalog(root: Path, recordings: Sequence[Recording], description: str = "") -> Catalog:
    camera = Camera(width=WIDTH, height=HEIGHT)
    return Catalog(
        dataset=Dataset(
            name="harbour", description=description, licence="mit", data_root=str(root)
        ),
        data_root=root,
        rigs=(Rig(id="mast", infrared=camera, visible=camera),),
        sessions=(Session(id="outing", rig="mast", recordings=tuple(recordings)),),
        recipe=Recipe(publish=NO_PREVIEWS),
        splits=SplitRule.model_validate({"sites": SITES}),
    )


class Studio:
    """A workspace with built recordings, and the catalog that names them."""

    def __init__(self, root: Path, sites: Sequence[str]) -> None:
        self.workspace = Workspace(root / "work")
        self.data_root = root / "footage"
        self.recordings: list[Recording] = []
        self.outcomes: list[ShardFacts] = []
        for site in sites:
            self.add(site)

    def add(self, site: str) -> None:
        recording = make_recording(site)
        self.recordings.append(recording)
        seed = len(self.recordings)
        self.outcomes.append(build(self.workspace, recording, seed=seed))

    def catalog(self, description: str = "") -> Catalog:
        return make_catalog(self.data_root, self.recordings, description)

    def release(self, version: str = "v1.0.0") -> Release:
        return run_release(self.catalog(), version, self.workspace, self.outcomes)

    def store(self, number: int) -> Path:
        facts = self.outcomes[number].clips[0]
        return self.workspace.clip(facts.clip, facts.fingerprint)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def a_shard(store: Path) -> Path:
    files = (path for path in sorted((store / "infrared" / "c").rglob("*")) if path.is_file())
    return next(files)


@contextmanager
def small_files_only(limit_bytes: int) -> Iterator[None]:
    """The system refuses to let any file grow beyond the limit, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
