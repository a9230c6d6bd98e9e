"""Builds of one workspace at the same time: one works, the others say so, none does harm."""

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.release import release_dataset
from pipeline.lease import LEASE_NAME
from pipeline.workspace import Workspace
from tests.flows.conftest import Built
from tests.flows.rig import (
    Answer,
    build,
    build_command,
    debris,
    harbour,
    registered,
    running,
    wait_until,
    write_catalog,
)
from tests.pipeline.studio import tree

SHORT_LEASE_S = 2.0
"""Long enough for a busy machine to give ten signs of life in it."""

BUILDERS = 4

BUILDER = """
import sys, time
from pathlib import Path
from flows.environment import prepare_environment
prepare_environment()
from flows.build import build_dataset
from schemas.errors import WorkspaceError

catalog, work, ready, go, lease_s = sys.argv[1:]
Path(ready).touch()
while not Path(go).exists():
    time.sleep(0.002)
try:
    build_dataset(Path(catalog), Path(work), lease_duration_s=float(lease_s))
except WorkspaceError as error:
    sys.exit(f"refused: {error}")
"""


def builder(catalog: Path, work: Path, ready: Path, go: Path) -> tuple[str | Path, ...]:
    """A build with a short lease, which says when it has loaded and begins at a sign."""
    return (sys.executable, "-c", BUILDER, catalog, work, ready, go, str(SHORT_LEASE_S))


@pytest.fixture
def quay(built: Built, tmp_path: Path) -> Path:
    sessions = [harbour(registered("quay"), registered("pier"))]
    return write_catalog(tmp_path / "catalog.yaml", built.footage, sessions)


@pytest.fixture(scope="module")
def undisturbed(built: Built, server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a build of quay and pier that had the machine for itself."""
    folder = tmp_path_factory.mktemp("undisturbed")
    sessions = [harbour(registered("quay"), registered("pier"))]
    catalog = write_catalog(folder / "catalog.yaml", built.footage, sessions)
    answer = build(catalog, folder / "work", PREFECT_API_URL=server)
    assert answer.code == 0, answer.complaints
    return folder / "work"


def root_hash(catalog: Path, work: Path) -> str:
    return release_dataset(catalog, "v1.0.0", work).root_hash


def test_while_one_holds_the_workspace_a_build_is_refused_and_told_who_it_is(
    quay: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with Workspace(work).owned():
        answer = build(quay, work)

    assert answer.code == 1
    (line,) = answer.document["error"]
    assert line.startswith(f"{work} is being written to by twinband on {os.uname().nodename}")
    assert f"process {os.getpid()}, since 2" in line
    assert line.endswith("wait for it to finish, or stop it and run this again")
    assert "Traceback" not in answer.complaints
    assert not (work / "clips").exists()


def test_of_builds_begun_at_once_one_works_and_the_others_stand_back(
    quay: Path, undisturbed: Path, tmp_path: Path, server: str
) -> None:
    work, go = tmp_path / "work", tmp_path / "go"
    with ExitStack() as stack:
        signs = [tmp_path / f"ready-{number}" for number in range(BUILDERS)]
        builders = [
            stack.enter_context(running(*builder(quay, work, ready, go), PREFECT_API_URL=server))
            for ready in signs
        ]
        wait_until(lambda: all(ready.exists() for ready in signs), "all have loaded")
        go.touch()
        answers = [builder.answer() for builder in builders]

    assert sorted(answer.code for answer in answers) == [0, 1, 1, 1]
    for answer in answers:
        assert "Traceback" not in answer.complaints
        if answer.code:
            assert f"refused: {work} is being written to by" in answer.complaints, answer
    assert tree(work / "clips") == tree(undisturbed / "clips")
    assert root_hash(quay, work) == root_hash(quay, undisturbed)
    assert debris(work) == []


def test_a_killed_build_is_followed_at_once_whatever_the_lease(
    quay: Path, undisturbed: Path, tmp_path: Path, server: str
) -> None:
    work = tmp_path / "work"
    with running(*build_command(quay, work), PREFECT_API_URL=server) as killed:
        killed.kill_at(lambda: any(work.glob("staging/*/quay-*")), "a store is begun")
    assert (work / LEASE_NAME).exists()

    answer = build(quay, work, PREFECT_API_URL=server)

    assert answer.code == 0, answer.complaints
    assert answer.complaints == ""  # nobody had to be waited for
    assert tree(work / "clips") == tree(undisturbed / "clips")
    assert debris(work) == []
    assert not (work / LEASE_NAME).exists()


def stopped_and_followed(catalog: Path, work: Path, folder: Path, server: str) -> list[Answer]:
    """Stop a build in the middle of a store, build anew, and let the first one go on."""
    go = folder / "go"
    go.touch()
    command = builder(catalog, work, folder / "ready", go)
    with running(*command, PREFECT_API_URL=server) as first:
        wait_until(lambda: any(work.glob("staging/*/quay-*/*")), "a store is begun")
        first.process.send_signal(signal.SIGSTOP)
        with running(*command, PREFECT_API_URL=server) as second:
            later = second.answer()
        between = tree(work / "clips")
        first.process.send_signal(signal.SIGCONT)
        earlier = first.answer()
    assert tree(work / "clips") == between
    return [earlier, later]


def test_a_build_that_gives_no_sign_of_life_is_taken_over_and_writes_nothing_more(
    quay: Path, undisturbed: Path, tmp_path: Path, server: str
) -> None:
    work = tmp_path / "work"

    stopped, follower = stopped_and_followed(quay, work, tmp_path, server)

    assert follower.code == 0, follower.complaints
    assert "gives no sign of life; it is taken over after 2 s of silence" in follower.complaints
    assert stopped.code == 1
    assert f"refused: {work} was taken over by another twinband" in stopped.complaints
    assert tree(work / "clips") == tree(undisturbed / "clips")
    assert root_hash(quay, work) == root_hash(quay, undisturbed)
    assert debris(work) == []


def test_a_stopped_build_of_another_recipe_mixes_nothing_into_the_next(
    quay: Path, built: Built, undisturbed: Path, tmp_path: Path, server: str
) -> None:
    """The first build has other pairs and other facts of the same recordings."""
    work, go = tmp_path / "work", tmp_path / "go"
    go.touch()
    other = write_catalog(
        tmp_path / "other.yaml",
        built.footage,
        [harbour(registered("quay", registered=False, offset_s=0.2, homography=SHIFTED))],
    )
    with running(*builder(other, work, tmp_path / "ready", go), PREFECT_API_URL=server) as stopped:
        wait_until(lambda: any(work.glob("facts/quay/pairs.npz")), "its pairs stand")
        stopped.process.send_signal(signal.SIGSTOP)
        with running(
            *builder(quay, work, tmp_path / "ready", go), PREFECT_API_URL=server
        ) as follower:
            later = follower.answer()
        stopped.process.send_signal(signal.SIGCONT)
        earlier = stopped.answer()

    assert (earlier.code, later.code) == (1, 0), earlier.complaints + later.complaints
    assert tree(work / "clips") == tree(undisturbed / "clips")
    assert tree(work / "facts") == tree(undisturbed / "facts")


SHIFTED = [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
