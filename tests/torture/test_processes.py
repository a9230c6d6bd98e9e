"""CI's share of killed processes; tests/torture/full.py has ten of each."""

from pathlib import Path

import pytest

from tests.torture.processes import film_harbour, killed_processes


@pytest.mark.slow
def test_a_killed_server_and_a_killed_client_cost_a_build_no_byte(tmp_path: Path) -> None:
    catalog = film_harbour(tmp_path)

    found = list(killed_processes(catalog, tmp_path, 1, ("Prefect server", "client")))

    assert [fault for killed in found for fault in killed.faults] == []
