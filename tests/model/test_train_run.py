"""Runs that are stopped, shared, averaged, judged and begun from weights."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_checkpoint, save_checkpoint
from model.loader import WindowLoader
from model.train import (
    BEST_NAME,
    WEIGHTS_NAME,
    FirstWeights,
    Material,
    Means,
    TrainingResult,
    train,
)
from model.train_log import STEPS_NAME, VALIDATIONS_NAME
from model.train_state import new_learner, save_state, states
from model.train_step import batches, initial_network, learning_rate, train_step
from model.train_validation import validated
from schemas.errors import TrainError
from schemas.training import TrainingRecipe
from schemas.training_run import TrainingState, TrainingValidation
from tests.model.test_train import MovingSquares, recipe, trained

WINDOWS = 5
"""No multiple of a batch, so that batches cross the ends of epochs."""


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    return load_checkpoint(result.checkpoint).state_dict()


def stopping_after(steps: int) -> Means:
    """Means of a run that is asked to stop in its step of that number."""
    done: list[int] = []
    return Means(
        report=lambda step, _loss: done.append(step), is_stopped=lambda: done[-1:] == [steps]
    )


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_run_stopped_in_mid_epoch_ends_as_an_undisturbed_one(
    tmp_path: Path, ema_decay: float | None
) -> None:
    choices = recipe(steps=7, ema_decay=ema_decay, checkpoint_every=100)
    whole = trained(MovingSquares(WINDOWS), choices, tmp_path / "whole")

    stopped = trained(MovingSquares(WINDOWS), choices, tmp_path / "run", stopping_after(3))
    resumed = trained(MovingSquares(WINDOWS), choices, tmp_path / "run")

    assert (stopped.ended, stopped.steps) == ("interrupted", 3)
    assert stopped.checkpoint.exists()
    assert (resumed.ended, resumed.steps) == ("finished", 7)
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert resumed.log.read_text() == whole.log.read_text()


def test_steps_beyond_the_last_state_are_done_again_and_logged_once(tmp_path: Path) -> None:
    choices = recipe(steps=6, checkpoint_every=2)
    whole = trained(MovingSquares(WINDOWS), choices, tmp_path / "whole")
    trained(MovingSquares(WINDOWS), choices, tmp_path / "run", stopping_after(5))
    latest = states(tmp_path / "run")[-1]
    latest.unlink()  # as if the process had been killed before it wrote its last state
    with (tmp_path / "run" / STEPS_NAME).open("a") as log:
        log.write('{"step": 6, "los')  # and in the middle of a line

    resumed = trained(MovingSquares(WINDOWS), choices, tmp_path / "run")

    assert latest.name.endswith("5.safetensors")
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert resumed.log.read_text() == whole.log.read_text()


def test_a_step_of_two_batches_is_that_of_one_of_both(tmp_path: Path) -> None:
    at_once = trained(MovingSquares(4), recipe(batch=4), tmp_path / "whole")
    in_parts = trained(MovingSquares(4), recipe(batch=2, accumulate=2), tmp_path / "parts")

    found = weights(in_parts)
    for name, tensor in weights(at_once).items():
        assert torch.allclose(found[name], tensor, atol=2e-5), name
    assert in_parts.last_loss == pytest.approx(at_once.last_loss, rel=1e-5)


def test_the_average_of_the_weights_is_what_is_saved(tmp_path: Path) -> None:
    windows, choices = MovingSquares(2), recipe(steps=3, ema_decay=0.75)
    network = initial_network(choices).train()
    optimizer = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad], weight_decay=choices.weight_decay
    )
    average: dict[str, torch.Tensor] = {}
    loader = WindowLoader(windows, batch=choices.batch, seed=choices.seed)
    for step, batch in enumerate(itertools.islice(batches(loader), 3), 1):
        optimizer.param_groups[0]["lr"] = learning_rate(step, choices)
        train_step(network, optimizer, batch, choices)
        optimizer.step()
        for name, tensor in network.state_dict().items():
            before = average.get(name, tensor)  # the average begins with the first step's weights
            average[name] = (0.75 * before + 0.25 * tensor).clone()

    result = trained(windows, choices, tmp_path / "run")

    for name, tensor in weights(result).items():
        assert torch.allclose(tensor, average[name], atol=1e-6), name


def test_bfloat16_trains_where_the_processor_has_units_for_it_and_is_refused_elsewhere(
    tmp_path: Path,
) -> None:
    choices = recipe(steps=20, precision="bfloat16", learning_rate=1e-3)
    capabilities = torch.cpu.get_capabilities()
    if any(capabilities.get(unit, False) for unit in ("amx_bf16", "avx512_bf16", "bf16")):
        result = trained(MovingSquares(2), choices, tmp_path / "run")

        assert result.first_loss is not None
        assert result.last_loss is not None
        assert result.last_loss < 0.8 * result.first_loss
        assert {t.dtype for t in weights(result).values()} == {torch.float32}
    else:
        with pytest.raises(TrainError, match="no units for it"):
            trained(MovingSquares(2), choices, tmp_path / "run")


def test_a_gpu_that_is_too_small_is_told_with_the_remedy(tmp_path: Path) -> None:
    network = initial_network(recipe())

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    network.decode_fused.register_full_backward_hook(full)
    material = Material(MovingSquares(3), first=FirstWeights(network, "a" * 64))

    with pytest.raises(TrainError, match=r"step 1: .* batch: 2 windows; halve batch"):
        train(material, recipe(), tmp_path / "run")

    assert not (tmp_path / "run" / WEIGHTS_NAME).exists()


def test_a_network_that_is_no_number_names_the_step_and_its_windows(tmp_path: Path) -> None:
    network = initial_network(recipe())
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    material = Material(MovingSquares(3), first=FirstWeights(network, "a" * 64))

    with pytest.raises(TrainError) as caught:
        train(material, recipe(), tmp_path / "run")

    assert "step 1: the loss is nan" in str(caught.value)
    assert sum(f"square {index}" in str(caught.value) for index in range(3)) == 2
    assert not (tmp_path / "run" / WEIGHTS_NAME).exists()


def test_the_val_split_is_looked_at_before_the_first_step_and_the_best_weights_stay(
    tmp_path: Path,
) -> None:
    choices = recipe(steps=4, validate_every=2, learning_rate=1e-3, validation_windows=2)
    val = MovingSquares(3)

    result = train(Material(MovingSquares(2), val), choices, tmp_path / "run")

    lines = (tmp_path / "run" / VALIDATIONS_NAME).read_text().splitlines()
    found = [TrainingValidation.model_validate_json(line) for line in lines]
    assert [record.step for record in found] == [0, 2, 4]
    untrained = validated(initial_network(choices), val, choices, 2)
    assert found[0].loss == pytest.approx(untrained.loss, rel=1e-5)
    assert result.best == min(found, key=lambda record: record.loss)
    best = load_checkpoint(tmp_path / "run" / BEST_NAME)
    assert validated(best, val, choices, 2).loss == pytest.approx(result.best.loss, rel=1e-5)


def test_a_run_ends_early_when_the_val_split_gains_nothing_more(tmp_path: Path) -> None:
    standing_still = recipe(
        steps=9, validate_every=1, patience=2, learning_rate=1e-30, final_learning_rate=0
    )

    result = train(Material(MovingSquares(2), MovingSquares(1)), standing_still, tmp_path / "run")

    assert (result.ended, result.steps) == ("early", 2)
    assert result.checkpoint.exists()


def test_a_run_begins_from_the_weights_it_is_given(tmp_path: Path) -> None:
    first = initial_network(recipe(seed=5))
    standing_still = recipe(steps=1, warm_up_steps=0, final_learning_rate=0)
    material = Material(MovingSquares(2), first=FirstWeights(first, "b" * 64))

    result = train(material, standing_still, tmp_path / "run")

    for name, tensor in weights(result).items():
        assert torch.equal(tensor, first.state_dict()[name]), name
    assert '"first_weights": "bbbb' in (tmp_path / "run" / "run.json").read_text()


def test_weights_of_another_network_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    small = {"channels": 16, "blocks": (1, 1, 2), "decoder_blocks": 1}
    other = FirstWeights(initial_network(recipe(network=small)), "c" * 64)

    with pytest.raises(TrainError, match=r"blocks \(1, 1, 2\).*blocks \(1, 1, 1\)"):
        train(Material(MovingSquares(2), first=other), recipe(), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_another_recipe_does_not_go_on_with_a_run_and_every_difference_is_named(
    tmp_path: Path,
) -> None:
    trained(MovingSquares(2), recipe(), tmp_path / "run", stopping_after(1))

    with pytest.raises(TrainError) as caught:
        trained(MovingSquares(2), recipe(seed=3, crop=20), tmp_path / "run")

    assert "recipe.seed 0" in str(caught.value)
    assert "recipe.crop 16" in str(caught.value)


@pytest.mark.parametrize("length", [0, 100, -9])
def test_a_damaged_state_is_refused_by_name(tmp_path: Path, length: int) -> None:
    trained(MovingSquares(2), recipe(), tmp_path / "run", stopping_after(1))
    (state,) = states(tmp_path / "run")
    state.write_bytes(state.read_bytes()[:length])

    with pytest.raises(TrainError, match=rf"{state.name}: no state to go on from"):
        trained(MovingSquares(2), recipe(), tmp_path / "run")


def test_only_the_latest_states_are_kept(tmp_path: Path) -> None:
    learner = new_learner(initial_network(recipe()), TrainingRecipe(), "cpu")

    for step in (1, 2, 3):
        save_state(learner, TrainingState(step=step, loader={}), tmp_path, keep=2)

    assert [path.stem[-1] for path in states(tmp_path)] == ["2", "3"]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    seen: list[str] = []

    def train_there_too(_step: int, _loss: float) -> None:
        with pytest.raises(TrainError, match="being trained in by another process"):
            trained(MovingSquares(2), recipe(), tmp_path / "run")
        seen.append("refused")

    trained(MovingSquares(2), recipe(steps=1), tmp_path / "run", Means(report=train_there_too))

    assert seen == ["refused"]


def test_a_checkpoint_saved_in_between_is_a_whole_one(tmp_path: Path) -> None:
    save_checkpoint(initial_network(recipe()), tmp_path / "weights.safetensors")

    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
