"""Training: it learns, repeats itself, keeps its books, and refuses what it cannot use."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing import (  # type: ignore[import-untyped]  # ships no types
    event_accumulator,
)
from torch import Tensor

from model.checkpoint import load_checkpoint
from model.loader import Batch, collate
from model.losses import LossTerms
from model.train import (
    batches,
    initial_network,
    learning_rate,
    mean_loss,
    train,
    train_step,
    training_step,
)
from schemas.errors import TrainError
from schemas.training import NetworkRecipe, TrainingRecipe, TrainingStep

SMALL = NetworkRecipe(channels=16, blocks=(1, 1, 1), decoder_blocks=1)


class MovingSquares:
    """Windows of a bright warm square on a coloured slope; the degraded frames are noisy."""

    def __init__(self, count: int, *, frames: int = 2, crop: int = 16) -> None:
        self.count, self.frames, self.crop = count, frames, crop
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        slope = torch.linspace(20, 200, self.crop).expand(self.frames, 3, self.crop, self.crop)
        visible = slope * torch.tensor([1.0, 0.6, 0.3]).view(1, 3, 1, 1)
        infrared = torch.full((self.frames, 1, self.crop, self.crop), 40.0)
        for frame in range(self.frames):
            infrared[frame, :, index + frame : index + frame + 6, 4:10] = 230
        generator = torch.Generator().manual_seed(index)

        def noisy(clean: Tensor) -> Tensor:
            return clean + 4 * torch.randn(clean.shape, generator=generator)

        videos = {
            "infrared": infrared,
            "visible": visible,
            "infrared_degraded": noisy(infrared),
            "visible_degraded": noisy(visible),
        }
        return {name: v.round().clamp(0, 255).to(torch.uint8) for name, v in videos.items()}

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        assert state == {}


def recipe(**choices: object) -> TrainingRecipe:
    usual = {"network": SMALL, "frames": 2, "crop": 16, "batch": 2, "steps": 3}
    return TrainingRecipe.model_validate(usual | choices)


def test_training_lowers_the_loss_markedly(tmp_path: Path) -> None:
    windows = MovingSquares(2)

    result = train(windows, recipe(steps=40, learning_rate=1e-3), tmp_path / "run")

    assert result.steps == 40
    assert result.last_loss < 0.6 * result.first_loss


def test_the_mean_loss_is_that_of_all_windows_whatever_the_batch() -> None:
    windows, choices = MovingSquares(3), recipe(batch=3)
    network = initial_network(choices)
    whole = collate([windows[index] for index in range(3)])
    terms, _ = train_step(network, torch.optim.AdamW(network.parameters()), whole, choices)

    for batch in (1, 2, 3):
        found = mean_loss(network, windows, recipe(batch=batch), 8)
        assert found == pytest.approx(terms.total.item(), rel=1e-5)


def test_the_saved_weights_are_the_trained_ones(tmp_path: Path) -> None:
    windows, choices = MovingSquares(2), recipe(steps=20, learning_rate=2e-3)
    result = train(windows, choices, tmp_path / "run")
    batch = next(batches(windows, choices, workers=0))

    network = load_checkpoint(result.checkpoint)
    terms, _ = train_step(
        network, torch.optim.AdamW(p for p in network.parameters()), batch, choices
    )

    assert result.checkpoint == tmp_path / "run" / "weights.safetensors"
    assert terms.total.item() <= result.first_loss
    assert terms.total.item() == pytest.approx(result.last_loss, rel=0.1)


def test_two_runs_give_the_same_bytes_whoever_reads_the_windows(tmp_path: Path) -> None:
    runs = [
        train(MovingSquares(3), recipe(), tmp_path / f"run-{workers}", workers=workers)
        for workers in (0, 1)
    ]

    one, other = (run.checkpoint.read_bytes() for run in runs)
    assert one == other
    assert runs[0].log.read_text() == runs[1].log.read_text()


def test_the_rate_of_the_step_reaches_the_optimiser(tmp_path: Path) -> None:
    standing_still = recipe(steps=1, warm_up_steps=0, final_learning_rate=0)

    result = train(MovingSquares(2), standing_still, tmp_path / "run")

    trained, first = load_checkpoint(result.checkpoint), initial_network(standing_still)
    for name, tensor in first.state_dict().items():
        assert torch.equal(trained.state_dict()[name], tensor), name


def test_another_seed_gives_other_weights() -> None:
    one, other = (initial_network(recipe(seed=seed)).state_dict() for seed in (0, 1))

    assert not torch.equal(one["up_1.0.weight"], other["up_1.0.weight"])


def test_making_a_network_leaves_the_random_state_of_the_caller_alone() -> None:
    before = torch.random.get_rng_state()

    initial_network(recipe())

    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_step_is_reported_and_logged(tmp_path: Path) -> None:
    reported: list[tuple[int, float]] = []

    result = train(
        MovingSquares(2),
        recipe(),
        tmp_path / "run",
        report=lambda step, loss: reported.append((step, loss)),
    )

    lines = result.log.read_text().splitlines()
    logged = [TrainingStep.model_validate_json(line) for line in lines]
    board = event_accumulator.EventAccumulator(str(tmp_path / "run"))
    board.Reload()
    shown = [(event.step, event.value) for event in board.Scalars("train/loss")]
    assert [step for step, _ in reported] == [1, 2, 3]
    assert [(record.step, record.loss) for record in logged] == reported
    assert shown == [(step, pytest.approx(loss, rel=1e-6)) for step, loss in reported]
    for record in logged:
        terms = [getattr(record, name) for name in LossTerms._fields]
        assert sum(terms) == pytest.approx(record.loss, rel=1e-5)


def test_the_recipe_lies_beside_the_weights(tmp_path: Path) -> None:
    train(MovingSquares(1), recipe(steps=1), tmp_path / "run")

    text = (tmp_path / "run" / "recipe.json").read_text()

    assert TrainingRecipe.model_validate_json(text) == recipe(steps=1)


def test_every_epoch_shows_every_window_once_in_another_order() -> None:
    windows = MovingSquares(6)

    taken = list(itertools.islice(batches(windows, recipe(), workers=0), 6))

    tops = [
        (window[0, 0, :, 4] == 230).int().argmax().item()
        for batch in taken
        for window in batch["infrared"]
    ]
    assert windows.epochs == [0, 1]
    assert sorted(tops[:6]) == sorted(tops[6:]) == list(range(6))
    assert tops[:6] != tops[6:]


def test_fewer_windows_than_a_batch_still_train() -> None:
    batch = next(batches(MovingSquares(1), recipe(batch=8), workers=0))

    assert batch["infrared"].shape == (1, 2, 1, 16, 16)


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    network = initial_network(recipe())
    optimizer = torch.optim.AdamW(network.parameters())

    _, norm = train_step(
        network, optimizer, next(batches(MovingSquares(2), recipe(), workers=0)), recipe()
    )

    clipped = torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None])
    assert norm > 0.01
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3)


@given(steps=st.integers(1, 500), warm_up=st.integers(0, 500))
def test_the_rate_rises_in_a_line_then_falls_to_the_final_rate(steps: int, warm_up: int) -> None:
    choices = recipe(steps=steps, warm_up_steps=min(warm_up, steps))

    rates = [learning_rate(step, choices) for step in range(1, steps + 1)]

    rising, falling = rates[: choices.warm_up], rates[choices.warm_up :]
    assert rising == pytest.approx([1e-4 * (i + 1) / choices.warm_up for i in range(len(rising))])
    assert falling == sorted(falling, reverse=True)
    assert max(rates) <= 1e-4 * (1 + 1e-12)
    if falling:
        assert rates[-1] == pytest.approx(1e-6)


def test_halfway_down_the_cosine_the_rate_is_the_mean() -> None:
    choices = recipe(steps=110, warm_up_steps=10)

    assert learning_rate(60, choices) == pytest.approx((1e-4 + 1e-6) / 2)


def test_warm_up_defaults_to_the_official_share() -> None:
    assert TrainingRecipe().warm_up == 5000
    assert recipe(steps=440).warm_up == 10


def test_no_windows_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"no window of 2 pairs.*build and release"):
        train(MovingSquares(0), recipe(), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_never_overwritten(tmp_path: Path) -> None:
    result = train(MovingSquares(1), recipe(steps=1), tmp_path / "run")
    before = result.checkpoint.read_bytes()

    with pytest.raises(TrainError, match=r"weights.safetensors is the end of a finished run"):
        train(MovingSquares(1), recipe(steps=1, seed=1), tmp_path / "run")

    assert result.checkpoint.read_bytes() == before


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")

    with pytest.raises(TrainError, match=r"run.deeper: the run's log cannot be written"):
        train(MovingSquares(1), recipe(steps=1), tmp_path / "run" / "deeper")


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_step(broken: float) -> None:
    terms = LossTerms(*(torch.tensor(v) for v in (1.0, 2.0, broken, 0.0, 0.0, 0.0, 0.0)))

    with pytest.raises(TrainError, match=rf"step 7: the loss is {broken:g}.*color {broken:g}"):
        training_step(7, terms, torch.tensor(1.0), recipe(steps=9))


def test_a_gradient_that_is_no_number_names_the_step() -> None:
    terms = LossTerms(*(torch.tensor(1.0) for _ in LossTerms._fields))

    with pytest.raises(TrainError, match=r"step 2: .*norm of the gradients inf"):
        training_step(2, terms, torch.tensor(math.inf), recipe())


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"crop": 18}, "multiple of 4"),
        ({"frames": 1}, "greater than or equal to 2"),
        ({"final_learning_rate": 1e-3}, "make it the smaller one"),
        ({"warm_up_steps": 4}, "more than the 3 steps"),
        ({"network": {"channels": 24}}, "multiple of 16"),
        ({"stepps": 4}, "Extra inputs"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    choices: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        recipe(**choices)
