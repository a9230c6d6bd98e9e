"""Garbage: what a workspace holds that no release and no recording of the catalog names."""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Literal

from pipeline.hub import read_release
from pipeline.workspace import Workspace, load
from schemas.errors import WorkspaceError
from schemas.facts import ShardFacts
from schemas.release import Garbage, Release

STORE = re.compile(r"clips/[a-z0-9-]+/[0-9a-f]{32}\.zarr")
"""Paths that builds give to stores; whatever else lies among them is somebody's own."""

UNFINISHED = "facts/*/.*.partial"
"""Records that never came to their own names."""


def needed_stores(releases: Iterable[Release], outcomes: Iterable[ShardFacts]) -> set[str]:
    """The stores that releases list or that recordings were last cut into, below the root."""
    listed = {clip.store for release in releases for clip in release.clips}
    built = {
        Workspace.clip_path(clip.clip, clip.fingerprint)
        for outcome in outcomes
        for clip in outcome.clips
    }
    return listed | built


def run_find_garbage(recordings: Collection[str], workspace: Workspace) -> list[Garbage]:
    """What nothing names: clips, facts, and files that no process gave their own name.

    Clips are garbage that neither a release lists nor the outcome of a recording's last build, with
    what reports show of them; facts those of recordings that are none of `recordings`.

    Args:
        recordings: all that the catalog names.
        workspace: where to look.

    Raises:
        ReleaseError: a release cannot be read, so that nobody knows which clips it needs.
        WorkspaceError: the same of a recording's outcome.
    """
    releases = [read_release(folder) for folder in sorted(workspace.root.glob("releases/*"))]
    outcomes = [one for name in recordings if (one := _run_outcome(name, workspace)) is not None]
    needed = needed_stores(releases, outcomes)
    return [
        *_clips(workspace, needed),
        *_looks(workspace, needed),
        *_facts(workspace, recordings),
        *(_garbage(workspace, path, "debris") for path in _paths(workspace, UNFINISHED)),
    ]


def find_debris(workspace: Workspace) -> list[Garbage]:
    """Unsealed work of dead processes, which goes as soon as anybody owns the workspace.

    While somebody does, it is theirs.
    """
    return [_garbage(workspace, path, "debris") for path in _paths(workspace, "staging/*")]


def run_delete(found: Collection[Garbage], workspace: Workspace) -> None:
    """Delete garbage; `workspace` is owned by the caller.

    Raises:
        WorkspaceError: another process took the workspace over.
        OSError: something cannot be moved or deleted.
    """
    workspace.delete([garbage.path for garbage in found])
    for garbage in found:
        above = (workspace.root / garbage.path).parent
        if garbage.kind in ("clip", "look") and above.is_dir() and not any(above.iterdir()):
            above.rmdir()


def _run_outcome(recording: str, workspace: Workspace) -> ShardFacts | None:
    """What the last build made of a recording; None where it was never built."""
    path = workspace.facts(recording, "shard")
    outcome = load(path, ShardFacts)
    if outcome is None and path.exists():
        raise WorkspaceError(
            f"{path} cannot be read, and its clips would pass for garbage; run twinband build first"
        )
    return outcome


def _clips(workspace: Workspace, needed: Collection[str]) -> Iterator[Garbage]:
    for path in _paths(workspace, "clips/*/*.zarr"):
        if STORE.fullmatch(path) and path not in needed:
            yield _garbage(workspace, path, "clip")


def _looks(workspace: Workspace, needed: Collection[str]) -> Iterator[Garbage]:
    """What reports show of clips that are garbage or gone."""
    for path in _paths(workspace, "looks/*/*"):
        _, clip, fingerprint = PurePosixPath(path).parts
        if Workspace.clip_path(clip, fingerprint) not in needed:
            yield _garbage(workspace, path, "look")


def _facts(workspace: Workspace, recordings: Collection[str]) -> Iterator[Garbage]:
    known = set(recordings)
    for path in _paths(workspace, "facts/*"):
        if PurePosixPath(path).name not in known:
            yield _garbage(workspace, path, "facts")


def _paths(workspace: Workspace, pattern: str) -> list[str]:
    found = workspace.root.glob(pattern)
    return sorted(path.relative_to(workspace.root).as_posix() for path in found)


def _garbage(
    workspace: Workspace, path: str, kind: Literal["clip", "facts", "look", "debris"]
) -> Garbage:
    return Garbage(path=path, kind=kind, size_bytes=workspace.size_bytes(path))
