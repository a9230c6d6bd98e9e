"""A lease is refused while its holder lives, wherever that is, and taken over once it is silent."""

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.lease import LEASE_NAME, held_lease
from schemas.errors import WorkspaceError

DURATION_S = 0.6


def mark(root: Path, *, duration_s: float = DURATION_S) -> Path:
    """The marker of a holder on a host that nobody can ask."""
    fields = {"pid": 4711, "host": "elsewhere", "mode": "lease", "token": "ab" * 16}
    lines = [f"{name}={value}" for name, value in (fields | {"duration": duration_s}).items()]
    root.mkdir(exist_ok=True)
    marker = root / LEASE_NAME
    marker.write_text("\n".join(["filelock/2", *lines, ""]))
    return marker


def test_the_lease_of_another_host_is_taken_over_after_its_silence_and_this_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark(tmp_path)
    left = tmp_path / "staging" / ("ab" * 16)
    left.mkdir(parents=True)
    begun_s = time.monotonic()

    with (
        caplog.at_level(logging.WARNING),
        held_lease(tmp_path, tmp_path / "staging", duration_s=DURATION_S) as own,
    ):
        waited_s = time.monotonic() - begun_s
        assert not left.exists()
        assert own.is_dir()

    assert waited_s >= DURATION_S
    assert "is held by twinband on elsewhere, process 4711, which gives no sign of" in caplog.text
    assert "taken over after 0.6 s of silence" in caplog.text
    assert not (tmp_path / LEASE_NAME).exists()


def test_a_marker_whose_maker_was_killed_before_signing_it_is_taken_away_after_a_silence(
    tmp_path: Path,
) -> None:
    (tmp_path / LEASE_NAME).touch()
    begun_s = time.monotonic()

    with held_lease(tmp_path, tmp_path / "staging", duration_s=DURATION_S) as own:
        assert time.monotonic() - begun_s >= DURATION_S
        assert list((tmp_path / "staging").iterdir()) == [own]

    assert not (tmp_path / LEASE_NAME).exists()


def test_a_living_holder_on_another_host_is_named(tmp_path: Path) -> None:
    marker, done = mark(tmp_path), threading.Event()

    def live() -> None:
        while not done.wait(0.02):
            os.utime(marker)

    heart = threading.Thread(target=live)
    heart.start()
    try:
        with (
            pytest.raises(WorkspaceError, match=r"written to by twinband on elsewhere, process 47"),
            held_lease(tmp_path, tmp_path / "staging", duration_s=DURATION_S),
        ):
            pass
    finally:
        done.set()
        heart.join()

    assert marker.exists()


def test_a_lease_with_another_duration_is_not_judged(tmp_path: Path) -> None:
    mark(tmp_path, duration_s=60.0)

    with (
        pytest.raises(WorkspaceError, match="run the same version of twinband everywhere"),
        held_lease(tmp_path, tmp_path / "staging", duration_s=DURATION_S),
    ):
        pass


def test_the_lease_of_a_dead_process_of_this_host_is_taken_over_at_once(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with held_lease(tmp_path, tmp_path / "staging", duration_s=60.0):
            os._exit(0)
    os.waitpid(child, 0)
    begun_s = time.monotonic()

    with held_lease(tmp_path, tmp_path / "staging", duration_s=60.0):
        assert time.monotonic() - begun_s < 10
        (own,) = (tmp_path / "staging").iterdir()
        assert [path.name for path in own.iterdir()] == ["holder.json"]


def break_and_wait(root: Path) -> None:
    """Hold a lease whose marker somebody deletes."""
    with held_lease(root, root / "staging", duration_s=DURATION_S) as own:
        (root / LEASE_NAME).unlink()
        while own.is_dir():
            time.sleep(0.01)
        (own / "half").touch()


def test_whoever_breaks_a_lease_by_hand_stops_its_holder(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="was taken over by another twinband"):
        break_and_wait(tmp_path)

    assert list((tmp_path / "staging").iterdir()) == []
