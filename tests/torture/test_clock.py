"""No decision rests on a clock or on the date of a file: equal content gives equal releases."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.rig import VERSION, content, journey

DAY_S = 86_400
DATES_S = {"1970": 0, "a day ahead": int(time.time()) + DAY_S}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Half a day of local time away."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def copied(footage: Path, folder: Path) -> Path:
    """The footage with its workspace and its catalog elsewhere; gives the catalog."""
    shutil.copytree(footage, folder)
    catalog = folder / "catalog.yaml"
    catalog.write_text(catalog.read_text().replace(str(footage), str(folder)))
    return catalog


def root_hash(work: Path) -> str:
    document = json.loads((work / "releases" / VERSION / "release.json").read_bytes())
    return str(document["root_hash"])


def date_everything(folder: Path, date_s: int) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (date_s, date_s))


def inodes(work: Path) -> dict[str, int]:
    files = (path for path in work.rglob("*") if path.is_file())
    return {path.relative_to(work).as_posix(): path.stat().st_ino for path in files}


@pytest.mark.parametrize("date_s", DATES_S.values(), ids=DATES_S)
def test_other_dates_of_all_files_make_no_work(
    footage: Path, released: Path, tmp_path: Path, date_s: int
) -> None:
    catalog = copied(footage, tmp_path / "copy")
    work = catalog.with_name("work")
    date_everything(catalog.parent, date_s)
    before = inodes(work)

    assert journey(catalog, work) == root_hash(released)
    assert inodes(work) == before


@pytest.mark.usefixtures("elsewhere")
def test_another_time_zone_gives_the_same_bytes(
    footage: Path, released: Path, tmp_path: Path
) -> None:
    assert journey(footage / "catalog.yaml", tmp_path / "work") == root_hash(released)
    assert content(tmp_path / "work") == content(released)


def test_other_content_of_the_same_length_and_date_is_noticed(
    footage: Path, released: Path, tmp_path: Path
) -> None:
    catalog = copied(footage, tmp_path / "copy")
    times, work = catalog.with_name("gap.csv"), catalog.with_name("work")
    shutil.rmtree(work / "releases")
    found = times.stat()

    times.write_text(times.read_text().replace("0,0.000000", "0,0.000001"))
    os.utime(times, ns=(found.st_atime_ns, found.st_mtime_ns))

    assert (times.stat().st_size, times.stat().st_mtime_ns) == (found.st_size, found.st_mtime_ns)
    assert journey(catalog, work) != root_hash(released)
