"""The state a run goes on from: weights, optimiser, average and random numbers, to the bit.

One safetensors file a state: the tensors, and beside them in its metadata `TrainingState` as JSON.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.checkpoint import tensor_faults
from model.durable import write_whole
from model.network import VideoFusion
from schemas.errors import TrainError
from schemas.training import TrainingRecipe
from schemas.training_run import TrainingState

STATES_NAME = "checkpoints"
"""Folder of the states in a run folder."""

PATTERN = "step-*.safetensors"

STATE_KEY = "twinband-state"
"""Where the JSON stands in the metadata."""

RANDOM = {"cpu": "random.cpu", "cuda": "random.cuda"}
"""The states of the random number generators, by device; bytes."""

LEARNT = ("network.", "optimizer.", "average.")
"""First words of the names of all other tensors, which are floating point."""

COUNTED = "steps-averaged"
"""How many steps the average is of; a whole number."""

START_ANEW = "remove the run folder to start anew, or bring back a copy"


@dataclass(frozen=True)
class Learner:
    """What steps change."""

    network: VideoFusion
    optimizer: torch.optim.AdamW
    average: AveragedModel | None
    """Moving average of the weights, where the recipe has one."""

    @property
    def result(self) -> VideoFusion:
        """The network to validate and to save."""
        if self.average is None:
            return self.network
        return cast(VideoFusion, self.average.module)


def new_learner(
    network: VideoFusion, recipe: TrainingRecipe, device: torch.device | str
) -> Learner:
    """A learner before its first step, with `network` on `device`."""
    network = network.to(device).train()
    optimizer = torch.optim.AdamW(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    if recipe.ema_decay is None:
        return Learner(network, optimizer, None)
    averaging = get_ema_multi_avg_fn(recipe.ema_decay)  # type: ignore[no-untyped-call]
    return Learner(network, optimizer, AveragedModel(network, multi_avg_fn=averaging))


def state_path(run_folder: Path, step: int) -> Path:
    """Where the state after `step` lies."""
    return run_folder / STATES_NAME / f"step-{step:09d}.safetensors"


def states(run_folder: Path) -> list[Path]:
    """Every whole state of a run, the oldest first."""
    return sorted((run_folder / STATES_NAME).glob(PATTERN))


def save_state(learner: Learner, state: TrainingState, run_folder: Path, *, keep: int) -> Path:
    """Write a state whole or not at all, then delete all but the latest ones.

    Args:
        learner: after `state.step` steps.
        state: the rest.
        run_folder: of the run.
        keep: states that stay.

    Raises:
        TrainError: it cannot be written; the older ones stay.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in _tensors(learner).items()}
    content = safetensors_torch.save(tensors, {STATE_KEY: state.model_dump_json()})
    path = state_path(run_folder, state.step)
    try:
        write_whole(path, content)
        for old in states(run_folder)[:-keep]:
            old.unlink()
    except OSError as error:
        raise TrainError(
            f"{path}: a state of {len(content)} bytes cannot be written: {error.strerror}; "
            "free space, then start again to go on from the one before"
        ) from error
    return path


def load_state(learner: Learner, path: Path) -> TrainingState:
    """Bring `learner` and the random numbers to where they were, and return the rest.

    Raises:
        TrainError: the file is damaged, or of another network.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            written = (file.metadata() or {}).get(STATE_KEY, "")
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        state = TrainingState.model_validate_json(written)
    except (OSError, SafetensorError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise TrainError(f"{path}: no state to go on from ({reason}); {START_ANEW}") from error
    faults = _faults(learner, tensors)
    if faults:
        raise TrainError("\n".join(f"{path}: {fault}; {START_ANEW}" for fault in faults))
    _restore(learner, tensors)
    return state


def _tensors(learner: Learner) -> dict[str, Tensor]:
    """Every tensor of a learner by name, and the states of the random number generators."""
    tensors = {f"network.{name}": t for name, t in learner.network.state_dict().items()}
    for name, parameter in learner.network.named_parameters():
        for moment, tensor in learner.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{moment}.{name}"] = tensor
    if learner.average is not None:
        tensors |= {f"average.{name}": t for name, t in learner.average.state_dict().items()}
        tensors[COUNTED] = tensors.pop("average.n_averaged")
    tensors[RANDOM["cpu"]] = torch.get_rng_state()
    device = next(learner.network.parameters()).device
    if device.type == "cuda":
        tensors[RANDOM["cuda"]] = torch.cuda.get_rng_state(device)
    return tensors


def _faults(learner: Learner, tensors: dict[str, Tensor]) -> list[str]:
    """Why `tensors` do not belong to this learner; random numbers may come from another device."""
    own = _tensors(learner)
    expected = {name: tensor.shape for name, tensor in own.items() if name.startswith(LEARNT)}
    for name, parameter in learner.network.named_parameters():
        shapes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
        moments = {f"optimizer.{moment}.{name}": shape for moment, shape in shapes.items()}
        if moments.keys() & tensors.keys():  # a weight that no loss asks for has none
            expected |= moments
    found = {name: tensor for name, tensor in tensors.items() if name.startswith(LEARNT)}
    others = {RANDOM["cpu"]} | ({COUNTED} & own.keys())
    missing = [f"{name} is missing" for name in sorted(others - tensors.keys())]
    return tensor_faults(found, expected, what="the state") + missing


def _restore(learner: Learner, tensors: dict[str, Tensor]) -> None:
    def named(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    learner.network.load_state_dict(named("network."))
    if learner.average is not None:
        averages = named("average.") | {"n_averaged": tensors[COUNTED]}
        learner.average.load_state_dict(averages)
    trained = [n for n, p in learner.network.named_parameters() if p.requires_grad]
    moments = named("optimizer.")
    held = {
        number: {
            moment: moments[f"{moment}.{name}"] for moment in ("step", "exp_avg", "exp_avg_sq")
        }
        for number, name in enumerate(trained)
        if f"step.{name}" in moments
    }
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": held, "param_groups": groups})
    torch.set_rng_state(tensors[RANDOM["cpu"]])
    device = next(learner.network.parameters()).device
    if device.type == "cuda" and RANDOM["cuda"] in tensors:
        torch.cuda.set_rng_state(tensors[RANDOM["cuda"]], device)
