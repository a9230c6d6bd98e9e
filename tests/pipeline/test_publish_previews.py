"""Previews of clips: both bands in small, made once, readable by `datasets`."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from pipeline.image_files import read_image
from pipeline.publish import run_release
from pipeline.publish_previews import BAND_WIDTH_PX, picture_path, preview_frame, video_path
from pipeline.publish_send import run_publish
from pipeline.video_files import probe
from schemas.recipe import PublishRecipe, Recipe
from schemas.release import Release
from tests.pipeline.studio import PAIRS, SITES, Studio


def with_previews(studio: Studio, version: str, pairs: int = 5) -> Release:
    recipe = Recipe(publish=PublishRecipe(preview_pairs=pairs, card_clips=0))
    catalog = studio.catalog().model_copy(update={"recipe": recipe})
    return run_release(catalog, version, studio.workspace, studio.outcomes)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, list(SITES))


def test_a_preview_shows_infrared_on_the_left_and_visible_on_the_right() -> None:
    infrared = np.full((480, 640), 200, np.uint8)
    visible = np.full((480, 640, 3), (10, 60, 120), np.uint8)

    shown = preview_frame(infrared, visible)

    assert shown.shape == (180, 2 * BAND_WIDTH_PX, 3)
    assert (shown[:, :BAND_WIDTH_PX] == 200).all()
    assert (shown[:, BAND_WIDTH_PX:] == (10, 60, 120)).all()


def test_every_clip_has_a_picture_and_a_video_as_long_as_asked_for(studio: Studio) -> None:
    release = with_previews(studio, "v1.0.0")

    folder = studio.workspace.release("v1.0.0")
    listed = {file.path for file in release.files}
    for clip in release.clips:
        assert {picture_path(clip), video_path(clip)} <= listed
        assert read_image(folder / picture_path(clip)).shape == (180, 2 * BAND_WIDTH_PX, 3)
        assert probe(folder / video_path(clip)).times_s.size == 5


def test_a_video_is_no_longer_than_its_clip(studio: Studio) -> None:
    release = with_previews(studio, "v1.0.0", pairs=600)

    video = studio.workspace.release("v1.0.0") / video_path(release.clips[0])
    assert probe(video).times_s.size == PAIRS


def test_a_later_release_takes_over_what_an_older_one_has(tmp_path: Path) -> None:
    studio = Studio(tmp_path, ["quay", "pier"])
    release = with_previews(studio, "v1.0.0")
    marked = studio.workspace.release("v1.0.0") / video_path(release.clips[0])
    marked.write_bytes(b"made once")
    studio.add("roof")

    with_previews(studio, "v2.0.0")

    folder = studio.workspace.release("v2.0.0")
    assert (folder / video_path(release.clips[0])).read_bytes() == b"made once"
    assert len(list((folder / "previews").iterdir())) == 2 * len(studio.outcomes)


def test_no_previews_are_made_where_none_are_wanted(studio: Studio) -> None:
    with_previews(studio, "v1.0.0", pairs=0)

    assert not (studio.workspace.release("v1.0.0") / "previews").exists()


def test_datasets_shows_the_picture_of_a_row_and_names_its_video(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_previews(studio, "v1.0.0")
    run_publish("v1.0.0", studio.workspace, tmp_path / "out")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)

    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=tmp_path / "cache")

    assert rows[0]["preview"].size == (2 * BAND_WIDTH_PX, 180)
    assert (tmp_path / "out" / rows[0]["preview_video"]).is_file()
