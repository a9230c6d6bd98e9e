"""`twinband build --scheduler` on a dask cluster of real processes, some of which are killed."""

from pathlib import Path

import httpx
import pytest

from pipeline.shard_parts import LEAST_PAIRS
from tests.flows.cluster import IMPATIENT, cluster
from tests.flows.conftest import Built
from tests.flows.rig import (
    build_command,
    debris,
    film_pair,
    harbour,
    registered,
    running,
    wait_until,
    write_catalog,
)
from tests.pipeline.studio import tree

pytestmark = pytest.mark.slow

LONG_FRAMES = 2 * LEAST_PAIRS + 100


def ingested(work: Path) -> bool:
    """Whether the first stage of a recording has ended, and others have not."""
    return any(work.glob("facts/*/ingest.json"))


def test_a_worker_killed_in_mid_task_costs_only_its_task(
    built: Built, server: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with cluster(tmp_path, workers=1) as started:
        words = (*build_command(built.catalog, work), "--scheduler", started.address)
        with running(*words, PREFECT_API_URL=server) as command:
            wait_until(lambda: ingested(work), "a recording is in its stages")
            started.workers[0].kill()
            started.start_worker()
            answer = command.answer()

    assert answer.code == 0, answer.complaints
    assert tree(work / "clips") == tree(built.work / "clips")


def test_workers_share_a_long_recording_and_one_that_dies_costs_its_part(
    server: str, tmp_path: Path
) -> None:
    film_pair(tmp_path / "long", LONG_FRAMES, seed=3)
    catalog = write_catalog(tmp_path / "catalog.yaml", tmp_path, [harbour(registered("long"))])
    work, alone = tmp_path / "work", tmp_path / "alone"
    with running(*build_command(catalog, alone), PREFECT_API_URL=server) as command:
        assert command.answer().code == 0
    with cluster(tmp_path, workers=2) as started:
        words = (*build_command(catalog, work), "--scheduler", started.address)
        with running(*words, PREFECT_API_URL=server) as command:
            wait_until(lambda: any(work.glob("staging/*/*/infrared/c/*")), "a part is written")
            started.workers[0].kill()
            started.start_worker()
            answer = command.answer()

    assert answer.code == 0, answer.complaints
    assert tree(work / "clips") == tree(alone / "clips")
    assert tree(work / "facts") == tree(alone / "facts")
    assert debris(work) == []
    for part, least in (("long infrared from ", 2), ("long visible from ", 2), ("long from ", 2)):
        ran = {"task_runs": {"name": {"like_": part}}}
        assert int(httpx.post(f"{server}/task_runs/count", json=ran).text) >= least, part


def test_a_dead_scheduler_is_told_and_the_next_build_ends_the_work(
    built: Built, server: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with cluster(tmp_path, workers=1) as started:
        words = (*build_command(built.catalog, work), "--scheduler", started.address)
        with running(*words, PREFECT_API_URL=server, **IMPATIENT) as command:
            wait_until(lambda: ingested(work), "a recording is in its stages")
            started.stop_scheduler()
            answer = command.answer()
        assert answer.code == 1, answer.complaints
        assert answer.printed, answer.complaints[-3500:]
        assert f"the dask scheduler at {started.address}" in answer.document["error"][0]
        with running(*words, PREFECT_API_URL=server, **IMPATIENT) as command:
            unreachable = command.answer()
        assert unreachable.code == 1
        assert started.address in unreachable.document["error"][0]

    with running(*build_command(built.catalog, work), PREFECT_API_URL=server) as command:
        assert command.answer().code == 0
    assert tree(work / "clips") == tree(built.work / "clips")
    assert debris(work) == []


def test_workers_of_other_hosts_need_a_server_that_they_can_reach(
    built: Built, tmp_path: Path
) -> None:
    words = (*build_command(built.catalog, tmp_path / "work"), "--scheduler", "tcp://10.0.0.1:8786")
    with running(*words, PREFECT_API_URL="") as command:
        answer = command.answer()

    assert answer.code == 1
    (line,) = answer.document["error"]
    assert "tcp://10.0.0.1:8786" in line
    assert "PREFECT_API_URL" in line
