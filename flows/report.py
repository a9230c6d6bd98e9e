"""The pages of a release."""

from pathlib import Path

from flows.progress import Show
from flows.release import MANIFESTS
from pipeline.object_workspace import opened_workspace
from pipeline.report import run_report
from schemas.errors import ReleaseError
from schemas.release import Release


def report_release(
    version: str | None, work: Path | str, out: Path | None, report: Show
) -> tuple[Path, Release]:
    """Write the pages of a release; returns the first of them, and the release.

    Args:
        version: of the release; None: the newest.
        work: the workspace; looks at clips are kept there.
        out: the folder to write; None: beside the releases, which has to be on this machine.
        report: told of every clip.

    Raises:
        ReleaseError: there is no such release, `out` holds something else, or is not named.
        StoreError: a clip is missing or damaged.
    """
    if out is None and isinstance(work, str):
        raise ReleaseError(
            f"pages are opened in a browser: name a folder for them with --out, "
            f"since {work} is none of this machine"
        )
    with opened_workspace(work, "facts/*", "looks/*", MANIFESTS) as workspace:
        written = run_report(version, workspace, out, report)
        workspace.keep()
        return written
