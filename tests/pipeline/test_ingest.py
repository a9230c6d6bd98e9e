"""Ingest measures what was planted in the files, and refuses files it cannot trust."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.ingest import (
    colors_look_swapped,
    count_missing,
    hash_files,
    ingest_fingerprint,
    run_ingest,
    tone_mapping,
)
from pipeline.ingest_measure import GRID, measure
from pipeline.tone import tone_shares
from pipeline.video_files import Frame, write_image, write_video
from pipeline.workspace import Workspace, load_arrays
from schemas.catalog import Camera, Recording, RecordingPlan, Rig, Timestamps
from schemas.errors import IngestError, TwinbandError, VideoError
from schemas.recipe import IngestRecipe, Recipe

INFRARED = Camera(width=64, height=48)
VISIBLE = Camera(width=96, height=80)
FRAMES = 12
FPS = 25.0
SHARES = tone_shares(IngestRecipe())

Stream = NDArray[Any]


def infrared_counts(frames: int = FRAMES, camera: Camera = INFRARED) -> Stream:
    """Warm noise on which a hot square moves to the right."""
    rng = np.random.default_rng(1)
    counts = rng.integers(8000, 8100, (frames, camera.height, camera.width)).astype(np.uint16)
    for index, frame in enumerate(counts):
        frame[24:36, 2 * index : 2 * index + 12] = 9000
    return counts


def visible_colors(frames: int = FRAMES, camera: Camera = VISIBLE) -> Stream:
    """A grey ramp on which a red square moves to the right."""
    video = np.empty((frames, camera.height, camera.width, 3), np.uint8)
    video[:] = np.linspace(40, 220, camera.width, dtype=np.uint8)[:, None]
    for index, frame in enumerate(video):
        frame[16:48, 2 * index : 2 * index + 24] = (200, 30, 30)
    return video


def film(root: Path, infrared: Stream | None = None, visible: Stream | None = None) -> None:
    write_video(
        root / "infrared.mkv",
        infrared_counts() if infrared is None else infrared,
        fps=FPS,
        codec="ffv1",
    )
    write_video(
        root / "visible.mp4",
        visible_colors() if visible is None else visible,
        fps=FPS,
        codec="h264",
    )


def write_log(path: Path, times_s: list[float]) -> None:
    rows = [f"{index},{time_s}" for index, time_s in enumerate(times_s)]
    path.write_text("\n".join(["frame,time_s", *rows]) + "\n")


def make_plan(
    root: Path,
    rig: tuple[Camera, Camera] = (INFRARED, VISIBLE),
    recipe: Recipe | None = None,
    **fields: Any,
) -> RecordingPlan:
    named = {"infrared": "infrared.mkv", "visible": "visible.mp4"} | fields
    return RecordingPlan(
        recording=Recording.model_validate({"id": "walk", "site": "quay"} | named),
        session="outing",
        rig=Rig(id="mast", infrared=rig[0], visible=rig[1]),
        data_root=root,
        recipe=recipe or Recipe(),
    )


def refusal(plan: RecordingPlan, kind: type[TwinbandError] = IngestError) -> str:
    """The one line by which ingest refuses a recording; nothing may be left of it."""
    work = plan.data_root / "work"
    with pytest.raises(kind) as caught:
        run_ingest(plan, Workspace(work))
    assert not list(work.rglob("*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_facts_are_those_of_the_files(tmp_path: Path) -> None:
    film(tmp_path)

    facts = run_ingest(make_plan(tmp_path), Workspace(tmp_path / "work"))

    infrared, visible = facts.infrared, facts.visible
    assert (infrared.width, infrared.height, infrared.bit_depth) == (64, 48, 16)
    assert (visible.width, visible.height, visible.bit_depth) == (96, 80, 8)
    assert (infrared.codec, visible.codec) == ("ffv1", "h264")
    assert (infrared.frames, visible.frames) == (FRAMES, FRAMES)
    assert infrared.fps == pytest.approx(FPS)
    assert infrared.size_bytes == (tmp_path / "infrared.mkv").stat().st_size
    assert infrared.sha256 == hash_files(make_plan(tmp_path))["infrared"]
    assert infrared.time_source == visible.time_source == "presentation"
    assert (infrared.missing_frames, infrared.repeated_frames, infrared.dead_frames) == (0, (), ())
    assert visible.tone is None


def test_the_signals_are_saved_beside_the_facts(tmp_path: Path) -> None:
    film(tmp_path)
    workspace = Workspace(tmp_path / "work")

    run_ingest(make_plan(tmp_path), workspace)

    signals: dict[str, Any] = load_arrays(workspace.signals("walk"))
    for band in ("infrared", "visible"):
        np.testing.assert_allclose(signals[f"{band}_times_s"], np.arange(FRAMES) / FPS, atol=1e-9)
        assert signals[f"{band}_motion"].shape == (FRAMES, *GRID)
        assert signals[f"{band}_motion"].dtype == np.float32
        assert signals[f"{band}_usable"].all()


def test_motion_stands_in_the_region_where_it_happens() -> None:
    still = np.zeros((2, 48, 64), np.uint8)
    still[1, 40:42, 4:6] = 200

    motion = measure(still, SHARES).motion

    assert not motion[0].any()
    row, column = np.unravel_index(motion[1].argmax(), GRID)
    assert (row, column) == (20, 2)
    assert motion[1].sum() == pytest.approx(motion[1, row, column])
    assert motion[1, row, column] == pytest.approx(200)


def test_a_count_moves_as_many_grey_levels_as_its_8_bits() -> None:
    levels = np.random.default_rng(2).integers(0, 256, (3, 240, 320)).astype(np.uint8)

    of_levels = measure(levels, SHARES).motion
    of_counts = measure(levels.astype(np.uint16) * 256, SHARES).motion

    np.testing.assert_allclose(of_counts, of_levels, atol=0.5)


def test_repeated_and_dead_frames_are_listed(tmp_path: Path) -> None:
    counts = infrared_counts()
    counts[5] = counts[4]
    counts[9] = 8000
    film(tmp_path, infrared=counts)

    facts = run_ingest(make_plan(tmp_path), Workspace(tmp_path / "work"))

    assert facts.infrared.repeated_frames == (5,)
    assert facts.infrared.dead_frames == (9,)
    usable = load_arrays(Workspace(tmp_path / "work").signals("walk"))["infrared_usable"]
    assert np.flatnonzero(~usable.astype(bool)).tolist() == [9]


def test_repeated_frames_are_left_out_where_the_recipe_says_so(tmp_path: Path) -> None:
    counts = infrared_counts()
    counts[5] = counts[4]
    film(tmp_path, infrared=counts)
    recipe = Recipe(ingest=IngestRecipe(drop_repeated=True))

    run_ingest(make_plan(tmp_path, recipe=recipe), Workspace(tmp_path / "work"))

    usable = load_arrays(Workspace(tmp_path / "work").signals("walk"))["infrared_usable"]
    assert np.flatnonzero(~usable.astype(bool)).tolist() == [5]


def test_a_change_of_one_count_is_no_repetition() -> None:
    frames = np.full((2, 480, 640), 8000, np.uint16)
    frames[:, 0, 0] = 7000
    frames[1, 240, 320] += 1

    signals = measure(frames, SHARES)

    assert not signals.repeated.any()
    assert not signals.dead.any()


def test_the_tone_spans_the_percentiles_of_all_living_frames(tmp_path: Path) -> None:
    counts = infrared_counts()
    counts[3] = 0
    film(tmp_path, infrared=counts)

    tone = run_ingest(make_plan(tmp_path), Workspace(tmp_path / "work")).infrared.tone

    alive = np.delete(counts, 3, axis=0)
    assert tone is not None
    low, high = np.percentile(alive, (0.1, 99.9), method="inverted_cdf")
    assert (tone.low_counts, tone.high_counts) == (low, high)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_a_tone_mapping_has_a_range_whatever_the_counts(counts: list[int]) -> None:
    recipe = IngestRecipe(tone_percentiles=(0, 100))

    tone = tone_mapping(np.bincount(counts, minlength=2**16), recipe)

    assert tone.low_counts <= min(counts)
    assert tone.high_counts == max(*counts, tone.low_counts + 1)


@given(st.sets(st.integers(1, 98), max_size=40))
def test_every_lost_frame_is_counted(lost: set[int]) -> None:
    times_s = np.array([n / FPS for n in range(100) if n not in lost])

    assert count_missing(times_s) == len(lost)


def test_gaps_in_a_folder_are_missing_frames(tmp_path: Path) -> None:
    for index, (warm, color) in enumerate(zip(infrared_counts(), visible_colors(), strict=True)):
        if index not in (4, 5):
            write_image(tmp_path / "infrared" / f"{index:04d}.png", warm)
        write_image(tmp_path / "visible" / f"{index:04d}.png", color)
    plan = make_plan(tmp_path, infrared="infrared", visible="visible", fps=FPS)

    facts = run_ingest(plan, Workspace(tmp_path / "work"))

    assert (facts.infrared.missing_frames, facts.visible.missing_frames) == (2, 0)
    assert facts.infrared.time_source == "declared"


def test_a_log_of_times_goes_before_the_times_of_the_file(tmp_path: Path) -> None:
    film(tmp_path)
    times_s = [100 + n / 20 + 0.001 * (n % 2) for n in range(FRAMES)]
    write_log(tmp_path / "times.csv", times_s)
    plan = make_plan(tmp_path, timestamps=Timestamps(infrared="times.csv"))

    facts = run_ingest(plan, Workspace(tmp_path / "work"))

    assert facts.infrared.time_source == "timestamps"
    assert (facts.infrared.first_time_s, facts.infrared.last_time_s) == (times_s[0], times_s[-1])
    assert facts.visible.time_source == "presentation"


def test_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    film(tmp_path)
    workspace = Workspace(tmp_path / "work")
    first = run_ingest(make_plan(tmp_path), workspace)
    written = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*.*")}

    again = run_ingest(make_plan(tmp_path), workspace)

    assert again == first
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*.*")} == written


def test_the_fingerprint_follows_the_files_and_the_recipe(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    other = make_plan(tmp_path, recipe=Recipe(ingest=IngestRecipe(drop_repeated=True)))
    hashes = {"infrared": "a" * 64, "visible": "b" * 64}

    found = {
        ingest_fingerprint(plan, hashes),
        ingest_fingerprint(plan, hashes | {"visible": "c" * 64}),
        ingest_fingerprint(plan, hashes | {"timestamps.visible": "c" * 64}),
        ingest_fingerprint(other, hashes),
    }

    assert len(found) == 4
    assert ingest_fingerprint(plan, dict(reversed(hashes.items()))) in found


def test_memory_does_not_grow_with_the_recording() -> None:
    def frames(count: int) -> Iterator[Frame]:
        rng = np.random.default_rng(4)
        for _ in range(count):
            yield rng.integers(0, 256, (240, 320, 3), np.uint8)

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        measure(frames(count), SHARES)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    motion_bytes = 4 * GRID[0] * GRID[1]
    assert peak_bytes(200) - peak_bytes(20) < 180 * 3 * motion_bytes


@pytest.mark.parametrize("band", ["infrared", "visible"])
def test_an_absent_file_is_refused(tmp_path: Path, band: str) -> None:
    film(tmp_path)
    plan = make_plan(tmp_path)
    before = ingest_fingerprint(plan, hash_files(plan))
    (tmp_path / getattr(plan.recording, band)).unlink()

    assert "does not exist; check the path" in refusal(plan, VideoError)
    assert ingest_fingerprint(plan, hash_files(plan)) != before


@pytest.mark.parametrize("name", ["infrared.mkv", "visible.mp4"])
def test_a_video_of_zero_bytes_is_refused(tmp_path: Path, name: str) -> None:
    film(tmp_path)
    (tmp_path / name).write_bytes(b"")

    assert f"{name}: is empty (0 bytes); record or copy it again" in refusal(
        make_plan(tmp_path), VideoError
    )


@pytest.mark.parametrize("name", ["infrared.mkv", "visible.mp4"])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.9])
def test_a_truncated_video_is_refused(tmp_path: Path, name: str, share: float) -> None:
    film(tmp_path, visible=visible_colors(200))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])

    reason = refusal(make_plan(tmp_path), VideoError)

    assert name in reason
    assert reason.endswith((" again", " whole"))


def test_one_file_given_twice_is_refused(tmp_path: Path) -> None:
    film(tmp_path)
    (tmp_path / "visible.mp4").write_bytes((tmp_path / "infrared.mkv").read_bytes())

    assert "visible.mp4 are the same file by content; give each camera's own" in refusal(
        make_plan(tmp_path)
    )


def test_files_of_exchanged_sizes_are_called_swapped(tmp_path: Path) -> None:
    film(tmp_path)

    reason = refusal(make_plan(tmp_path, infrared="visible.mp4", visible="infrared.mkv"))

    assert "visible.mp4 and infrared.mkv look swapped" in reason
    assert "exchange them in the catalog" in reason


def test_swapped_files_of_one_size_betray_themselves_by_16_bits(tmp_path: Path) -> None:
    film(tmp_path, infrared=infrared_counts(camera=VISIBLE))
    plan = make_plan(tmp_path, (VISIBLE, VISIBLE), infrared="visible.mp4", visible="infrared.mkv")

    assert "if it is the infrared file, exchange the two in the catalog" in refusal(plan)


def test_swapped_files_of_one_size_betray_themselves_by_their_colours(tmp_path: Path) -> None:
    warm = (infrared_counts(camera=VISIBLE) // 64).astype(np.uint8)
    write_video(tmp_path / "a.mp4", warm, fps=FPS, codec="h264")
    film(tmp_path)
    plan = make_plan(tmp_path, (VISIBLE, VISIBLE), infrared="visible.mp4", visible="a.mp4")

    assert "they look swapped" in refusal(plan)


def test_swapped_real_videos_are_refused(tmp_path: Path, m3svd: Path) -> None:
    for band in ("infrared", "visible"):
        source = m3svd / "Video" / "test" / band / "0111_1716.mp4"
        (tmp_path / f"{band}.mp4").write_bytes(source.read_bytes())
    camera = Camera(width=640, height=480)
    plan = make_plan(tmp_path, (camera, camera), infrared="visible.mp4", visible="infrared.mp4")

    assert "they look swapped" in refusal(plan)


def test_real_videos_are_accepted(tmp_path: Path, m3svd: Path) -> None:
    camera = Camera(width=640, height=480)
    plan = make_plan(
        m3svd / "Video" / "test",
        (camera, camera),
        infrared="infrared/0111_1716.mp4",
        visible="visible/0111_1716.mp4",
        registered=True,
    )

    facts = run_ingest(plan, Workspace(tmp_path / "work"))

    assert (facts.infrared.frames, facts.visible.frames) == (151, 151)
    assert facts.infrared.dead_frames == facts.visible.dead_frames == ()


def test_a_grey_visible_video_as_cameras_give_at_night_is_accepted(tmp_path: Path) -> None:
    night = visible_colors()
    night[:] = (night.mean(axis=3, keepdims=True) / 4).astype(np.uint8)
    film(tmp_path, visible=night)
    warm = (infrared_counts() // 64).astype(np.uint8)
    write_video(tmp_path / "infrared.mkv", warm, fps=FPS, codec="ffv1")

    facts = run_ingest(make_plan(tmp_path), Workspace(tmp_path / "work"))

    assert facts.visible.frames == FRAMES


@pytest.mark.parametrize(
    ("infrared_spread", "visible_spread", "is_swapped"),
    [(50, 3, True), (3, 50, False), (3, 3, False), (50, 50, False), (15, 3, False)],
)
def test_only_colour_beside_grey_is_called_swapped(
    infrared_spread: float, visible_spread: float, *, is_swapped: bool
) -> None:
    assert colors_look_swapped(infrared_spread, visible_spread) == is_swapped


def test_a_video_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    film(tmp_path, visible=visible_colors(6))

    assert refusal(make_plan(tmp_path)) == (
        "visible.mp4: has 6 frames, fewer than the 7 pairs of the shortest clip; record longer"
    )


def test_every_wrong_size_is_named_with_the_rigs_own(tmp_path: Path) -> None:
    film(tmp_path)
    other = Camera(width=32, height=32)

    assert refusal(make_plan(tmp_path, (other, other))) == (
        "infrared.mkv: is 64x48 and the rig's infrared camera 32x32; correct the file or the rig; "
        "visible.mp4: is 96x80 and the rig's visible camera 32x32; correct the file or the rig"
    )


@pytest.mark.parametrize(
    ("time_s", "complaint"),
    [
        ("0.2", "line 7: time_s 0.2 does not increase over 0.2"),
        ("nan", "line 7: time_s is nan; give seconds"),
        ("late", "line 7: '5,late' is not a frame number and a time; mend it"),
    ],
)
def test_a_bad_time_is_refused_with_its_line(tmp_path: Path, time_s: str, complaint: str) -> None:
    film(tmp_path)
    rows = [f"{index},{index / 20}" for index in range(FRAMES)]
    rows[4], rows[5] = "4,0.2", f"5,{time_s}"
    (tmp_path / "times.csv").write_text("\n".join(["frame,time_s", *rows]))
    plan = make_plan(tmp_path, timestamps=Timestamps(visible="times.csv"))

    assert complaint in refusal(plan, VideoError)


def test_a_log_of_another_length_is_refused(tmp_path: Path) -> None:
    film(tmp_path)
    write_log(tmp_path / "times.csv", [n / FPS for n in range(FRAMES - 1)])
    plan = make_plan(tmp_path, timestamps=Timestamps(visible="times.csv"))

    assert refusal(plan) == (
        "times.csv: lists 11 frames and visible.mp4 holds 12; "
        "give the log that belongs to the video"
    )


def test_a_folder_without_any_times_is_refused(tmp_path: Path) -> None:
    film(tmp_path)
    for index, frame in enumerate(infrared_counts()):
        write_image(tmp_path / "infrared" / f"{index}.png", frame)

    assert refusal(make_plan(tmp_path, infrared="infrared")) == (
        "infrared: a folder of frames has no times; give the recording fps or timestamps"
    )


def test_a_camera_that_saw_nothing_is_refused(tmp_path: Path) -> None:
    film(tmp_path, infrared=np.full((FRAMES, 48, 64), 8000, np.uint16))

    assert "every frame is of one single value; check the infrared camera" in refusal(
        make_plan(tmp_path)
    )
