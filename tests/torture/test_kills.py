"""A build stopped at any moment leaves nothing half-made, and run again ends as if undisturbed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.engine import Outcome, Share, Undisturbed

ROOT = Path(__file__).parents[2]
SHARE = Share(kills=42, kills_at_random_times=8, errors=4)
"""What every change is tested with; `make torture` takes every event."""

ENOUGH_KINDS = 100
"""Of events in the journey: the hook hears what it should."""


def run_engine(folder: Path, share: Share) -> tuple[Undisturbed, list[Outcome]]:
    """All trials of a share, in a process without threads."""
    command = [sys.executable, "-m", "tests.torture.engine", str(folder), share.model_dump_json()]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    outcomes = [Outcome.model_validate_json(line) for line in others]
    return Undisturbed.model_validate_json(first), outcomes


def complaints(calm: Undisturbed, outcome: Outcome) -> list[str]:
    """All that is wrong with how a trial ended."""
    found = [*outcome.half_made, *outcome.debris, *outcome.differing]
    if outcome.trouble:
        found.append(outcome.trouble)
    elif outcome.root_hash != calm.root_hash:
        found.append(f"the root hash is {outcome.root_hash}")
    if "\n" in outcome.happened:
        found.append(f"more than one line: {outcome.happened}")
    return found


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Undisturbed, list[Outcome]]:
    return run_engine(tmp_path_factory.mktemp("torture"), SHARE)


def test_the_journey_is_heard_at_every_step(trials: tuple[Undisturbed, list[Outcome]]) -> None:
    calm, _ = trials

    kinds = set(calm.events)

    assert len(kinds) >= ENOUGH_KINDS
    for step in ("made", "written", "synced", "renamed"):
        assert any(kind.startswith(f"twinband.{step} ") for kind in kinds)
    for step in ("open", "os.mkdir", "os.rename", "os.remove"):
        assert any(kind.startswith(f"{step} ") for kind in kinds)


@pytest.mark.slow
def test_a_build_killed_at_any_event_or_time_ends_as_if_undisturbed(
    trials: tuple[Undisturbed, list[Outcome]],
) -> None:
    calm, outcomes = trials

    killed = [outcome for outcome in outcomes if outcome.trial.kind == "kill"]

    assert len(killed) == 50
    assert sum(outcome.happened == "killed" for outcome in killed) >= 42
    assert {str(o.trial): c for o in killed if (c := complaints(calm, o))} == {}


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_at_any_event_is_told_in_one_line_and_the_build_goes_on_later(
    trials: tuple[Undisturbed, list[Outcome]], error: int
) -> None:
    calm, outcomes = trials

    failed = [o for o in outcomes if o.trial.kind == "error" and o.trial.error == error]

    assert len(failed) == 4
    assert any(os.strerror(error) in outcome.happened for outcome in failed)
    assert {str(o.trial): c for o in failed if (c := complaints(calm, o))} == {}
