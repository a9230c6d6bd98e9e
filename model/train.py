"""The training of VideoFusion: windows of clips in, weights and their log out."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from model.checkpoint import save_checkpoint
from model.loader import Batch, WindowLoader, Windows, collate, to_device
from model.losses import LossTerms, loss_terms
from model.network import VideoFusion
from schemas.errors import TrainError
from schemas.training import TrainingRecipe, TrainingStep

WEIGHTS_NAME = "weights.safetensors"
RECIPE_NAME = "recipe.json"
LOG_NAME = "steps.jsonl"
"""Files of a run folder, beside TensorBoard's event files."""

Report = Callable[[int, float], None]
"""Told the number of each finished step, from 1, and its loss."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind."""

    checkpoint: Path
    log: Path
    """One `TrainingStep` a line, as JSON."""
    steps: int
    first_loss: float
    last_loss: float


def learning_rate(step: int, recipe: TrainingRecipe) -> float:
    """The rate of `step`, counted from 1: linear warm-up, then half a cosine to the final rate.

    The official code runs the cosine over a fixed 500,000 steps and never reaches its end; here it
    ends with the run (MODEL.md section 2.6).
    """
    if step <= recipe.warm_up:
        return recipe.learning_rate * step / recipe.warm_up
    progress = (step - recipe.warm_up) / (recipe.steps - recipe.warm_up)
    height = recipe.learning_rate - recipe.final_learning_rate
    return recipe.final_learning_rate + height * (1 + math.cos(math.pi * progress)) / 2


def initial_network(recipe: TrainingRecipe) -> VideoFusion:
    """An untrained network; its weights follow from the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return VideoFusion(recipe.network)


def batches(windows: Windows, recipe: TrainingRecipe, *, workers: int) -> Iterator[Batch]:
    """Batches without end: every window once an epoch, in an order the seed and epoch decide."""
    loader = WindowLoader(windows, batch=recipe.batch, seed=recipe.seed, workers=workers)
    while True:
        yield from loader


def train_step(
    network: VideoFusion, optimizer: torch.optim.Optimizer, batch: Batch, recipe: TrainingRecipe
) -> tuple[LossTerms, Tensor]:
    """Compute the loss of one batch and its gradients, clipped; the optimiser has yet to step.

    Args:
        network: on the device to train on.
        optimizer: holds the network's parameters.
        batch: on any device.
        recipe: its `losses` and `gradient_clip` are used.

    Returns:
        The weighted terms, and the norm of all gradients before clipping.
    """
    device = next(network.parameters()).device
    frames = to_device(batch, device)
    optimizer.zero_grad(set_to_none=True)
    output = network(frames["infrared_degraded"], frames["visible_degraded"])
    terms = loss_terms(output, frames["infrared"], frames["visible"], recipe.losses)
    torch.autograd.backward(terms.total)
    norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
    return terms, norm


def mean_loss(network: VideoFusion, windows: Windows, recipe: TrainingRecipe, count: int) -> float:
    """The loss of a network as it stands, over windows spread evenly over a data set.

    Args:
        network: on the device to compute on.
        windows: at least one; the same network and windows give the same loss.
        recipe: its `losses` and `batch` are used.
        count: windows to take; all where there are fewer.
    """
    device = next(network.parameters()).device
    count = min(count, len(windows))
    chosen = [(2 * number + 1) * len(windows) // (2 * count) for number in range(count)]
    total = 0.0
    with torch.no_grad():
        for first in range(0, count, recipe.batch):
            part = chosen[first : first + recipe.batch]
            frames = to_device(collate([windows[index] for index in part]), device)
            output = network(frames["infrared_degraded"], frames["visible_degraded"])
            terms = loss_terms(output, frames["infrared"], frames["visible"], recipe.losses)
            total += len(part) * terms.total.item()
    return total / count


def train(
    windows: Windows,
    recipe: TrainingRecipe,
    run_folder: Path,
    report: Report | None = None,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> TrainingResult:
    """Train a network from its first weights and save it.

    Two runs of the same recipe on the same windows give the same bytes on a CPU with the same
    number of threads; `workers` changes nothing but the speed.

    Args:
        windows: a map-style data set of windows, uint8.
        recipe: the choices.
        run_folder: where weights, recipe, log and TensorBoard's files go; made if need be.
        report: called after every step.
        device: where to compute.
        workers: processes that read windows; 0 reads in this one.

    Raises:
        TrainError: there are no windows, the folder holds a finished run or cannot be written, or
            the loss is no longer a number.
        CheckpointError: the weights cannot be written.
    """
    if not len(windows):
        raise TrainError(
            f"there is no window of {recipe.frames} pairs to train on; build and release clips of "
            "the train split with at least as many pairs, or lower the recipe's frames"
        )
    checkpoint, log = run_folder / WEIGHTS_NAME, run_folder / LOG_NAME
    if checkpoint.exists():
        raise TrainError(
            f"{checkpoint} is the end of a finished run; choose another run folder or remove it"
        )
    network = initial_network(recipe).to(device).train()
    optimizer = torch.optim.AdamW(
        [p for p in network.parameters() if p.requires_grad],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    losses: list[float] = []
    with _run_log(run_folder, recipe) as write:
        for step, batch in zip(
            range(1, recipe.steps + 1), batches(windows, recipe, workers=workers), strict=False
        ):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe)
            terms, norm = train_step(network, optimizer, batch, recipe)
            record = training_step(step, terms, norm, recipe)
            optimizer.step()
            write(record)
            losses.append(record.loss)
            if report is not None:
                report(step, record.loss)
    save_checkpoint(network, checkpoint, training=recipe)
    return TrainingResult(checkpoint, log, len(losses), losses[0], losses[-1])


def training_step(
    step: int, terms: LossTerms, norm: Tensor, recipe: TrainingRecipe
) -> TrainingStep:
    """The numbers of one step, for the log.

    Raises:
        TrainError: the loss or a gradient is infinite or not a number.
    """
    # One copy from the device a step, after all its work is queued.
    *values, total, gradient_norm = torch.stack([*terms, terms.total, norm]).tolist()
    named = dict(zip(LossTerms._fields, values, strict=True))
    if not (math.isfinite(total) and math.isfinite(gradient_norm)):
        shown = ", ".join(f"{name} {value:g}" for name, value in named.items())
        raise TrainError(
            f"step {step}: the loss is {total:g} and the norm of the gradients {gradient_norm:g} "
            f"({shown}); lower the learning rate, now {learning_rate(step, recipe):g}, or check "
            "the clips"
        )
    return TrainingStep(
        step=step,
        loss=total,
        gradient_norm=gradient_norm,
        learning_rate=learning_rate(step, recipe),
        **named,
    )


@contextlib.contextmanager
def _run_log(run_folder: Path, recipe: TrainingRecipe) -> Iterator[Callable[[TrainingStep], None]]:
    """Keep the recipe, and write every step to the log and to TensorBoard."""
    with contextlib.ExitStack() as open_files:
        with _writing(run_folder):
            run_folder.mkdir(parents=True, exist_ok=True)
            (run_folder / RECIPE_NAME).write_text(recipe.model_dump_json(indent=2) + "\n")
            log = open_files.enter_context((run_folder / LOG_NAME).open("w"))
            board = open_files.enter_context(SummaryWriter(str(run_folder)))

        def write(record: TrainingStep) -> None:
            with _writing(run_folder):
                log.write(record.model_dump_json() + "\n")
                log.flush()
                for name, value in record.model_dump(exclude={"step"}).items():
                    board.add_scalar(f"train/{name}", value, record.step)

        yield write


@contextlib.contextmanager
def _writing(run_folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainError(
            f"{run_folder}: the run's log cannot be written: {error.strerror}; "
            "free space or choose another run folder"
        ) from error
