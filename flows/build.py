"""The build: every recording of a catalog becomes sealed clips, or is rejected with its reason."""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from distributed import KilledWorker
from distributed.client import FutureCancelledError
from prefect import flow, task, unmapped
from prefect.futures import PrefectFuture, as_completed
from pydantic import Field

from flows.process_memory import keep_freed_memory
from flows.progress import Show, silence
from flows.runners import prefect_server, server_told, task_runner
from flows.stages import ingest, measure_range, register, shard, shard_part, sync
from pipeline.ingest import run_find_ranges
from pipeline.ingest_parts import FrameRange, MeasuredRange
from pipeline.lease import LEASE_DURATION_S
from pipeline.object_raw import raw_at_hand, raw_listing
from pipeline.object_workspace import OUTCOMES, opened_workspace, workspace_at
from pipeline.outcomes import current_outcome, run_reject
from pipeline.shard import run_find_whole
from pipeline.shard_parts import (
    Part,
    WrittenPart,
    run_find_parts,
    run_seal_parts,
)
from pipeline.video_files import frames_announced
from pipeline.workspace import Workspace
from schemas.base import Slug, StrictModel
from schemas.catalog import RecordingPlan
from schemas.catalog_reading import load_catalog
from schemas.errors import (
    DegradeError,
    IngestError,
    RegisterError,
    ShardError,
    SyncError,
    VideoError,
    WorkspaceError,
)
from schemas.facts import LeftOut, RawFile, Rejection, ShardFacts, Stage

UNUSABLE = (VideoError, IngestError, SyncError, RegisterError, DegradeError, ShardError)
"""Errors that speak of one recording; any other stops the build."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""System errors of a disk without room; they seldom name the file."""

MOST_ORDERED = 1000
"""Recordings whose lengths are looked up, in some 10 ms each. Among more of them, one that is begun
last is a small part of the whole."""

Step = Callable[[RecordingPlan, Workspace], StrictModel]

JOURNEY: tuple[tuple[Stage, Step], ...] = (
    ("sync", sync),
    ("register", register),
    ("shard", shard),
)


class Build(StrictModel):
    """What a build did, in the words of `twinband build --json`."""

    built: int = Field(description="Recordings worked on that now have clips.")
    unchanged: int = Field(description="Recordings with nothing left to do.")
    rejected: tuple[Rejection, ...]
    left_out: tuple[LeftOut, ...] = Field(description="Runs of pairs that became no clip.")
    clips: tuple[Slug, ...] = Field(description="Every clip of the catalog, new or not.")
    damaged: tuple[str, ...] = Field(
        (), description="Damaged stores that a build moved aside, below the workspace; yours now."
    )


def build_dataset(
    catalog_path: Path,
    work: Path | str,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    lease_duration_s: float = LEASE_DURATION_S,
    server: Callable[[], str] | None = None,
    report: Show = silence,
) -> Build:
    """Bring every recording of a catalog to clips or to a rejection; what is done already stays.

    Args:
        catalog_path: the catalog.
        work: the workspace: a folder, or an address of an object store.
        workers: recordings built at the same time on this machine.
        scheduler: address of a dask.distributed scheduler to use instead.
        lease_duration_s: silence after which another build of this workspace passes for dead; the
            same for all of them.
        server: of `flows.server.own_server`, where one is on its way; None: one is started when
            it is needed and none is named.
        report: told of every recording that has its outcome, unchanged ones first.

    Raises:
        CatalogError: the catalog has problems, or files are missing.
        WorkspaceError: another build holds the workspace or took it over, its disk is full, or the
            scheduler or the Prefect server does not answer.
    """
    catalog = load_catalog(catalog_path)
    plans, raw = list(catalog.plans()), raw_listing(catalog, catalog_path)
    with (
        server_told(scheduler),
        _cluster_told(scheduler),
        opened_workspace(work, *OUTCOMES) as workspace,
        _room_told(workspace),
        workspace.owned(lease_duration_s=lease_duration_s) as held,
    ):
        outcomes: dict[str, ShardFacts] = {}
        for plan in plans:
            outcome = current_outcome(plan, held, raw)
            if outcome is not None and run_find_whole(outcome, held):
                outcomes[plan.recording.id] = outcome
                report(len(outcomes), len(plans), plan.recording.id)
        left = [plan for plan in plans if plan.recording.id not in outcomes]
        pending = [plan.recording.id for plan in left]
        if pending:
            is_several = workers > 1 or scheduler is not None
            if is_several and len(left) <= MOST_ORDERED:
                pending = longest_first(left, raw)
            with prefect_server(server):
                build = build_recordings.with_options(task_runner=task_runner(workers, scheduler))
                is_split = held.is_shared and raw is None and is_several
                token = str(held.build)
                for made in build(catalog_path, held.place, token, pending, is_split=is_split):
                    outcomes[made.recording] = made
                    report(len(outcomes), len(plans), made.recording)
        damaged = workspace.set_aside_stores()
    return _summary([outcomes[plan.recording.id] for plan in plans], set(pending), damaged)


def longest_first(plans: Sequence[RecordingPlan], raw: Mapping[str, RawFile] | None) -> list[str]:
    """The order in which several processes take recordings: else one may work on alone at the end.

    Args:
        plans: of recordings.
        raw: the files at a catalog's address, ordered by their bytes; None: they lie here.
    """

    def length(plan: RecordingPlan) -> int:
        path = plan.recording.infrared
        if raw is None:
            return frames_announced(plan.data_root / path, plan.recording.layouts.infrared)
        return raw[path].size_bytes if path in raw else 0

    return [plan.recording.id for plan in sorted(plans, key=length, reverse=True)]


@contextmanager
def _room_told(workspace: Workspace) -> Iterator[None]:
    """Say of a full disk which one it is."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise WorkspaceError(
            f"{error.filename or workspace.root}: {error.strerror}; make room, then build again"
        ) from error


@contextmanager
def _cluster_told(scheduler: str | None) -> Iterator[None]:
    """Say of a lost connection whose it was; errors of files name their file."""
    try:
        yield
    except KilledWorker as error:
        raise WorkspaceError(
            f"{error.task}: {error.allowed_failures + 1} processes died of it, most likely for "
            "want of memory; give them more, or build with fewer at a time"
        ) from error
    except FutureCancelledError as error:
        raise WorkspaceError(
            f"the dask scheduler at {scheduler} is gone; what is built stays: start it, or name "
            "another, and build again"
        ) from error
    except OSError as error:
        if scheduler is None or error.filename is not None or error.errno in FULL:
            raise
        raise WorkspaceError(
            f"the dask scheduler at {scheduler} does not answer ({error}); what is built stays: "
            "start it, or name another, and build again"
        ) from error


def _summary(outcomes: Sequence[ShardFacts], worked_on: set[str], damaged: Sequence[str]) -> Build:
    rejections = tuple(o.rejection for o in outcomes if o.rejection is not None)
    return Build(
        built=len(worked_on - {rejection.recording for rejection in rejections}),
        unchanged=len(outcomes) - len(worked_on),
        rejected=rejections,
        left_out=tuple(run for o in outcomes for run in o.left_out),
        clips=tuple(clip.clip for o in outcomes for clip in o.clips),
        damaged=tuple(damaged),
    )


@flow(name="build-dataset")
def build_recordings(
    catalog_path: Path, work: str, build: str, recordings: Sequence[str], *, is_split: bool
) -> Iterator[ShardFacts]:
    """Build the named recordings; a bug in one stops the build, an unusable one does not.

    Prefect sends a flow's parameters to every dask process, so they have to be plain.

    Args:
        catalog_path: the catalog.
        work: where the workspace is.
        build: token of its lease.
        recordings: by their names, in the order in which they are begun.
        is_split: whether long recordings are measured and written by several workers at once,
            which have to see the recordings and one staging folder.
    """
    known = {plan.recording.id: plan for plan in load_catalog(catalog_path).plans()}
    plans = [known[name] for name in recordings]
    workspace = workspace_at(work, build)
    waiting = build_recording.map(plans, unmapped(workspace), is_split=unmapped(is_split))
    plan_of = dict(zip(waiting, plans, strict=True))
    while plan_of:
        after: dict[PrefectFuture[Any], RecordingPlan] = {}
        for future in as_completed(list(plan_of)):
            made, plan = future.result(), plan_of[future]
            if isinstance(made, ShardFacts):
                yield made
            else:
                after[_shared_out(plan, made, workspace)] = plan
        plan_of = after


def _shared_out(
    plan: RecordingPlan, parts: Sequence[FrameRange] | Sequence[Part], workspace: Workspace
) -> PrefectFuture[Any]:
    """Let several processes do the parts of a recording; what is next waits for them."""
    to_measure = [part for part in parts if isinstance(part, FrameRange)]
    if to_measure:
        measured: Any = measure_frames.map(unmapped(plan), to_measure, unmapped(workspace))
        return build_recording.submit(plan, workspace, is_split=True, measured=measured)
    written: Any = write_part.map(unmapped(plan), parts, unmapped(workspace))
    return seal_recording.submit(plan, written, workspace)


@task(name="recording", task_run_name="{plan.recording.id}")
def build_recording(
    plan: RecordingPlan,
    workspace: Workspace,
    *,
    is_split: bool,
    measured: Sequence[MeasuredRange | None] | None = None,
) -> ShardFacts | list[FrameRange] | list[Part]:
    """Take one recording through the stages; one that cannot be used ends as a Rejection.

    Args:
        plan: of the recording.
        workspace: to build it in.
        is_split: whether several processes share a long one.
        measured: its parts, where it was measured in parts, None for one that could not be. (Not an
            empty tuple where it was not: Prefect takes that for part of what the flow gave before.)

    Returns:
        What became of it; or the parts in which it is to be measured or its clips to be written.
    """
    keep_freed_memory()
    known = [one for one in measured or [] if one is not None]
    if measured is not None and len(known) < len(measured):
        known = []  # one process says what is wrong
    begin: Step = partial(ingest, measured=known)
    facts: StrictModel | None = None
    with (
        workspace.recording_at_hand(plan.recording.id) as here,
        raw_at_hand(plan, here) as at_hand,
    ):
        if is_split and measured is None and (ranges := run_find_ranges(at_hand, here)):
            return ranges
        for name, step in (("ingest", begin), *JOURNEY):
            try:
                if is_split and name == "shard" and (parts := run_find_parts(at_hand, here)):
                    return parts
                facts = step(at_hand, here)
            except UNUSABLE as error:
                facts = run_reject(at_hand, name, error, here)
            here.keep()
            if isinstance(facts, ShardFacts):
                break
    return cast("ShardFacts", facts)


@task(name="measure", task_run_name="{plan.recording.id} {part.band} from {part.first_frame}")
def measure_frames(
    plan: RecordingPlan, part: FrameRange, workspace: Workspace
) -> MeasuredRange | None:
    """Measure a part of a long recording; None where it cannot be read."""
    keep_freed_memory()
    try:
        return measure_range(plan, part, workspace)
    except UNUSABLE:
        return None


@task(name="part", task_run_name="{plan.recording.id} from {part.first_pair}")
def write_part(plan: RecordingPlan, part: Part, workspace: Workspace) -> WrittenPart | ShardFacts:
    """Write a part of a long recording; one that cannot be used ends as a Rejection."""
    keep_freed_memory()
    try:
        return shard_part(plan, part, workspace)
    except UNUSABLE as error:
        return run_reject(plan, "shard", error, workspace)


@task(name="seal", task_run_name="{plan.recording.id}")
def seal_recording(
    plan: RecordingPlan, written: Sequence[WrittenPart | ShardFacts], workspace: Workspace
) -> ShardFacts:
    """Join the parts of a recording, unless one of them could not be written."""
    for one in written:
        if isinstance(one, ShardFacts):
            return one
    parts = [one for one in written if isinstance(one, WrittenPart)]
    return run_seal_parts(plan, parts, workspace)
