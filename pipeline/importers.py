"""Adopting a dataset that others published: a catalog is written beside it, no file is moved."""

import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipeline.image_files import written_whole
from schemas.catalog import Catalog, CatalogFile, Split
from schemas.catalog_reading import load_catalog
from schemas.errors import CatalogError
from schemas.yaml_files import parse

M3SVD_FPS = 30.0
"""Nominal rate of M3SVD (arXiv:2503.23359); its folders of frames carry no times."""

M3SVD_WIDTH, M3SVD_HEIGHT = 640, 480
"""Pixels of both bands (CAPTURE.md section 5)."""

M3SVD_DESCRIPTION = (
    "M3SVD: infrared and visible videos filmed side by side, synchronised and registered, by "
    "Linfeng Tang, Yeda Wang, Meiqi Gong, Zizhuo Li, Yuxin Deng, Xunpeng Yi, Chunyu Li, Han Xu, "
    "Hao Zhang and Jiayi Ma. Cite: VideoFusion: A Spatio-Temporal Collaborative Network for "
    "Multi-modal Video Fusion, CVPR 2026, arXiv:2503.23359."
)

M3SVD_EXPECTED = (
    "expected Video/<split>/{infrared,visible}/<clip>.mp4, or "
    "<split>/{infrared_Enhance,visible_Enhance}/<clip>/<number>.png "
    "with infrared_noise and visible_Blur beside them where they were published"
)

Kind = Literal["video", "frames"]

LAYOUTS: dict[Kind, dict[str, str]] = {
    "video": {"infrared": "infrared", "visible": "visible"},
    "frames": {
        "infrared": "infrared_Enhance",
        "visible": "visible_Enhance",
        "infrared_degraded": "infrared_noise",
        "visible_degraded": "visible_Blur",
    },
}
"""Field of a recording -> folder of M3SVD's video and frame trees (CAPTURE.md section 5)."""

SHOWN_NAMES = 8
"""Names listed of a folder that is not what it should be: enough to recognise it by."""

MAX_PARENT_STEPS = 2
"""Catalog and data that lie further apart are seldom moved together: the path is then absolute."""

CATALOG_HEAD = """\
M3SVD as published, adopted by `twinband import m3svd`. Edit it freely: it is not written again.
`twinband schema` explains every key; `twinband build -c {name}` makes the clips."""

RECORDINGS_NOTE = """\
registered: the authors synchronised and registered both bands; pixels stay as they are.
fps: folders of frames carry no times; {fps:g} per second is the nominal rate.
The videos are lossy, about 37 dB from the frames of the same clip: one site, other pixels."""

SPLITS_NOTE = "The authors' own split. Delete a line and the site is dealt by the shares above."


@dataclass(frozen=True)
class FoundClip:
    """One clip of a published tree."""

    name: str
    split: str
    """The folder its authors put it in: train, val or test."""
    kind: Kind
    streams: dict[str, str]
    """Field of a recording -> path below the root, with forward slashes."""


def slug_of(name: str) -> str:
    """The name in lower case, with single hyphens for everything but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def m3svd_catalog(clips: Sequence[FoundClip], data_root: str) -> CatalogFile:
    """The catalog of the clips found: one session a day, a clip name a site.

    The video and the frames of one clip share their site, so that they never span two splits.

    Raises:
        CatalogError: a name or a path is none that a catalog can hold; lists all of them.
    """
    ids = _recording_ids(clips)
    sessions: dict[str, list[dict[str, object]]] = {}
    for clip, identity in sorted(zip(clips, ids, strict=True), key=lambda pair: pair[1]):
        day = re.match(r"(\d{4})_\d{4}", clip.name)
        session = f"m3svd-{day[1]}" if day else "m3svd"
        sessions.setdefault(session, []).append(
            {
                "id": identity,
                "site": slug_of(clip.name),
                **clip.streams,
                **({"fps": M3SVD_FPS} if clip.kind == "frames" else {}),
                "registered": True,
            }
        )
    camera = {"width": M3SVD_WIDTH, "height": M3SVD_HEIGHT}
    plain = {
        "dataset": {
            "name": "m3svd",
            "description": M3SVD_DESCRIPTION,
            "licence": "mit",
            "data_root": data_root,
        },
        "rigs": [{"id": "m3svd", "infrared": camera, "visible": camera}],
        "sessions": [
            {"id": name, "rig": "m3svd", "recordings": recordings}
            for name, recordings in sorted(sessions.items())
        ],
    }
    fixed = published_splits(clips)
    if fixed:
        plain["splits"] = {"sites": fixed}
    return parse(plain, CatalogFile, "m3svd")


def published_splits(clips: Sequence[FoundClip]) -> dict[str, Split]:
    """The authors' split of every site, or nothing where they published no training part.

    A site found in two parts goes to the one that is seen least in training: test, then val.
    """
    names = {clip.split.lower() for clip in clips}
    if "train" not in names or len(names) == 1:
        return {}
    order: tuple[Split, ...] = ("train", "val", "test")
    placed: dict[str, Split] = {}
    for split in order:
        placed |= {slug_of(clip.name): split for clip in clips if clip.split.lower() == split}
    return dict(sorted(placed.items()))


def catalog_text(catalog: CatalogFile, file_name: str) -> str:
    """The catalog as people edit it: what was set, in the schema's order, with comments."""
    plain = catalog.model_dump(mode="json", exclude_unset=True)
    document = CommentedMap(plain)
    document.yaml_set_start_comment(CATALOG_HEAD.format(name=file_name) + "\n\n")
    notes = {"rigs": "", "sessions": RECORDINGS_NOTE.format(fps=M3SVD_FPS), "splits": SPLITS_NOTE}
    for key in notes.keys() & document.keys():
        document.yaml_set_comment_before_after_key(key, before="\n" + notes[key])
    return yaml_text(document)


def yaml_text(document: CommentedMap) -> str:
    """A file as people edit it."""
    yaml = YAML()
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def import_m3svd(root: Path, catalog_path: Path) -> Catalog:
    """Write a catalog that adopts the M3SVD tree at `root`, both layouts, and load it.

    A catalog that already says the same is left as it is.

    Args:
        root: folder that holds `Video/` or the split folders with frames, or both.
        catalog_path: file to write; its folder is made where it is missing.

    Raises:
        CatalogError: `root` is not M3SVD, clips are incomplete (all of them are listed), another
            catalog stands at `catalog_path`, or it cannot be written.
    """
    clips: list[FoundClip] = []
    problems: list[str] = []
    for part in _parts(root):
        for name in part.names():
            trouble = part.trouble(name)
            if trouble is None:
                clips.append(part.clip(name, root))
            else:
                problems.append(f"{part.folder}: clip {name}: {trouble}")
    if problems:
        raise CatalogError("\n".join(problems))
    if not clips:
        raise CatalogError(f"{root}: is not M3SVD: {M3SVD_EXPECTED}; found {contents_of(root)}")
    data_root = _data_root(root.resolve(), catalog_path.parent.resolve())
    return _written(m3svd_catalog(clips, data_root), catalog_path)


@dataclass(frozen=True)
class _Part:
    """One split folder: for each stream, where every clip in it lies."""

    folder: Path
    kind: Kind
    streams: Mapping[str, Mapping[str, Path]]

    def names(self) -> list[str]:
        return sorted({name for clips in self.streams.values() for name in clips})

    def clip(self, name: str, root: Path) -> FoundClip:
        paths = {field: clips[name] for field, clips in self.streams.items()}
        below = {field: path.relative_to(root).as_posix() for field, path in paths.items()}
        return FoundClip(name, self.folder.name, self.kind, below)

    def trouble(self, name: str) -> str | None:
        """Why the clip cannot be adopted, or None."""
        missing = [field for field, clips in self.streams.items() if name not in clips]
        if missing:
            return f"has no {' and no '.join(missing)}; bring it back or move the clip away"
        if self.kind == "video":
            return None
        frames = {field: _frame_names(clips[name]) for field, clips in self.streams.items()}
        infrared = frames["infrared"]
        if not infrared:
            return "holds no PNG frame; bring the frames back or move the clip away"
        for field, names in frames.items():
            if names != infrared:
                return (
                    f"infrared has {len(infrared)} frames, {field} has {len(names)}, and "
                    f"{min(infrared ^ names)} is in one of them only; bring the missing frames back"
                )
        return None


def _parts(root: Path) -> Iterator[_Part]:
    """Every split folder of either layout."""
    for folder in (*_folders(root), *_folders(root / "Video")):
        for kind, layout in LAYOUTS.items():
            present = {field for field, name in layout.items() if (folder / name).is_dir()}
            if present & {"infrared", "visible"}:
                listed = _videos if kind == "video" else _frame_folders
                streams = {
                    field: listed(folder / name)
                    for field, name in layout.items()
                    if field in present | {"infrared", "visible"}
                }
                yield _Part(folder, kind, streams)


def _videos(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.mp4")) if path.is_file()}


def _frame_folders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in _folders(folder)}


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _frame_names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.png") if path.name[0] != "."}


def contents_of(folder: Path) -> str:
    """What a folder holds, short enough for a message; hidden files do not show."""
    if not folder.is_dir():
        return "no folder there" if not folder.exists() else "a file there"
    names = sorted(
        path.name + ("/" if path.is_dir() else "")
        for path in folder.iterdir()
        if path.name[0] != "."
    )
    shown = ", ".join(names[:SHOWN_NAMES])
    return (shown or "nothing in it") + (", ..." if len(names) > SHOWN_NAMES else "")


def _recording_ids(clips: Sequence[FoundClip]) -> list[str]:
    """One id a clip; the authors' split is part of it where a clip was published in several."""
    short = [f"{slug_of(clip.name)}-{clip.kind}" for clip in clips]
    counts = Counter(short)
    return [
        name if counts[name] == 1 else f"{slug_of(clip.name)}-{slug_of(clip.split)}-{clip.kind}"
        for name, clip in zip(short, clips, strict=True)
    ]


def _data_root(root: Path, catalog_folder: Path) -> str:
    """The root as the catalog names it: relative where both lie close together."""
    relative = Path(os.path.relpath(root, catalog_folder))
    shared = Path(os.path.commonpath([root, catalog_folder]))
    near = relative.parts.count("..") <= MAX_PARENT_STEPS and shared != Path(root.anchor)
    return relative.as_posix() if near else root.as_posix()


def _written(catalog: CatalogFile, path: Path) -> Catalog:
    """The catalog at `path`, written there unless it already says the same."""
    text = catalog_text(catalog, path.name)
    try:
        if path.exists():
            if path.read_bytes() != text.encode():
                raise CatalogError(
                    f"{path}: stands already and says something else; nothing is overwritten: "
                    "name another file with --catalog, or move this one away"
                )
            return load_catalog(path)
        with written_whole(path) as partial:
            partial.write_bytes(text.encode())
    except OSError as error:
        raise CatalogError(
            f"{path}: cannot be written: {error.strerror}; name a writable file with --catalog"
        ) from error
    try:
        return load_catalog(path)
    except CatalogError:
        path.unlink()
        raise
