"""What is written durably is whole or absent, and every step can be heard by the fault suite."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.durable import make_folder, new_folder, rename, write_whole

HEARING: list[list[tuple[str, str]]] = []
"""Who listens; a hook cannot be taken back, so one is added once for all tests."""


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if HEARING and event.startswith("twinband."):
        HEARING[-1].append((event.removeprefix("twinband."), Path(str(arguments[0])).name))


@contextmanager
def heard() -> Iterator[list[tuple[str, str]]]:
    """The steps that are taken in the `with` block: what happened, and the name it happened to."""
    if _hear not in _ADDED:
        sys.addaudithook(_hear)
        _ADDED.append(_hear)
    HEARING.append([])
    try:
        yield HEARING[-1]
    finally:
        HEARING.pop()


_ADDED: list[object] = []


def test_a_file_is_written_synced_and_renamed_in_that_order(tmp_path: Path) -> None:
    with heard() as steps:
        write_whole(tmp_path / "facts" / "a.json", b"{}", tmp_path / "a.partial")

    assert (tmp_path / "facts" / "a.json").read_bytes() == b"{}"
    assert steps == [
        ("written", "a.partial"),
        ("synced", "a.partial"),
        ("made", "facts"),
        ("synced", tmp_path.name),
        ("renamed", "a.json"),
        ("synced", "facts"),
        ("synced", tmp_path.name),
    ]


def test_a_file_that_cannot_be_put_in_place_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()

    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "a.json", b"{}", tmp_path / "a.partial")

    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_with_every_file_synced_before(tmp_path: Path) -> None:
    with (
        heard() as steps,
        new_folder(tmp_path / "staged", tmp_path / "releases" / "v1.0.0") as folder,
    ):
        (folder / "index").mkdir()
        (folder / "index" / "train.parquet").write_bytes(b"rows")
        assert not (tmp_path / "releases").exists()

    assert (tmp_path / "releases" / "v1.0.0" / "index" / "train.parquet").read_bytes() == b"rows"
    names = [f"{step} {name}" for step, name in steps]
    assert names.index("synced train.parquet") < names.index("synced index")
    assert names.index("synced index") < names.index("synced staged")
    assert names.index("synced staged") < names.index("renamed v1.0.0")
    assert names[names.index("renamed v1.0.0") + 1] == "synced releases"
    assert not (tmp_path / "staged").exists()


def test_a_folder_whose_making_fails_is_gone(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        new_folder(tmp_path / "staged", tmp_path / "final") as folder,
    ):
        (folder / "no folder" / "half").touch()

    assert list(tmp_path.iterdir()) == []


def fill_and_lose(folder: Path, final: Path) -> None:
    with new_folder(folder, final):
        (folder / "first").touch()
        folder.rename(folder.with_name("grave"))
        folder.mkdir()
        (folder / "second").touch()


def test_a_folder_that_was_taken_away_and_made_again_gets_no_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="taken away while it was filled"):
        fill_and_lose(tmp_path / "staged", tmp_path / "final")

    assert [path.name for path in tmp_path.iterdir()] == ["grave"]


def test_folders_are_made_down_to_the_last_and_stay_where_they_are(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "file").touch()

    with heard() as steps:
        make_folder(tmp_path / "a" / "b")

    assert steps == []
    assert (tmp_path / "a" / "b" / "file").exists()


def test_a_folder_is_not_renamed_onto_one_that_holds_something(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()

    with pytest.raises(OSError, match="not empty"):
        rename(tmp_path / "new", tmp_path / "old")

    assert (tmp_path / "new" / "new").exists()
    assert (tmp_path / "old" / "old").exists()
