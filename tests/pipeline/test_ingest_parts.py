"""A stream measured in parts has, to the bit, the signals of one that is measured at once."""

from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest import run_find_ranges, run_ingest
from pipeline.ingest_measure import Signals, measure
from pipeline.ingest_parts import (
    LEAST_FRAMES,
    MOST_PARTS,
    MeasuredRange,
    joined,
    ranges_of,
    run_measure_range,
)
from pipeline.tone import tone_shares
from pipeline.video_files import Frame
from pipeline.workspace import Workspace
from schemas.catalog import RecordingPlan
from schemas.errors import VideoError, WorkspaceError
from schemas.recipe import IngestRecipe
from tests.pipeline.studio import tree
from tests.pipeline.test_ingest import FRAMES, film, make_plan

SHARES = tone_shares(IngestRecipe())

LIVELY, DEAD, REPEATED = "lively", "dead", "repeated"


def stream(kinds: list[str], dtype: type, seed: int) -> list[Frame]:
    """Frames of noise, of one value, or equal to the one before."""
    rng = np.random.default_rng(seed)
    frames: list[Frame] = []
    for kind in kinds:
        if kind == REPEATED and frames:
            frames.append(frames[-1])
        elif kind == DEAD:
            frames.append(np.full((24, 32), 7, dtype))
        else:
            frames.append(rng.integers(0, np.iinfo(dtype).max, (24, 32)).astype(dtype))
    return frames


@pytest.mark.parametrize("frames", [1, 31, 6399, 6400, 6401, 100_001, 1_080_000])
@pytest.mark.parametrize("least", [1, 200, LEAST_FRAMES])
def test_parts_cover_a_stream_once(frames: int, least: int) -> None:
    parts = ranges_of("infrared", frames, least)

    assert [part.first_frame for part in parts] == [0, *(part.end_frame for part in parts[:-1])]
    assert parts[-1].end_frame == frames
    lengths = [part.end_frame - part.first_frame for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert len(parts) <= MOST_PARTS
    assert len(parts) == 1 or min(lengths) >= least


@given(
    kinds=st.lists(st.sampled_from([LIVELY, LIVELY, DEAD, REPEATED]), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11)),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_signals_of_parts_equal_those_of_one_pass(
    kinds: list[str], cuts: set[int], dtype: type, seed: int
) -> None:
    frames = stream(kinds, dtype, seed)
    ends = [0, *sorted(cut for cut in cuts if cut < len(frames)), len(frames)]

    at_once = measure(frames, SHARES)
    parts = [
        measure(frames[first:end], SHARES, frames[first - 1] if first else None)
        for first, end in pairwise(ends)
    ]

    in_parts = joined(parts)
    for field in fields(Signals):
        expected, found = getattr(at_once, field.name), getattr(in_parts, field.name)
        if field.name != "first_alive":  # of which only the other parts' are asked
            np.testing.assert_array_equal(found, expected, err_msg=field.name, strict=True)


def measured_in_parts(plan: RecordingPlan, workspace: Workspace) -> list[MeasuredRange]:
    """Every stream of a short recording in four parts, the last ones first."""
    parts = run_find_ranges(plan, workspace, FRAMES // 4)
    assert len(parts) == 8
    return [run_measure_range(plan, part, workspace) for part in reversed(parts)]


def test_facts_of_a_recording_in_parts_are_those_of_one_process(tmp_path: Path) -> None:
    film(tmp_path)
    plan = make_plan(tmp_path)
    at_once, in_parts = Workspace(tmp_path / "once"), Workspace(tmp_path / "parts")

    run_ingest(plan, at_once)
    run_ingest(plan, in_parts, measured_in_parts(plan, in_parts))

    assert tree(in_parts.root / "facts") == tree(at_once.root / "facts")
    assert tree(in_parts.root / "staging") == {}


def test_a_lost_part_is_an_error_and_saves_nothing(tmp_path: Path) -> None:
    film(tmp_path)
    plan, workspace = make_plan(tmp_path), Workspace(tmp_path / "work")
    measured = measured_in_parts(plan, workspace)
    measured[3].place.unlink()

    with pytest.raises(WorkspaceError, match=r"visible\.0\.npz: .*build the recording again"):
        run_ingest(plan, workspace, measured)
    assert tree(workspace.root / "facts") == {}


def test_short_recordings_those_measured_before_and_unreadable_ones_are_not_split(
    tmp_path: Path,
) -> None:
    film(tmp_path)
    plan, workspace = make_plan(tmp_path), Workspace(tmp_path / "work")
    assert run_find_ranges(plan, workspace) == []

    run_ingest(plan, workspace)
    assert run_find_ranges(plan, workspace, 1) == []
    changed = plan.recipe.model_copy(update={"ingest": IngestRecipe(drop_torn=False)})
    assert run_find_ranges(plan.model_copy(update={"recipe": changed}), workspace, 1)

    other = Workspace(tmp_path / "other")
    (tmp_path / plan.recording.visible).write_bytes(b"")
    assert run_find_ranges(plan, other, 1) == []
    with pytest.raises(VideoError):
        run_measure_range(plan, ranges_of("visible", FRAMES, 1)[1], other)
    assert tree(other.root / "staging") == {}
