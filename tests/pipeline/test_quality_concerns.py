"""Concerns: what is planted in a clip is told of it, and nothing is told of a good one."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.looks import Seen, median_move_px, perceptual_hash
from pipeline.quality_concerns import ALIKE_BITS, clip_concerns, shared_concerns
from schemas.release import ReleaseClip
from schemas.report import BandLook, ClipLook
from tests.pipeline.studio import SITES, Studio

HEIGHT, WIDTH = 96, 128
VALID = np.ones((HEIGHT, WIDTH), np.bool_)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReleaseClip, ...]:
    return Studio(tmp_path_factory.mktemp("studio"), list(SITES)).release().clips


def scene(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Soft blobs and sharp boxes, grey."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.uniform(60, 190, (6, 8)).astype(np.float32), (width, height))
    for _ in range(12):
        y, x = rng.integers(0, height - 20), rng.integers(0, width - 20)
        picture[y : y + rng.integers(6, 20), x : x + rng.integers(6, 20)] = rng.uniform(30, 230)
    return np.clip(picture, 0, 255).astype(np.uint8)


def noisy(picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 2, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def band(frames: list[NDArray[np.uint8]]) -> BandLook:
    seen = Seen()
    for frame in frames:
        seen.add(frame, VALID)
    return seen.look([perceptual_hash(frame) for frame in frames[:3]])


def look(
    infrared: list[NDArray[np.uint8]] | None = None,
    visible: list[NDArray[np.uint8]] | None = None,
    **changes: Any,
) -> ClipLook:
    good = [noisy(scene(1), number) for number in range(10)]
    made = ClipLook(
        pairs=10,
        tile_width=WIDTH,
        tile_height=HEIGHT,
        has_degraded=True,
        infrared=band(infrared or good),
        visible=band(visible or good),
        moves_px=((0.2, -0.1), None, (0.4, 0.3)),
    )
    return made.model_copy(update=changes)


def kinds(seen: ClipLook, usual: float = 4.0) -> list[str]:
    return [one.kind for one in clip_concerns("quay", 4.0, seen, usual)]


def test_a_good_clip_raises_no_concern() -> None:
    assert kinds(look()) == []


def test_a_frozen_stream_is_told_with_its_band() -> None:
    frames = [noisy(scene(1), number // 5) for number in range(10)]

    (concern,) = clip_concerns("quay", 4.0, look(infrared=frames), 4.0)

    assert concern.kind == "frozen"
    assert concern.value == pytest.approx(8 / 9)
    assert "infrared" in concern.text


def test_white_and_black_pictures_are_told() -> None:
    white, black = scene(1).copy(), scene(1).copy()
    white[:40], black[:70] = 255, 2

    assert kinds(look(visible=[noisy(white, n) for n in range(4)])) == ["over-exposed"]
    assert kinds(look(visible=[noisy(black, n) for n in range(4)])) == ["under-exposed"]


def test_blur_is_told_against_the_rest_of_the_release() -> None:
    assert kinds(look(), usual=100.0) == ["blurred"]
    assert kinds(look(), usual=0.0) == []


def test_bands_that_part_over_a_clip_or_lie_apart_are_told() -> None:
    assert kinds(look(moves_px=((0.0, 0.0), None, (2.5, 0.0)))) == ["drifting"]
    assert kinds(look(moves_px=((2.0, 2.0), (2.0, 2.0), None))) == ["misregistered"]
    assert kinds(look(moves_px=(None, None, None))) == []


def test_the_same_scene_under_another_name_is_found_and_across_splits_it_is_a_leak(
    clips: tuple[ReleaseClip, ...],
) -> None:
    again = [noisy(scene(1), 50 + n) for n in range(3)]
    other = [noisy(scene(7), n) for n in range(3)]
    pier, quay, roof = clips  # val, train, train
    looks = {
        pier.clip: look(),
        quay.clip: look(infrared=again, visible=again),
        roof.clip: look(infrared=other, visible=other),
    }

    (concern,) = shared_concerns(clips, looks)

    assert (concern.kind, concern.clip, concern.other) == ("leak", pier.clip, quay.clip)
    assert "val and train" in concern.text


def test_clips_of_one_recording_may_be_alike(clips: tuple[ReleaseClip, ...]) -> None:
    pair = (clips[0], clips[1].model_copy(update={"recording": clips[0].recording}))

    assert list(shared_concerns(pair, {clip.clip: look() for clip in pair})) == []


def test_one_band_alone_does_not_make_clips_alike(clips: tuple[ReleaseClip, ...]) -> None:
    other = [noisy(scene(7), n) for n in range(3)]
    looks = {clips[0].clip: look(), clips[1].clip: look(visible=other)}

    assert list(shared_concerns(clips[:2], looks)) == []


def test_hashes_bear_coding_and_grading_and_tell_mirrored_and_other_pictures_apart() -> None:
    picture = scene(3, 480, 640)
    graded = np.clip(picture * 0.8 + 20, 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])
    alike = [graded, cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), cv2.resize(picture, (320, 240))]
    apart = [picture[:, ::-1].copy(), scene(4, 480, 640)]

    def bits(one: NDArray[np.uint8]) -> int:
        return (int(perceptual_hash(picture), 16) ^ int(perceptual_hash(one), 16)).bit_count()

    assert all(bits(np.asarray(one, np.uint8)) <= ALIKE_BITS // 2 for one in alike)
    assert all(bits(one) > 2 * ALIKE_BITS for one in apart)


def test_a_planted_shift_between_the_bands_is_measured() -> None:
    whole = scene(5, 260, 340)
    frames = [noisy(whole, number) for number in range(3)]
    infrared = [255 - frame[10:250, 10:330] for frame in frames]
    visible = [np.repeat(f[6:246, 13:333, None], 3, axis=2) for f in frames]

    found = median_move_px(infrared, visible)

    assert found is not None
    assert found == pytest.approx((3, -4), abs=0.6)


def test_flat_pictures_tell_no_shift() -> None:
    flat = [np.full((120, 160), 90, np.uint8)] * 2

    assert median_move_px(flat, [np.repeat(f[..., None], 3, 2) for f in flat]) is None


def test_clips_of_one_site_share_their_background_and_are_told_where_they_repeat(
    clips: tuple[ReleaseClip, ...],
) -> None:
    quay, roof = clips[1], clips[2].model_copy(update={"site": clips[1].site})
    moved = scene(1).copy()
    moved[30:70, 40:60] = 240
    similar = [noisy(moved, n) for n in range(3)]

    def shared(seen: ClipLook) -> list[str]:
        looks = {quay.clip: look(), roof.clip: seen}
        return [one.kind for one in shared_concerns((quay, roof), looks)]

    assert shared(look(infrared=similar, visible=similar)) == []
    assert shared(look()) == ["alike"]
