"""Importers: a published tree is adopted as it lies; whatever is incomplete is named at once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.importers import M3SVD_FPS, import_m3svd
from schemas.catalog import Catalog
from schemas.catalog_reading import load_catalog
from schemas.errors import CatalogError

REAL = Path(__file__).parents[3] / "shared" / "M3SVD"
FRAME_FOLDERS = ("infrared_Enhance", "infrared_noise", "visible_Enhance", "visible_Blur")


def frames(root: Path, split: str, clip: str, *, first: int = 0, digits: int = 4) -> None:
    for folder in FRAME_FOLDERS:
        (root / split / folder / clip).mkdir(parents=True)
        for number in range(first, first + 3):
            (root / split / folder / clip / f"{number:0{digits}}.png").touch()


def video(root: Path, split: str, clip: str) -> None:
    for band in ("infrared", "visible"):
        (root / "Video" / split / band).mkdir(parents=True, exist_ok=True)
        (root / "Video" / split / band / f"{clip}.mp4").touch()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "M3SVD"
    video(root, "test", "0111_1716")
    video(root, "test", "0113_1714")
    frames(root, "val", "0111_1716")
    frames(root, "val", "0115_1831")
    return root


def recordings(catalog: Catalog) -> Iterator[tuple[str, str, str]]:
    for session, recording in catalog.recordings():
        yield session.id, recording.id, recording.site


def test_both_layouts_are_adopted_and_a_clip_of_both_keeps_one_site(tree: Path) -> None:
    catalog = import_m3svd(tree, tree.parent / "catalog.yaml")

    assert list(recordings(catalog)) == [
        ("m3svd-0111", "0111-1716-frames", "0111-1716"),
        ("m3svd-0111", "0111-1716-video", "0111-1716"),
        ("m3svd-0113", "0113-1714-video", "0113-1714"),
        ("m3svd-0115", "0115-1831-frames", "0115-1831"),
    ]
    assert all(recording.registered for _, recording in catalog.recordings())


def test_folders_of_frames_bring_the_authors_degraded_streams_and_the_nominal_rate(
    tree: Path,
) -> None:
    catalog = import_m3svd(tree, tree.parent / "catalog.yaml")

    adopted = {recording.id: recording for _, recording in catalog.recordings()}
    folder, film = adopted["0111-1716-frames"], adopted["0111-1716-video"]
    assert dict(folder.files()) == {
        "infrared": "val/infrared_Enhance/0111_1716",
        "visible": "val/visible_Enhance/0111_1716",
        "infrared_degraded": "val/infrared_noise/0111_1716",
        "visible_degraded": "val/visible_Blur/0111_1716",
    }
    assert folder.fps == M3SVD_FPS
    assert film.fps is None
    assert film.infrared_degraded is None


def test_the_written_catalog_loads_and_is_meant_for_people(tree: Path) -> None:
    path = tree.parent / "catalog.yaml"

    catalog = import_m3svd(tree, path)

    assert load_catalog(path) == catalog
    assert catalog.dataset.licence == "mit"
    assert "arXiv:2503.23359" in catalog.dataset.description
    assert "# registered: the authors" in path.read_text()
    assert "data_root: M3SVD" in path.read_text()


def test_data_far_from_the_catalog_is_named_by_its_absolute_path(tree: Path) -> None:
    path = tree.parent / "one" / "two" / "three" / "catalog.yaml"

    catalog = import_m3svd(tree, path)

    assert f"data_root: {tree.resolve()}" in path.read_text()
    assert catalog.data_root == tree.resolve()


def test_the_authors_split_is_kept_where_they_published_one(tmp_path: Path) -> None:
    for split, clip in (("train", "0101_0900"), ("test", "0102_0900"), ("train", "0103_0900")):
        frames(tmp_path / "M3SVD", split, clip, first=1, digits=6)
    video(tmp_path / "M3SVD", "test", "0103_0900")

    catalog = import_m3svd(tmp_path / "M3SVD", tmp_path / "catalog.yaml")

    assert catalog.splits.sites == {
        "0101-0900": "train",
        "0102-0900": "test",
        "0103-0900": "test",  # tested in one layout: never trained on in the other
    }


def test_without_a_training_part_the_sites_are_dealt_by_shares(tree: Path) -> None:
    catalog = import_m3svd(tree, tree.parent / "catalog.yaml")

    assert catalog.splits.sites == {}


def test_a_clip_published_in_two_parts_gets_two_ids_and_one_site(tmp_path: Path) -> None:
    frames(tmp_path / "M3SVD", "val", "0101_0900")
    frames(tmp_path / "M3SVD", "test", "0101_0900")

    catalog = import_m3svd(tmp_path / "M3SVD", tmp_path / "catalog.yaml")

    assert list(recordings(catalog)) == [
        ("m3svd-0101", "0101-0900-test-frames", "0101-0900"),
        ("m3svd-0101", "0101-0900-val-frames", "0101-0900"),
    ]


def test_every_incomplete_clip_is_named_at_once_and_nothing_is_written(tree: Path) -> None:
    (tree / "Video/test/visible/0113_1714.mp4").unlink()
    (tree / "val/visible_Blur/0111_1716/0002.png").unlink()
    (tree / "val/infrared_noise/0115_1831/0002.png").rename(
        tree / "val/infrared_noise/0115_1831/0009.png"
    )
    path = tree.parent / "catalog.yaml"

    with pytest.raises(CatalogError) as caught:
        import_m3svd(tree, path)

    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert (
        "val: clip 0111_1716: infrared has 3 frames, visible_degraded has 2, and 0002.png"
        in lines[0]
    )
    assert "val: clip 0115_1831: infrared has 3 frames, infrared_degraded has 3" in lines[1]
    assert "test: clip 0113_1714: has no visible; bring it back" in lines[2]
    assert not path.exists()


def test_a_missing_band_folder_is_a_missing_band_of_every_clip(tree: Path) -> None:
    shutil.rmtree(tree / "val/visible_Enhance")

    with pytest.raises(CatalogError, match=r"0111_1716: has no visible;[^$]*0115_1831: has no vis"):
        import_m3svd(tree, tree.parent / "catalog.yaml")


def test_a_folder_that_is_not_m3svd_is_told_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "notes.txt").touch()

    with pytest.raises(CatalogError, match=r"expected Video/<split>.*found holiday/, notes.txt"):
        import_m3svd(tmp_path, tmp_path / "catalog.yaml")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nowhere: is not M3SVD.*no folder there"):
        import_m3svd(tmp_path / "nowhere", tmp_path / "catalog.yaml")


def test_importing_twice_changes_nothing(tree: Path) -> None:
    path = tree.parent / "catalog.yaml"
    import_m3svd(tree, path)
    before = path.stat()

    import_m3svd(tree, path)

    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_catalog_edited_by_hand_is_never_overwritten(tree: Path) -> None:
    path = tree.parent / "catalog.yaml"
    import_m3svd(tree, path)
    edited = path.read_text() + "# my own note\n"
    path.write_text(edited)

    with pytest.raises(CatalogError, match="nothing is overwritten"):
        import_m3svd(tree, path)

    assert path.read_text() == edited


def test_two_clips_with_one_name_in_the_catalog_are_refused_without_a_trace(tmp_path: Path) -> None:
    frames(tmp_path / "M3SVD", "val", "0101_0900")
    frames(tmp_path / "M3SVD", "val", "0101-0900")
    path = tmp_path / "catalog.yaml"

    with pytest.raises(CatalogError, match="0101-0900-val-frames stands 2 times"):
        import_m3svd(tmp_path / "M3SVD", path)

    assert not path.exists()


def test_the_real_sample_is_adopted_whole(tmp_path: Path) -> None:
    if not REAL.is_dir():
        if os.environ.get("TWINBAND_REQUIRE_M3SVD") == "1":
            pytest.fail(f"{REAL} is required and absent")
        pytest.skip(f"the M3SVD sample is not at {REAL}")

    catalog = import_m3svd(REAL, tmp_path / "catalog.yaml")

    assert [identity for _, identity, _ in recordings(catalog)] == [
        "0111-1716-frames",
        "0111-1716-video",
        "0111-1753-frames",
        "0113-1714-video",
        "0114-1551-frames",
        "0115-1831-frames",
        "0117-1605-video",
    ]
