"""The server a build starts: it answers, and never outlives the build."""

import sys
import urllib.request
from pathlib import Path

from tests.flows.rig import (
    build,
    debris,
    harbour,
    processes_of_session,
    registered,
    running,
    wait_until,
    write_catalog,
)

ENDS_S = 30.0
"""An orphaned server ends within seconds, even on a busy machine."""

WAITS_WITH_A_SERVER = """
import signal, sys
from pathlib import Path
from flows.server import starting_server
with starting_server() as address:
    Path(sys.argv[1]).write_text(address())
    signal.pause()
"""


def test_the_server_answers_on_loopback(server: str) -> None:
    with urllib.request.urlopen(f"{server}/health", timeout=30) as answer:
        body = answer.read()

    assert server.startswith("http://127.0.0.1:")
    assert body == b"true"


def test_the_server_ends_with_its_owner_even_if_that_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "address"
    with running(sys.executable, "-c", WAITS_WITH_A_SERVER, ready) as owner:
        wait_until(lambda: ready.exists() or owner.has_ended(), "the server is ready")
        pid = owner.process.pid
        before = processes_of_session(pid)

        owner.process.kill()
        owner.process.wait()

        wait_until(lambda: not processes_of_session(pid), "the server has ended", ENDS_S)
    assert any("flows.server" in process for process in before), before


def test_a_build_whose_server_cannot_start_says_so_in_one_line(
    footage: Path, tmp_path: Path
) -> None:
    home, work = tmp_path / "prefect", tmp_path / "work"
    (home / "prefect.db").mkdir(parents=True)
    catalog = write_catalog(tmp_path / "catalog.yaml", footage, [harbour(registered("pier"))])

    answer = build(catalog, work, PREFECT_HOME=str(home))

    assert answer.code == 1
    (line,) = answer.document["error"]
    assert line.startswith("Prefect's server did not start: ")
    assert line.endswith(f"check that {home} can be written")
    assert "Traceback" not in answer.complaints
    assert debris(work) == []
