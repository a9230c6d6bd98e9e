"""Local workers are copies of one process: ready when they start, gone when the build is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.rig import processes_of_session, running, wait_until

ENDS_S = 30.0
"""What was copied ends within seconds of its owner, even on a busy machine."""

ASKS_A_WORKER = """
import json, os
from flows.workers import start_importing

def found():
    import sys
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED")
    return "flows.build" in sys.modules, [os.environ.get(name) for name in names]

if __name__ == "__main__":
    before = dict(os.environ)
    start_importing()
    changed = sorted(set(before.items()) ^ set(os.environ.items()))
    from distributed import Client, LocalCluster
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster, Client(cluster) as client:
        told = client.submit(found).result()
    print(json.dumps([told, changed]))
"""

WAITS = """
import signal
from flows.workers import start_importing
start_importing()
signal.pause()
"""


@pytest.mark.parametrize("method", [None, "spawn"])
def test_a_worker_has_imported_the_build_unless_dask_was_told_otherwise(
    method: str | None, tmp_path: Path
) -> None:
    name = "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD"
    script = tmp_path / "script.py"
    script.write_text(ASKS_A_WORKER)
    environment = os.environ | {"OMP_NUM_THREADS": "7"} | ({name: method} if method else {})
    environment.pop("MKL_NUM_THREADS", None)

    made = subprocess.run(
        [sys.executable, str(script)],
        env=environment | {"PYTHONPATH": str(Path.cwd())},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    (has_imported, settings), changed = json.loads(made.stdout)
    assert has_imported is (method is None)
    assert settings == ["7", "1", "6640"]  # the user's, and dask's for processes that it spawns
    assert {key for key, _ in changed} <= {name}


def test_what_is_copied_ends_with_its_owner_even_if_that_is_killed() -> None:
    with running(sys.executable, "-c", WAITS) as owner:
        pid = owner.process.pid
        wait_until(
            lambda: any("forkserver" in process for process in processes_of_session(pid)),
            "it has started",
        )

        owner.process.kill()
        owner.process.wait()

        wait_until(lambda: not processes_of_session(pid), "it has ended", ENDS_S)
