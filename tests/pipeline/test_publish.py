"""Releases: immutable, the same everywhere, and proven byte by byte."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hub import read_release
from pipeline.publish import run_release, spread
from pipeline.publish_verify import verify_release
from pipeline.workspace import Workspace
from schemas.errors import ReleaseError, StoreError
from schemas.facts import Rejection, ShardFacts
from schemas.release import MANIFEST_NAME
from tests.pipeline.studio import (
    HOMOGRAPHY,
    PAIRS,
    SITES,
    Studio,
    a_shard,
    build,
    clip_frames,
    flip_a_byte,
    make_catalog,
    make_recording,
    small_files_only,
    tree,
    valid_mask,
)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, list(SITES))


def test_a_release_lists_every_clip_as_declared_and_as_measured(studio: Studio) -> None:
    release = studio.release()

    listed = {clip.clip: clip for clip in release.clips}
    assert list(listed) == ["pier-walk-000", "quay-walk-000", "roof-walk-000"]
    quay = listed["quay-walk-000"]
    assert (quay.site, quay.split, quay.session, quay.rig) == ("quay", "train", "outing", "mast")
    assert (quay.tags, quay.pairs, quay.homography) == (("day",), PAIRS, HOMOGRAPHY)
    assert (quay.offset_s, quay.drift_ppm) == (0.125, 40.0)
    assert (studio.workspace.root / quay.store / "zarr.json").is_file()
    assert set(quay.arrays) >= {"infrared", "visible", "time_s", "valid"}
    assert release.root_hash == release.content_hash()
    assert release.split_counts() == {"train": 2, "val": 1}


def test_a_release_is_read_back_as_it_was_returned(studio: Studio) -> None:
    release = studio.release()

    assert read_release(studio.workspace.release("v1.0.0")) == release


def test_statistics_are_those_of_the_training_pixels_both_cameras_see(studio: Studio) -> None:
    release = studio.release()

    training = [clip_frames(seed) for seed in (1, 2)]  # quay and roof; pier is in val
    seen = valid_mask()
    infrared = np.concatenate([frames["infrared"][:, seen].ravel() for frames in training])
    luma = [cv2.cvtColor(v, cv2.COLOR_RGB2GRAY)[seen] for f in training for v in f["visible"]]
    assert release.statistics is not None
    assert release.statistics.infrared.mean_levels == pytest.approx(infrared.mean())
    assert release.statistics.infrared.deviation_levels == pytest.approx(infrared.std())
    assert release.statistics.visible.mean_levels == pytest.approx(np.concatenate(luma).mean())
    assert release.statistics.visible.deviation_levels == pytest.approx(np.concatenate(luma).std())


def test_a_release_without_training_clips_has_no_statistics(tmp_path: Path) -> None:
    assert Studio(tmp_path, ["pier"]).release().statistics is None


def test_no_path_of_this_machine_is_released(studio: Studio) -> None:
    lost = make_recording("loft")
    reason = f"{studio.data_root}/loft/infrared.mp4: is empty; film it again"
    rejection = Rejection(recording=lost.id, stage="ingest", reason=reason)
    studio.recordings.append(lost)
    studio.outcomes.append(ShardFacts(recording=lost.id, fingerprint="0" * 32, rejection=rejection))

    release = studio.release()

    assert release.rejections[0].reason == "loft/infrared.mp4: is empty; film it again"
    for content in tree(studio.workspace.release("v1.0.0")).values():
        assert str(studio.data_root).encode() not in content


def test_two_studios_make_the_same_bytes(tmp_path: Path) -> None:
    studios = [Studio(tmp_path / name, list(SITES)) for name in ("here", "elsewhere")]
    studios[1].outcomes.reverse()

    for one in studios:
        one.release()

    first, second = (tree(one.workspace.release("v1.0.0")) for one in studios)
    assert first == second


def test_releasing_the_same_again_returns_what_stands(studio: Studio) -> None:
    release = studio.release()
    before = tree(studio.workspace.release("v1.0.0"))

    again = studio.release()

    assert again == release
    assert tree(studio.workspace.release("v1.0.0")) == before


def test_a_version_name_is_never_given_to_other_content(studio: Studio) -> None:
    studio.release()
    before = tree(studio.workspace.release("v1.0.0"))
    studio.recordings[0] = make_recording("quay", ["night"])

    with pytest.raises(ReleaseError, match=r"changed quay-walk-000: tags.*next version"):
        studio.release()

    assert tree(studio.workspace.release("v1.0.0")) == before


def test_the_next_version_takes_the_clips_of_the_last_and_moves_none(tmp_path: Path) -> None:
    studio = Studio(tmp_path, ["quay", "pier"])
    first = studio.release("v1.0.0")
    studio.add("roof")

    second = studio.release("v1.1.0")

    kept = [clip for clip in second.clips if clip.recording != "roof-walk"]
    assert tuple(kept) == first.clips
    assert second.root_hash != first.root_hash


def test_a_recording_that_is_not_built_stops_the_release(studio: Studio) -> None:
    with pytest.raises(ReleaseError, match=r"pier-walk: not built.*run twinband build"):
        run_release(studio.catalog(), "v1.0.0", studio.workspace, studio.outcomes[:2])

    assert not studio.workspace.release("v1.0.0").exists()


def test_a_release_of_nothing_is_refused(tmp_path: Path) -> None:
    lost = make_recording("loft")
    rejection = Rejection(recording=lost.id, stage="sync", reason="no motion; film again")
    outcome = ShardFacts(recording=lost.id, fingerprint="0" * 32, rejection=rejection)

    with pytest.raises(ReleaseError, match="would hold no clip: all 1 recordings were left out"):
        run_release(
            make_catalog(tmp_path, [lost]), "v1.0.0", Workspace(tmp_path / "work"), [outcome]
        )


@pytest.mark.parametrize("version", ["1.0.0", "v1", "v1.0.0-rc1", "../v1.0.0", "v01.0.0", ""])
def test_a_version_that_is_none_is_refused(studio: Studio, version: str) -> None:
    with pytest.raises(ReleaseError, match=r"write it as v1\.2\.0"):
        run_release(studio.catalog(), version, studio.workspace, studio.outcomes)


def test_a_missing_store_stops_the_release_and_leaves_nothing(studio: Studio) -> None:
    shutil.rmtree(studio.store(0))

    with pytest.raises(StoreError, match="not sealed"):
        studio.release()

    assert not studio.workspace.release("v1.0.0").exists()


def test_a_disk_that_takes_no_more_leaves_no_half_release(studio: Studio) -> None:
    with small_files_only(1000), pytest.raises(ReleaseError, match="release again: nothing half"):
        studio.release()

    assert not studio.workspace.release("v1.0.0").exists()
    assert list(studio.workspace.staging.iterdir()) == []


def test_the_picture_shows_five_panels_of_every_clip_chosen(studio: Studio) -> None:
    studio.release()

    picture = cv2.imread(str(studio.workspace.release("v1.0.0") / "assets/clips.png"))

    assert picture is not None
    assert picture.shape == (3 * (8 + 2 * 22 + 240) + 8, 5 * 328 + 8, 3)


@given(count=st.integers(1, 300), wanted=st.integers(0, 24))
def test_the_clips_shown_are_spread_over_the_release(count: int, wanted: int) -> None:
    chosen = spread(range(count), wanted)

    assert len(set(chosen)) == len(chosen) == min(count, wanted)
    if chosen:
        assert chosen[0] == 0
        assert count - chosen[-1] <= -(-count // len(chosen))


def test_a_sound_workspace_has_no_faults(studio: Studio) -> None:
    studio.release()

    assert verify_release("v1.0.0", studio.workspace) == []
    assert verify_release(None, studio.workspace) == []


def test_a_flipped_bit_of_a_clip_is_found_by_name(studio: Studio) -> None:
    studio.release()
    shard = a_shard(studio.store(0))
    flip_a_byte(shard)

    (fault,) = verify_release("v1.0.0", studio.workspace)

    assert (fault.clip, fault.array) == ("quay-walk-000", "infrared")
    assert studio.store(0) / fault.file == shard


@pytest.mark.parametrize(
    "name", ["release.json", "README.md", "index/train.parquet", "assets/clips.png"]
)
def test_a_changed_or_missing_file_of_a_release_is_found(studio: Studio, name: str) -> None:
    studio.release()
    path = studio.workspace.release("v1.0.0") / name

    flip_a_byte(path)
    changed = verify_release("v1.0.0", studio.workspace)
    path.unlink()
    missing = verify_release("v1.0.0", studio.workspace)

    for faults in (changed, missing):
        assert ("v1.0.0", name) in [(fault.clip, fault.file) for fault in faults]


def test_every_byte_of_the_manifest_counts(studio: Studio) -> None:
    studio.release()
    path = studio.workspace.release("v1.0.0") / MANIFEST_NAME
    document = json.loads(path.read_text())
    document["clips"][0]["site"] = "elsewhere"
    path.write_text(json.dumps(document))

    (fault,) = verify_release("v1.0.0", studio.workspace)

    assert "root_hash" in fault.what


def test_a_swapped_clip_is_a_fault_of_the_release_that_lists_the_other(studio: Studio) -> None:
    studio.release()
    facts = studio.outcomes[0].clips[0]
    shutil.rmtree(studio.store(0))
    build(studio.workspace, studio.recordings[0], seed=77)
    studio.workspace.clip(facts.clip, f"{77:032x}").rename(studio.store(0))

    faults = verify_release("v1.0.0", studio.workspace)

    assert {fault.clip for fault in faults} == {"quay-walk-000"}


def test_without_a_version_clips_of_no_release_are_proven_too(studio: Studio) -> None:
    flip_a_byte(a_shard(studio.store(1)))

    faults = verify_release(None, studio.workspace)

    assert [fault.clip for fault in faults] == ["roof-walk-000"]


@pytest.mark.parametrize("version", ["v3.0.0", None])
def test_nothing_to_verify_is_said(tmp_path: Path, version: str | None) -> None:
    with pytest.raises(ReleaseError, match="holds no release"):
        verify_release(version, Workspace(tmp_path))
