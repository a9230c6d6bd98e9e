"""RAFT, an optical flow by a network (Teed and Deng, ECCV 2020); needs the extra `flow`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.optical_flow import raft_large, raft_small

from model.checkpoint import read_tensors, tensor_faults
from model.metrics_flow import OpticalFlow
from schemas.errors import EvaluateError

STRIDE_PX = 8
"""Sides are multiples of this."""

SMALLEST_PX = 128
"""A shorter side leaves the coarsest correlations without a pixel."""

SIZES: dict[str, Callable[..., Any]] = {"large": raft_large, "small": raft_small}


def raft(weights: Path) -> OpticalFlow:
    """The flow of torchvision's RAFT, large or small, whichever the weights fit.

    Args:
        weights: a state dict, .pth or .safetensors.

    Raises:
        CheckpointError: the file holds no tensors.
        EvaluateError: they are of neither network.
    """
    network = _network(weights)

    @torch.inference_mode()
    def flow(first: Tensor, second: Tensor) -> Tensor:
        height, width = first.shape[-2:]
        if min(height, width) < SMALLEST_PX:
            raise ValueError(
                f"RAFT needs frames of {SMALLEST_PX} pixels a side, not {width}x{height}"
            )
        border = (0, -width % STRIDE_PX, 0, -height % STRIDE_PX)
        pair = torch.stack([first, second]).float() / 127.5 - 1
        padded = functional.pad(pair, border, mode="replicate")
        found: Tensor = network.to(first.device)(padded[:1], padded[1:])[-1]
        return found[0, :, :height, :width]

    return flow


def _network(weights: Path) -> Any:
    tensors = read_tensors(weights)
    found: dict[str, list[str]] = {}
    for size, make in SIZES.items():
        network = make(weights=None)
        shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
        found[size] = tensor_faults(tensors, shapes, what=f"the {size} network")
        if not found[size]:
            network.load_state_dict(tensors)
            return network.eval()
    told = "\n".join(f"  {fault}" for faults in found.values() for fault in faults)
    raise EvaluateError(
        f"{weights}: fits neither the large nor the small RAFT of torchvision; give the state dict "
        f"of one\n{told}"
    )
