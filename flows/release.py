"""Releases of a build: frozen, compared; and what none of them needs, cleared out."""

from pathlib import Path

from model.places import is_address
from pipeline.garbage import find_debris, run_delete, run_find_garbage
from pipeline.hub import read_release
from pipeline.object_raw import raw_listing
from pipeline.object_workspace import OUTCOMES, opened_workspace
from pipeline.outcomes import current_outcome
from pipeline.publish import run_release
from pipeline.publish_diff import diff_releases
from pipeline.workspace import Workspace
from schemas.catalog_reading import load_catalog
from schemas.errors import ReleaseError, WorkspaceError
from schemas.facts import ShardFacts
from schemas.release import MANIFEST_NAME, Garbage, Release, ReleaseDiff, newest, uncollected

MANIFESTS = f"releases/*/{MANIFEST_NAME}"
"""Of a workspace's releases, without what lies beside them."""


def release_dataset(catalog_path: Path, version: str, work: Path | str) -> Release:
    """Freeze what the catalog's build made; copies no pixel.

    Raises:
        CatalogError: the catalog has problems.
        ReleaseError: a recording is not built, or `version` already names other content.
    """
    catalog = load_catalog(catalog_path)
    raw = raw_listing(catalog, catalog_path)
    outcomes: list[ShardFacts] = []
    pending: list[str] = []
    with opened_workspace(work, *OUTCOMES, "releases/*") as workspace:
        for plan in catalog.plans():
            outcome = current_outcome(plan, workspace, raw)
            if outcome is None:
                pending.append(plan.recording.id)
            else:
                outcomes.append(outcome)
        if pending:
            raise ReleaseError(
                f"{len(pending)} recordings are not built as the catalog stands now: "
                f"{', '.join(pending[:10])}; run twinband build -c {catalog_path} first"
            )
        with workspace.owned() as held:
            return run_release(catalog, version, held, outcomes)


def next_version(work: Path | str) -> str:
    """The newest release's version with its minor number raised, v0.1.0 where there is none.

    What a release adds is a minor change: what stood in the former one still stands.
    """
    major, minor, _ = (newest_version(work) or "v0.0.0").removeprefix("v").split(".")
    return f"v{major}.{int(minor) + 1}.0"


def newest_version(work: Path | str) -> str | None:
    """The highest version of a workspace's releases; None where there is none."""
    with opened_workspace(work, MANIFESTS) as workspace:
        return newest(path.name for path in workspace.root.glob("releases/v*"))


def diff_versions(old: str, new: str, work: Path | str) -> ReleaseDiff:
    """What release `new` has otherwise than `old`, and why; each a version or a folder's path.

    Raises:
        ReleaseError: one of them is not there, or damaged.
    """
    with uncollected(), opened_workspace(work, MANIFESTS) as workspace:
        before, after = (read_release(release_folder(name, workspace.root)) for name in (old, new))
        return diff_releases(before, after)


def release_folder(release: str, root: Path) -> Path:
    """The folder of a release, named by its version or by its path.

    Raises:
        ReleaseError: neither is there.
    """
    candidates = (Workspace(root).release(release), Path(release))
    for folder in candidates:
        if (folder / MANIFEST_NAME).is_file():
            return folder
    raise ReleaseError(
        f"{release} is neither a release in {root} nor a folder with a {MANIFEST_NAME}; "
        "check --work, or run twinband release first"
    )


def release_place(release: str, work: Path | str) -> Path | str:
    """Where a release lies, for those who train on it: a folder, or an address.

    Args:
        release: its version in the workspace, a folder with a release.json, or an address.
        work: the workspace.

    Raises:
        ReleaseError: it is none of them.
    """
    if is_address(release):
        return release
    if isinstance(work, str) and not (Path(release) / MANIFEST_NAME).is_file():
        return f"{work}/releases/{release}"
    return release_folder(release, Path(work))


def collect_garbage(catalog_path: Path, work: Path | str, *, delete: bool) -> list[Garbage]:
    """What neither a release nor the catalog names any more; deleted where asked for.

    Without `delete` nothing is changed, and what another process is working on is told as debris.

    Raises:
        CatalogError: the catalog has problems.
        ReleaseError: a release cannot be read, so that nobody knows which clips it needs.
        WorkspaceError: there is no workspace, another process is writing to it, or a recording's
            facts cannot be read.
    """
    recordings = [recording.id for _, recording in load_catalog(catalog_path).recordings()]
    with opened_workspace(work, "facts/*", "looks/*", MANIFESTS) as workspace:
        if not workspace.root.is_dir():
            raise WorkspaceError(f"{workspace.root} is no folder; check --work")
        debris = find_debris(workspace)
        if not delete:
            return [*run_find_garbage(recordings, workspace), *debris]
        with workspace.owned() as held:
            found = run_find_garbage(recordings, held)
            run_delete(found, held)
        return [*found, *debris]
