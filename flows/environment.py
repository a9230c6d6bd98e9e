"""Settings that Prefect and dask read when they are imported; imports neither."""

import os
from pathlib import Path


def prepare_environment() -> None:
    """Let Prefect and dask keep to themselves; the user's settings stay.

    Prefect has its own folder, no telemetry and no log; dask's local workers do not look a hundred
    times a second at what they do.

    Call it before importing any module of this folder that imports Prefect.

    Raises:
        OSError: Prefect's folder cannot be made.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    settings = {
        "PREFECT_HOME": str(cache / "twinband" / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "DASK_LOGGING__DISTRIBUTED": "critical",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
