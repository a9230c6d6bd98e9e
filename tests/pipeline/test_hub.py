"""Publishing to a folder: whole or not sealed, never over anything else, readable by tools."""

import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from pipeline.clip_seals import verify_clip
from pipeline.hub import PARTIAL, read_release, stored_file
from pipeline.publish import run_release
from pipeline.publish_card import READING_EXAMPLE
from pipeline.publish_send import run_publish
from schemas.errors import PublishError, ReleaseError
from schemas.release import MANIFEST_NAME
from tests.pipeline.studio import (
    SITES,
    Studio,
    a_shard,
    flip_a_byte,
    small_files_only,
    tree,
)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, list(SITES))


def test_a_published_release_is_laid_out_like_its_hub_repository(
    studio: Studio, tmp_path: Path
) -> None:
    release = studio.release()

    told = run_publish("v1.0.0", studio.workspace, tmp_path / "out")

    there = tree(tmp_path / "out")
    assert {name.split("/")[0] for name in there} == {
        "README.md", "release.json", "index", "assets", "clips",
    }  # fmt: skip
    for name, content in tree(studio.workspace.release("v1.0.0")).items():
        assert there[name] == content
    for clip in release.clips:
        for name, content in tree(studio.workspace.root / clip.store).items():
            assert there[f"{clip.store}/{name}"] == content
    assert told.files_sent == len(there)
    assert told.bytes_sent == sum(len(content) for content in there.values())


def test_publishing_again_sends_nothing(studio: Studio, tmp_path: Path) -> None:
    studio.release()
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    before = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*")}

    told = run_publish("v1.0.0", studio.workspace, tmp_path / "out")

    assert (told.files_sent, told.bytes_sent) == (0, 0)
    assert told.files_kept == len(tree(tmp_path / "out"))
    assert {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*")} == before


def test_what_was_damaged_or_lost_is_sent_again_and_nothing_else(
    studio: Studio, tmp_path: Path
) -> None:
    release = studio.release()
    out = tmp_path / "out"
    run_publish("v1.0.0", studio.workspace, out)
    whole = tree(out)
    flip_a_byte(a_shard(out / release.clips[0].store))
    (out / release.clips[1].store / "zarr.json").unlink()
    (out / release.clips[2].store / "stray").touch()
    (out / "README.md").write_text("mine")

    told = run_publish("v1.0.0", studio.workspace, out)

    assert tree(out) == whole
    assert told.files_sent == 4  # shard, zarr.json, card, and the seal that was taken off meanwhile


def test_a_second_version_shares_clips_and_leaves_the_same_tree_as_a_fresh_publish(
    tmp_path: Path,
) -> None:
    studio = Studio(tmp_path, ["quay", "pier"])
    studio.release("v1.0.0")
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    shared = tmp_path / "out" / studio.release("v1.0.0").clips[1].store / "zarr.json"
    inode = shared.stat().st_ino
    studio.add("roof")
    del studio.recordings[1], studio.outcomes[1]
    second = studio.release("v2.0.0")

    told = run_publish("v2.0.0", studio.workspace, tmp_path / "out")
    run_publish("v2.0.0", studio.workspace, tmp_path / "fresh")

    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert shared.stat().st_ino == inode
    assert told.clips_removed == 1
    assert [path.name for path in sorted((tmp_path / "out/clips").iterdir())] == [
        clip.clip for clip in second.clips
    ]


class Mortal:
    """Renames files until its steps are used up, then dies like a killed process."""

    def __init__(self, patch: pytest.MonkeyPatch, steps: int) -> None:
        self.steps = steps
        rename, replace = Path.rename, Path.replace
        patch.setattr(Path, "rename", lambda path, target: self.step(rename, path, target))
        patch.setattr(Path, "replace", lambda path, target: self.step(replace, path, target))

    def step(self, move: Callable[[Path, Path], Path], path: Path, target: Path) -> Path:
        if self.steps == 0:
            raise KeyboardInterrupt
        self.steps -= 1
        return move(path, target)


def every_step(destination: Path, publish: Callable[[], object]) -> int:
    """Kill `publish` before each of its renames in turn, look, and let it finish; count kills."""
    for kills in range(100):
        with pytest.MonkeyPatch.context() as patch:
            Mortal(patch, kills)
            try:
                publish()
            except KeyboardInterrupt:
                pass
            else:
                return kills
        assert_whole_where_sealed(destination)
        publish()
        shutil.rmtree(destination)
    raise AssertionError("publishing never ends")


def assert_whole_where_sealed(destination: Path) -> None:
    """No clip is half there under its final name, and a seal promises all it lists."""
    for store in destination.glob("clips/*/*.zarr"):
        assert verify_clip(store) == []
    if (destination / MANIFEST_NAME).exists():
        release = read_release(destination)
        for file in release.files:
            assert stored_file(destination / file.path, file.path) == file
        for clip in release.clips:
            assert verify_clip(destination / clip.store, expected_root_hash=clip.root_hash) == []


def test_wherever_publishing_stops_nothing_half_made_looks_finished(
    studio: Studio, tmp_path: Path
) -> None:
    studio.release()
    out = tmp_path / "out"
    run_publish("v1.0.0", studio.workspace, tmp_path / "whole")

    kills = every_step(out, lambda: run_publish("v1.0.0", studio.workspace, out))

    assert kills == 8  # three clips, two indexes, card, picture, seal
    assert tree(out) == tree(tmp_path / "whole")


def test_an_update_that_stops_leaves_no_seal_on_a_mixture(tmp_path: Path) -> None:
    studio = Studio(tmp_path, ["quay", "pier"])
    studio.release("v1.0.0")
    studio.add("roof")
    del studio.recordings[1], studio.outcomes[1]
    studio.release("v2.0.0")
    out = tmp_path / "out"
    run_publish("v2.0.0", studio.workspace, tmp_path / "whole")

    def both() -> None:
        if not (out / MANIFEST_NAME).exists() and not (out / PARTIAL).exists():
            shutil.copytree(old, out)
        run_publish("v2.0.0", studio.workspace, out)

    old = tmp_path / "old"
    run_publish("v1.0.0", studio.workspace, old)
    kills = every_step(out, both)

    assert kills >= 5
    assert tree(out) == tree(tmp_path / "whole")


def test_a_disk_that_takes_no_more_is_said_and_the_rest_sent_later(
    studio: Studio, tmp_path: Path
) -> None:
    studio.release()
    out = tmp_path / "out"

    with small_files_only(10_000), pytest.raises(PublishError, match="what has arrived is kept"):
        run_publish("v1.0.0", studio.workspace, out)
    half = tree(out)
    run_publish("v1.0.0", studio.workspace, out)
    run_publish("v1.0.0", studio.workspace, tmp_path / "whole")

    assert MANIFEST_NAME not in half
    assert not any(name.startswith("clips/") for name in half)
    assert tree(out) == tree(tmp_path / "whole")


def test_a_clip_that_changed_since_it_was_sealed_is_not_published(
    studio: Studio, tmp_path: Path
) -> None:
    studio.release()
    flip_a_byte(a_shard(studio.store(0)))

    with pytest.raises(PublishError, match=r"changed since it was sealed.*twinband verify v1.0.0"):
        run_publish("v1.0.0", studio.workspace, tmp_path / "out")

    assert not (tmp_path / "out" / MANIFEST_NAME).exists()
    assert not list((tmp_path / "out").glob("clips/quay*/*"))


@pytest.mark.parametrize(
    "name", ["notes.txt", "README.md", "clips/readme", "index/other.csv", "work/x", "assets/a.png"]
)
def test_a_folder_with_something_else_is_refused(studio: Studio, tmp_path: Path, name: str) -> None:
    studio.release()
    foreign = tmp_path / "out" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")

    with pytest.raises(PublishError, match=f"out holds {name[:4]}.*empty folder"):
        run_publish("v1.0.0", studio.workspace, tmp_path / "out")

    assert tree(tmp_path / "out") == {name: b"mine"}


def test_a_foreign_file_in_a_published_folder_is_refused_by_name(
    studio: Studio, tmp_path: Path
) -> None:
    studio.release()
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    (tmp_path / "out/clips/notes.txt").write_text("mine")

    with pytest.raises(PublishError, match=r"holds clips/notes\.txt"):
        run_publish("v1.0.0", studio.workspace, tmp_path / "out")


def test_a_link_at_the_destination_is_not_followed(studio: Studio, tmp_path: Path) -> None:
    studio.release()
    (tmp_path / "elsewhere").mkdir()
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/index")
    (tmp_path / "out/index").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PublishError, match="holds index"):
        run_publish("v1.0.0", studio.workspace, tmp_path / "out")

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_git_clone_of_the_repository_is_a_fine_destination(
    studio: Studio, tmp_path: Path
) -> None:
    studio.release()
    (tmp_path / "out/.git").mkdir(parents=True)
    (tmp_path / "out/.gitattributes").write_text("*.png filter=lfs\n")

    run_publish("v1.0.0", studio.workspace, tmp_path / "out")

    assert (tmp_path / "out" / MANIFEST_NAME).exists()
    assert (tmp_path / "out/.gitattributes").read_text() == "*.png filter=lfs\n"


def test_another_dataset_is_never_published_over(studio: Studio, tmp_path: Path) -> None:
    studio.release()
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    catalog = studio.catalog()
    dataset = catalog.dataset.model_copy(update={"name": "forest"})
    run_release(
        catalog.model_copy(update={"dataset": dataset}),
        "v2.0.0",
        studio.workspace,
        studio.outcomes,
    )

    with pytest.raises(PublishError, match=r"release v1\.0\.0 of harbour, not of forest"):
        run_publish("v2.0.0", studio.workspace, tmp_path / "out")


def test_a_folder_inside_the_workspace_is_no_destination(studio: Studio) -> None:
    studio.release()

    with pytest.raises(PublishError, match="inside the workspace"):
        run_publish("v1.0.0", studio.workspace, studio.workspace.root / "out")


def test_a_file_in_the_way_is_a_one_line_reason(studio: Studio, tmp_path: Path) -> None:
    studio.release()
    (tmp_path / "out").touch()

    with pytest.raises(PublishError, match=r"out: .*publish again"):
        run_publish("v1.0.0", studio.workspace, tmp_path / "out")


def test_a_release_that_does_not_exist_cannot_be_published(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"v9\.0\.0.*check the version"):
        run_publish("v9.0.0", studio.workspace, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_datasets_reads_a_row_per_clip_of_a_split(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = studio.release()
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)

    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=tmp_path / "cache")

    expected = [clip for clip in release.clips if clip.split == "train"]
    wanted = ("clip", "recording", "site", "split", "pairs", "fps", "store")
    assert [{name: row[name] for name in wanted} for row in rows] == [
        {name: getattr(clip, name) for name in wanted} for clip in expected
    ]
    assert rows[0]["tags"] == ["day"]


def test_the_reading_example_of_the_card_runs(
    studio: Studio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    studio.release()
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")

    exec(compile(READING_EXAMPLE, "README.md", "exec"), {})

    assert READING_EXAMPLE in (tmp_path / "out/README.md").read_text()
    assert "pier-walk-000 (7, 24, 32) (7, 24, 32, 3)" in capsys.readouterr().out
