"""Whatever order builds, releases, damage and collections come in: what is released stays whole."""

import json
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flows.release import collect_garbage, release_dataset
from pipeline.clip_seals import verify_clip
from pipeline.hub import read_release
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace, load
from schemas.facts import ShardFacts
from tests.torture.rig import build, debris, film

RECIPES: dict[str, object] = {"usual": {}, "sharp": {"degrade": {"visible": []}}}
RECORDINGS = (("gap",), ("gap", "warp"))


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """A catalog for each recipe and number of recordings, of the same footage."""
    folder = tmp_path_factory.mktemp("histories")
    film(folder)
    whole = (folder / "catalog.yaml").read_text()
    found: dict[tuple[str, int], Path] = {}
    for name, recipe in RECIPES.items():
        for kept in RECORDINGS:
            document = json.loads(whole)
            (session,) = document["sessions"]
            session["recordings"] = [r for r in session["recordings"] if r["id"] in kept]
            path = folder / f"{name}-{len(kept)}.yaml"
            path.write_text(json.dumps(document | {"recipe": recipe}))
            found[name, len(kept)] = path
    return found


class History(RuleBasedStateMachine):
    """A workspace, and a dictionary of what was released from it."""

    catalogs: dict[tuple[str, int], Path]

    def __init__(self) -> None:
        super().__init__()
        self.work = Path(mkdtemp())
        self.workspace = Workspace(self.work)
        self.built: tuple[str, int] | None = None
        self.released: dict[str, str] = {}
        self.versions = 0

    @property
    def catalog(self) -> Path:
        assert self.built is not None
        return self.catalogs[self.built]

    def wanted(self) -> set[str]:
        """The stores that releases list, or that the recordings of the catalog were cut into."""
        assert self.built is not None
        listed = {
            clip.store
            for version in self.released
            for clip in read_release(self.workspace.release(version)).clips
        }
        for name in RECORDINGS[self.built[1] - 1]:
            outcome = load(self.workspace.facts(name, "shard"), ShardFacts)
            assert outcome is not None
            listed |= {Workspace.clip_path(c.clip, c.fingerprint) for c in outcome.clips}
        return listed

    def stores(self) -> set[str]:
        return {path.relative_to(self.work).as_posix() for path in self.work.glob("clips/*/*")}

    @rule(recipe=st.sampled_from(list(RECIPES)), count=st.sampled_from((1, 2)))
    def build(self, recipe: str, count: int) -> None:
        self.built = recipe, count
        build(self.catalog, self.work)
        assert self.wanted() <= self.stores()

    @precondition(lambda self: self.built is not None)
    @rule()
    def release(self) -> None:
        self.versions += 1
        version = f"v1.{self.versions}.0"
        self.released[version] = release_dataset(self.catalog, version, self.work).root_hash

    @precondition(lambda self: self.released)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.released)))
        shutil.rmtree(self.workspace.release(version))
        del self.released[version]

    @precondition(lambda self: self.built is not None)
    @rule()
    def collect(self) -> None:
        before = self.stores()
        collect_garbage(self.catalog, self.work, delete=False)
        assert self.stores() == before
        collect_garbage(self.catalog, self.work, delete=True)
        assert self.stores() == self.wanted()

    @precondition(lambda self: self.built is not None)
    @rule(data=st.data())
    def damage_and_build(self, data: st.DataObject) -> None:
        """Only what the catalog needs is mended; so only that is damaged."""
        self.released, released = {}, self.released
        store = self.work / data.draw(st.sampled_from(sorted(self.wanted())))
        self.released = released
        shard = min(store.glob("visible/c/*/*/*/*"))
        shard.write_bytes(shard.read_bytes()[:-1])
        assert [fault.file for fault in verify_clip(store, quick=True)] == ["visible/c/0/0/0/0"]
        build(self.catalog, self.work)
        shutil.rmtree(self.work / "damaged")

    @invariant()
    def releases_are_whole(self) -> None:
        for version, root_hash in self.released.items():
            assert verify_release(version, self.workspace) == []
            assert read_release(self.workspace.release(version)).root_hash == root_hash
        assert debris(self.work) == []

    def teardown(self) -> None:
        shutil.rmtree(self.work)


def test_any_history_leaves_every_release_whole(catalogs: dict[tuple[str, int], Path]) -> None:
    History.catalogs = catalogs
    case = History.TestCase
    case.settings = settings(max_examples=6, stateful_step_count=10, derandomize=True)

    case().runTest()
