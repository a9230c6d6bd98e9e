"""`twinband serve` on a real Prefect server that keeps its runs in a real PostgreSQL."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.flow_runs import resume_flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.flows.prefect_server import free_port, shared_server
from tests.flows.rig import (
    COMMAND,
    film_pair,
    harbour,
    registered,
    running,
    wait_until,
    write_catalog,
)

ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root; Debian's package makes this account."""

POLL_S = 0.2
"""From one question to the server to the next, which has other work to do."""


@contextmanager
def postgresql() -> Iterator[str]:
    """A database of one's own; gives its address."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    folder, port = Path(tempfile.mkdtemp(prefix="twinband-pg")), free_port()
    as_account: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, ACCOUNT, pwd.getpwnam(ACCOUNT).pw_gid)
        as_account = ["runuser", "-u", ACCOUNT, "--"]
    data = folder / "data"
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [*as_account, str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", ACCOUNT],
            cwd=folder, check=True, stdout=log, stderr=log,
        )  # fmt: skip
        options = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
        with subprocess.Popen(
            [*as_account, str(programs / "postgres"), *options], cwd=folder, stdout=log, stderr=log
        ) as process:
            try:
                ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
                wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, "it answers")
                yield f"postgresql+asyncpg://{ACCOUNT}@127.0.0.1:{port}/postgres"
            finally:
                process.terminate()
    shutil.rmtree(folder)


def seen(address: str, run: UUID) -> StateType:
    time.sleep(POLL_S)
    found = httpx.get(f"{address}/flow_runs/{run}").json()
    return StateType(found["state_type"])


def started(name: str, **parameters: object) -> FlowRun:
    run = run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)
    assert isinstance(run, FlowRun)
    return run


def ended(address: str, name: str, **parameters: object) -> StateType:
    """The state in which a run of a deployment ends."""
    run = started(name, **parameters)
    final = {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED}
    wait_until(lambda: seen(address, run.id) in final, f"{name} ends")
    return seen(address, run.id)


def decided(address: str, out: Path, *, is_approved: bool) -> StateType:
    """The state in which publishing ends after a person's decision."""
    run = started("publish/harbour", version="v0.1.0")
    wait_until(lambda: seen(address, run.id) == StateType.PAUSED, "it asks")
    assert not out.exists(), "nothing leaves before a person has said so"
    resume_flow_run(run.id, run_input={"approved": is_approved, "reason": "a test"})
    over = {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED}
    wait_until(lambda: seen(address, run.id) in over, "it ends")
    return seen(address, run.id)


def artifact(address: str, key: str) -> dict[str, str]:
    """The newest of that key."""
    found = httpx.get(f"{address}/artifacts/{key}/latest")
    assert found.status_code == httpx.codes.OK, found.text
    return dict(found.json())


@pytest.mark.slow
def test_a_release_is_built_by_deployments_and_published_when_a_person_approves(
    tmp_path: Path,
) -> None:
    film_pair(tmp_path / "quay", 40, seed=1)
    film_pair(tmp_path / "pier", 4, seed=2)
    session = harbour(registered("quay"), registered("pier"))
    catalog = write_catalog(tmp_path / "catalog.yaml", tmp_path, [session])
    out, work = tmp_path / "published", tmp_path / "work"
    with postgresql() as database, shared_server(database) as prefect:
        address = prefect.address
        words = (COMMAND, "serve", "-c", catalog, "--work", work, "--to", out)
        with (
            running(*words, "--build-cron", "0 3 * * *", PREFECT_API_URL=address),
            temporary_settings({PREFECT_API_URL: address}),
        ):
            offered = f"{address}/deployments/name/publish/harbour"
            wait_until(lambda: httpx.get(offered).status_code == httpx.codes.OK, "it is offered")
            schedules = httpx.get(f"{address}/deployments/name/build/harbour").json()["schedules"]
            assert [each["schedule"]["cron"] for each in schedules] == ["0 3 * * *"]

            assert ended(address, "build/harbour") == StateType.COMPLETED
            assert artifact(address, "twinband-build")["description"].endswith("1 rejected")
            assert ended(address, "release/harbour") == StateType.COMPLETED
            assert "# v0.1.0" in artifact(address, "twinband-release")["data"]
            assert (work / "reports" / "v0.1.0" / "index.html").is_file()

            assert decided(address, out, is_approved=False) == StateType.FAILED
            assert not out.exists(), "it was not approved"
            assert decided(address, out, is_approved=True) == StateType.COMPLETED
            assert (out / "release.json").is_file()
