"""Torn frames are found where they were planted, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image_files import Frame
from pipeline.ingest import run_ingest
from pipeline.ingest_measure import measure, stale_rows, torn_frames
from pipeline.tone import tone_shares
from pipeline.video_files import write_video
from pipeline.workspace import Workspace, load_arrays
from schemas.catalog import Camera, Recording, RecordingPlan, Rig
from schemas.facts import StreamFacts
from schemas.recipe import IngestRecipe, Recipe
from tests.pipeline.recorders import (
    HEIGHT,
    STEADY_FPS,
    WIDTH,
    Stream,
    infrared_counts,
    visible_colors,
)

SHARES = tone_shares(IngestRecipe())


def plan_of(
    root: Path, counts: Stream, *, registered: bool = False, drop_torn: bool = True
) -> RecordingPlan:
    write_video(root / "infrared.mkv", counts, fps=STEADY_FPS, codec="ffv1")
    write_video(root / "visible.mp4", visible_colors(), fps=STEADY_FPS, codec="h264")
    camera = Camera(width=WIDTH, height=HEIGHT)
    return RecordingPlan(
        recording=Recording(
            id="walk",
            site="quay",
            infrared="infrared.mkv",
            visible="visible.mp4",
            registered=registered,
        ),
        session="outing",
        rig=Rig(id="mast", infrared=camera, visible=camera),
        data_root=root,
        recipe=Recipe(ingest=IngestRecipe(drop_torn=drop_torn)),
    )


def torn(plan: RecordingPlan) -> tuple[StreamFacts, list[int]]:
    """The facts of the infrared stream, and which frames may not be used."""
    workspace = Workspace(plan.data_root / "work")
    facts = run_ingest(plan, workspace)
    usable = load_arrays(workspace.signals("walk"))["infrared_usable"].astype(bool)
    return facts.infrared, np.flatnonzero(~usable).tolist()


@pytest.mark.parametrize("rows", [slice(0, 20), slice(20, HEIGHT)])
def test_a_frame_that_is_partly_the_one_before_is_left_out(tmp_path: Path, rows: slice) -> None:
    counts = infrared_counts()
    counts[5, rows] = counts[4, rows]

    facts, left_out = torn(plan_of(tmp_path, counts))

    assert (facts.torn_frames, left_out) == ((5,), [5])
    assert facts.repeated_frames == facts.dead_frames == ()


def test_a_frame_whose_transfer_broke_off_is_left_out(tmp_path: Path) -> None:
    counts = infrared_counts()
    counts[7, 30:] = 0

    assert torn(plan_of(tmp_path, counts))[1] == [7]


def test_torn_frames_stay_where_the_recipe_or_the_recording_says_so(tmp_path: Path) -> None:
    counts = infrared_counts()
    counts[5, :20] = counts[4, :20]

    for registered, drop_torn in ((True, True), (False, False)):
        root = tmp_path / f"{registered}"
        root.mkdir()
        facts, left_out = torn(plan_of(root, counts, registered=registered, drop_torn=drop_torn))

        assert (facts.torn_frames, left_out) == ((5,), [])


def test_repeated_and_dead_frames_are_not_called_torn(tmp_path: Path) -> None:
    counts = infrared_counts()
    counts[5] = counts[4]
    counts[9] = 8000

    facts, _ = torn(plan_of(tmp_path, counts))

    assert facts.torn_frames == ()
    assert (facts.repeated_frames, facts.dead_frames) == ((5,), (9,))


def test_nothing_is_called_torn_in_a_stream_whose_codec_repeats_what_rests() -> None:
    stale = np.array([0, 9, 0, 14, 12, 0, 30, 11, 0, 0])

    assert not torn_frames(stale, np.ones(10, bool), 48).any()


@given(height=st.integers(2, 20), top=st.integers(0, 19), from_below=st.booleans())
def test_stale_rows_are_counted_from_either_end(height: int, top: int, *, from_below: bool) -> None:
    rng = np.random.default_rng(height)
    before, frame = (rng.integers(0, 4000, (height, 8)).astype(np.uint16) for _ in range(2))
    old = min(top, height - 1)
    rows = slice(height - old, height) if from_below else slice(0, old)
    frame[rows] = before[rows]

    assert stale_rows(frame, before) == old


@pytest.mark.parametrize("shape", [(3, 1, 9), (3, 9, 1), (3, 1, 1)])
def test_frames_of_one_row_or_column_are_measured(shape: tuple[int, int, int]) -> None:
    counts = np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)

    found = measure(counts, SHARES)

    assert found.dead.tolist() == [shape[1:] == (1, 1)] * 3
    assert not found.repeated.any()


def test_quantiles_and_common_change_belong_to_counts_alone() -> None:
    counts = infrared_counts()
    levels: list[Frame] = [(frame // 64).astype(np.uint8) for frame in counts]

    of_counts, of_levels = measure(counts, SHARES), measure(levels, SHARES)

    assert of_counts.quantiles is not None
    assert of_counts.quantiles.shape == (len(counts), SHARES.size)
    np.testing.assert_array_equal(
        of_counts.quantiles[3],
        np.quantile(counts[3], SHARES, method="inverted_cdf"),
    )
    assert of_levels.quantiles is None
    assert of_levels.histogram is None


def test_what_the_whole_picture_has_in_common_is_measured_whatever_moves_in_it() -> None:
    drift = np.array([0, 0, 40, 40, -25, -25, 0, 0, 300, 300, 0, 0])
    counts = (infrared_counts(12) + drift[:, None, None]).astype(np.uint16)

    found = measure(counts, SHARES).common_counts

    np.testing.assert_allclose(found, np.diff(drift, prepend=0), atol=8)
