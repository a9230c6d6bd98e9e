"""`make torture`: the whole fault suite, and docs/torture.md with what it found."""

import datetime as dt
import errno
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.torture.damage import CLASSES, READ_BY_TRAINING, Flip, flips
from tests.torture.engine import Outcome, Share, Trial
from tests.torture.rig import film, journey
from tests.torture.test_kills import complaints, run_engine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "torture.md"

SHARE = Share(kills=None, kills_at_random_times=60, errors=40)
FLIPS = 400 * len(CLASSES)

COMMAND_TESTS = (
    "tests/flows/test_build.py::test_a_build_killed_and_run_again_gives_the_stores_of_an_undisturbed_one",
    "tests/flows/test_lease.py",
    "tests/flows/test_bad_input.py",
)
READER_TESTS = (
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
)


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

Made by `make torture` on {date} in {minutes:.0f} minutes, Python {python} on {system}. CI runs a
share of it: 50 kills, 12 failing disks, 200 flips.

## Builds that are stopped, on disks that fail

The journey is a build and a release of two small recordings; {events} file-system events are heard
in it. After each trial a reader looks at every final name: it is whole or absent. Then the journey
is taken again. *Equal* means: the same root hash and the same bytes in every file of stores, facts
and release as after an undisturbed journey, and nothing left in the staging folder. A trial that
did not strike ended before its moment, or the error hit what may fail without harm.

| How it was spoilt | Trials | Struck | Equal |
|---|---:|---:|---:|
{kills}

## Single bits turned

A third of the flips at each end of a file and a third anywhere. *Verify* is `twinband verify` for a
release, and the seals of the facts for facts; *read* is the reading of every pixel as training
does, where it uses the file. Of a release.json it uses neither the version nor the list of files
beside it, which verify proves; of flips there the reading is not asked.

| Class of file | Flips | Noticed by verify | Noticed by the read |
|---|---:|---:|---:|
{flips}

## The real command, readers and forgeries

| Tests | All | Passed | Skipped |
|---|---:|---:|---:|
{tests}
"""


def main() -> int:
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name, told("kills and failing disks"):
        calm, outcomes = run_engine(Path(name), SHARE)
    bad = {str(o.trial): found for o in outcomes if (found := complaints(calm, o))}
    tell_all(f"{trial}: {found}" for trial, found in bad.items())
    with told("flips"):
        made = run_flips()
    unnoticed = [flip for flip in made if not flip.is_noticed]
    tell_all(map(str, unnoticed))
    with told("the real command"):
        commands = run_tests(COMMAND_TESTS)
    with told("readers and forgeries"):
        readers = run_tests(READER_TESTS)
    tests = {
        "builds killed, stopped, at once, on full disks, of bad input": commands,
        "stores, readers, loaders, dates, cut and exchanged files, forgeries": readers,
    }
    text = TEXT.format(
        date=f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        minutes=(time.monotonic() - begun_s) / 60,
        python=platform.python_version(),
        system=platform.system(),
        events=len(calm.events),
        kills="\n".join(kill_rows(outcomes, bad)),
        flips="\n".join(flip_rows(made)),
        tests="\n".join(test_rows(tests)),
    )
    PAGE.write_text(text)
    failed = any(found["failed"] for found in tests.values())
    return int(bool(bad or unnoticed or failed))


if __name__ == "__main__":
    sys.exit(main())
