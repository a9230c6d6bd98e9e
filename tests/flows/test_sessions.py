"""`twinband init`, `add`, `show` and `watch`, as people and rigs use them."""

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from flows.watch import contents_of
from pipeline.workspace import load
from schemas.catalog_reading import load_catalog
from schemas.watch import Watched
from tests.flows.conftest import Built
from tests.flows.rig import COMMAND, Running, film_pair, running, wait_until, write_catalog

SETTLE_S = 1.0


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def test_a_catalog_begins_with_a_first_session(footage: Path, tmp_path: Path) -> None:
    shutil.copytree(footage / "quay", tmp_path / "harbour" / "monday" / "quay")

    made = run("init", tmp_path / "harbour", tmp_path / "harbour" / "monday", "--json")

    catalog = tmp_path / "harbour" / "catalog.yaml"
    assert json.loads(made.stdout) == {"catalog": str(catalog), "sessions": ["monday"]}
    loaded = load_catalog(catalog)
    assert (loaded.rigs[0].infrared.width, loaded.rigs[0].visible.height) == (64, 48)
    shutil.copytree(footage / "pier", tmp_path / "harbour" / "tuesday" / "pier")
    added = run("add", tmp_path / "harbour" / "tuesday", "-c", catalog, "--json")
    assert json.loads(added.stdout)["recordings"] == ["pier"]
    again = run("init", tmp_path / "harbour", "--infrared", "64x48", "--visible", "64x48")
    assert (again.exit_code, "stands already" in again.stderr) == (1, True)
    assert run("init", tmp_path / "other").exit_code == 2
    assert run("init", tmp_path / "other", "--infrared", "big").exit_code == 2


def test_a_clip_is_shown_with_both_bands(built: Built) -> None:
    words = ("show", "quay-000000", "--work", built.work)

    plain, picture, document = run(*words), run(*words, "--picture"), run(*words, "--json")

    assert "recording  quay of session harbour, site harbour" in plain.stdout
    assert "\x1b" not in plain.stdout
    assert picture.stdout.count("\u2580") > 500
    assert json.loads(document.stdout)["pairs"] > 0
    missing = run("show", "gate-000000", "--work", built.work)
    assert (missing.exit_code, "known are quay-000000, walk-000000" in missing.stderr) == (1, True)
    beyond = run(*words, "--pair", 5000)
    assert (beyond.exit_code, "not 5000" in beyond.stderr) == (1, True)


@contextmanager
def watching(folder: Path, *more: str, server: str) -> Iterator[Running]:
    """The real command, watching a folder below that of the catalog."""
    words = (COMMAND, "watch", folder / "drop", "-c", folder / "catalog.yaml")
    times = ("--settle", str(SETTLE_S), "--interval", "0.2")
    with running(
        *words, "--work", folder / "work", *times, *more, PREFECT_API_URL=server
    ) as command:
        yield command


def watched(folder: Path) -> Watched:
    return load(folder / "work" / "watch.json", Watched) or Watched()


def state_of(folder: Path, session: str) -> str | None:
    found = watched(folder).of(session)
    return None if found is None else found.state


def test_contents_are_of_whole_files_and_move_with_any_of_them(tmp_path: Path) -> None:
    assert contents_of(tmp_path) is None, "nothing has arrived yet"
    (tmp_path / "ir.mkv").write_bytes(b"abc")
    first = contents_of(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"a desktop's own")
    assert contents_of(tmp_path) == first
    (tmp_path / "ir.mkv").write_bytes(b"abcd")
    assert contents_of(tmp_path) not in (None, first)
    for name in (".vis.mp4.Xy12_z", "vis.mp4.part", "VIS.MP4.TMP"):
        (tmp_path / name).write_bytes(b"half")
        assert contents_of(tmp_path) is None, name
        (tmp_path / name).unlink()


@pytest.mark.slow
def test_sessions_that_are_dropped_become_clips_though_the_watch_is_killed(
    footage: Path, server: str, tmp_path: Path
) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    write_catalog(tmp_path / "catalog.yaml", tmp_path, [])
    source = footage / "simulated" / "outing" / "walk"
    with watching(tmp_path, "--release", server=server) as command:
        # a copy that takes its time, in pieces, the last file under a name of its own
        target = drop / "monday" / "walk"
        target.mkdir(parents=True)
        for name in ("infrared.mkv", "infrared.csv", "visible.csv"):
            shutil.copy(source / name, target)
        whole = (source / "visible.mp4").read_bytes()
        partial = target / "visible.mp4.part"
        partial.write_bytes(whole[: len(whole) // 2])
        (drop / "lonely").mkdir()
        shutil.copy(source / "infrared.mkv", drop / "lonely" / "infrared.mkv")
        wait_until(lambda: state_of(tmp_path, "lonely") == "set-aside", "a bad one is set aside")
        assert state_of(tmp_path, "monday") is None, "half-copied files wait"
        partial.write_bytes(whole)
        partial.rename(target / "visible.mp4")
        command.kill_at(lambda: state_of(tmp_path, "monday") == "added", "the session is added")

    reason = (drop / "set-aside" / "lonely.txt").read_text()
    assert "has no visible beside it" in reason
    assert (drop / "set-aside" / "lonely" / "infrared.mkv").is_file()

    with watching(tmp_path, "--release", "--once", "--json", server=server) as command:
        answer = command.answer()
    assert answer.code == 0, answer.complaints
    built = watched(tmp_path).of("monday")
    assert built is not None
    assert (built.state, built.clips, built.release) == ("built", ("walk-000000",), "v0.1.0")
    assert (tmp_path / "work" / "reports" / "v0.1.0" / "index.html").is_file()
    assert answer.document["sessions"][-1]["folder"] == "monday"
    stores = sorted((tmp_path / "work" / "clips").glob("*/*.zarr"))

    # nothing is done again, and a second session makes the next release
    film_pair(drop / "tuesday" / "pier", 30, seed=2)
    with watching(tmp_path, "--release", server=server) as command:
        wait_until(lambda: state_of(tmp_path, "tuesday") == "built", "the second is built")
        command.process.send_signal(signal.SIGTERM)
        assert command.answer().code == 0
    assert set(stores) <= set((tmp_path / "work" / "clips").glob("*/*.zarr"))
    assert [session.id for session in load_catalog(tmp_path / "catalog.yaml").sessions] == [
        "monday",
        "tuesday",
    ]
    pier = watched(tmp_path).of("tuesday")
    assert pier is not None
    assert len(pier.clips) + len(pier.rejected) == 1


def test_a_broken_catalog_is_waited_for_and_told(server: str, tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "catalog.yaml").write_text("dataset: {}")

    with watching(tmp_path, "--once", server=server) as command:
        answer = command.answer()

    assert answer.code == 1
    assert "dataset.name" in answer.complaints
