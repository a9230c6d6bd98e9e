"""Adopting a session of one's own rig: its recordings are found by the names of their files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml.comments import CommentedMap

from pipeline.catalog_text import plain, says, with_item
from pipeline.image_files import FRAME_NAME, written_whole
from pipeline.importers import contents_of, slug_of, yaml_text
from pipeline.video_files import VIDEO_SUFFIXES, StreamProbe, probe
from schemas.base import BANDS, Band
from schemas.catalog import Catalog, CatalogFile, Rig, Session
from schemas.catalog_reading import catalog_problems, load_catalog
from schemas.errors import CatalogError, VideoError
from schemas.yaml_files import load_yaml, parse

WORDS: dict[str, Band] = {
    **dict.fromkeys(("infrared", "ir", "thermal", "lwir", "mwir"), "infrared"),
    **dict.fromkeys(("visible", "vis", "rgb", "color", "colour", "eo"), "visible"),
}
"""The last word of a stream's name tells its camera."""

STREAM_NAME = re.compile(rf"(?:(?P<name>.+)[-_. ])?(?P<word>{'|'.join(WORDS)})", re.IGNORECASE)

TIMES_SUFFIX = ".csv"

SESSIONS_FOLDER = "sessions"
"""Beside the catalog: a file for each session, so that adding one is a small difference."""

SESSION_HEAD = """\
A session adopted by `twinband add`. Edit it freely: it is not written again.
What is known beyond the files (tags, offset_s, homography, ...) is written to each recording."""

CATALOG_TEXT = """\
# Edit this freely: twinband reads it, and adds lines below `sessions`; `twinband schema` explains
# every key. `twinband add FOLDER` adds an outing, `twinband build` makes clips of them all.
dataset:
  name: {name}
  data_root: .

# The two cameras; `twinband calibrate {rig} FOLDER --board 9x6` finds their lenses.
rigs:
  - id: {rig}
    infrared: {{width: {infrared[0]}, height: {infrared[1]}}}
    visible: {{width: {visible[0]}, height: {visible[1]}}}

sessions: []
"""

EXPECTED = (
    "expected <recording>/infrared.mkv and <recording>/visible.mp4, or <name>_ir.mkv and "
    "<name>_vis.mp4 (any video, or a folder of numbered frames), each with a <same name>.csv of "
    "frame,time_s where there are timestamps"
)


@dataclass(frozen=True)
class FoundRecording:
    """Files of one recording in a session's folder."""

    id: str
    streams: Mapping[Band, Path]
    times: Mapping[Band, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class AddedSession:
    """A session that stands in the catalog now."""

    session: Session
    path: Path
    """Its file."""


def find_recordings(folder: Path) -> list[FoundRecording]:
    """The recordings of a session's folder, by the names of files in it and in its folders.

    Raises:
        CatalogError: there is none, or streams lack a partner or have two; lists all of them.
    """
    found: dict[tuple[Path, str], dict[Band, list[Path]]] = {}
    for path in _streams(folder):
        match = STREAM_NAME.fullmatch(path.stem if path.is_file() else path.name)
        if match is not None:
            here = found.setdefault((path.parent, match["name"] or ""), {})
            here.setdefault(WORDS[match["word"].lower()], []).append(path)
    problems: list[str] = []
    recordings = []
    for (parent, name), streams in sorted(found.items()):
        problems += _faults(streams)
        pair = {band: paths[0] for band, paths in streams.items()}
        times = {
            band: csv
            for band, path in pair.items()
            if (csv := path.with_name(f"{_stem(path)}{TIMES_SUFFIX}")).is_file()
        }
        words = [parent.name] if not name or parent != folder else []
        recordings.append(FoundRecording(slug_of("-".join([*words, name])), pair, times))
    if not recordings:
        problems.append(f"{folder}: holds no recording: {EXPECTED}; found {contents_of(folder)}")
    if problems:
        raise CatalogError("\n".join(problems))
    return recordings


def _streams(folder: Path) -> Iterator[Path]:
    """Videos and folders of frames, in the folder and in those it holds."""
    for path in _inside(folder):
        if _is_stream(path):
            yield path
        elif path.is_dir():
            yield from filter(_is_stream, _inside(path))


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_stream(path: Path) -> bool:
    if path.is_dir():
        return any(FRAME_NAME.fullmatch(inner.name) for inner in path.iterdir())
    return path.suffix.lower() in VIDEO_SUFFIXES


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _faults(streams: Mapping[Band, Sequence[Path]]) -> Iterator[str]:
    first = next(iter(streams.values()))[0]
    for band in BANDS:
        paths = streams.get(band, ())
        if not paths:
            yield f"{first}: has no {band} beside it; bring it, or move this file away"
        elif len(paths) > 1:
            listed = " and ".join(path.name for path in paths)
            yield f"{first.parent}: {listed} could both be the {band} stream; keep one"


def start_catalog(
    path: Path, rig: str, sizes: Mapping[Band, tuple[int, int]], *, name: str
) -> Catalog:
    """Write a catalog without sessions.

    Args:
        path: of the catalog; recordings will lie in its folder and below.
        rig: id of the two cameras.
        sizes: width and height of their frames.
        name: of the dataset.

    Raises:
        CatalogError: one stands there already, a value is none that a catalog can hold, or it
            cannot be written.
    """
    if path.exists():
        raise CatalogError(f"{path}: stands already; twinband add adds sessions to it")
    text = CATALOG_TEXT.format(
        name=name, rig=rig, infrared=sizes["infrared"], visible=sizes["visible"]
    )
    parse(plain(text), CatalogFile, str(path))
    try:
        with written_whole(path) as partial:
            partial.write_text(text)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be written: {error.strerror}") from error
    return load_catalog(path)


def sizes_in(folder: Path) -> dict[Band, tuple[int, int]]:
    """Width and height of the frames of either camera in a session's folder.

    Raises:
        CatalogError: it holds no whole recording, or streams differ or cannot be read.
    """
    sizes = _sizes(find_recordings(folder.resolve()), fps=1.0)
    return {band: next(iter(found)) for band, found in sizes.items()}


def add_session(
    catalog_path: Path,
    folder: Path,
    *,
    rig: str | None = None,
    site: str | None = None,
    fps: float | None = None,
) -> AddedSession:
    """Write a session's file beside the catalog and its name into it; comments there are kept.

    Args:
        catalog_path: the catalog.
        folder: of the session, below the catalog's data root; its name is the session's.
        rig: which rig filmed; None: the only one whose cameras have such frames.
        site: where; None: the session's name, so that all of it is in one split.
        fps: of folders of frames.

    Raises:
        CatalogError: files are missing or do not fit the rig, the session stands in the catalog
            already, or the catalog cannot be written; lists every problem, and changes nothing.
    """
    catalog = load_catalog(catalog_path)
    if not folder.is_dir():
        raise CatalogError(f"{folder}: is no folder; give that of a session")
    inside = folder.resolve()
    if not inside.is_relative_to(catalog.data_root):
        raise CatalogError(
            f"{folder}: lies outside the data root {catalog.data_root}; move it there, or change "
            "dataset.data_root"
        )
    name = slug_of(folder.name)
    if name in {session.id for session in catalog.sessions}:
        raise CatalogError(f"{catalog_path}: has a session {name} already; rename the folder")
    recordings = find_recordings(inside)
    sizes = _sizes(recordings, fps)
    taken = {recording.id for _, recording in catalog.recordings()}
    document = {
        "id": name,
        "rig": _rig(catalog.rigs, sizes, rig).id,
        "recordings": [
            _written(one, catalog.data_root, name, taken, site or name, fps) for one in recordings
        ],
    }
    path = catalog_path.parent / SESSIONS_FOLDER / f"{name}.yaml"
    session = parse(document, Session, str(path))
    return _saved(session, path, catalog, catalog_path)


def _sizes(
    recordings: Sequence[FoundRecording], fps: float | None
) -> dict[Band, set[tuple[int, int]]]:
    """Width and height of the frames of either camera.

    Raises:
        CatalogError: streams cannot be read, or are not of one size.
    """
    problems: list[str] = []
    found: dict[Band, dict[tuple[int, int], Path]] = {"infrared": {}, "visible": {}}
    for recording in recordings:
        for band, path in recording.streams.items():
            try:
                about: StreamProbe = probe(path, fps=fps or 1.0 if path.is_dir() else None)
            except VideoError as error:
                problems.append(str(error))
                continue
            found[band].setdefault((about.width, about.height), path)
            if path.is_dir() and fps is None and band not in recording.times:
                problems.append(f"{path}: has no times; give --fps, or {_stem(path)}{TIMES_SUFFIX}")
    for band, sizes in found.items():
        if len(sizes) > 1:
            told = ", ".join(f"{path} has {w}x{h}" for (w, h), path in sizes.items())
            problems.append(f"{told}: one {band} camera has one size; make sessions of them")
    if problems:
        raise CatalogError("\n".join(problems))
    return {band: set(sizes) for band, sizes in found.items()}


def _rig(rigs: Sequence[Rig], sizes: Mapping[Band, set[tuple[int, int]]], asked: str | None) -> Rig:
    """The rig that filmed frames of these sizes."""
    if asked is not None and asked not in {rig.id for rig in rigs}:
        raise CatalogError(f"{asked} is no rig of the catalog; use one of {_named(rigs)}")
    fitting = [
        rig
        for rig in rigs
        if asked in (None, rig.id)
        and {(rig.infrared.width, rig.infrared.height)} == sizes["infrared"]
        and {(rig.visible.width, rig.visible.height)} == sizes["visible"]
    ]
    if len(fitting) == 1:
        return fitting[0]
    here = " and ".join(f"{w}x{h} {band}" for band, ((w, h),) in sizes.items())
    if fitting:
        raise CatalogError(f"frames of {here} fit the rigs {_named(fitting)}; say which with --rig")
    known = "; ".join(
        f"{rig.id}: {rig.infrared.width}x{rig.infrared.height} infrared, "
        f"{rig.visible.width}x{rig.visible.height} visible"
        for rig in rigs
    )
    raise CatalogError(f"frames of {here} fit no rig ({known}); correct or add it in the catalog")


def _named(rigs: Sequence[Rig]) -> str:
    return ", ".join(rig.id for rig in rigs)


def _written(
    found: FoundRecording,
    data_root: Path,
    session: str,
    taken: set[str],
    site: str,
    fps: float | None,
) -> dict[str, object]:
    """A recording as its session's file has it."""
    identity = found.id if found.id not in taken else f"{session}-{found.id}"
    below: dict[str, object] = {
        band: _below(path, data_root) for band, path in found.streams.items()
    }
    times = {band: _below(path, data_root) for band, path in found.times.items()}
    has_frames = any(path.is_dir() for path in found.streams.values())
    return {
        "id": identity,
        "site": site,
        **below,
        **({"timestamps": times} if times else {}),
        **({"fps": fps} if has_frames and fps is not None else {}),
    }


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _saved(session: Session, path: Path, catalog: Catalog, catalog_path: Path) -> AddedSession:
    """Write both files, the session's first: alone it changes nothing."""
    entry = path.relative_to(catalog_path.parent).as_posix()
    more = catalog.model_copy(update={"sessions": (*catalog.sessions, session)})
    if problems := catalog_problems(more, catalog_path, {len(catalog.sessions): f"{path}: "}):
        raise CatalogError("\n".join(problems))
    before = load_yaml(catalog_path, CatalogFile)
    text = with_item(catalog_path.read_bytes().decode(), ("sessions",), entry)
    expected = before.model_copy(update={"sessions": (*before.sessions, entry)})
    if text is None or not says(text, CatalogFile, expected):
        raise CatalogError(
            f"{catalog_path}: its sessions are written in a way that leaves no place for another; "
            f"write it there yourself: - {entry}"
        )
    try:
        with written_whole(path) as partial:
            partial.write_text(session_text(session))
        with written_whole(catalog_path) as partial:
            partial.write_bytes(text.encode())
    except OSError as error:
        raise CatalogError(
            f"{error.filename or path}: cannot be written: {error.strerror}; make it writable"
        ) from error
    return AddedSession(session, path)


def session_text(session: Session) -> str:
    """A session's file as people edit it."""
    document = CommentedMap(session.model_dump(mode="json", exclude_unset=True))
    document.yaml_set_start_comment(SESSION_HEAD + "\n\n")
    return yaml_text(document)
