"""The training of VideoFusion: windows of clips in, weights and their log out."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import JsonValue
from torch import nn

from model.checkpoint import save_checkpoint
from model.loader import Batch, WindowLoader, Windows
from model.network import VideoFusion
from model.train_log import STEPS_NAME, RunLog, earlier_starts, open_log, sole_user, this_start
from model.train_ranks import ALONE, OtherRankError, Team, Word
from model.train_state import (
    Learner,
    load_state,
    new_learner,
    save_state,
    state_path,
    states,
)
from model.train_step import (
    batches,
    initial_network,
    learning_rate,
    train_step,
    training_step,
)
from model.train_validation import check_precision, validated, window_picture
from schemas.errors import TrainError, TwinbandError
from schemas.training import NetworkRecipe, TrainingRecipe
from schemas.training_run import TrainingData, TrainingRun, TrainingState, TrainingValidation

WEIGHTS_NAME = "weights.safetensors"
"""The result, of the last step."""

BEST_NAME = "best.safetensors"
"""The weights with the lowest validation loss."""

Report = Callable[[int, float], None]
"""Told the number of each finished step, from 1, and its loss."""


@dataclass(frozen=True)
class FirstWeights:
    """A trained network to begin from."""

    network: VideoFusion
    sha256: str
    """Of its checkpoint."""


@dataclass(frozen=True)
class Material:
    """What a run is trained on."""

    train: Windows
    val: Windows | None = None
    """None: no validation."""
    data: TrainingData | None = None
    """The release they come from; None: none."""
    first: FirstWeights | None = None
    """None: drawn by the recipe's seed."""


@dataclass(frozen=True)
class Means:
    """What a run is done with; nothing of it decides what is learnt."""

    team: Team = ALONE
    workers: int = 0
    """Processes of this rank that read windows; 0 reads in this one."""
    report: Report | None = None
    is_stopped: Callable[[], bool] = bool
    """Asked after every step whether to stop there and keep the state; false unless given."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind."""

    ended: Literal["finished", "early", "interrupted"]
    """At its last step, for want of improvement, or where it was asked to stop."""
    checkpoint: Path
    """The weights; of an interrupted run, the state that it goes on from."""
    log: Path
    """One `TrainingStep` a line, as JSON."""
    steps: int
    """Done since the first start."""
    first_loss: float | None
    last_loss: float | None
    """Of the first and the last of them; None on ranks that write no log."""
    best: TrainingValidation | None
    """None where nothing was validated, and on ranks that do not validate."""


@dataclass(frozen=True)
class _Run:
    """A run under way, on one rank."""

    material: Material
    recipe: TrainingRecipe
    folder: Path
    means: Means
    learner: Learner
    network: nn.Module
    """The learner's, with gradients shared by all ranks."""
    loader: WindowLoader
    log: RunLog | None
    """None where another rank writes."""
    shown: Batch
    """The window of the pictures."""


def train(
    material: Material, recipe: TrainingRecipe, run_folder: Path, means: Means = Means()
) -> TrainingResult:
    """Train a network and save it; a run that was killed or asked to stop goes on where it was.

    Two runs of the same recipe on the same windows give the same bytes on a CPU with the same
    number of threads, however often they are killed and started again; `means.workers` changes
    nothing but the speed. Ranks share the windows of a step, so that more of them give the same
    result only to rounding.

    Args:
        material: the windows, uint8.
        recipe: the choices.
        run_folder: where weights, states, logs and TensorBoard's files go; made if need be.
        means: what to do it with.

    Raises:
        TrainError: there are no windows, the folder holds a finished run or one of another recipe
            or release, or is in use or cannot be written, the device cannot do what the recipe
            asks for, or the loss is no longer a number.
        CheckpointError: the weights cannot be written.
        StoreError: a clip cannot be read.
    """
    team = means.team
    try:
        with contextlib.ExitStack() as held:
            _check_start(material, recipe, run_folder, team)
            if team.leads:
                held.enter_context(sole_user(run_folder))
            held.enter_context(_own_random_numbers(recipe, team))
            run, state = _started(material, recipe, run_folder, means, held)
            result = _trained(run, state)
            team.agree(Word.GO_ON)
            return result
    except OtherRankError:
        raise
    except TwinbandError:
        team.agree(Word.FAILED)
        raise


def _check_start(material: Material, recipe: TrainingRecipe, run_folder: Path, team: Team) -> None:
    if not len(material.train):
        raise TrainError(
            f"there is no window of {recipe.frames} pairs to train on; build and release clips of "
            "the train split with at least as many pairs, or lower the recipe's frames"
        )
    checkpoint = run_folder / WEIGHTS_NAME
    if checkpoint.exists():
        raise TrainError(
            f"{checkpoint} is the end of a finished run; choose another run folder or remove it"
        )
    check_precision(recipe, team.device)
    first = material.first
    if first is not None and first.network.recipe != recipe.network:
        raise TrainError(
            f"the weights to begin from are of the network {_shown(first.network.recipe)}, and the "
            f"recipe has {_shown(recipe.network)}; give the recipe that network, or other weights"
        )


def _shown(network: NetworkRecipe) -> str:
    return ", ".join(f"{name} {value}" for name, value in network.model_dump().items())


@contextlib.contextmanager
def _own_random_numbers(recipe: TrainingRecipe, team: Team) -> Iterator[None]:
    """Random numbers of the seed's, and those of the caller left alone."""
    with torch.random.fork_rng(devices=[team.device] if team.device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        yield


def _started(
    material: Material,
    recipe: TrainingRecipe,
    folder: Path,
    means: Means,
    held: contextlib.ExitStack,
) -> tuple[_Run, TrainingState]:
    """The run before its next step, and the state it is in; `held` closes what it opens."""
    team = means.team
    material.train.set_epoch(0)
    shown = (material.train if material.val is None else material.val)[0]
    loader = WindowLoader(
        material.train,
        batch=recipe.batch * recipe.accumulate,
        seed=recipe.seed,
        workers=means.workers,
        share=team.share,
    )
    first = material.first
    untrained = initial_network(recipe) if first is None else copy.deepcopy(first.network)
    learner = new_learner(untrained, recipe, team.device)
    saved = states(folder)
    state = TrainingState(step=0, loader=_place(loader))
    facts = TrainingRun(
        recipe=recipe,
        windows_per_step=recipe.batch * recipe.accumulate * team.share.ranks,
        data=material.data,
        first_weights=None if first is None else first.sha256,
        starts=(),
    )
    earlier = earlier_starts(folder, facts) if saved else ()
    if saved:
        state = load_state(learner, saved[-1])
        loader.load_state_dict(dict(state.loader))
    start = this_start(team, after_step=state.step, workers=means.workers)
    facts = facts.model_copy(update={"starts": (*earlier, start)})
    log = held.enter_context(open_log(folder, facts, state.step)) if team.leads else None
    team.agree(Word.GO_ON)
    network = team.wrapped(learner.network, whole=recipe.losses.reaches_all)
    return _Run(material, recipe, folder, means, learner, network, loader, log, shown), state


def _place(loader: WindowLoader) -> dict[str, JsonValue]:
    return cast(dict[str, JsonValue], loader.state_dict())


def _trained(run: _Run, state: TrainingState) -> TrainingResult:
    """Do the steps that are left, and save the result."""
    coming = batches(run.loader)
    state, word = _settled(run, state)
    while word is Word.GO_ON and state.step < run.recipe.steps:
        batch, word = _next_batch(run, coming)
        if word is Word.GO_ON:
            state = _stepped(run, state, batch)
            word = run.means.team.agree(Word.STOP if run.means.is_stopped() else Word.GO_ON)
        if word is Word.STOP and state.step < run.recipe.steps:
            _keep(run, state)
            return _result(run, state, "interrupted", state_path(run.folder, state.step))
        state, word = _settled(run, state)
    checkpoint = run.folder / WEIGHTS_NAME
    is_early = word is Word.ENOUGH and state.step < run.recipe.steps
    if run.means.team.leads:
        save_checkpoint(run.learner.result, checkpoint, training=run.recipe)
    return _result(run, state, "early" if is_early else "finished", checkpoint)


def _result(
    run: _Run,
    state: TrainingState,
    ended: Literal["finished", "early", "interrupted"],
    checkpoint: Path,
) -> TrainingResult:
    return TrainingResult(
        ended=ended,
        checkpoint=checkpoint,
        log=run.folder / STEPS_NAME,
        steps=state.step,
        first_loss=run.log.first_loss if run.log else None,
        last_loss=run.log.last_loss if run.log else None,
        best=state.best,
    )


def _next_batch(run: _Run, coming: Iterator[Batch]) -> tuple[Batch, Word]:
    """The batch of the next step, and whether all ranks have one."""
    batch: Batch = {}
    word = Word.GO_ON
    try:
        batch = next(coming)
    except TrainError:
        if not run.means.is_stopped():
            raise
        word = Word.STOP  # the signal that stops this process has ended those that read for it
    return batch, run.means.team.agree(word)


def _stepped(run: _Run, state: TrainingState, batch: Batch) -> TrainingState:
    """Do one step and write it down.

    Raises:
        TrainError: the loss or a gradient is no number, on every rank alike, or the GPU's memory
            is too small; the weights are still those of the step before.
    """
    step = state.step + 1
    for group in run.learner.optimizer.param_groups:
        group["lr"] = learning_rate(step, run.recipe)
    try:
        terms, norm = train_step(run.network, run.learner.optimizer, batch, run.recipe)
    except torch.OutOfMemoryError as error:
        raise TrainError(
            f"step {step}: the GPU's memory does not hold the work on batch: {run.recipe.batch} "
            "windows; halve batch and double accumulate, which learns the same, or choose a "
            "smaller crop or fewer frames"
        ) from error
    # One copy from the device a step, after all its work is queued.
    numbers = run.means.team.mean(torch.stack([*terms, terms.total, norm])).tolist()

    def windows() -> list[str]:
        return [run.material.train.where(window) for window in run.loader.handed_out()]

    record = training_step(step, numbers, run.recipe, windows)
    run.learner.optimizer.step()
    if run.learner.average is not None:
        run.learner.average.update_parameters(run.learner.network)
    if run.log is not None:
        run.log.step(record)
    if run.means.report is not None:
        run.means.report(step, record.loss)
    return state.model_copy(update={"step": step, "loader": _place(run.loader)})


def _settled(run: _Run, state: TrainingState) -> tuple[TrainingState, Word]:
    """Validate and save where it is due after a step, and say whether to go on."""
    recipe, team = run.recipe, run.means.team
    is_last = state.step == recipe.steps
    # also before the first step: what is wrong with the val split shows at once
    is_judged = state.validated_step < state.step and (
        is_last or state.step % recipe.validate_every == 0
    )
    is_kept = state.step > 0 and (is_last or state.step % recipe.checkpoint_every == 0)
    if is_judged:
        state = state.model_copy(update={"validated_step": state.step})
        if run.log is not None:
            state = _judged(run, run.log, state)
    is_enough = recipe.patience is not None and state.stale >= recipe.patience
    if is_kept or (is_judged and is_enough):
        _keep(run, state)
    if is_judged or is_kept or is_enough:
        return state, team.agree(Word.ENOUGH if is_enough else Word.GO_ON)
    return state, Word.GO_ON


def _judged(run: _Run, log: RunLog, state: TrainingState) -> TrainingState:
    """Validate, keep the weights if they are the best so far, and draw the picture."""
    network, val = run.learner.result, run.material.val
    log.picture(window_picture(network, run.shown, run.recipe), state.step)
    if val is None:
        return state
    quality = validated(network, val, run.recipe, run.recipe.validation_windows)
    if not math.isfinite(quality.loss):
        raise TrainError(
            f"step {state.step}: the loss on the val split is {quality.loss:g}; check its clips, "
            "or start anew with a lower learning rate"
        )
    record = TrainingValidation(step=state.step, **quality._asdict())
    log.validation(record)
    if state.best is not None and record.loss >= state.best.loss:
        return state.model_copy(update={"stale": state.stale + 1})
    save_checkpoint(network, run.folder / BEST_NAME, training=run.recipe)
    return state.model_copy(update={"best": record, "stale": 0})


def _keep(run: _Run, state: TrainingState) -> None:
    """Save the state unless it is there, on the rank that writes."""
    if run.log is not None and not state_path(run.folder, state.step).exists():
        run.log.sync()
        save_state(run.learner, state, run.folder, keep=run.recipe.keep_checkpoints)
