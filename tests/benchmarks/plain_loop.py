"""`python -m tests.benchmarks.plain_loop CATALOG WORK`: a build without Prefect, dask and lease."""

import sys
from pathlib import Path

from pipeline.ingest import run_ingest
from pipeline.register import run_register
from pipeline.shard import run_shard
from pipeline.sync import run_sync
from pipeline.workspace import Workspace
from schemas.catalog_reading import load_catalog

if __name__ == "__main__":
    catalog, workspace = Path(sys.argv[1]), Workspace(Path(sys.argv[2]))
    for plan in load_catalog(catalog).plans():
        for step in (run_ingest, run_sync, run_register, run_shard):
            step(plan, workspace)
