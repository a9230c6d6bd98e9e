"""Looks: a film of all streams in step, made once for each clip."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.clip_stores import open_clip, read_pairs
from pipeline.looks import BINS, TILES, film_frame, run_look
from pipeline.video_files import probe, read_frames
from tests.pipeline.studio import HEIGHT, PAIRS, WIDTH, Studio


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, ["quay"])


def stored(studio: Studio) -> str:
    return studio.store(0).relative_to(studio.workspace.root).as_posix()


def test_a_film_has_all_tiles_of_every_pair(studio: Studio) -> None:
    look, folder = run_look(stored(studio), studio.workspace)

    frames = list(read_frames(folder / "film.mp4", "visible"))
    assert look.pairs == len(frames) == PAIRS == probe(folder / "film.mp4").times_s.size
    assert frames[0].shape == (2 * look.tile_height, 3 * look.tile_width, 3)
    assert look.tile_height / look.tile_width == pytest.approx(HEIGHT / WIDTH, abs=0.01)
    assert (folder / "picture.jpg").is_file()


def test_the_tiles_are_the_streams(studio: Studio) -> None:
    group, _ = open_clip(studio.store(0))
    streams = {name: read_pairs(group, name, 0, 1)[0] for name in TILES if name in group}

    frame = film_frame(streams)

    height, width = frame.shape[0] // 2, frame.shape[1] // 3
    tiles = {
        name: frame[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for name, (row, column) in zip(TILES, np.ndindex(2, 3), strict=True)
    }
    for name, stream in streams.items():
        assert tiles[name].mean() == pytest.approx(stream.mean(), abs=3), name
    assert (tiles["infrared"][..., 0] == tiles["infrared"][..., 2]).all()


def test_figures_are_of_the_clip_s_valid_pixels(studio: Studio) -> None:
    group, _ = open_clip(studio.store(0))
    infrared = read_pairs(group, "infrared", 0, PAIRS)[:, :, 5:]  # what the studio calls valid

    look, _ = run_look(stored(studio), studio.workspace)

    assert look.infrared.histogram == tuple(np.bincount(infrared.ravel() // 4, minlength=BINS))
    assert len(look.infrared.changes_levels) == PAIRS - 1
    assert look.infrared.repeated_share == 0
    assert look.infrared.white_share == pytest.approx((infrared >= 250).mean())


def test_a_second_look_is_the_first_one(studio: Studio) -> None:
    look, folder = run_look(stored(studio), studio.workspace)
    inode = (folder / "film.mp4").stat().st_ino

    again, _ = run_look(stored(studio), studio.workspace)

    assert again == look
    assert (folder / "film.mp4").stat().st_ino == inode
    assert not list(folder.parent.glob(".*"))


def test_two_that_want_the_same_look_share_it(studio: Studio) -> None:
    with ThreadPoolExecutor(2) as pool:
        looks = list(pool.map(run_look, [stored(studio)] * 2, [studio.workspace] * 2))

    assert looks[0] == looks[1]


def test_a_look_that_cannot_be_read_is_made_again(studio: Studio) -> None:
    look, folder = run_look(stored(studio), studio.workspace)
    (folder / "look.json").write_text("{}")

    assert run_look(stored(studio), studio.workspace)[0] == look
