"""One step of the training: the loss of some windows, its gradients and its numbers."""

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.loader import Batch, WindowLoader, to_device
from model.losses import LossTerms, loss_terms
from model.network import VideoFusion
from model.train_validation import fused_video
from schemas.errors import TrainError
from schemas.training import TrainingRecipe, TrainingStep


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


def batches(loader: WindowLoader) -> Iterator[Batch]:
    """Batches without end: every window once an epoch, in an order the seed and epoch decide."""
    while True:
        yield from loader


def train_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, recipe: TrainingRecipe
) -> tuple[LossTerms, Tensor]:
    """Compute the loss of one step and its gradients, clipped; the optimiser has yet to step.

    Args:
        network: VideoFusion, wrapped or not, on the device to train on.
        optimizer: holds the network's parameters.
        batch: on any device; more windows than the recipe's `batch` are taken in parts, whose
            gradients add up to those of all at once.
        recipe: its `losses`, `batch`, `precision` and `gradient_clip` are used.

    Returns:
        The weighted terms, and the norm of all gradients before clipping.
    """
    device = next(network.parameters()).device
    optimizer.zero_grad(set_to_none=True)
    windows = batch["visible"].shape[0]
    sums: list[Tensor] = []
    for first in range(0, windows, recipe.batch):
        part = {name: tensor[first : first + recipe.batch] for name, tensor in batch.items()}
        weight = part["visible"].shape[0] / windows
        is_last = first + recipe.batch >= windows
        with contextlib.nullcontext() if is_last else _unshared(network):
            frames = to_device(part, device)
            output = fused_video(network, frames, recipe)
            terms = loss_terms(output, frames["infrared"], frames["visible"], recipe.losses)
            torch.autograd.backward(terms.total * weight)
        sums.append(torch.stack(terms).detach() * weight)
    norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
    return LossTerms(*torch.stack(sums).sum(dim=0)), norm


def _unshared(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Leave gradients on this rank until the last part of a step has added its own."""
    if isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def training_step(
    step: int, numbers: list[float], recipe: TrainingRecipe, windows: Callable[[], list[str]]
) -> TrainingStep:
    """The numbers of one step, for the log.

    Args:
        step: from 1.
        numbers: every term in the order of `LossTerms`, their total, the norm of the gradients.
        recipe: of the run.
        windows: tells where the windows of the step lie; asked only if something is wrong.

    Raises:
        TrainError: the loss or a gradient is infinite or not a number.
    """
    *values, total, gradient_norm = numbers
    named = dict(zip(LossTerms._fields, values, strict=True))
    if not (math.isfinite(total) and math.isfinite(gradient_norm)):
        shown = ", ".join(f"{name} {value:g}" for name, value in named.items())
        raise TrainError(
            f"step {step}: the loss is {total:g} and the norm of the gradients {gradient_norm:g} "
            f"({shown}); lower the learning rate, now {learning_rate(step, recipe):g}, or check "
            "the clips; no weights were written, the states before this step stay. Its windows:"
            + "".join(f"\n  {window}" for window in windows())
        )
    return TrainingStep(
        step=step,
        loss=total,
        gradient_norm=gradient_norm,
        learning_rate=learning_rate(step, recipe),
        **named,
    )
