"""Training: it learns, repeats itself, keeps its books, and refuses what it cannot use."""

import itertools
import math
from importlib import metadata
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
from model.loader import Batch, WindowLoader, collate
from model.losses import LossTerms
from model.train import Material, Means, TrainingResult, train
from model.train_log import RUN_NAME
from model.train_step import batches, initial_network, learning_rate, train_step, training_step
from model.train_validation import validated
from schemas.errors import TrainError
from schemas.training import LossWeights, NetworkRecipe, TrainingRecipe, TrainingStep
from schemas.training_run import TrainingRun

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

    def where(self, index: int) -> str:
        return f"square {index}"

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        assert state == {}


def recipe(**choices: object) -> TrainingRecipe:
    usual = {"network": SMALL, "frames": 2, "crop": 16, "batch": 2, "steps": 3}
    return TrainingRecipe.model_validate(usual | choices)


ALONE_HERE = Means()


def trained(
    windows: MovingSquares, choices: TrainingRecipe, folder: Path, means: Means = ALONE_HERE
) -> TrainingResult:
    return train(Material(windows), choices, folder, means)


def losses(result: TrainingResult) -> tuple[float, float]:
    """Of the first step and of the last one."""
    assert result.first_loss is not None
    assert result.last_loss is not None
    return result.first_loss, result.last_loss


def first_batch(windows: MovingSquares, choices: TrainingRecipe) -> Batch:
    return next(batches(WindowLoader(windows, batch=choices.batch, seed=choices.seed)))


def test_training_lowers_the_loss_markedly(tmp_path: Path) -> None:
    windows = MovingSquares(2)

    result = trained(windows, recipe(steps=40, learning_rate=1e-3), tmp_path / "run")

    first, last = losses(result)
    assert result.steps == 40
    assert result.ended == "finished"
    assert last < 0.6 * first


def test_the_validation_loss_is_that_of_all_windows_whatever_the_batch() -> None:
    windows, choices = MovingSquares(3), recipe(batch=3)
    network = initial_network(choices)
    whole = collate([windows[index] for index in range(3)])
    terms, _ = train_step(network, torch.optim.AdamW(network.parameters()), whole, choices)

    for batch in (1, 2, 3):
        found = validated(network, windows, recipe(batch=batch), 8).loss
        assert found == pytest.approx(terms.total.item(), rel=1e-5)


def test_the_saved_weights_are_the_trained_ones(tmp_path: Path) -> None:
    windows, choices = MovingSquares(2), recipe(steps=20, learning_rate=2e-3)
    result = trained(windows, choices, tmp_path / "run")
    batch = first_batch(windows, choices)

    network = load_checkpoint(result.checkpoint)
    terms, _ = train_step(
        network, torch.optim.AdamW(p for p in network.parameters()), batch, choices
    )

    assert result.checkpoint == tmp_path / "run" / "weights.safetensors"
    first, last = losses(result)
    assert terms.total.item() <= first
    assert terms.total.item() == pytest.approx(last, rel=0.1)


def test_two_runs_give_the_same_bytes_whoever_reads_the_windows(tmp_path: Path) -> None:
    runs = [
        trained(MovingSquares(3), recipe(), tmp_path / f"run-{workers}", Means(workers=workers))
        for workers in (0, 1)
    ]

    one, other = (run.checkpoint.read_bytes() for run in runs)
    assert one == other
    assert runs[0].log.read_text() == runs[1].log.read_text()


def test_the_rate_of_the_step_reaches_the_optimiser(tmp_path: Path) -> None:
    standing_still = recipe(steps=1, warm_up_steps=0, final_learning_rate=0)

    result = trained(MovingSquares(2), standing_still, tmp_path / "run")

    after, before = load_checkpoint(result.checkpoint), initial_network(standing_still)
    for name, tensor in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], tensor), name


def test_another_seed_gives_other_weights() -> None:
    one, other = (initial_network(recipe(seed=seed)).state_dict() for seed in (0, 1))

    assert not torch.equal(one["up_1.0.weight"], other["up_1.0.weight"])


def test_making_a_network_leaves_the_random_state_of_the_caller_alone() -> None:
    before = torch.random.get_rng_state()

    initial_network(recipe())

    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_step_is_reported_and_logged(tmp_path: Path) -> None:
    reported: list[tuple[int, float]] = []

    means = Means(report=lambda step, loss: reported.append((step, loss)))
    result = trained(MovingSquares(2), recipe(), tmp_path / "run", means)

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


def test_the_recipe_and_the_surroundings_lie_beside_the_weights(tmp_path: Path) -> None:
    trained(MovingSquares(1), recipe(steps=1), tmp_path / "run")

    run = TrainingRun.model_validate_json((tmp_path / "run" / RUN_NAME).read_bytes())

    assert run.recipe == recipe(steps=1)
    assert run.windows_per_step == 2
    (start,) = run.starts
    assert (start.after_step, start.ranks, start.torch) == (0, 1, torch.__version__)
    assert start.twinband == metadata.version("twinband")


def test_every_epoch_shows_every_window_once_in_another_order() -> None:
    windows = MovingSquares(6)

    taken = list(itertools.islice(batches(WindowLoader(windows, batch=2, seed=0)), 6))

    tops = [
        (window[0, 0, :, 4] == 230).int().argmax().item()
        for batch in taken
        for window in batch["infrared"]
    ]
    assert windows.epochs == [0, 1]
    assert sorted(tops[:6]) == sorted(tops[6:]) == list(range(6))
    assert tops[:6] != tops[6:]


def test_fewer_windows_than_a_batch_still_train() -> None:
    batch = first_batch(MovingSquares(1), recipe(batch=8))

    assert batch["infrared"].shape == (1, 2, 1, 16, 16)


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    network = initial_network(recipe())
    optimizer = torch.optim.AdamW(network.parameters())

    _, norm = train_step(network, optimizer, first_batch(MovingSquares(2), recipe()), recipe())

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
        trained(MovingSquares(0), recipe(), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_never_overwritten(tmp_path: Path) -> None:
    result = trained(MovingSquares(1), recipe(steps=1), tmp_path / "run")
    before = result.checkpoint.read_bytes()

    with pytest.raises(TrainError, match=r"weights.safetensors is the end of a finished run"):
        trained(MovingSquares(1), recipe(steps=1, seed=1), tmp_path / "run")

    assert result.checkpoint.read_bytes() == before


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")

    with pytest.raises(TrainError, match=r"run.deeper: the run's log cannot be written"):
        trained(MovingSquares(1), recipe(steps=1), tmp_path / "run" / "deeper")


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_step(broken: float) -> None:
    numbers = [1.0, 2.0, broken, 0.0, 0.0, 0.0, 0.0, broken, 1.0]

    with pytest.raises(TrainError, match=rf"step 7: the loss is {broken:g}.*color {broken:g}"):
        training_step(7, numbers, recipe(steps=9), list)


def test_a_gradient_that_is_no_number_names_the_step() -> None:
    numbers = [1.0] * (len(LossTerms._fields) + 1) + [math.inf]

    with pytest.raises(TrainError, match=r"step 2: .*norm of the gradients inf"):
        training_step(2, numbers, recipe(), list)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"crop": 18}, "multiple of 4"),
        ({"frames": 1}, "greater than or equal to 2"),
        ({"final_learning_rate": 1e-3}, "make it the smaller one"),
        ({"warm_up_steps": 4}, "more than the 3 steps"),
        ({"network": {"channels": 24}}, "multiple of 16"),
        ({"stepps": 4}, "Extra inputs"),
        ({"ema_decay": 1.0}, "less than 1"),
        ({"accumulate": 0}, "greater than or equal to 1"),
        ({"precision": "float16"}, "float32.*bfloat16"),
        ({"losses": dict.fromkeys(LossWeights.model_fields, 0)}, "nothing is learnt"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    choices: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        recipe(**choices)
