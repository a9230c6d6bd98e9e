"""The paper's ablations, each without one part, trained and scored alike."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.ablate import ABLATIONS, PAPER_ABLATIONS, ablated
from flows.cli import main
from schemas.errors import TrainError
from schemas.training import LossWeights, TrainingRecipe
from tests.model.clip_fixtures import PlannedClip, write_release

RECIPE = """\
network: {channels: 16, blocks: [1, 1, 1], decoder_blocks: 1}
frames: 2
crop: 16
batch: 1
steps: 2
warm_up_steps: 1
"""


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_lacks_its_part_and_nothing_else(name: str) -> None:
    whole = TrainingRecipe()

    without = ablated(whole, name)

    changed = {
        (section, field)
        for section in ("network", "losses")
        for field in type(getattr(whole, section)).model_fields
        if getattr(getattr(whole, section), field) != getattr(getattr(without, section), field)
    }
    assert changed == ({ABLATIONS[name]} if name != "full" else set())
    assert without.model_copy(update={"network": whole.network, "losses": whole.losses}) == whole
    assert len(PAPER_ABLATIONS[name]) == 6


def test_a_recipe_that_lacks_a_part_already_is_refused() -> None:
    recipe = TrainingRecipe(losses=LossWeights(variation=0))

    with pytest.raises(TrainError, match=r"losses.variation 0.0 already"):
        ablated(recipe, "without-variation-loss")


def test_all_are_trained_and_scored_and_a_second_call_trains_nothing(tmp_path: Path) -> None:
    plans = (PlannedClip("dock-1", pairs=9), PlannedClip("pier-1", pairs=9, split="test"))
    shelf = write_release(tmp_path, *plans)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    out = tmp_path / "runs"
    words = ["ablate", str(shelf.release), "--recipe", str(tmp_path / "recipe.yaml")]
    words += ["--out", str(out), "--json"]

    first = CliRunner().invoke(main, words)
    trained = {name: (out / name / "weights.safetensors").stat().st_mtime_ns for name in ABLATIONS}
    second = CliRunner().invoke(main, words)

    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    names = [Path(one["settings"]["fused"]).stem for one in document["subjects"]]
    assert names == list(ABLATIONS)
    assert len({one["overall"]["SD"] for one in document["subjects"]}) == len(ABLATIONS)
    assert set(document["paper"]) == set(ABLATIONS)
    assert json.loads(second.stdout).get("subjects") == document["subjects"], second.stdout
    assert trained == {
        name: (out / name / "weights.safetensors").stat().st_mtime_ns for name in ABLATIONS
    }
    assert "without-cmgf" in (out / "scores" / "table.tex").read_text()
