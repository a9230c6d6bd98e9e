"""`python -m tests.benchmarks.building_all CATALOG WORK HOW`: seconds that a whole build takes.

HOW is `loop`, the stages in a plain loop of one process, or the number of workers of a build. A
process of its own, so that no way finds another's imports; they are over before the clock starts.
"""

import sys
import time
from pathlib import Path

from flows.environment import prepare_environment

prepare_environment()

from flows.build import build_dataset  # noqa: E402 (Prefect reads its settings when imported)
from pipeline.ingest import run_ingest  # noqa: E402
from pipeline.register import run_register  # noqa: E402
from pipeline.shard import run_shard  # noqa: E402
from pipeline.sync import run_sync  # noqa: E402
from pipeline.workspace import Workspace  # noqa: E402
from schemas.catalog_reading import load_catalog  # noqa: E402


def in_a_loop(catalog: Path, root: Path) -> None:
    """The same stages without Prefect, dask and lease."""
    workspace = Workspace(root)
    for plan in load_catalog(catalog).plans():
        for step in (run_ingest, run_sync, run_register, run_shard):
            step(plan, workspace)


if __name__ == "__main__":
    catalog, root, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    begin = time.monotonic()
    if how == "loop":
        in_a_loop(catalog, root)
    else:
        build_dataset(catalog, root, workers=int(how))
    sys.stdout.write(f"{time.monotonic() - begin}\n")
