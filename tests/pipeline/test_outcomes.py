"""An outcome holds as long as the files, the recipe and the sealed stores are what they were."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ingest import run_ingest
from pipeline.outcomes import current_outcome, final_fingerprint, run_reject
from pipeline.register import run_register
from pipeline.shard import run_find_whole, run_shard
from pipeline.sync import run_sync
from pipeline.video_files import write_video
from pipeline.workspace import Workspace
from schemas.catalog import Camera, Recording, RecordingPlan, Review, Rig
from schemas.errors import ShardError
from schemas.facts import ShardFacts
from schemas.recipe import Recipe
from tests.pipeline.studio import flip_a_byte

WIDTH, HEIGHT, PAIRS, FPS = 64, 48, 9, 25.0


def film(folder: Path, *, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name, shape in (("infrared", (HEIGHT, WIDTH)), ("visible", (HEIGHT, WIDTH, 3))):
        frames = rng.integers(0, 256, (PAIRS, *shape), np.uint8)
        write_video(folder / f"{name}.mp4", frames, fps=FPS, codec="h264")


def plan_of(root: Path, recipe: Recipe | None = None, **fields: Any) -> RecordingPlan:
    camera = Camera(width=WIDTH, height=HEIGHT)
    named = {"id": "dock", "site": "harbour", "registered": True}
    videos = {"infrared": "infrared.mp4", "visible": "visible.mp4"}
    return RecordingPlan(
        recording=Recording.model_validate(named | videos | fields),
        session="spring",
        rig=Rig(id="mast", infrared=camera, visible=camera),
        data_root=root,
        recipe=recipe or Recipe(),
    )


def build(plan: RecordingPlan, workspace: Workspace) -> ShardFacts:
    for step in (run_ingest, run_sync, run_register):
        step(plan, workspace)
    return run_shard(plan, workspace)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    film(tmp_path / "data", seed=1)
    return tmp_path / "data"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def test_what_was_built_stands_until_something_changes(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    assert current_outcome(plan, workspace) is None

    built = build(plan, workspace)

    assert current_outcome(plan, workspace) == built
    assert built.fingerprint == final_fingerprint(plan)


def test_other_content_of_a_video_makes_an_outcome_old(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    build(plan, workspace)

    film(root, seed=2)

    assert current_outcome(plan, workspace) is None


def test_the_dates_of_files_decide_nothing(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    built = build(plan, workspace)

    for path in root.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)

    assert current_outcome(plan, workspace) == built


def test_another_recipe_makes_an_outcome_old(root: Path, workspace: Workspace) -> None:
    build(plan_of(root), workspace)

    other = plan_of(root, Recipe.model_validate({"degrade": {"visible": []}}))

    assert current_outcome(other, workspace) is None


def test_a_lost_store_makes_an_outcome_old(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    build(plan, workspace)

    shutil.rmtree(workspace.root / "clips")

    assert current_outcome(plan, workspace) is None


def test_a_store_with_a_shard_cut_short_is_not_whole(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    built = build(plan, workspace)
    assert run_find_whole(built, workspace)
    shard = next(path for path in workspace.root.glob("clips/*/*/visible/c/**/*") if path.is_file())

    shard.write_bytes(shard.read_bytes()[:-1])

    assert not run_find_whole(built, workspace)


def test_a_store_of_another_root_hash_is_not_the_one_that_was_built(
    root: Path, workspace: Workspace
) -> None:
    built = build(plan_of(root), workspace)
    clips = (built.clips[0].model_copy(update={"root_hash": "ab" * 32}),)

    assert not run_find_whole(built.model_copy(update={"clips": clips}), workspace)


def test_a_damaged_outcome_is_none(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    build(plan, workspace)

    workspace.facts("dock", "shard").write_text("{")

    assert current_outcome(plan, workspace) is None


def test_an_outcome_with_a_damaged_fingerprint_is_none(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    build(plan, workspace)
    path = workspace.facts("dock", "shard")

    flip_a_byte(path)

    outcome = current_outcome(plan, workspace)
    assert outcome is None or run_find_whole(outcome, workspace)


def test_a_rejection_stands_until_something_changes(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)

    outcome = run_reject(plan, "shard", ShardError("too short"), workspace)

    assert outcome.rejection is not None
    assert (outcome.rejection.stage, outcome.rejection.reason) == ("shard", "too short")
    assert current_outcome(plan, workspace) == outcome
    assert run_find_whole(outcome, workspace)
    film(root, seed=2)
    assert current_outcome(plan, workspace) is None


def test_a_recording_rejected_by_hand_needs_no_file(root: Path, workspace: Workspace) -> None:
    shutil.rmtree(root)
    review = Review(decision="reject", reason="a tarpaulin hangs before the lens")

    outcome = current_outcome(plan_of(root, review=review), workspace)

    assert outcome is not None
    assert outcome.rejection is not None
    assert outcome.rejection.stage == "review"
    assert outcome.rejection.reason == "a tarpaulin hangs before the lens"


def test_a_missing_video_makes_an_outcome_old(root: Path, workspace: Workspace) -> None:
    plan = plan_of(root)
    build(plan, workspace)
    (root / "visible.mp4").unlink()

    assert current_outcome(plan, workspace) is None
