"""`twinband publish` to a Hub on loopback, and what its users read back from it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.publish import repository_of
from flows.release import release_dataset
from pipeline.publish_previews import BAND_WIDTH_PX
from schemas.errors import PublishError
from tests.flows.conftest import Built
from tests.flows.rig import COMMAND, Answer, running
from tests.hub_server import TOKEN, HubServer, hub_server

REPOSITORY = "lab/harbour"

READ = """
import json
from datasets import load_dataset
from model.releases import open_released
from model.stores import read_frames

release = "hf://datasets/lab/harbour@v0.1.0"
rows = load_dataset("lab/harbour", revision="v0.1.0", split="train")
clip = open_released(release, rows[0]["clip"])
window = read_frames(clip, "visible", (slice(0, 3), slice(0, 16), slice(0, 16)))
found = {"rows": len(rows), "preview": rows[0]["preview"].size, "video": rows[0]["preview_video"]}
print(json.dumps(found | {"store": rows[0]["store"], "window": list(window.shape)}))
"""


@dataclass(frozen=True)
class Published:
    """A workspace with a release, and the Hub that holds it."""

    work: Path
    hub: HubServer
    surroundings: dict[str, str]
    answer: Answer

    def publish(self, *words: str, **surroundings: str) -> Answer:
        arguments = ("publish", *words, "--work", str(self.work), "--json")
        with running(COMMAND, *arguments, **(self.surroundings | surroundings)) as command:
            return command.answer()


@pytest.fixture(scope="module")
def published(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    work = built.copy(folder)
    release_dataset(built.catalog, "v0.1.0", work)
    with hub_server() as hub:
        surroundings = {
            "HF_ENDPOINT": hub.address,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(folder / "hub"),
            "TWINBAND_CACHE": str(folder / "cache"),
        }
        made = Published(work, hub, surroundings, Answer(0, "", "", 0))
        yield Published(work, hub, surroundings, made.publish("v0.1.0", "--to", REPOSITORY))


def test_a_release_is_tagged_on_the_hub(published: Published) -> None:
    assert published.answer.code == 0, published.answer.complaints
    assert published.answer.document["to"] == REPOSITORY
    tree = published.hub.tree(REPOSITORY, "v0.1.0")
    manifest = (published.work / "releases/v0.1.0/release.json").read_bytes()
    assert tree["release.json"] == manifest
    assert published.answer.document["files_sent"] == len(tree) - 1  # .gitattributes is the Hub's


def test_datasets_gives_a_row_a_clip_and_a_window_comes_without_the_rest(
    published: Published,
) -> None:
    before = len(published.hub.requests)

    read = subprocess.run(
        [sys.executable, "-c", READ],
        env=os.environ | published.surroundings | {"HF_DATASETS_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert read.returncode == 0, read.stderr
    found = json.loads(read.stdout)
    release = json.loads(published.hub.tree(REPOSITORY)["release.json"])
    assert found["rows"] == sum(clip["split"] == "train" for clip in release["clips"])
    assert found["preview"][0] == 2 * BAND_WIDTH_PX
    assert found["video"] in published.hub.tree(REPOSITORY)
    assert found["window"] == [3, 3, 16, 16]
    asked = {request.path for request in published.hub.requests[before:]}
    shards = [path for path in published.hub.tree(REPOSITORY) if "/c/" in path]
    fetched = [path for path in shards if any(place.endswith(path) for place in asked)]
    assert len(fetched) < len(shards)
    assert all(path.startswith(found["store"]) for path in fetched)


def test_a_dry_run_lists_what_would_go(published: Published, tmp_path: Path) -> None:
    told = published.publish("v0.1.0", "--to", "lab/other", "--dry-run")

    assert told.code == 0, told.complaints
    assert told.document["is_new"] is True
    assert "release.json" in {file["path"] for file in told.document["send"]}
    assert "lab/other" not in published.hub.repositories
    out = tmp_path / "out"
    planned = published.publish("v0.1.0", "--to", str(out), "--dry-run").document
    assert not out.exists()
    assert published.publish("v0.1.0", "--to", str(out)).document["files_sent"] == len(
        planned["send"]
    )
    assert published.publish("v0.1.0", "--to", str(out), "--dry-run").document["send"] == []


def test_a_refused_token_is_one_line_without_it(published: Published) -> None:
    refused = published.publish("v0.1.0", "--to", "lab/third", HF_TOKEN="hf_wrongwrongwrong")

    assert refused.code == 1
    assert "log in with" in refused.document["error"][0]
    assert "hf_" not in refused.printed + refused.complaints


@pytest.mark.parametrize(
    ("destination", "repository"),
    [
        ("lab/harbour", "lab/harbour"),
        ("hf://datasets/lab/harbour", "lab/harbour"),
        ("./lab/harbour", None),
        ("/lab/harbour", None),
        ("harbour", None),
        ("tests/harbour", None),
        ("a/b/c", None),
    ],
)
def test_repositories_are_told_from_folders(destination: str, repository: str | None) -> None:
    assert repository_of(destination) == repository


@pytest.mark.parametrize("address", ["s3://bucket/set", "hf://datasets/lab", "hf://spaces/lab/a"])
def test_other_addresses_are_refused_with_the_way_out(address: str) -> None:
    with pytest.raises(PublishError, match=r"hf://datasets/organisation/name"):
        repository_of(address)
