"""Publishing a release: to a folder, or to a dataset repository of the Hugging Face Hub."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.progress import Show, silence
from pipeline.hub import read_release
from pipeline.object_workspace import opened_workspace
from pipeline.publish_send import run_plan, run_plan_for_hub, run_publish, run_publish_to_hub
from pipeline.workspace import Workspace
from schemas.catalog import HUB_REPO
from schemas.errors import PublishError
from schemas.release import Publication, PublishPlan

HUB_ADDRESS = "hf://datasets/"
"""Before a repository's name, in the addresses that releases are read from."""


def publish_release(
    version: str,
    destination: str,
    work: Path | str,
    *,
    is_private: bool = True,
    report: Show = silence,
) -> Publication:
    """Bring a release to a folder, or to the Hub under a tag of its version.

    Args:
        version: such as v1.2.0.
        destination: a folder; organisation/name or hf://datasets/organisation/name of the Hub.
        work: the workspace; from an object store, the release is fetched first.
        is_private: of a repository that has to be made.
        report: told of every batch of files that the Hub has taken.

    Raises:
        PublishError: `destination` holds something else, the Hub refuses or keeps failing, or a
            clip is not what the release lists.
        ReleaseError: there is no such release.
    """
    repository = repository_of(destination)
    with _opened(version, work) as workspace:
        if repository is None:
            return run_publish(version, workspace, Path(destination))
        return run_publish_to_hub(version, workspace, repository, report, is_private=is_private)


def plan_publishing(version: str, destination: str, work: Path | str) -> PublishPlan:
    """What `publish_release` would do; changes nothing.

    Raises:
        PublishError: what publishing would refuse before it sends anything.
        ReleaseError: there is no such release.
    """
    repository = repository_of(destination)
    with _opened(version, work) as workspace:
        if repository is None:
            return run_plan(version, workspace, Path(destination))
        return run_plan_for_hub(version, workspace, repository)


@contextmanager
def _opened(version: str, work: Path | str) -> Iterator[Workspace]:
    """The workspace with every clip of a release at hand."""
    with opened_workspace(work, "releases/*") as workspace, ExitStack() as stack:
        if isinstance(work, str):
            for clip in read_release(workspace.release(version)).clips:
                stack.enter_context(workspace.at_hand(clip.store))
        yield workspace


def repository_of(destination: str) -> str | None:
    """The repository that is meant, or None where a folder is.

    organisation/name is a folder if there is a folder `organisation` here.

    Raises:
        PublishError: it is another kind of address, or no name of a dataset repository.
    """
    if destination.startswith(HUB_ADDRESS):
        name = destination.removeprefix(HUB_ADDRESS)
        if re.fullmatch(HUB_REPO, name) is None:
            raise PublishError(
                f"{destination} names no dataset repository; write {HUB_ADDRESS}organisation/name, "
                "without a revision"
            )
        return name
    if "://" in destination:
        raise PublishError(
            f"{destination} is an address that releases are read from; publish to a folder or to "
            f"{HUB_ADDRESS}organisation/name, and copy the folder there"
        )
    is_name = re.fullmatch(HUB_REPO, destination) is not None
    return destination if is_name and not Path(destination).parent.exists() else None


def told_plan(plan: PublishPlan) -> list[str]:
    """A plan for people: every file, and what it comes to."""
    lines = [f"{file.size_bytes:>14,}  {file.path}" for file in plan.send]
    lines += [f"{'remove':>14}  {path}" for path in plan.remove]
    made = "would be made" if plan.is_new else "is there"
    lines.append(
        f"{plan.destination} {made}; {len(plan.send)} files ({plan.bytes_to_send:,} bytes) to "
        f"send, {len(plan.remove)} to remove, {plan.files_kept} stay"
    )
    return lines
