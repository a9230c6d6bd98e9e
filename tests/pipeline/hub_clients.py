"""Publishing as a process of its own, to be killed or to run beside others."""

import json
import multiprocessing
from pathlib import Path

from huggingface_hub import HfApi, constants

from flows.progress import silence
from pipeline.hub import read_release
from pipeline.hub_repository import HubSender
from pipeline.workspace import Workspace
from schemas.errors import PublishError
from tests.hub_server import TOKEN

constants.HF_HUB_DISABLE_XET = True  # the other protocol for large files, which no test serves

FORK = multiprocessing.get_context("fork")
"""Starts clients at once, with all imported."""

SILENCE_S = 0.5
"""A server on loopback that says nothing for so long has stalled."""


def sender(
    address: str, workspace: Workspace, version: str, repository: str, token: str = TOKEN
) -> HubSender:
    api = HfApi(endpoint=address, token=token)
    folder = workspace.release(version)
    return HubSender(
        read_release(folder), folder, workspace.root, repository, api=api, silence_s=SILENCE_S
    )


def publish(address: str, root: str, version: str, repository: str) -> str:
    """What became of it, as JSON: a publication or a refusal."""
    try:
        made = sender(address, Workspace(Path(root)), version, repository).send(silence)
    except PublishError as error:
        return json.dumps({"error": str(error)})
    return made.model_dump_json()
