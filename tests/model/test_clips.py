"""Training windows: slices of the stored frames, the same in any process, loud when damaged."""

import multiprocessing
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from model.clips import ClipWindows, Placement, draw_words
from model.releases import open_release
from model.stores import open_clip
from schemas.degradations import BadPixels
from schemas.errors import ReleaseError, StoreError, TrainError
from schemas.recipe import DegradeRecipe
from schemas.release import MANIFEST_NAME
from tests.model.clip_fixtures import (
    DEGRADE,
    LOOKING_AROUND,
    PlannedClip,
    Shelf,
    write_release,
)

NAMES = ("infrared", "visible", "infrared_degraded", "visible_degraded")
CLIPS = (
    PlannedClip("dock-000", pairs=10),
    PlannedClip("pier-000", pairs=70, height=40, width=56),
    PlannedClip("quay-000", pairs=9, materialise=False),
    PlannedClip("roof-000", split="val", pairs=7),
)
PAIRS = sum(clip.pairs for clip in CLIPS if clip.split == "train")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return write_release(tmp_path_factory.mktemp("work"), *CLIPS)


@pytest.fixture
def own_shelf(tmp_path: Path) -> Shelf:
    """One that a test may damage."""
    return write_release(tmp_path, PlannedClip("dock-000", pairs=70))


def expected(shelf: Shelf, place: Placement, frames: int) -> dict[str, Tensor]:
    """The sample of a placement, cut from the frames that were planted."""
    cut = (
        slice(place.first_pair, place.first_pair + frames * place.interval, place.interval),
        slice(place.y, place.y + place.height),
        slice(place.x, place.x + place.width),
    )
    sample = {}
    for name in NAMES:
        block = torch.from_numpy(shelf.frames[place.clip][name][cut])
        sample[name] = block.permute(0, 3, 1, 2) if block.dim() == 4 else block[:, None]
    return sample


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], wanted[name]) for name in wanted
    )


@settings(max_examples=40)
@given(
    index=st.integers(0, PAIRS - 1),
    epoch=st.integers(0, 3),
    frames=st.integers(1, 9),
    crop=st.sampled_from([None, 1, 16, 40]),
    intervals=st.sampled_from([(1, 1), (1, 3), (2, 2), (4, 9)]),
)
def test_a_sample_is_the_slice_it_says_it_is(
    shelf: Shelf,
    *,
    index: int,
    epoch: int,
    frames: int,
    crop: int | None,
    intervals: tuple[int, int],
) -> None:
    windows = ClipWindows(shelf.release, frames=frames, crop=crop, seed=5, intervals=intervals)
    windows.set_epoch(epoch)

    sample = windows[index]

    assert same(sample, expected(shelf, windows.placement(index), frames))
    height, width = sample["infrared"].shape[-2:]
    assert sample["infrared"].shape == (frames, 1, height, width)
    assert sample["visible"].shape == (frames, 3, height, width)
    assert crop is None or (height, width) == (crop, crop)
    assert all(tensor.dtype == torch.uint8 for tensor in sample.values())


@pytest.mark.parametrize("degrade", [DEGRADE, LOOKING_AROUND], ids=["one-step", "all-round"])
def test_degraded_frames_made_while_reading_equal_the_stored_ones(
    tmp_path: Path, degrade: DegradeRecipe
) -> None:
    clip = PlannedClip("dock-000", degrade=degrade)
    stored = write_release(tmp_path / "stored", clip)
    made = write_release(tmp_path / "made", replace(clip, materialise=False))
    assert not (made.store("dock-000") / "infrared_degraded").exists()

    left, right = (ClipWindows(one.release, crop=17, frames=3, seed=2) for one in (stored, made))

    assert len(left) == len(right) == 10
    assert all(same(left[index], right[index]) for index in range(10))


def test_there_is_a_sample_for_every_pair_and_it_starts_there_where_it_can(shelf: Shelf) -> None:
    windows = ClipWindows(shelf.release, crop=16)

    places = [windows.placement(index) for index in range(len(windows))]

    assert len(windows) == PAIRS
    pier = [place.first_pair for place in places if place.clip == "pier-000"]
    assert pier[:64] == list(range(64))
    assert all(0 <= first <= 63 for first in pier[64:])
    assert {place.clip for place in places} == {"dock-000", "pier-000", "quay-000"}


def test_crops_reach_every_corner_of_the_frame(shelf: Shelf) -> None:
    windows = ClipWindows(shelf.release, crop=38)  # of 40 x 56 pixels
    places = []
    for epoch in range(60):
        windows.set_epoch(epoch)
        places += [windows.placement(index) for index in range(10, 20)]

    assert {place.clip for place in places} == {"pier-000"}
    assert {place.y for place in places} == set(range(3))
    assert {place.x for place in places} == set(range(19))


def test_an_epoch_or_a_seed_changes_the_crops_and_comes_back_the_same(shelf: Shelf) -> None:
    windows, other = (ClipWindows(shelf.release, crop=16, seed=seed) for seed in (0, 1))
    first = [windows.placement(index) for index in range(20)]

    windows.set_epoch(1)
    second = [windows.placement(index) for index in range(20)]
    windows.set_epoch(0)

    assert first != second
    assert first == [windows.placement(index) for index in range(20)]
    assert first != [other.placement(index) for index in range(20)]


def test_without_augmentation_nothing_is_turned_and_with_it_half_is(shelf: Shelf) -> None:
    plain, augmented = (ClipWindows(shelf.release, crop=16, augment=on) for on in (False, True))

    codes = [augmented.placement(index).turn for index in range(PAIRS)]
    parts = np.array([[code & bit > 0 for bit in (1, 2, 4, 8, 16)] for code in codes])

    assert {plain.placement(index).turn for index in range(PAIRS)} == {0}
    assert "turn" not in plain[0]
    assert [int(augmented[index]["turn"]) for index in range(5)] == codes[:5]
    assert (np.abs(parts.mean(axis=0) - 0.5) < 4 * 0.5 / np.sqrt(PAIRS)).all()


def test_only_square_samples_are_turned_by_quarters(shelf: Shelf) -> None:
    windows = ClipWindows(shelf.release, crop=None, augment=True)

    assert all(windows.placement(index).turn < 8 for index in range(PAIRS))


def test_intervals_are_drawn_evenly_and_never_leave_the_clip(shelf: Shelf) -> None:
    windows = ClipWindows(shelf.release, frames=3, crop=16, intervals=(1, 4))
    places = [windows.placement(index) for index in range(PAIRS)]
    pairs = {clip.clip: clip.pairs for clip in windows.clips}

    assert {place.interval for place in places} == {1, 2, 3, 4}
    assert all(p.first_pair + 2 * p.interval < pairs[p.clip] for p in places)


@pytest.mark.parametrize("materialise", [False, True])
def test_redrawn_degradations_belong_to_the_sample_and_its_epoch(
    tmp_path: Path, *, materialise: bool
) -> None:
    shelf = write_release(tmp_path, PlannedClip("dock-000", materialise=materialise))
    same_clip, redrawn = (
        ClipWindows(shelf.release, crop=None, redraw=redraw) for redraw in (False, True)
    )
    first = redrawn[0]

    redrawn.set_epoch(1)
    second = redrawn[0]
    redrawn.set_epoch(0)

    assert same(first, redrawn[0])
    assert torch.equal(first["infrared"], second["infrared"])
    assert not torch.equal(first["infrared_degraded"], second["infrared_degraded"])
    assert not torch.equal(first["infrared_degraded"], same_clip[0]["infrared_degraded"])


def test_what_stays_in_a_clip_stays_in_a_redrawn_window(tmp_path: Path) -> None:
    bad = BadPixels(dead_share=(0.05, 0.05), hot_share=(0, 0), blinking_share=(0, 0))
    chains = DegradeRecipe(infrared=(bad,), visible=())
    shelf = write_release(tmp_path, PlannedClip("dock-000", degrade=chains))
    windows = ClipWindows(shelf.release, crop=None, redraw=True, intervals=(1, 2))

    dead = []
    for index in range(4):
        sample = windows[index]
        lost = sample["infrared_degraded"] != sample["infrared"]
        was_black = sample["infrared"] == 0
        places = lost.any(dim=0)
        assert torch.equal(lost | was_black, places | was_black)
        dead.append(places)

    assert all(0.02 < places.float().mean() < 0.08 for places in dead)
    assert not torch.equal(dead[0], dead[1])


def test_given_frames_are_never_redrawn_and_the_other_band_is_made(tmp_path: Path) -> None:
    clip = PlannedClip("dock-000", materialise=False, given=("infrared",))
    shelf = write_release(tmp_path, clip)
    plain, redrawn = (
        ClipWindows(shelf.release, crop=None, redraw=redraw) for redraw in (False, True)
    )

    wanted = expected(shelf, plain.placement(1), frames=7)

    assert same(plain[1], wanted)
    assert torch.equal(redrawn[1]["infrared_degraded"], wanted["infrared_degraded"])
    assert not torch.equal(redrawn[1]["visible_degraded"], wanted["visible_degraded"])


@given(
    words=st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**31), st.integers(0, 2**40)),
)
def test_neighbouring_samples_share_no_random_word(words: tuple[int, int, int]) -> None:
    seed, epoch, index = words

    found = [*draw_words(seed, epoch, index), *draw_words(seed, epoch, index + 1)]

    assert len({*found, *draw_words(seed, epoch + 1, index)}) == 12


@given(
    words=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
)
def test_the_draws_are_those_of_numpys_generator(words: tuple[int, int, int]) -> None:
    seed, epoch, index = words
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, index, 0, 0], np.uint64)

    raw = np.random.Philox(key=key, counter=counter).random_raw(4)

    assert draw_words(seed, epoch, index) == tuple(raw.tolist())


def test_the_draws_have_not_moved() -> None:
    """A change here changes every training run: say so in the CHANGELOG."""
    assert draw_words(3, 1, 4) == (
        2883821193740574430,
        17639521584168412109,
        9271855991744246831,
        14737376932772210141,
    )


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_workers_give_the_samples_of_the_main_process_in_every_epoch(
    shelf: Shelf, context: str
) -> None:
    windows, alone = (
        ClipWindows(shelf.release, split="val", frames=3, crop=16, augment=True) for _ in range(2)
    )
    assert same(windows[0], alone[0])  # so that a fork inherits opened stores
    loader = DataLoader(
        windows,
        batch_size=2,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=multiprocessing.get_context(context),
    )

    for epoch in (0, 1):
        windows.set_epoch(epoch)
        alone.set_epoch(epoch)
        batches = list(loader)
        for name in NAMES:
            found = torch.cat([batch[name] for batch in batches])
            wanted = torch.stack([alone[index][name] for index in range(len(alone))])
            assert torch.equal(found, wanted), (epoch, name)


def test_it_pickles_small_and_comes_back_at_the_same_epoch(shelf: Shelf) -> None:
    windows = ClipWindows(shelf.release, crop=16, seed=9)
    windows.set_epoch(4)
    before = windows[30]

    content = pickle.dumps(windows)
    again = pickle.loads(content)

    assert len(content) < 4000
    assert again.epoch == 4
    assert same(again[30], before)


def test_a_state_goes_back_to_its_epoch(shelf: Shelf) -> None:
    windows = ClipWindows(shelf.release, crop=16)
    windows.set_epoch(6)
    again = ClipWindows(shelf.release, crop=16)

    again.load_state_dict(windows.state_dict())

    assert same(again[3], windows[3])


def test_a_state_of_another_run_is_refused(shelf: Shelf) -> None:
    state = ClipWindows(shelf.release, crop=16, seed=1).state_dict()
    windows = ClipWindows(shelf.release, crop=16, seed=2)

    with pytest.raises(TrainError, match=r"seed 1, this run has 2.*same data and settings"):
        windows.load_state_dict(state)
    with pytest.raises(TrainError, match=r"instead of .*'epoch'"):
        windows.load_state_dict({"seed": 2})
    with pytest.raises(TrainError, match="epoch 'last'"):
        windows.load_state_dict({**windows.state_dict(), "epoch": "last"})
    with pytest.raises(ValueError, match="epoch -1"):
        windows.set_epoch(-1)


def test_a_release_opens_by_folder_by_file_and_where_it_was_published(
    shelf: Shelf, tmp_path: Path
) -> None:
    published = tmp_path / "releases" / "shelf"  # named to mislead
    shutil.copytree(shelf.workspace.root / "clips", published / "clips")
    shutil.copy(shelf.release / MANIFEST_NAME, published)
    wanted = ClipWindows(shelf.release, crop=16)[12]

    for place in (shelf.release / MANIFEST_NAME, str(shelf.release), published):
        assert same(ClipWindows(place, crop=16)[12], wanted)
    assert open_release(published)[1].root == published
    assert open_release(shelf.release)[1].root == shelf.workspace.root


def test_a_missing_or_edited_release_is_refused(own_shelf: Shelf) -> None:
    file = own_shelf.release / MANIFEST_NAME
    content = file.read_text()

    with pytest.raises(ReleaseError, match=r"nowhere/release.json does not exist; give"):
        ClipWindows(own_shelf.release / "nowhere")
    file.write_text(content.replace('"pairs": 70', '"pairs": 71'))
    with pytest.raises(ReleaseError, match="changed after it was released"):
        ClipWindows(own_shelf.release)
    file.write_text(content[:200])
    with pytest.raises(ReleaseError, match=r"release.json is no release"):
        ClipWindows(own_shelf.release)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"frames": 11}, r"'dock-000' has 10 pairs, fewer than the 11 frames.*at most 9"),
        ({"crop": 49}, r"'dock-000' is 64 x 48 pixels, smaller than the crop of 49.*at most 40"),
        ({"split": "test"}, r"no clip in the split 'test'; give sites"),
        ({"frames": 0}, r"frames 0 and crop 128 must be at least 1"),
    ],
)
def test_windows_that_do_not_fit_are_refused_before_training(
    shelf: Shelf, options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(TrainError, match=complaint):
        ClipWindows(shelf.release, **options)  # type: ignore[arg-type]  # options by case


@pytest.mark.parametrize("index", [-1, PAIRS])
def test_samples_outside_the_split_do_not_exist(shelf: Shelf, index: int) -> None:
    with pytest.raises(IndexError, match=f"sample {index} of {PAIRS}"):
        ClipWindows(shelf.release, crop=16)[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_shard_is_an_error_and_never_black_frames(own_shelf: Shelf, name: str) -> None:
    windows = ClipWindows(own_shelf.release, crop=16)
    first = windows[3]
    shard = next(iter(sorted((own_shelf.store("dock-000") / name / "c" / "1").rglob("0"))))
    file = next(path for path in (shard, *shard.rglob("*")) if path.is_file())

    file.unlink()

    with pytest.raises(StoreError, match=rf"'dock-000'.*{name}/c/1/.* is missing.*build it again"):
        windows[60]
    assert same(windows[3], first)  # the other shard is whole


def test_every_flipped_bit_and_every_cut_is_noticed_and_placed(own_shelf: Shelf) -> None:
    store = own_shelf.store("dock-000")
    rng = np.random.default_rng(0)
    read_files = [path for path in store.rglob("*") if path.is_file()]
    assert len(read_files) == 2 * 4 + 2 + 6 + 3

    for path in read_files * 3:
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        for bad in (bytes(damaged), content[: int(rng.integers(len(content) - 1))]):
            path.write_bytes(bad)
            windows = ClipWindows(own_shelf.release, frames=70, crop=None)
            with pytest.raises(StoreError, match=r"clip 'dock-000'") as caught:
                windows[0]
            assert path.relative_to(store).as_posix() in str(caught.value)
        path.write_bytes(content)


def test_a_store_of_another_content_or_place_is_refused(own_shelf: Shelf) -> None:
    release, root = open_release(own_shelf.release)
    clip = release.clips[0]

    with pytest.raises(StoreError, match=r"manifest.json is not the one that was released"):
        open_clip(root, clip.model_copy(update={"root_hash": "f" * 64}))
    with pytest.raises(StoreError, match="outside of the release"):
        open_clip(root, clip.model_copy(update={"store": f"../{clip.store}"}))
    with pytest.raises(StoreError, match=r"No such file.*build it again"):
        open_clip(root.within("elsewhere"), clip)
