"""The whole way on an S3-compatible server: build, release, verify and train straight off it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from pipeline.lease import LEASE_DURATION_S
from pipeline.object_folder import ObjectFolder
from pipeline.object_lease import held_object_lease
from tests.flows.conftest import Built
from tests.flows.rig import COMMAND, Answer, running
from tests.object_server import (
    BUCKET,
    WRONGS,
    Line,
    Served,
    Wrong,
    bad_line,
    object_server,
    with_a_bit_flipped,
)
from tests.pipeline.studio import tree

pytestmark = pytest.mark.slow

TRAINED = """
network: {channels: 16, blocks: [1, 1, 1], decoder_blocks: 1}
frames: 3
crop: 32
batch: 2
steps: 2
warm_up_steps: 1
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with object_server(tmp_path_factory.mktemp("objects")) as server:
        yield server


def twinband(served: Served, *words: str | Path, **environment: str) -> Answer:
    with running(COMMAND, *words, "--json", **served.environment, **environment) as command:
        return command.answer()


def address(name: str) -> str:
    return f"s3://{BUCKET}/{name}"


def build(served: Served, catalog: Path, work: str, *more: str) -> Answer:
    return twinband(served, "build", "-c", catalog, "--work", address(work), *more)


def names_of(*folders: Path) -> set[str]:
    return {path.name for folder in folders for path in folder.iterdir()}


def test_a_bucket_holds_what_a_folder_would_hold(
    built: Built, server: str, served: Served, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    about = {"PREFECT_API_URL": server, "TMPDIR": str(temporary)}
    words = ("build", "-c", built.catalog, "--work", address("whole"))

    answer = twinband(served, *words, **about)
    again = twinband(served, *words, **about)

    assert answer.code == again.code == 0, answer.complaints + again.complaints
    assert answer.document["clips"] == built.answer.document["clips"]
    assert again.document["unchanged"] == 2
    assert served.tree("whole/clips") == tree(built.work / "clips")
    assert names_of(temporary) == set()
    assert ".lease" not in served.tree("whole")


@pytest.fixture(scope="module")
def released(built: Built, server: str, served: Served) -> str:
    """The root hash of a release in the bucket."""
    answer = twinband(
        served, "build", "-c", built.catalog, "--work", address("work"), PREFECT_API_URL=server
    )
    assert answer.code == 0, answer.complaints
    words = ("release", "v1.0.0", "-c", built.catalog, "--work", address("work"))
    answer = twinband(served, *words)
    assert answer.code == 0, answer.complaints
    return str(answer.document["root_hash"])


def test_a_release_of_a_bucket_is_that_of_a_folder(
    released: str, built: Built, served: Served, tmp_path: Path
) -> None:
    work = built.copy(tmp_path)

    here = twinband(served, "release", "v1.0.0", "-c", built.catalog, "--work", work)
    again = twinband(served, "release", "v1.0.0", "-c", built.catalog, "--work", address("work"))

    assert here.document["root_hash"] == released == again.document["root_hash"]
    assert served.tree("work/releases") == tree(work / "releases")


@pytest.mark.usefixtures("released")
@pytest.mark.parametrize("how", [(), ("--quick",)])
def test_every_byte_of_a_bucket_is_proven(how: tuple[str, ...], served: Served) -> None:
    answer = twinband(served, "verify", "--work", address("work"), *how)

    assert answer.code == 0, answer.complaints
    assert answer.document == {"ok": True, "faults": []}


@pytest.mark.usefixtures("released")
def test_a_spoilt_a_short_and_a_missing_object_are_named(served: Served) -> None:
    store = served.store("spoilt")
    for path, content in served.tree("work").items():
        obstore.put(store, path, content)
    shards = sorted(path for path in served.tree("spoilt") if "/infrared/c/" in path)
    content = bytes(obstore.get(store, shards[0]).bytes())
    obstore.put(store, shards[0], with_a_bit_flipped(content))
    obstore.put(store, shards[1], content[:-1])
    obstore.delete(store, shards[2])

    whole = twinband(served, "verify", "--work", address("spoilt"))
    quick = twinband(served, "verify", "--quick", "--work", address("spoilt"))

    def named(answer: Answer) -> list[str]:
        return [f"{fault['clip']}/{fault['file']}" for fault in answer.document["faults"]]

    assert named(whole) == [_short(path) for path in shards[:3]]
    assert named(quick) == [_short(path) for path in shards[1:3]]
    assert whole.code == quick.code == 1


def _short(path: str) -> str:
    """clips/CLIP/FINGERPRINT.zarr/FILE as CLIP/FILE."""
    _, clip, _, file = path.split("/", 3)
    return f"{clip}/{file}"


@pytest.mark.usefixtures("released")
def test_a_network_trains_straight_off_a_bucket(served: Served, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TRAINED)
    run = tmp_path / "run"
    words = ("train", "v1.0.0", "--work", address("work"), "--recipe", recipe, "--out", run)

    answer = twinband(served, *words, TWINBAND_CACHE=str(tmp_path / "cache"))

    assert answer.code == 0, answer.complaints
    assert (run / "weights.safetensors").is_file()


@pytest.mark.usefixtures("released")
def test_a_release_in_a_bucket_is_published_and_reported_as_one_in_a_folder(
    built: Built, served: Served, tmp_path: Path
) -> None:
    work = built.copy(tmp_path)
    assert twinband(served, "release", "v1.0.0", "-c", built.catalog, "--work", work).code == 0
    for place, out in ((work, "here"), (address("work"), "there")):
        published = twinband(
            served, "publish", "v1.0.0", "--to", tmp_path / out, "--work", str(place)
        )
        assert published.code == 0, published.printed + published.complaints
    unnamed = twinband(served, "report", "--work", address("work"))
    reported = twinband(served, "report", "--work", address("work"), "--out", tmp_path / "pages")

    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert unnamed.code == 1
    assert "--out" in unnamed.document["error"][0]
    assert (tmp_path / "pages" / "index.html").is_file(), reported.complaints
    assert any(path.endswith("look.json") for path in served.tree("work/looks"))


@pytest.mark.usefixtures("released")
def test_what_nothing_in_a_bucket_needs_is_found_and_deleted(built: Built, served: Served) -> None:
    store = served.store("littered")
    for path, content in served.tree("work").items():
        obstore.put(store, path, content)
    before = served.tree("littered")
    unsealed = f"clips/quay-000000/{'0' * 32}.zarr/infrared/c/0/0/0"
    obstore.put(store, unsealed, b"of a build that was killed")
    words = ("gc", "-c", built.catalog, "--work", address("littered"))

    listed = twinband(served, *words)
    assert served.tree("littered").keys() == {*before, unsealed}
    deleted = twinband(served, *words, "--delete")

    found = listed.document["garbage"]
    assert [(one["path"], one["size_bytes"]) for one in found] == [
        (unsealed.removesuffix("/infrared/c/0/0/0"), 26)
    ]
    assert deleted.code == 0, deleted.printed
    assert served.tree("littered") == before


def test_recordings_in_a_bucket_give_the_same_clips(
    built: Built, server: str, served: Served, tmp_path: Path
) -> None:
    raw = served.store("raw")
    for path, content in tree(built.footage).items():
        obstore.put(raw, path, content)
    catalog = tmp_path / "catalog.yaml"
    text = built.catalog.read_text().replace(str(built.footage), address("raw"))
    assert address("raw") in text
    catalog.write_text(text)
    words = ("build", "-c", catalog, "--work", tmp_path / "work")

    answer = twinband(served, *words, PREFECT_API_URL=server)
    again = twinband(served, *words, PREFECT_API_URL=server)

    assert answer.code == 0, answer.complaints
    assert tree(tmp_path / "work" / "clips") == tree(built.work / "clips")
    assert again.document["unchanged"] == 2
    gone = next(path for path in tree(built.footage) if path.endswith(".mkv"))
    content = bytes(obstore.get(raw, gone).bytes())
    obstore.delete(raw, gone)
    missing = twinband(served, *words, PREFECT_API_URL=server)
    assert missing.code == 1
    assert missing.document["error"] == [line for line in missing.document["error"] if gone in line]
    obstore.put(raw, gone, content[:-100])
    changed = twinband(served, *words, PREFECT_API_URL=server)
    assert changed.document["unchanged"] == 1


def test_a_second_builder_is_refused_while_the_first_lives(
    built: Built, server: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    folder = ObjectFolder(address("busy"))
    with held_object_lease(folder, duration_s=LEASE_DURATION_S, withdraw=lambda: None):
        answer = twinband(
            served, "build", "-c", built.catalog, "--work", address("busy"), PREFECT_API_URL=server
        )

    assert answer.code == 1
    assert f"is being written to by process {os.getpid()}" in answer.document["error"][0]
    assert served.tree("busy") == {}


@pytest.mark.parametrize("objects", [1, 9, 40])
def test_a_killed_build_is_ended_by_the_next(
    objects: int, built: Built, server: str, served: Served, tmp_path: Path
) -> None:
    work = f"killed-{objects}"
    words = (COMMAND, "build", "--json", "-c", built.catalog, "--work", address(work))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    about = served.environment | {"PREFECT_API_URL": server, "TMPDIR": str(temporary)}
    with running(*words, **about) as command:
        command.kill_at(lambda: len(served.tree(work)) >= objects, f"{objects} objects are there")

    with running(*words, **about) as command:
        answer = command.answer()

    assert answer.code == 0, answer.complaints
    assert served.tree(f"{work}/clips") == tree(built.work / "clips")
    assert names_of(temporary) == set()


def test_none_of_a_hundred_faults_is_silent(
    released: str, built: Built, server: str, served: Served, tmp_path: Path
) -> None:
    def says(number: int, method: str, path: str) -> Wrong | None:
        wrong = WRONGS[number // 2 % len(WRONGS)] if number % 2 else None
        # a changed body of a listing or a write is what the store's own checksums are for
        is_read = method == "GET" and "list-type" not in path
        return None if wrong in ("changed", "partial") and not is_read else wrong

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TRAINED)
    work = address("faulty")
    with bad_line(served, says) as line:
        built_there = build_on(line, built.catalog, work, server)
        words = ("release", "v1.0.0", "-c", built.catalog, "--work", work)
        frozen = twinband(line, *words)
        assert frozen.code == 0, frozen.printed + frozen.complaints
        proven = twinband(line, "verify", "--work", work)
        trained = twinband(
            line,
            *("train", "v1.0.0", "--work", work, "--recipe", recipe, "--out", tmp_path / "run"),
            TWINBAND_CACHE=str(tmp_path / "cache"),
        )

    assert built_there.document["clips"] == built.answer.document["clips"]
    assert frozen.document["root_hash"] == released
    assert proven.document == {"ok": True, "faults": []}
    assert trained.code == 0, trained.printed + trained.complaints
    assert set(line.wrongs) == set(WRONGS)
    assert line.wrongs.total() >= 100, json.dumps(line.wrongs)


def build_on(line: Line, catalog: Path, work: str, server: str) -> Answer:
    answer = twinband(line, "build", "-c", catalog, "--work", work, PREFECT_API_URL=server)
    assert answer.code == 0, answer.complaints
    return answer


def test_a_bucket_that_is_not_there_is_told_in_a_line(served: Served) -> None:
    answer = twinband(served, "verify", "--work", "s3://nobody/work")

    assert answer.code == 1
    (line,) = answer.document["error"]
    assert line.startswith("s3://nobody/work")
    assert "check the address, the connection and the credentials" in line


def test_addresses_of_other_kinds_are_a_usage_error(served: Served) -> None:
    answer = twinband(served, "verify", "--work", "ftp://here/there")

    assert answer.code == 2
    assert "ftp://here/there is none of s3://, gs:// and az://" in answer.complaints
