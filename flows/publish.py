"""Freezing a build as a release, and publishing a release."""

from pathlib import Path

from pipeline.outcomes import current_outcome
from pipeline.publish import run_publish, run_release
from pipeline.workspace import Workspace
from schemas.catalog import load_catalog
from schemas.errors import PublishError, ReleaseError
from schemas.facts import ShardFacts
from schemas.release import Release

HUB_NAME_PARTS = 2
"""A Hub repository is named organisation/name."""


def release_dataset(catalog_path: Path, version: str, root: Path) -> Release:
    """Freeze what the catalog's build made; copies no pixel.

    Raises:
        CatalogError: the catalog has problems.
        ReleaseError: a recording is not built, or `version` already names other content.
    """
    catalog = load_catalog(catalog_path)
    workspace = Workspace(root.resolve())
    outcomes: list[ShardFacts] = []
    pending: list[str] = []
    for plan in catalog.plans():
        outcome = current_outcome(plan, workspace)
        if outcome is None:
            pending.append(plan.recording.id)
        else:
            outcomes.append(outcome)
    if pending:
        raise ReleaseError(
            f"{len(pending)} recordings are not built as the catalog stands now: "
            f"{', '.join(pending[:10])}; run twinband build -c {catalog_path} first"
        )
    with workspace.owned():
        return run_release(catalog, version, workspace, outcomes)


def publish_release(version: str, destination: str, root: Path) -> Path:
    """Copy a release to a folder laid out like a Hub repository, and return that folder.

    Raises:
        PublishError: `destination` names a Hub repository or holds something else.
        ReleaseError: there is no such release.
    """
    folder = Path(destination)
    if (
        not folder.is_absolute()
        and len(folder.parts) == HUB_NAME_PARTS
        and not folder.parent.exists()
    ):
        raise PublishError(
            f"{destination} reads like a Hub repository, and this version publishes to folders "
            f"only; write ./{destination} after making ./{folder.parent}"
        )
    run_publish(version, Workspace(root.resolve()), folder)
    return folder
