"""The stages as Prefect sees them: named, and retried only where time may heal."""

import errno
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.client.schemas.objects import State

from pipeline.ingest import run_ingest
from pipeline.ingest_parts import run_measure_range
from pipeline.register import run_register
from pipeline.shard import run_shard
from pipeline.shard_parts import run_write_part
from pipeline.sync import run_sync

P = ParamSpec("P")
R = TypeVar("R")

LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENOENT}
"""System errors that stay until somebody acts: no space, no permission, no file."""


def stage(step: Callable[P, R]) -> Task[P, R]:
    """Show `step` to Prefect, retrying only what may pass by itself."""
    name = step.__name__.removeprefix("run_")
    return task(
        name=name, retries=2, retry_delay_seconds=1, retry_condition_fn=_may_pass_by_itself
    )(step)


def _may_pass_by_itself(_task: object, _run: object, state: State[object]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and error.errno not in LASTING


ingest = stage(run_ingest)
sync = stage(run_sync)
register = stage(run_register)
shard = stage(run_shard)
measure_range = stage(run_measure_range)
shard_part = stage(run_write_part)
