"""Publishing to a Hub on loopback: whole or not tagged, nothing sent twice, through any fault."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.progress import silence
from pipeline.hub_repository import BATCH_BYTES, BATCH_FILES, Parcelled, batches
from pipeline.publish_send import run_publish
from schemas.errors import PublishError
from schemas.store import StoredFile
from tests.hub_server import TOKEN, Blob, Fault, HubServer, Repository, Request, hub_server
from tests.pipeline.hub_clients import FORK, publish, sender
from tests.pipeline.studio import SITES, Studio, a_shard, build, flip_a_byte, tree

REPOSITORY = "lab/harbour"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, list(SITES))


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as serving:
        yield serving


def wanted(studio: Studio, version: str, folder: Path) -> dict[str, bytes]:
    """The release as a folder; the Hub adds a file of its own."""
    run_publish(version, studio.workspace, folder)
    return tree(folder)


def held(hub: HubServer, revision: str, repository: str = REPOSITORY) -> dict[str, bytes]:
    there = hub.tree(repository, revision)
    del there[".gitattributes"]
    return there


def test_a_repository_holds_under_its_tag_what_a_folder_would(
    studio: Studio, hub: HubServer, tmp_path: Path
) -> None:
    studio.release()
    told: list[tuple[int, int, str]] = []

    made = sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(
        lambda *progress: told.append(progress)
    )

    release = wanted(studio, "v1.0.0", tmp_path / "out")
    assert held(hub, "v1.0.0") == held(hub, "main") == release
    assert made.files_sent == len(release)
    assert made.bytes_sent == sum(map(len, release.values()))
    assert told[-1][:2] == (len(release), len(release))
    assert hub.repositories[REPOSITORY].is_private
    assert all(TOKEN.encode() not in content for content in release.values())


def test_publishing_again_uploads_and_commits_nothing(studio: Studio, hub: HubServer) -> None:
    studio.release()
    sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)
    before = len(hub.requests)

    made = sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)

    assert (made.files_sent, made.bytes_sent) == (0, 0)
    assert {request.method for request in hub.requests[before:]} == {"GET"}


def test_the_next_version_shares_what_it_can_and_older_tags_keep_theirs(
    tmp_path: Path, hub: HubServer
) -> None:
    studio = Studio(tmp_path, ["quay", "pier"])
    studio.release("v1.0.0")
    sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)
    first = held(hub, "v1.0.0")
    studio.add("roof")
    del studio.recordings[1], studio.outcomes[1]
    studio.release("v2.0.0")
    plan = sender(hub.address, studio.workspace, "v2.0.0", REPOSITORY).plan()
    uploads = set(hub.uploaded)

    made = sender(hub.address, studio.workspace, "v2.0.0", REPOSITORY).send(silence)

    second = wanted(studio, "v2.0.0", tmp_path / "out")
    assert held(hub, "v2.0.0") == held(hub, "main") == second
    assert held(hub, "v1.0.0") == first
    assert {file.path for file in plan.send} == {
        path for path, content in second.items() if first.get(path) != content
    }
    assert set(plan.remove) == first.keys() - second.keys()
    assert (made.files_sent, made.clips_removed) == (len(plan.send), 1)
    assert set(hub.uploaded.values()) == {1}
    assert len(hub.uploaded) > len(uploads)


def test_a_dry_run_tells_and_changes_nothing(studio: Studio, hub: HubServer) -> None:
    studio.release()

    plan = sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).plan()

    assert plan.is_new
    assert plan.files_kept == 0
    assert hub.repositories == {}
    assert {request.method for request in hub.requests} == {"GET"}


def test_a_tag_is_never_moved(studio: Studio, hub: HubServer, tmp_path: Path) -> None:
    studio.release()
    sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)
    before = dict(hub.repositories[REPOSITORY].tags)
    other = Studio(tmp_path / "other", ["quay"])
    other.release("v1.0.0")

    with pytest.raises(PublishError, match=r"tag v1\.0\.0 that stands for other .*next version"):
        sender(hub.address, other.workspace, "v1.0.0", REPOSITORY).send(silence)

    assert hub.repositories[REPOSITORY].tags == before


@pytest.mark.parametrize(
    ("path", "content", "told"),
    [
        ("notes.txt", b"mine", r"holds notes\.txt, which no release put there"),
        ("clips/quay/readme", b"mine", r"holds clips/quay/readme, which no release"),
        ("release.json", b"{}", r"release\.json that is none of ours"),
    ],
)
def test_a_repository_of_somebody_else_is_left_alone(
    studio: Studio, hub: HubServer, path: str, content: bytes, told: str
) -> None:
    studio.release()
    repository = Repository(is_private=False)
    repository.add({path: Blob(content, is_large=False)})
    hub.repositories[REPOSITORY] = repository

    with pytest.raises(PublishError, match=told):
        sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)

    assert len(repository.commits) == 1


def test_pages_of_a_report_that_lie_there_are_left_alone(studio: Studio, hub: HubServer) -> None:
    studio.release()
    repository = Repository(is_private=False)
    repository.add({"report/clips/quay.html": Blob(b"<p>", is_large=False)})
    hub.repositories[REPOSITORY] = repository

    sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)

    assert hub.tree(REPOSITORY, "v1.0.0")["report/clips/quay.html"] == b"<p>"


def test_a_clip_that_was_changed_is_not_sent(studio: Studio, hub: HubServer) -> None:
    release = studio.release()
    flip_a_byte(a_shard(studio.workspace.root / release.clips[0].store))

    with pytest.raises(PublishError, match=r"changed since it was sealed.*twinband verify v1"):
        sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)

    assert hub.repositories[REPOSITORY].tags == {}


def test_a_token_that_expires_is_told_without_showing_it_and_the_next_goes_on(
    studio: Studio, hub: HubServer, tmp_path: Path
) -> None:
    studio.release()
    commits = 0

    def expire(request: Request) -> Fault | None:
        nonlocal commits
        commits += request.path.endswith("/commit/main")
        if commits == 2:  # the clips are there, the manifest is not
            hub.tokens = {"hf_another"}
        return None

    hub.fault = expire
    with pytest.raises(PublishError, match=r"refuses \(401\); log in with") as refusal:
        sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)
    assert "hf_" not in str(refusal.value)
    assert hub.repositories[REPOSITORY].tags == {}

    sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY, "hf_another").send(silence)

    assert held(hub, "v1.0.0") == wanted(studio, "v1.0.0", tmp_path / "out")
    assert set(hub.uploaded.values()) == {1}


def no_fault(_: Request) -> Fault | None:
    return None


def once(kind: Fault, only: str = "") -> Callable[[Request], Fault | None]:
    """The fault at the first of all equal requests whose path ends so."""
    seen: set[Request] = set()

    def fault(request: Request) -> Fault | None:
        is_first = request not in seen and request.path.endswith(only)
        seen.add(request)
        return kind if is_first else None

    return fault


FAULTS = {
    "busy": Fault("status", status=429, retry_after="0"),
    "failing": Fault("status", status=500),
    "gateway": Fault("status", status=502),
    "unavailable": Fault("status", status=503, retry_after="0"),
    "late": Fault("status", status=504),
    "cut-at-once": Fault("reset"),
    "cut-later": Fault("reset", after_bytes=1000),
    "silent": Fault("stall", stall_s=1.0),
    "short": Fault("short"),
    "unheard": Fault("lost"),
}

UNHEARD = {"lab/short", "lab/unheard"}
"""Where the client cannot know that its upload arrived."""

CONFLICTS = {409: "/commit/main", 412: "/commit/main"}


@pytest.mark.slow
def test_a_hundred_faults_lose_nothing_and_send_nothing_twice_needlessly(
    hub: HubServer, tmp_path: Path
) -> None:
    studio = Studio(tmp_path, ["quay"])
    studio.release()
    release = wanted(studio, "v1.0.0", tmp_path / "out")
    rules = {f"lab/{name}": once(kind) for name, kind in FAULTS.items()}
    rules |= {
        f"lab/conflict-{status}": once(Fault("status", status=status), path)
        for status, path in CONFLICTS.items()
    }
    hub.fault = lambda request: rules.get(request.repository, no_fault)(request)

    with ProcessPoolExecutor(len(rules), mp_context=FORK) as pool:
        root = str(studio.workspace.root)
        outcomes = pool.map(partial(publish, hub.address, root, "v1.0.0"), rules)

    for name, outcome in zip(rules, outcomes, strict=True):
        assert "error" not in json.loads(outcome), outcome
        assert held(hub, "v1.0.0", name) == release, name
    heard = {key: times for key, times in hub.uploaded.items() if key[0] not in UNHEARD}
    assert set(heard.values()) == {1}
    assert hub.faults.total() >= 100, hub.faults


@pytest.mark.slow
def test_an_uploader_killed_at_any_request_is_followed_by_one_that_ends_the_work(
    tmp_path: Path, hub: HubServer
) -> None:
    studio = Studio(tmp_path, ["quay"])
    studio.release()
    release = wanted(studio, "v1.0.0", tmp_path / "out")
    kills = 0
    while True:
        repository = f"lab/killed-{kills}"
        arguments = (hub.address, str(studio.workspace.root), "v1.0.0", repository)
        process = FORK.Process(target=publish, args=arguments)
        hub.fault = at_request(kills, Fault("call", call=process.kill))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        kills += 1
        if repository in hub.repositories and hub.repositories[repository].tags:
            assert held(hub, "v1.0.0", repository) == release
        sender(hub.address, studio.workspace, "v1.0.0", repository).send(silence)
        assert held(hub, "v1.0.0", repository) == release
        assert set(hub.uploaded.values()) == {1}
        hub.objects.clear()
        hub.uploaded.clear()

    assert kills > 20
    assert held(hub, "v1.0.0", repository) == release


def at_request(number: int, kind: Fault) -> Callable[[Request], Fault | None]:
    """The fault at one request of those that come from now on."""
    numbers = itertools.count()
    return lambda _: kind if next(numbers) == number else None


CHANGED = (5, 50, 150)

BASE64 = 4 / 3
"""Of small files, which are part of a commit's body."""

ENTRY_BYTES = 300
"""Of a file in a commit's body, besides its content: its path, its hash, what takes it away."""


@pytest.mark.slow
def test_of_two_hundred_clips_the_three_that_changed_are_all_that_is_sent(
    tmp_path: Path, hub: HubServer
) -> None:
    sites = [f"site-{number}" for number in range(200)]
    studio = Studio(tmp_path, sites)
    studio.release("v1.0.0")
    sender(hub.address, studio.workspace, "v1.0.0", REPOSITORY).send(silence)
    for place in CHANGED:
        studio.outcomes[place] = build(
            studio.workspace, studio.recordings[place], seed=1000 + place
        )
    studio.release("v2.0.0")
    uploaded, committed = Counter(hub.uploaded), hub.committed_bytes

    made = sender(hub.address, studio.workspace, "v2.0.0", REPOSITORY).send(silence)

    changed = wanted(studio, "v2.0.0", tmp_path / "out")
    stores = [f"clips/site-{place}-walk-000/" for place in CHANGED]
    needed = {
        path: content
        for path, content in changed.items()
        if not path.startswith("clips/") or any(path.startswith(store) for store in stores)
    }
    sent_bytes = sum(len(hub.objects[key]) for key in hub.uploaded - uploaded)
    sent_bytes += hub.committed_bytes - committed
    assert made.files_sent <= len(needed)
    assert sent_bytes <= BASE64 * sum(map(len, needed.values())) + ENTRY_BYTES * len(needed)
    assert held(hub, "v2.0.0") == wanted(studio, "v2.0.0", tmp_path / "out")


@given(sizes=st.lists(st.integers(0, BATCH_BYTES + 1), max_size=600))
def test_batches_hold_every_file_once_in_order_and_keep_their_bounds(sizes: list[int]) -> None:
    files = [
        Parcelled(Path(str(n)), StoredFile(path=str(n), size_bytes=size, sha256="0" * 64))
        for n, size in enumerate(sizes)
    ]

    made = list(batches(files))

    assert [one for batch in made for one in batch] == files
    for batch in made:
        assert 1 <= len(batch) <= BATCH_FILES
        assert len(batch) == 1 or sum(one.file.size_bytes for one in batch) <= BATCH_BYTES
