"""Deployments for a shared Prefect server: build, release, and publish once a person approves.

`twinband serve` offers them; whoever sees the server's page, or a schedule, starts them. Parameters
are plain, since Prefect keeps them as JSON.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from prefect import Flow, flow, serve
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.build import build_dataset
from flows.progress import silence
from flows.publish import plan_publishing, publish_release
from flows.release import next_version, release_dataset
from flows.report import report_release
from schemas.base import is_object_address
from schemas.errors import PublishError, WorkspaceError

APPROVAL_S = 7 * 24 * 3600
"""A run that nobody has decided on in a week ends as failed, and can be started again."""

POLL_S = 3
"""From one look for a decision to the next."""

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
"""The workspace has one writer: a second run waits its turn."""

KEYS = {"build": "twinband-build", "release": "twinband-release", "publish": "twinband-publish"}
"""Of the artifacts, whose versions Prefect keeps."""


class Approval(RunInput):
    """What a person says before anything leaves the house."""

    approved: bool
    reason: str = ""


def _place(work: str) -> Path | str:
    """Of a workspace, as its parameter names it."""
    return work if is_object_address(work) else Path(work).resolve()


@flow(name="build", log_prints=True)
def build(catalog: str, work: str, workers: int = 1) -> dict[str, Any]:
    """Build what is left to do of a catalog; the table of rejections is an artifact."""
    made = build_dataset(Path(catalog), _place(work), workers=workers)
    create_table_artifact(
        table=[
            {"recording": each.recording, "stage": each.stage, "reason": each.reason}
            for each in made.rejected
        ],
        key=KEYS["build"],
        description=f"{made.built} recordings built, {made.unchanged} unchanged, "
        f"{len(made.rejected)} rejected",
    )
    return made.model_dump(mode="json")


@flow(name="release", log_prints=True)
def release(catalog: str, work: str, version: str | None = None) -> str:
    """Release what is built, by default as the next minor version, with its report."""
    place = _place(work)
    made = release_dataset(Path(catalog), version or next_version(place), place)
    pages = None if isinstance(place, Path) else Path(catalog).parent / f"report-{made.version}"
    page, _ = report_release(made.version, place, pages, silence)
    counts = ", ".join(f"{count} {split}" for split, count in made.split_counts().items())
    create_markdown_artifact(
        markdown=f"# {made.version}\n\n{len(made.clips)} clips: {counts}\n\nRoot hash "
        f"`{made.root_hash}`, report [{page}]({page.as_uri()})\n",
        key=KEYS["release"],
    )
    return made.version


@flow(name="publish", log_prints=True)
def publish(work: str, version: str, to: str, *, needs_approval: bool = True) -> dict[str, Any]:
    """Send a release to the Hub or a folder, once a person has approved of the list of files.

    Raises:
        PublishError: it was not approved.
    """
    place = _place(work)
    plan = plan_publishing(version, to, place)
    create_markdown_artifact(
        markdown=f"# {version} to {plan.destination}\n\n{len(plan.send)} files "
        f"({plan.bytes_to_send:,} bytes) to send, {len(plan.remove)} to remove, "
        f"{plan.files_kept} stay.\n",
        key=KEYS["publish"],
    )
    if needs_approval:
        said = pause_flow_run(wait_for_input=Approval, timeout=APPROVAL_S, poll_interval=POLL_S)
        if said is None or not said.approved:
            reason = "" if said is None else said.reason
            raise PublishError(f"{version} was not approved: {reason or 'no reason given'}")
    made = publish_release(version, to, place, is_private=True, report=silence)
    return made.model_dump(mode="json")


def serve_deployments(
    name: str, catalog: Path, work: Path | str, *, to: str | None, cron: Mapping[str, str]
) -> None:
    """Offer the three flows as deployments until the process is told to stop.

    Args:
        name: of the deployments, such as the dataset's.
        catalog: what is built and released.
        work: the workspace.
        to: where releases are published by default.
        cron: schedules by flow, such as `{"build": "0 3 * * *"}`.

    Raises:
        WorkspaceError: no server is named, or it does not answer.
    """
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        raise WorkspaceError(
            "no Prefect server is named; start one (prefect server start) and set PREFECT_API_URL"
        )
    place = work if isinstance(work, str) else str(work.resolve())
    places = {"catalog": str(catalog.resolve()), "work": place}
    known: Known = {
        "build": (build, places),
        "release": (release, places),
        "publish": (publish, {"work": places["work"]} | ({"to": to} if to else {})),
    }
    try:
        _serve(known, name, cron)
    except httpx.ConnectError as error:
        raise WorkspaceError(
            f"{address}: no Prefect server answers there; start it, or correct PREFECT_API_URL"
        ) from error


Known = Mapping[str, tuple[Flow[Any, Any], Mapping[str, str]]]
"""A flow and its parameters, by its name."""


def _serve(known: Known, name: str, cron: Mapping[str, str]) -> None:
    made: Any = [
        one.to_deployment(
            name=name,
            parameters=dict(parameters),
            concurrency_limit=ONE_AT_A_TIME,
            schedules=[Cron(cron[kind])] if kind in cron else None,
            tags=["twinband"],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for kind, (one, parameters) in known.items()
    ]
    serve(*made, print_starting_message=False)
