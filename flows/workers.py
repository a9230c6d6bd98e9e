"""Local dask workers as copies of one process that has imported what all of them need.

A build's imports take some four seconds of a processor. Done once, while the command imports the
same, they are there in every worker as soon as it starts, in memory that all of them share.
"""

import os
from multiprocessing import forkserver

IMPORTED = ["distributed", "flows.build"]

METHOD_NAME, METHOD = "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver"
"""A setting that dask reads when it is imported."""

OF_WORKERS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "PYTHONHASHSEED": "6640",
}
"""What dask sets, unless the user has, before it starts a worker (its setting
`distributed.nanny.pre-spawn-environ`, and its Nanny's seed): too late for copies."""


def start_importing() -> None:
    """Let the process whose copies local workers become start and import; returns at once.

    Call it before dask is imported. Nothing is started where dask was told to start its workers in
    another way. The process ends with this one, however that ends.
    """
    if os.environ.setdefault(METHOD_NAME, METHOD) != METHOD:
        return
    added = {name: value for name, value in OF_WORKERS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        forkserver.set_forkserver_preload(IMPORTED)
        forkserver.ensure_running()
    finally:
        for name in added:
            del os.environ[name]
