"""A build on several hosts, one of which is cut off in its midst."""

import time
from pathlib import Path

import pytest

from tests.flows.cluster import cluster
from tests.flows.conftest import Built
from tests.flows.hosts import hosts
from tests.flows.prefect_server import shared_server
from tests.flows.rig import build_command, debris, running, wait_until
from tests.pipeline.studio import tree

pytestmark = pytest.mark.slow

SOON = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "4s",
}
"""In place of the half minute after which a silent host passes for gone."""


@pytest.mark.parametrize(
    "cut_s", [pytest.param(1.5, id="for-a-moment"), pytest.param(20.0, id="for-good")]
)
def test_a_host_cut_off_in_mid_build_costs_nothing_but_time(
    cut_s: float, built: Built, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    with (
        hosts(3) as (here, (leader, first, second)),
        shared_server(f"sqlite+aiosqlite:///{tmp_path}/prefect.db", here) as prefect,
        cluster(
            tmp_path, workers=0, host=leader.address, prefix=leader.prefix(), **SOON
        ) as started,
    ):
        for host in (first, second):
            started.start_worker(*host.prefix())
        words = (*build_command(built.catalog, work), "--scheduler", started.address)
        with running(*words, PREFECT_API_URL=prefect.address, **SOON) as command:
            wait_until(lambda: any(work.glob("facts/*/ingest.json")), "a recording is in work")
            first.connect(is_up=False)
            time.sleep(cut_s)
            first.connect(is_up=True)
            answer = command.answer()

    assert answer.code == 0, answer.printed + answer.complaints
    assert tree(work / "clips") == tree(built.work / "clips")
    assert debris(work) == []
