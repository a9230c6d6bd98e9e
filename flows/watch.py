"""A folder that rigs drop sessions into: what has finished copying is added, built and reported."""

import datetime as dt
import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.build import Build, build_dataset
from flows.progress import silence
from flows.release import newest_version, next_version, release_dataset
from pipeline.durable import make_folder, rename
from pipeline.hub import read_release
from pipeline.importers_session import add_session, find_recordings
from pipeline.report import run_report
from pipeline.workspace import Workspace, load, save
from schemas.catalog import Session
from schemas.catalog_reading import load_catalog
from schemas.errors import CatalogError, ReleaseError, WorkspaceError
from schemas.facts import ShardFacts
from schemas.watch import Watched, WatchedSession

SETTLE_S = 60.0
"""A session whose files have not changed for so long has finished copying: a stalled copy over a
network goes on within TCP's usual half minute, or not at all."""

INTERVAL_S = 5.0

UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", ".!sync")
"""Endings of what copying programs have not finished."""

RSYNC_PARTIAL = re.compile(r"\..+\.\w{6}")
"""What rsync calls a file that it has not finished; other names with a dot are desktops' own."""

SET_ASIDE = "set-aside"
"""In the watched folder: sessions that cannot be added, each with its reason beside it."""

STATE = "watch.json"

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watch:
    """What is watched, and what for."""

    folder: Path
    catalog: Path
    root: Path
    """The workspace's folder."""
    rig: str | None = None
    site: str | None = None
    fps: float | None = None
    workers: int = 1
    settle_s: float = SETTLE_S
    has_releases: bool = False
    """Whether a release with its report follows every session that gave clips."""


@dataclass
class Watcher:
    """Looks at a folder again and again; all it must remember lies in the workspace."""

    watch: Watch
    tell: Callable[[str], None]
    clock: Callable[[], float]
    """Seconds, never going back."""
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Contents of each session's folder, and since when they are the same."""

    @property
    def path(self) -> Path:
        """Of what is remembered."""
        return self.watch.root / STATE

    def state(self) -> Watched:
        """What is remembered."""
        return load(self.path, Watched) or Watched()

    def look(self) -> bool:
        """Go through the folder once; whether any session waits for its copying to end.

        Raises:
            CatalogError: the catalog itself has problems.
            OSError: the folder cannot be read.
        """
        is_waiting = False
        load_catalog(self.watch.catalog)
        for folder in sorted(self.watch.folder.iterdir()):
            if folder.name.startswith(".") or folder.name == SET_ASIDE or not folder.is_dir():
                continue
            known = self.state().of(folder.name)
            contents = contents_of(folder)
            if known is not None and known.state == "built" and known.contents == contents:
                continue
            if contents is None or not self._has_settled(folder.name, contents):
                is_waiting = True
            else:
                is_waiting |= not self._take(folder, contents, known)
        return is_waiting

    def _has_settled(self, name: str, contents: str) -> bool:
        before, since_s = self._seen.get(name, ("", 0.0))
        if before != contents:
            self._seen[name] = (contents, self.clock())
            return self.watch.settle_s <= 0
        return self.clock() - since_s >= self.watch.settle_s

    def _take(self, folder: Path, contents: str, known: WatchedSession | None) -> bool:
        """Add a session that is whole and build it; False: not now, since somebody else builds."""
        watch = self.watch
        if known is None or known.state == "set-aside":
            try:
                session = self._in_catalog(folder) or self._added(folder)
            except CatalogError as error:
                self._set_aside(folder, contents, str(error))
                return True
            recordings = tuple(recording.id for recording in session.recordings)
            known = self._remember(
                WatchedSession(
                    folder=folder.name,
                    state="added",
                    contents=contents,
                    since=dt.datetime.now(dt.UTC),
                    recordings=recordings,
                )
            )
            self.tell(f"{folder.name}: added, {len(recordings)} recordings")
        try:
            built = build_dataset(watch.catalog, watch.root, workers=watch.workers)
            release = self._release(built) if watch.has_releases else None
        except WorkspaceError as error:
            _LOGGER.warning("%s: waits: %s", folder.name, error)
            return False
        self._report(known, contents, built, release)
        return True

    def _in_catalog(self, folder: Path) -> Session | None:
        """The session of a folder that stands in the catalog: added by hand, or before a kill."""
        catalog, inside = load_catalog(self.watch.catalog), folder.resolve()
        for session in catalog.sessions:
            paths = [catalog.data_root / one.infrared for one in session.recordings]
            if all(path.resolve().is_relative_to(inside) for path in paths):
                return session
        return None

    def _added(self, folder: Path) -> Session:
        watch = self.watch
        return add_session(
            watch.catalog, folder, rig=watch.rig, site=watch.site, fps=watch.fps
        ).session

    def _release(self, built: Build) -> str | None:
        """The version of a release of all that is built, with its pages; None: nothing new."""
        workspace = Workspace(self.watch.root.resolve())
        if not built.built and set(built.clips) <= self._released(workspace):
            return None  # otherwise a watch was killed between a build and its release
        version = next_version(workspace.root)
        try:
            made = release_dataset(self.watch.catalog, version, self.watch.root)
        except ReleaseError as error:
            _LOGGER.warning("no release: %s", error)
            return None
        page, _ = run_report(made.version, workspace, None, silence)
        self.tell(f"release {made.version}, {len(made.clips)} clips: {page}")
        return made.version

    @staticmethod
    def _released(workspace: Workspace) -> set[str]:
        """The clips of the newest release."""
        newest = newest_version(workspace.root)
        if newest is None:
            return set()
        return {clip.clip for clip in read_release(workspace.release(newest)).clips}

    def _unlisted(self, folder: Path) -> list[str]:
        """Recordings that came into a folder after its session was added."""
        catalog, session = load_catalog(self.watch.catalog), self._in_catalog(folder)
        listed = () if session is None else session.recordings
        known = {(catalog.data_root / one.infrared).resolve() for one in listed}
        try:
            found = find_recordings(folder.resolve())
        except CatalogError:
            return []
        return [one.id for one in found if one.streams["infrared"].resolve() not in known]

    def _report(
        self, known: WatchedSession, contents: str, built: Build, release: str | None
    ) -> None:
        own = set(known.recordings)
        rejected = tuple(each for each in built.rejected if each.recording in own)
        workspace = Workspace(self.watch.root)
        outcomes = [load(workspace.facts(one, "shard"), ShardFacts) for one in known.recordings]
        clips = tuple(clip.clip for found in outcomes if found for clip in found.clips)
        self._remember(
            known.model_copy(
                update={
                    "state": "built",
                    "contents": contents,
                    "since": dt.datetime.now(dt.UTC),
                    "clips": clips,
                    "rejected": rejected,
                    "release": release,
                }
            )
        )
        self.tell(f"{known.folder}: built, {len(clips)} clips, {len(rejected)} rejected")
        if unlisted := self._unlisted(self.watch.folder / known.folder):
            self.tell(
                f"{known.folder}: {', '.join(unlisted)} came later and is in no catalog; write it "
                "into the session's file"
            )
        for each in rejected:
            self.tell(f"{known.folder}: {each.recording}: {each.stage}: {each.reason}")

    def _set_aside(self, folder: Path, contents: str, reason: str) -> None:
        """Move a session that cannot be added out of the way, with its reason beside it."""
        kept = self.watch.folder / SET_ASIDE / folder.name
        number = 1
        while kept.exists():
            number += 1
            kept = kept.with_name(f"{folder.name}.{number}")
        make_folder(kept.parent)
        kept.with_name(f"{kept.name}.txt").write_text(reason + "\n")
        rename(folder, kept)
        self._seen.pop(folder.name, None)
        self._remember(
            WatchedSession(
                folder=folder.name,
                state="set-aside",
                contents=contents,
                since=dt.datetime.now(dt.UTC),
                reason=reason,
                kept_in=kept.relative_to(self.watch.folder).as_posix(),
            )
        )
        self.tell(f"{folder.name}: set aside in {kept}:")
        for line in reason.splitlines():
            self.tell(f"  {line}")

    def _remember(self, session: WatchedSession) -> WatchedSession:
        make_folder(self.path.parent)
        save(self.state().with_session(session), self.path)
        return session


def contents_of(folder: Path) -> str | None:
    """A hash of names, sizes and times of all files of a folder; None: something is not whole."""
    lines = []
    for path in _files(folder):
        if path.name.lower().endswith(UNFINISHED) or RSYNC_PARTIAL.fullmatch(path.name):
            return None
        if path.name.startswith("."):
            continue
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        lines.append(f"{path.relative_to(folder).as_posix()} {found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            yield path


def watch_folder(
    watcher: Watcher, stop: threading.Event, *, interval_s: float = INTERVAL_S, is_once: bool
) -> Watched:
    """Look again and again until told to stop, or, once, until nothing waits any more.

    Args:
        watcher: looks.
        stop: ends the watch at once, between two looks.
        interval_s: from one look to the next.
        is_once: whether to end when every session has its outcome.

    Raises:
        CatalogError: once, and the catalog has problems; otherwise it waits for their mending.
        OSError: the folder cannot be read.
    """
    told = ""
    while not stop.is_set():
        try:
            if not watcher.look() and is_once:
                break
        except CatalogError as error:
            if is_once:
                raise
            if told != str(error):
                told = str(error)
                _LOGGER.warning("waits for the catalog to be mended: %s", told)
        stop.wait(interval_s)
    return watcher.state()
