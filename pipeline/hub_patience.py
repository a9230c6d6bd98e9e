"""Asks the Hugging Face Hub with patience: bounds to silence, tries again, refusals in one line."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import NoReturn, TypeVar

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from schemas.errors import PublishError

TRIES = 6
"""In a row without getting any further, each with the five of the client itself."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
"""The Hub counts requests over windows of five minutes."""

SILENCE_S = 120.0
"""For how long a server may say nothing, or take nothing, before a request is given up."""

PASSING = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
"""Answers that may be others next time: busy, failing, or somebody else committed meanwhile."""

PASSING_ERRORS = (httpx2.TransportError, JSONDecodeError)
"""Connections that break or fall silent, and answers cut short; what the client and its library
for large files make of them are OSErrors of no file."""

REFUSING = frozenset({401, 403})

T = TypeVar("T")


def patiently(
    step: Callable[[], T], repository: str, steps: Callable[[], int], silence_s: float
) -> T:
    """What `step` gives, tried again while it gets further or what fails may pass.

    Args:
        step: may be done again at any time, and goes on where it was.
        repository: named in refusals.
        steps: how far it has come.
        silence_s: for how long the server may be silent.

    Raises:
        PublishError: the Hub refuses, or keeps failing; a local file is missing.
    """
    failures, before = 0, steps()
    with _patient_client(silence_s):
        while True:
            try:
                return step()
            except OfflineModeIsEnabled as error:
                raise PublishError("HF_HUB_OFFLINE is set; unset it to publish") from error
            # RuntimeError: what the client's threads raise
            except (*PASSING_ERRORS, OSError, RuntimeError) as error:
                cause = _origin(error)
                if isinstance(cause, OSError) and cause.filename is not None:
                    raise PublishError(
                        f"{cause.filename}: {cause.strerror}; build again what is missing, then "
                        "publish again: what has arrived is kept"
                    ) from error
                failures = 1 if steps() > before else failures + 1
                before = steps()
                if failures == TRIES or not _may_pass(cause):
                    _refuse(repository, cause)
                time.sleep(_wait_s(cause, failures))
            except ValueError as error:  # the client's, for an answer that it cannot use
                _refuse(repository, error)


def _refuse(repository: str, error: BaseException) -> NoReturn:
    """Say what the Hub did; never an address, as that of an upload holds its signature."""
    kept = "publish again: what has arrived is kept"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in REFUSING or isinstance(error, RepositoryNotFoundError):
            raise PublishError(
                f"{repository}: the Hub refuses ({status}); log in with `hf auth login`, "
                "or set HF_TOKEN to a token that may write there and has not expired, then "
                f"{kept}"
            ) from None
        said = (error.server_message or "no reason given").splitlines()[0]
        raise PublishError(f"{repository}: the Hub answers {status}: {said}; {kept}") from None
    raise PublishError(
        f"{repository}: the Hub cannot be reached or understood "
        f"({type(error).__name__}); check the connection, then {kept}"
    ) from None


def _origin(error: BaseException) -> BaseException:
    """The fault itself: the client's threads wrap it."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _may_pass(error: BaseException) -> bool:
    return not isinstance(error, HfHubHTTPError) or error.response.status_code in PASSING


def _wait_s(error: BaseException, failures: int) -> float:
    """What the server asks for, or twice as long after every failure in a row."""
    asked = ""
    if isinstance(error, HfHubHTTPError):
        asked = error.response.headers.get("Retry-After", "")
    wait_s = float(asked) if asked.isdigit() else FIRST_WAIT_S * 2 ** (failures - 1)
    return min(wait_s, LONGEST_WAIT_S)


@contextmanager
def _patient_client(silence_s: float) -> Iterator[None]:
    """The Hub's client with a bound to silence, which it lacks, and without a word on the terminal.

    Its warnings name the addresses of uploads, which hold their signatures.
    """
    limits = httpx2.Timeout(silence_s).as_dict()

    def limit(request: httpx2.Request) -> None:
        request.extensions["timeout"] = limits

    set_client_factory(
        lambda: httpx2.Client(event_hooks={"request": [limit]}, follow_redirects=True)
    )
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        enable_progress_bars()
