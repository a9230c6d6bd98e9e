"""`python -m tests.benchmarks.building CATALOG WORK STEP...`: what steps of a build cost, as JSON.

A process of its own, because memory that something else has touched would count.
"""

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clip_stores import ClipWriter, open_clip, read_pairs
from pipeline.ingest import run_ingest
from pipeline.register import run_register
from pipeline.shard import run_shard
from pipeline.sync import run_sync
from pipeline.workspace import Workspace, load
from schemas.catalog import RecordingPlan
from schemas.catalog_reading import load_catalog
from schemas.errors import WorkspaceError
from schemas.facts import ShardFacts
from schemas.store import SHARD_PAIRS


@dataclass(frozen=True)
class Cost:
    """Of a step."""

    cpu_s: float
    peak_bytes: int
    """Most memory that the process has held so far, interpreter and libraries included."""


def encode(plan: RecordingPlan, workspace: Workspace) -> Callable[[], object]:
    """What writes the frames of a clip that was built, from plain arrays, to another workspace."""
    outcome = load(workspace.facts(plan.recording.id, "shard"), ShardFacts)
    if outcome is None:
        raise WorkspaceError(f"{workspace.root}: {plan.recording.id} is not built; build it first")
    (clip,) = outcome.clips
    group, attributes = open_clip(workspace.clip(clip.clip, clip.fingerprint))
    other = Workspace(workspace.root.with_name(f"{workspace.root.name}-encoded"))
    names = [name for name, array in group.arrays() if len(array.shape) > 2]
    frames = {name: _plain(group, name, other.root / "plain", clip.pairs) for name in names}
    valid = np.ones((clip.height, clip.width), np.bool_)

    def write() -> None:
        with ClipWriter(other, attributes, names) as writer:
            for first in range(0, clip.pairs, SHARD_PAIRS):
                part = slice(first, first + SHARD_PAIRS)
                writer.write({name: np.array(array[part]) for name, array in frames.items()})
            writer.seal(time_s=np.arange(clip.pairs) / clip.fps, valid=valid)

    return write


def _plain(group: Any, name: str, folder: Path, pairs: int) -> NDArray[np.uint8]:
    """The frames of a stream as a mapped file."""
    path = folder / f"{name}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, read_pairs(group, name, 0, pairs))
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped


ENCODE = "encode"

STAGES: dict[str, Callable[[RecordingPlan, Workspace], object]] = {
    "ingest": run_ingest,
    "sync": run_sync,
    "register": run_register,
    "shard": run_shard,
}


def cost_of(step: Callable[[], object]) -> Cost:
    """Run `step` and say what it cost, children included."""
    before = _cpu_s()
    step()
    children_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Cost(_cpu_s() - before, _peak_bytes() + 1024 * children_kib)


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _peak_bytes() -> int:
    """Of this process; getrusage would start from what its parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [line for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(peak.split()[1])


def main(catalog: str, work: str, *steps: str) -> None:
    (plan,) = load_catalog(Path(catalog)).plans()
    workspace = Workspace(Path(work))
    costs: dict[str, Cost] = {}
    for step in steps:
        run = encode(plan, workspace) if step == ENCODE else partial(STAGES[step], plan, workspace)
        costs[step] = cost_of(run)
    sys.stdout.write(json.dumps({step: asdict(cost) for step, cost in costs.items()}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
