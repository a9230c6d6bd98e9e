"""Flips single bits of every class of file, and asks who notices: verify, and the training read."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.releases import open_release
from model.stores import open_clip, read_frames
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace, load, load_arrays
from schemas.base import StrictModel
from schemas.errors import TwinbandError
from schemas.release import content_hash
from schemas.store_arrays import ArrayMetadata
from tests.torture.rig import FACTS, VERSION

CLASSES: dict[str, str] = {
    "shard of frames, payload": r"clips/.*/(infrared|visible)(_degraded)?/c/.*",
    "shard of frames, index": r"clips/.*/(infrared|visible)(_degraded)?/c/.*",
    "shard of times or mask": r"clips/.*/(time_s|valid)/c/.*",
    "zarr.json of an array": r"clips/.*\.zarr/\w+/zarr\.json",
    "zarr.json of a clip": r"clips/[^/]*/[^/]*\.zarr/zarr\.json",
    "manifest.json": r"clips/.*/manifest\.json",
    "chunk_checksums.bin": r"clips/.*/chunk_checksums\.bin",
    "release.json": r"releases/[^/]*/release\.json",
    "index of a split": r"releases/.*\.parquet",
    "picture": r"releases/.*\.png",
    "README.md": r"releases/.*README\.md",
    "facts": r"facts/.*\.json",
    "arrays of facts": r"facts/.*\.npz",
}

READ_BY_TRAINING = {
    *("shard of frames, payload", "shard of frames, index", "shard of times or mask"),
    *("zarr.json of an array", "zarr.json of a clip", "manifest.json", "chunk_checksums.bin"),
    "release.json",
}

EDGE_BYTES = 64
"""A third of the flips go to each end of a file, where its headers and footers are."""


class Flip(StrictModel):
    """One bit that was turned, and who noticed; None where it was not asked."""

    kind: str
    file: str
    bit: int
    verify: bool | None
    read: bool | None

    @property
    def is_noticed(self) -> bool:
        return self.verify is not False and self.read is not False


def read_everything(work: Path) -> None:
    """Every pixel of every array of every clip of the release, as training reads them.

    Raises:
        TwinbandError: something is not as it was released.
    """
    release, root = open_release(work / "releases" / VERSION)
    for listed in release.clips:
        clip = open_clip(root, listed)
        place = (slice(0, listed.pairs), slice(0, listed.height), slice(0, listed.width))
        for name in clip.arrays:
            read_frames(clip, name, place)


def is_read_refused(work: Path) -> bool:
    try:
        read_everything(work)
    except TwinbandError:
        return True
    return False


def is_noticed_by_reading(kind: str, work: Path, original: bytes) -> bool | None:
    """Whether training refuses what it would use; None where it uses nothing of what was changed.

    Of a release.json those are the version and the list of files beside it, for which the root
    hash does not stand.
    """
    if kind not in READ_BY_TRAINING:
        return None
    if is_read_refused(work):
        return True
    if kind == "release.json":
        found = (work / "releases" / VERSION / "release.json").read_bytes()
        if content_hash(json.loads(found)) == content_hash(json.loads(original)):
            return None
    return False


def is_fact_refused(path: Path) -> bool:
    if path.suffix == ".json":
        return load(path, FACTS[path.stem]) is None
    try:
        load_arrays(path)
    except TwinbandError:
        return True
    return False


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """The file with other content for the while; it is a new file each time."""
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink()
        path.write_bytes(whole)


def index_bytes(shard: Path) -> int:
    """Length of the index at the end of a shard."""
    store = next(folder for folder in shard.parents if folder.suffix == ".zarr")
    array = store / shard.relative_to(store).parts[0] / "zarr.json"
    return ArrayMetadata.model_validate_json(array.read_bytes()).index_bytes


def place_of(kind: str, path: Path, rng: random.Random) -> int:
    """A byte to spoil: of the index, of what is before it, or of any file's ends and middle."""
    size = path.stat().st_size
    if kind == "shard of frames, index":
        return size - 1 - rng.randrange(index_bytes(path))
    if kind == "shard of frames, payload":
        size -= index_bytes(path)
    ends = (range(min(EDGE_BYTES, size)), range(max(0, size - EDGE_BYTES), size), range(size))
    return rng.choice(rng.choice(ends))


def flips(work: Path, wanted: int, *, seed: int = 0) -> Iterator[Flip]:
    """Turn bits, as many of each class of files."""
    rng = random.Random(seed)
    workspace = Workspace(work)
    names = sorted(p.relative_to(work).as_posix() for p in work.rglob("*") if p.is_file())
    files = {
        kind: [name for name in names if re.fullmatch(pattern, name)]
        for kind, pattern in CLASSES.items()
    }
    for number in range(wanted):
        kind = list(CLASSES)[number % len(CLASSES)]
        name = rng.choice(files[kind])
        path = work / name
        place, bit = place_of(kind, path, rng), rng.randrange(8)
        original = path.read_bytes()
        content = bytearray(original)
        content[place] ^= 1 << bit
        is_fact = kind in ("facts", "arrays of facts")
        with changed(path, bytes(content)):
            yield Flip(
                kind=kind,
                file=name,
                bit=8 * place + bit,
                verify=is_fact_refused(path)
                if is_fact
                else bool(verify_release(VERSION, workspace)),
                read=is_noticed_by_reading(kind, work, original),
            )


def counts(made: list[Flip]) -> Counter[str]:
    """How many flips of each class were made."""
    return Counter(flip.kind for flip in made)
