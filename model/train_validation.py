"""How good a network is on windows it is not trained on, in numbers and as a picture."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.loader import Batch, Windows, collate, to_device
from model.losses import loss_terms
from model.network import FusedVideo, VideoFusion, arithmetic
from schemas.errors import TrainError
from schemas.training import TrainingRecipe

LEAST_SQUARED_ERROR = 1e-10
"""Keeps the PSNR of a perfect frame at 100 dB instead of infinity."""

BF16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")
"""What PyTorch calls the instructions of processors that compute with bfloat16 themselves."""


class Quality(NamedTuple):
    """Means over windows."""

    loss: float
    infrared_psnr_db: float
    """Of the restored against the clean infrared, mean over frames."""
    visible_psnr_db: float
    """Of the restored against the clean visible, mean over frames."""


def validated(
    network: VideoFusion, windows: Windows, recipe: TrainingRecipe, count: int
) -> Quality:
    """The quality of a network as it stands, over windows spread evenly over a data set.

    Args:
        network: on the device to compute on.
        windows: at least one; the same network and windows give the same numbers.
        recipe: its `losses`, `batch` and `precision` are used.
        count: windows to take; all where there are fewer.
    """
    device = next(network.parameters()).device
    count = min(count, len(windows))
    chosen = [(2 * number + 1) * len(windows) // (2 * count) for number in range(count)]
    sums = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for first in range(0, count, recipe.batch):
            part = chosen[first : first + recipe.batch]
            frames = to_device(collate([windows[index] for index in part]), device)
            output = fused_video(network, frames, recipe)
            terms = loss_terms(output, frames["infrared"], frames["visible"], recipe.losses)
            numbers = torch.stack([terms.total, *restored_psnr(output, frames)])
            sums += len(part) * numbers.double().cpu()
    return Quality(*(sums / count).tolist())


def fused_video(network: torch.nn.Module, frames: Batch, recipe: TrainingRecipe) -> FusedVideo:
    """What a network makes of a batch in the recipe's precision, as float32.

    Args:
        network: VideoFusion, wrapped or not, on the device of `frames`.
        frames: as `to_device` gives them.
        recipe: its `precision` is used.
    """
    with arithmetic(frames["visible"].device.type, recipe.precision):
        output = network(frames["infrared_degraded"], frames["visible_degraded"])
    fused, infrared, visible = output
    return FusedVideo(fused.float(), infrared.float(), visible.float())


def check_precision(recipe: TrainingRecipe, device: torch.device) -> None:
    """Refuse bfloat16 where it would be emulated, at a fraction of the speed of float32.

    Raises:
        TrainError: the device has no units for it.
    """
    if recipe.precision == "float32":
        return
    if device.type == "cuda":
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        has_units = any(capabilities.get(unit, False) for unit in BF16_UNITS)
    if not has_units:
        raise TrainError(
            f"precision is bfloat16, and this {'GPU' if device.type == 'cuda' else 'processor'} "
            "has no units for it (AMX, AVX512-BF16 or an NVIDIA GPU from 8.0 on), so that it would "
            "be slower than float32; set precision: float32"
        )


def restored_psnr(output: FusedVideo, frames: Batch) -> tuple[Tensor, Tensor]:
    """PSNR of the restored infrared and visible frames against the clean ones, dB; scalars."""
    return (
        _psnr(output.infrared, frames["infrared"].expand_as(frames["visible"])),
        _psnr(output.visible, frames["visible"]),
    )


def _psnr(restored: Tensor | None, clean: Tensor) -> Tensor:
    if restored is None:
        raise ValueError("there is no restored band; call the network with restore=True")
    error = functional.mse_loss(restored, clean, reduction="none").mean(dim=(2, 3, 4))  # (B, T)
    return (-10 * error.clamp(min=LEAST_SQUARED_ERROR).log10()).mean()


def window_picture(network: VideoFusion, window: Batch, recipe: TrainingRecipe) -> Tensor:
    """The middle frame of one window as a row of five pictures, (3, H, 5 W) in [0, 1].

    From left to right: infrared and visible as they come in, fused, infrared and visible restored.
    What is no number is black.

    Args:
        network: on the device to compute on.
        window: one sample of a data set of windows.
        recipe: its `precision` is used.
    """
    device = next(network.parameters()).device
    frames = to_device(collate([window]), device)
    with torch.no_grad():
        output = fused_video(network, frames, recipe)
    middle = frames["visible"].shape[1] // 2
    infrared = frames["infrared_degraded"].expand_as(frames["visible"])
    row = (infrared, frames["visible_degraded"], *output)
    shown = torch.cat([video[0, middle] for video in row if video is not None], dim=-1)
    return shown.nan_to_num(0.0, 1.0, 0.0).cpu()
