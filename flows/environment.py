"""Settings that Prefect reads when it is imported; imports nothing of it."""

import os
from pathlib import Path


def prepare_environment() -> None:
    """Let Prefect keep to itself: its own folder, no telemetry; what the user has set stays.

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
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
