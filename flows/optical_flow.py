"""Optical flow for the metrics of moving pictures."""

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from flows.torchvision_parts import import_part
from model.metrics_flow import OpticalFlow

FlowMethod = Literal["dis", "farneback", "raft"]


def flow_name(method: FlowMethod, weights: Path | None = None) -> str:
    """What tables call it: values of two names are not comparable."""
    return method if weights is None else f"{method} {weights.stem}"


def optical_flow(method: FlowMethod, weights: Path | None = None) -> OpticalFlow:
    """The method of that name; all but RAFT, which needs weights, run on the CPU.

    Args:
        method: `dis`, dense inverse search with OpenCV's medium preset (Kroeger et al., "Fast
            optical flow using dense inverse search", ECCV 2016), or `farneback` (Farneback,
            "Two-frame motion estimation based on polynomial expansion", SCIA 2003), or `raft`.
        weights: of RAFT, a state dict of torchvision's.

    Raises:
        EvaluateError: torchvision is not installed, or the weights are another network's.
        CheckpointError: their file cannot be read.
    """
    if method == "raft":
        part = import_part("flows.flow_raft", option="--flow raft", extra="flow")
        found: OpticalFlow = part.raft(weights)
        return found
    search = (
        cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        if method == "dis"
        else cv2.FarnebackOpticalFlow.create()
    )

    empty: Any = None  # OpenCV makes the array; its type hints want one

    def flow(first: Tensor, second: Tensor) -> Tensor:
        here, there = (
            cv2.cvtColor(
                np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy()), cv2.COLOR_RGB2GRAY
            )
            for frame in (first, second)
        )
        found = np.asarray(search.calc(here, there, empty), np.float32)
        return torch.from_numpy(found).permute(2, 0, 1).to(first.device)

    return flow
