"""The lease of a folder of an object store, on an S3-compatible server."""

import datetime as dt
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import obstore
import pytest

from pipeline.lease import LEASE_NAME
from pipeline.object_folder import ObjectFolder, TakenError
from pipeline.object_lease import ObjectHolder, confirm_lease, held_object_lease
from schemas.errors import WorkspaceError
from tests.flows.rig import wait_until
from tests.object_server import BUCKET, Served, object_server

SOON_S = 0.6
"""A lease that is over soon."""

_NAMES = count()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with object_server(tmp_path_factory.mktemp("objects")) as server:
        yield server


@pytest.fixture
def folder(served: Served, monkeypatch: pytest.MonkeyPatch) -> ObjectFolder:
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    return ObjectFolder(f"s3://{BUCKET}/lease-{next(_NAMES)}", retries=1, patience_s=5)


OTHER = ObjectHolder(
    token="0" * 32, host="elsewhere", pid=1, since=dt.datetime(2024, 4, 11, tzinfo=dt.UTC), beats=0
)


def nothing() -> None:
    """What is withdrawn where nobody writes."""


def test_a_lease_is_held_kept_up_and_given_back(folder: ObjectFolder) -> None:
    with held_object_lease(folder, duration_s=SOON_S, withdraw=nothing) as token:
        first = folder.read(LEASE_NAME)
        time.sleep(2 * SOON_S)
        later = folder.read(LEASE_NAME)
        confirm_lease(folder, token)

    assert first is not None
    assert later is not None
    assert first[1] != later[1]
    assert folder.files() == {}


def test_a_living_holder_is_named(folder: ObjectFolder) -> None:
    with (
        held_object_lease(folder, duration_s=SOON_S, withdraw=nothing),
        pytest.raises(WorkspaceError, match=r"is being written to by process \d+ of"),
        held_object_lease(folder, duration_s=SOON_S, withdraw=nothing),
    ):
        pass


def test_a_silent_holder_loses_its_lease_only_after_the_silence(folder: ObjectFolder) -> None:
    folder.write(LEASE_NAME, OTHER.content())
    begun_s = time.monotonic()

    with held_object_lease(folder, duration_s=SOON_S, withdraw=nothing):
        assert time.monotonic() - begun_s >= SOON_S


@pytest.mark.parametrize("content", [b"", b"none of ours"])
def test_what_nobody_signed_is_taken_over_as_well(content: bytes, folder: ObjectFolder) -> None:
    folder.write(LEASE_NAME, content)

    with held_object_lease(folder, duration_s=SOON_S, withdraw=nothing) as token:
        confirm_lease(folder, token)


def test_a_holder_that_was_taken_over_stops_and_leaves_the_other_alone(
    folder: ObjectFolder,
) -> None:
    stopped: list[bool] = []
    with held_object_lease(
        folder, duration_s=SOON_S, withdraw=lambda: stopped.append(True)
    ) as token:
        folder.write(LEASE_NAME, OTHER.content())
        wait_until(lambda: bool(stopped), "the holder has noticed")
        with pytest.raises(WorkspaceError, match="was taken over"):
            confirm_lease(folder, token)

    found = folder.read(LEASE_NAME)
    assert found is not None
    assert found[0] == OTHER.content()


def test_a_file_is_written_only_in_the_place_of_the_one_that_was_read(
    folder: ObjectFolder, served: Served
) -> None:
    first = folder.write_if("record", b"one", None)
    again = folder.write_if("record", b"one", None)  # as after an answer that was lost
    second = folder.write_if("record", b"two", first)

    assert again == first
    for e_tag in (None, first):
        with pytest.raises(TakenError):
            folder.write_if("record", b"three", e_tag)
    obstore.delete(served.store(folder.address.rpartition("/")[2]), "record")
    with pytest.raises(TakenError):
        folder.write_if("record", b"three", second)


def test_a_file_that_changed_while_it_was_fetched_is_refused(
    folder: ObjectFolder, tmp_path: Path
) -> None:
    before = folder.write_if("film", b"one", None)
    folder.download("film", tmp_path / "film", e_tag=before)
    assert (tmp_path / "film").read_bytes() == b"one"
    folder.write("film", b"another")

    with pytest.raises(WorkspaceError, match="film: changed while it was fetched"):
        folder.download("film", tmp_path / "film", e_tag=before)


def test_a_store_that_does_not_answer_is_told_by_its_address(
    monkeypatch: pytest.MonkeyPatch, folder: ObjectFolder, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    nobody = ObjectFolder(folder.address, retries=0, patience_s=5)

    for ask in (
        nobody.files,
        lambda: nobody.read("x"),
        lambda: nobody.write("x", b""),
        lambda: nobody.write_if("x", b"", None),
        lambda: nobody.download("x", tmp_path / "x", e_tag=""),
        lambda: nobody.delete_all(["x"]),
    ):
        with pytest.raises(WorkspaceError, match=f"^{folder.address}.*check the address"):
            ask()
