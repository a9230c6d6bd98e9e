"""Sending releases to where people read them: folders, and the Hugging Face Hub."""

from pathlib import Path

from pipeline.hub import FolderSender, read_release
from pipeline.hub_repository import HubSender, Report
from pipeline.publish import check_version
from pipeline.workspace import Workspace
from schemas.errors import PublishError
from schemas.release import Publication, PublishPlan


def run_publish(version: str, workspace: Workspace, destination: Path) -> Publication:
    """Send release `version` to a folder laid out like its Hub repository.

    Every byte is checked against the manifests on the way. release.json comes last: its presence
    seals the folder. Publishing again sends what is missing or different alone.

    Raises:
        ReleaseError: there is no such release, or it is damaged.
        PublishError: the destination holds something else, a clip is not what the release lists,
            or the disk is full or failing.
    """
    return _run_open_folder(version, workspace, destination).send()


def run_plan(version: str, workspace: Workspace, destination: Path) -> PublishPlan:
    """What `run_publish` would do.

    Raises:
        ReleaseError: there is no such release, or it is damaged.
        PublishError: the destination holds something else, or a clip is not what the release lists.
    """
    return _run_open_folder(version, workspace, destination).plan()


def _run_open_folder(version: str, workspace: Workspace, destination: Path) -> FolderSender:
    check_version(version)
    if destination.resolve().is_relative_to(workspace.root.resolve()):
        raise PublishError(
            f"{destination} lies inside the workspace {workspace.root}; name a folder outside it"
        )
    folder = workspace.release(version)
    return FolderSender(read_release(folder), folder, workspace.root, destination)


def run_publish_to_hub(
    version: str,
    workspace: Workspace,
    repository: str,
    report: Report,
    *,
    is_private: bool = True,
) -> Publication:
    """Send release `version` to the dataset repository `repository` and tag it.

    The tag is made last, when the Hub's listing equals the manifests, and never moved. The token
    is the Hub's own: that of HF_TOKEN, or of `hf auth login`.

    Raises:
        ReleaseError: there is no such release, or it is damaged.
        PublishError: see HubSender.
    """
    return _run_open_hub(version, workspace, repository).send(report, is_private=is_private)


def run_plan_for_hub(version: str, workspace: Workspace, repository: str) -> PublishPlan:
    """What `run_publish_to_hub` would do.

    Raises:
        ReleaseError: there is no such release, or it is damaged.
        PublishError: see HubSender.
    """
    return _run_open_hub(version, workspace, repository).plan()


def _run_open_hub(version: str, workspace: Workspace, repository: str) -> HubSender:
    check_version(version)
    folder = workspace.release(version)
    return HubSender(read_release(folder), folder, workspace.root, repository)
