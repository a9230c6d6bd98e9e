"""Versions: hundreds of clips are released, compared, proven, collected and read."""

import shutil
from pathlib import Path

import pytest

from flows.release import collect_garbage, diff_versions, release_dataset
from model.clips import ClipWindows
from pipeline.hub import read_release
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace
from schemas.release import SPLITS
from tests.benchmarks.many_clips import (
    HEIGHT,
    NO_PREVIEWS,
    PAIRS,
    build_clips,
    write_catalog,
)
from tests.flows.rig import COMMAND, Answer, running

RECORDINGS, CLIPS = 30, 10
OTHER_BLUR = (
    "{publish: {preview_pairs: 0}, "
    "degrade: {visible: [{kind: gaussian-blur, sigma_px: [1.5, 2.0]}]}}"
)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of 300 clips, and one of the same recordings under another recipe."""
    folder = tmp_path_factory.mktemp("crowd")
    workspace = Workspace(folder / "work")
    for version, recipe in (("v1.0.0", NO_PREVIEWS), ("v1.1.0", OTHER_BLUR)):
        catalog = write_catalog(folder, RECORDINGS, recipe=recipe)
        build_clips(catalog, workspace, clips=CLIPS)
        release_dataset(catalog, version, workspace.root)
    return folder


def test_every_clip_is_released_whole(crowd: Path) -> None:
    workspace = Workspace(crowd / "work")

    assert verify_release("v1.0.0", workspace) == []
    assert verify_release(None, workspace, quick=True) == []


def test_the_quick_proof_names_what_is_missing_cut_short_or_too_much(
    crowd: Path, tmp_path: Path
) -> None:
    work = Path(shutil.copytree(crowd / "work", tmp_path / "work"))
    gone, short, extra = sorted(work.glob("clips/dock-0000[345]-000002/*.zarr"))[::2]
    (gone / "infrared/c/0/0/0").unlink()
    shard = short / "visible/c/0/0/0/0"
    content = shard.read_bytes()[:-1]
    shard.unlink()  # it is linked to those of the other clips
    shard.write_bytes(content)
    (extra / "notes.txt").write_text("mine")

    faults = verify_release(None, Workspace(work), quick=True)

    assert [(fault.clip, fault.file) for fault in faults] == [
        ("dock-00003-000002", "infrared/c/0/0/0"),
        ("dock-00004-000002", "visible/c/0/0/0/0"),
        ("dock-00005-000002", "notes.txt"),
    ]


def test_another_recipe_is_the_one_reason_of_every_clip(crowd: Path) -> None:
    diff = diff_versions("v1.0.0", str(crowd / "work/releases/v1.1.0"), crowd / "work")

    assert (len(diff.changed), diff.unchanged) == (RECORDINGS * CLIPS, 0)
    assert {tuple(change.what for change in clip.why) for clip in diff.changed} == {
        ("recipe.degrade.visible[0].sigma_px",)
    }


def test_clips_of_both_recipes_are_needed_until_a_release_goes(crowd: Path, tmp_path: Path) -> None:
    work = Path(shutil.copytree(crowd / "work", tmp_path / "work"))
    catalog = crowd / "catalog.yaml"

    before = collect_garbage(catalog, work, delete=True)
    shutil.rmtree(work / "releases/v1.0.0")
    after = collect_garbage(catalog, work, delete=True)

    assert before == []
    assert len(after) == RECORDINGS * CLIPS
    assert verify_release(None, Workspace(work)) == []


def test_every_pair_is_a_sample_of_the_loader(crowd: Path) -> None:
    folder = crowd / "work/releases/v1.0.0"

    splits = [
        ClipWindows(folder, split=split, frames=PAIRS - 1, crop=HEIGHT // 2)
        for split in SPLITS
        if split in read_release(folder).split_counts()
    ]

    assert sum(map(len, splits)) == RECORDINGS * CLIPS * PAIRS
    assert splits[0][len(splits[0]) - 1]["visible"].shape == (PAIRS - 1, 3, 8, 8)


def twinband(*arguments: str | Path) -> Answer:
    with running(COMMAND, *arguments) as command:
        return command.answer()


def test_diff_tells_scripts_and_people_the_same(crowd: Path) -> None:
    answer = twinband("diff", "v1.0.0", "v1.1.0", "--work", crowd / "work", "--json")
    lines = twinband("diff", "v1.0.0", "v1.1.0", "--work", crowd / "work").printed

    assert answer.code == 0
    assert answer.document["unchanged"] == len(answer.document["added"]) == 0
    assert answer.document["changed"][0]["why"] == [
        {
            "kind": "recipe",
            "what": "recipe.degrade.visible[0].sigma_px",
            "old": [1.08, 1.94],
            "new": [1.5, 2.0],
        }
    ]
    assert "and 297 more: recipe.degrade.visible[0].sigma_px: [1.08, 1.94] -> [1.5, 2.0]" in lines
    assert "0 clips added, 0 removed, 300 changed, 0 unchanged" in lines


def test_diff_with_an_unknown_version_is_refused(crowd: Path) -> None:
    answer = twinband("diff", "v1.0.0", "v9.0.0", "--work", crowd / "work")

    assert answer.code == 1
    assert "v9.0.0 is neither a release in" in answer.complaints


def test_gc_lists_first_and_deletes_when_told(crowd: Path, tmp_path: Path) -> None:
    work = Path(shutil.copytree(crowd / "work", tmp_path / "work"))
    shutil.rmtree(work / "releases/v1.0.0")
    garbage = ("gc", "-c", crowd / "catalog.yaml", "--work", work)

    listed = twinband(*garbage, "--json")
    deleted = twinband(*garbage, "--delete", "--json")
    again = twinband(*garbage)

    assert (listed.code, deleted.code, again.code) == (0, 0, 0)
    assert (listed.document["deleted"], deleted.document["deleted"]) == (False, True)
    assert listed.document["garbage"] == deleted.document["garbage"]
    assert len(listed.document["garbage"]) == RECORDINGS * CLIPS
    assert listed.document["size_bytes"] > 0
    assert again.printed.strip() == "no garbage"


def test_gc_of_no_workspace_is_refused(crowd: Path, tmp_path: Path) -> None:
    answer = twinband("gc", "-c", crowd / "catalog.yaml", "--work", tmp_path / "nowhere")

    assert answer.code == 1
    assert "check --work" in answer.complaints
    assert not (tmp_path / "nowhere").exists()


def test_verify_quick_reads_no_pixel(crowd: Path, tmp_path: Path) -> None:
    work = Path(shutil.copytree(crowd / "work", tmp_path / "work"))
    shard = next(work.glob("clips/dock-00000-000000/*.zarr/infrared/c/0/0/0"))
    shard.write_bytes(bytes(shard.stat().st_size))

    quick = twinband("verify", "--quick", "--work", work, "--json")
    whole = twinband("verify", "--work", work, "--json")

    assert (quick.code, quick.document) == (0, {"ok": True, "faults": []})
    assert (whole.code, whole.document["ok"]) == (1, False)
