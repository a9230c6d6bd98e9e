"""`make torture`: the whole fault suite, and docs/torture.md with what it found.

What each part found is kept in docs/torture/, so that one can be made again without the others:
`python -m tests.torture.full [PART...]`.
"""

import datetime as dt
import errno
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

from pydantic import Field

from schemas.base import StrictModel
from tests.torture.damage import CLASSES, READ_BY_TRAINING, Flip, flips
from tests.torture.engine import Outcome, Share, Trial, Undisturbed
from tests.torture.processes import ROLES, Killed, film_harbour, killed_processes
from tests.torture.rig import film, journey
from tests.torture.test_kills import complaints, run_engine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "torture.md"
KEPT = ROOT / "docs" / "torture"
"""A JSON file for each part, from which the page is written."""

SHARE = Share(kills=None, kills_at_random_times=60, errors=40)
KILLED_PROCESSES = 10
"""Of each role."""

FLIPS = 400 * len(CLASSES)

TESTS = {
    "builds killed, stopped, at once, on full disks, of bad input": (
        "tests/flows/test_build.py::test_a_build_killed_and_run_again_gives_the_stores_of_an_undisturbed_one",
        "tests/flows/test_lease.py",
        "tests/flows/test_bad_input.py",
    ),
    "stores, readers, loaders, dates, histories, cut and exchanged files, forgeries": (
        "tests/torture/test_damage.py",
        "tests/torture/test_forgeries.py",
        "tests/torture/test_readers.py",
        "tests/torture/test_clock.py",
        "tests/torture/test_histories.py",
        "tests/pipeline/test_clip_stores.py",
        "tests/pipeline/test_staged_store.py",
        "tests/pipeline/test_durable.py",
        "tests/pipeline/test_lease.py",
        "tests/pipeline/test_workspace.py",
        "tests/model/test_shards.py",
        "tests/model/test_loader.py",
    ),
}


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    begun_s = time.monotonic()
    sys.stderr.write(f"{what} ...\n")
    yield
    sys.stderr.write(f"{what}: {time.monotonic() - begun_s:.0f} s\n")


def tell_all(faults: Iterable[str]) -> None:
    sys.stderr.writelines(f"{fault}\n" for fault in faults)


def run_tests(names: tuple[str, ...]) -> Counter[str]:
    """How many tests passed, were skipped and failed, each in a process of its own making."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = ("-q", "-p", "no:cacheprovider", f"--junit-xml={report}")
        subprocess.run([sys.executable, "-m", "pytest", *options, *names], cwd=ROOT, check=False)
        # Written a moment ago by our own pytest: nothing in it is hostile.
        (suite,) = ET.parse(report).getroot()
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    skipped, total = int(suite.attrib["skipped"]), int(suite.attrib["tests"])
    return Counter(passed=total - failed - skipped, skipped=skipped, failed=failed)


def run_flips() -> list[Flip]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film(folder)
        journey(folder / "catalog.yaml", folder / "work")
        return list(flips(folder / "work", FLIPS))


def way_of(trial: Trial) -> str:
    """How a trial spoils its journey, in words."""
    if trial.kind == "kill":
        at_event = "SIGKILL at every file-system event and named failpoint"
        return at_event if trial.event is not None else "SIGKILL at a random time"
    name = errno.errorcode[trial.error]
    return f"{name} from an event on" if trial.lasting else f"{name} at an event"


def kill_rows(outcomes: list[Outcome], bad: Mapping[str, list[str]]) -> Iterator[str]:
    """One row of the table for each way to spoil a journey."""
    for way in dict.fromkeys(way_of(outcome.trial) for outcome in outcomes):
        made = [outcome for outcome in outcomes if way_of(outcome.trial) == way]
        good = sum(str(outcome.trial) not in bad for outcome in made)
        struck = sum(outcome.happened != "nothing" for outcome in made)
        yield f"| {way} | {len(made)} | {struck} | {good} |"


def flip_rows(made: list[Flip]) -> Iterator[str]:
    """One row of the table for each class of files."""
    for kind in CLASSES:
        ours = [flip for flip in made if flip.kind == kind]
        verified = sum(bool(flip.verify) for flip in ours)
        asked = [flip for flip in ours if flip.read is not None]
        read = f"{sum(bool(flip.read) for flip in asked)} of {len(asked)}"
        yield f"| {kind} | {len(ours)} | {verified} | {read if kind in READ_BY_TRAINING else '-'} |"


def test_rows(tests: Mapping[str, Counter[str]]) -> Iterator[str]:
    """One row of the table for each group of tests."""
    for what, found in tests.items():
        yield f"| {what} | {sum(found.values())} | {found['passed']} | {found['skipped']} |"


TEXT = """\
# What the fault suite found

Written by `make torture` on Python {python}, {system}: the journeys on {kills.made_on} in
{kills.minutes:.0f} minutes, the killed processes on {processes.made_on} in
{processes.minutes:.0f}, the flips on {flips.made_on} in {flips.minutes:.0f}, the tests on
{tests.made_on} in {tests.minutes:.0f}. CI runs a share of it: 50 kills, 12 failing disks, killed
processes of every kind, 200 flips, and the tests.

## Builds that are stopped, on disks that fail

The journey is a build and a release of two small recordings; {kills.events} file-system events are
heard in it. After each trial a reader looks at every final name: it is whole or absent. Then the
journey is taken again. *Equal* means: the same root hash and the same bytes in every file of
stores, facts and release as after an undisturbed journey, and nothing left in the staging folder. A
trial that did not strike ended before its moment, or the error hit what may fail without harm.

| How it was spoilt | Trials | Struck | Equal |
|---|---:|---:|---:|
{kills_rows}

## Processes of a cluster that are killed

A build of two small recordings with `--scheduler`, on a dask scheduler, one worker and a
`prefect server` on SQLite. One of them, or the command itself, is killed by SIGKILL at a moment
drawn over most of the time that a build takes; a worker and a server are started again. Then the
build is given once more. *Equal* means: it ends well, with the bytes of an undisturbed one in every
store, nothing in the staging folder, no process left over and no traceback. A kill that did not
strike came when the build had ended.

| Killed | Trials | Struck | Equal |
|---|---:|---:|---:|
{processes_rows}

## Single bits turned

A third of the flips at each end of a file and a third anywhere. *Verify* is `twinband verify` for a
release, and the seals of the facts for facts; *read* is the reading of every pixel as training
does, where it uses the file. Of a release.json it uses neither the version nor the list of files
beside it, which verify proves; of flips there the reading is not asked.

| Class of file | Flips | Noticed by verify | Noticed by the read |
|---|---:|---:|---:|
{flips_rows}

## The real command, readers and forgeries

| Tests | All | Passed | Skipped |
|---|---:|---:|---:|
{tests_rows}
"""


class Found(StrictModel):
    """What one part of the suite found."""

    made_on: dt.date
    minutes: float
    rows: tuple[str, ...] = Field(description="Of the part's table, in Markdown.")
    faults: tuple[str, ...] = Field(description="Everything that is not as it should be.")
    events: int = Field(0, description="Of an undisturbed journey.")


def kills_found(calm: Undisturbed, outcomes: list[Outcome], begun_s: float) -> Found:
    """Of journeys that were stopped, or whose disk failed."""
    bad = {str(o.trial): found for o in outcomes if (found := complaints(calm, o))}
    faults = [f"{trial}: {found}" for trial, found in bad.items()]
    return _found(kill_rows(outcomes, bad), faults, begun_s, events=len(calm.events))


def find_kills() -> Found:
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        calm, outcomes = run_engine(Path(name), SHARE)
    return kills_found(calm, outcomes, begun_s)


def process_rows(made: list[Killed]) -> Iterator[str]:
    """One row of the table for each process that is killed."""
    for role in ROLES:
        ours = [killed for killed in made if killed.role == role]
        struck = sum(killed.struck for killed in ours)
        good = sum(not killed.faults for killed in ours)
        yield f"| {role} | {len(ours)} | {struck} | {good} |"


def find_processes() -> Found:
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        made = list(killed_processes(film_harbour(Path(name)), Path(name), KILLED_PROCESSES))
    faults = [
        f"{killed.role} killed after {killed.after_s:.1f} s: {fault}"
        for killed in made
        for fault in killed.faults
    ]
    return _found(process_rows(made), faults, begun_s)


def find_flips() -> Found:
    begun_s = time.monotonic()
    made = run_flips()
    unnoticed = [str(flip) for flip in made if not flip.is_noticed]
    return _found(flip_rows(made), unnoticed, begun_s)


def find_by_tests() -> Found:
    begun_s = time.monotonic()
    tests = {what: run_tests(names) for what, names in TESTS.items()}
    faults = [f"{what}: {found['failed']} failed" for what, found in tests.items()]
    return _found(test_rows(tests), [line for line in faults if " 0 failed" not in line], begun_s)


def _found(rows: Iterable[str], faults: Iterable[str], begun_s: float, events: int = 0) -> Found:
    return Found(
        made_on=dt.datetime.now(dt.UTC).date(),
        minutes=round((time.monotonic() - begun_s) / 60, 1),
        rows=tuple(rows),
        faults=tuple(faults),
        events=events,
    )


PARTS: dict[str, Callable[[], Found]] = {
    "kills": find_kills,
    "processes": find_processes,
    "flips": find_flips,
    "tests": find_by_tests,
}


def page(parts: Mapping[str, Found]) -> str:
    """The whole of docs/torture.md."""
    rows = {f"{name}_rows": "\n".join(part.rows) for name, part in parts.items()}
    versions = {"python": platform.python_version(), "system": platform.system()}
    return TEXT.format(**versions, **parts, **rows)


def main(names: list[str]) -> int:
    """Make the named parts, or all, and write the page once every part was made."""
    KEPT.mkdir(exist_ok=True)
    for name in names or PARTS:
        with told(name):
            found = PARTS[name]()
        tell_all(found.faults)
        (KEPT / f"{name}.json").write_text(found.model_dump_json(indent=1) + "\n")
    paths = {name: KEPT / f"{name}.json" for name in PARTS}
    if not all(path.exists() for path in paths.values()):
        return 0
    parts = {name: Found.model_validate_json(path.read_bytes()) for name, path in paths.items()}
    PAGE.write_text(page(parts))
    return int(any(part.faults for part in parts.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
