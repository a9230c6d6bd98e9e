"""A clip written in parts is, byte for byte, the clip that one process writes."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.shard import run_cut, run_shard
from pipeline.shard_parts import (
    MOST_PARTS,
    parts_of,
    run_find_parts,
    run_seal_parts,
    run_write_part,
)
from pipeline.workspace import Workspace
from schemas.errors import ShardError, WorkspaceError
from schemas.recipe import DegradeRecipe, Recipe
from schemas.store import SHARD_PAIRS
from tests.model.clip_fixtures import LOOKING_AROUND
from tests.pipeline.studio import tree
from tests.pipeline.test_shard import film, plan_of, with_facts

PAIRS = 3 * SHARD_PAIRS + 20

SHIFTED = ((1.0, 0.0, 2.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0))

RECIPES = {
    "m3svd": Recipe(),
    "looking back": Recipe(degrade=LOOKING_AROUND),
    "handheld": Recipe(degrade=DegradeRecipe(preset="handheld")),
    "radio link": Recipe(degrade=DegradeRecipe(preset="radio-link")),
}


@pytest.mark.parametrize("pairs", [1, 63, 64, 65, 500, 6400, 100_001, 1_080_000])
@pytest.mark.parametrize("least", [64, 200, 3200])
def test_parts_are_whole_shards_and_cover_a_clip_once(pairs: int, least: int) -> None:
    parts = parts_of("dock-000000", pairs, least)

    assert [part.first_pair for part in parts] == [0, *(part.end_pair for part in parts[:-1])]
    assert parts[-1].end_pair == pairs
    assert all(part.first_pair % SHARD_PAIRS == 0 for part in parts)
    assert all(part.first_pair < part.end_pair for part in parts)
    assert len(parts) <= MOST_PARTS
    lengths = [part.end_pair - part.first_pair for part in parts]
    assert max(lengths) - min(lengths) <= 2 * SHARD_PAIRS
    assert len(parts) == 1 or min(lengths) >= least - SHARD_PAIRS


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", RECIPES)
def test_a_clip_of_parts_equals_one_that_was_written_at_once(
    name: str, dtype: type, tmp_path: Path
) -> None:
    film(tmp_path / "raw", PAIRS, dtype=dtype)
    plan = plan_of(
        tmp_path / "raw", RECIPES[name], registered=False, homography=SHIFTED, offset_s=0.0
    )
    at_once, in_parts = Workspace(tmp_path / "once"), Workspace(tmp_path / "parts")
    for workspace in (at_once, in_parts):
        with_facts(plan, workspace, SHIFTED, (8, 4, 40, 32))

    expected = run_shard(plan, at_once)
    (clip,) = run_cut(plan, in_parts).clips
    parts = parts_of(clip.about.clip, clip.about.pairs, SHARD_PAIRS)
    written = [run_write_part(plan, part, in_parts) for part in reversed(parts)]
    made = run_seal_parts(plan, written, in_parts)

    assert len(parts) == 3
    assert made == expected
    assert tree(in_parts.root / "clips") == tree(at_once.root / "clips")
    assert tree(in_parts.root / "staging") == {}
    assert run_shard(plan, in_parts) == expected


def test_a_lost_part_is_an_error_and_seals_nothing(tmp_path: Path) -> None:
    film(tmp_path / "raw", PAIRS)
    plan, workspace = plan_of(tmp_path / "raw"), Workspace(tmp_path / "work")
    with_facts(plan, workspace)
    (clip,) = run_cut(plan, workspace).clips
    parts = parts_of(clip.about.clip, clip.about.pairs, SHARD_PAIRS)

    written = [run_write_part(plan, part, workspace) for part in (parts[0], parts[2])]

    with pytest.raises(WorkspaceError, match="from pair 64 on is gone; build again"):
        run_seal_parts(plan, written, workspace)
    assert tree(workspace.root / "clips") == {}


def test_short_recordings_and_those_that_stand_are_not_split(tmp_path: Path) -> None:
    film(tmp_path / "raw", PAIRS)
    plan, workspace = plan_of(tmp_path / "raw"), Workspace(tmp_path / "work")
    with_facts(plan, workspace)

    assert run_find_parts(plan, workspace) == []


def test_a_stream_that_ends_early_is_told_by_its_part(tmp_path: Path) -> None:
    film(tmp_path / "raw", PAIRS)
    plan, workspace = plan_of(tmp_path / "raw"), Workspace(tmp_path / "work")
    with_facts(plan, workspace)
    (clip,) = run_cut(plan, workspace).clips
    last = parts_of(clip.about.clip, clip.about.pairs, SHARD_PAIRS)[-1]
    film(tmp_path / "short", PAIRS - 5)
    (tmp_path / "short" / "visible.mp4").replace(tmp_path / "raw" / "visible.mp4")

    with pytest.raises(ShardError, match="the file ends before it"):
        run_write_part(plan, last, workspace)
    assert tree(workspace.root / "staging") == {}
