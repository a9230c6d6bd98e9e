"""What a network is made of and what it costs, without computing with it."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.network import VideoFusion, parameter_count, temporal_reach
from schemas.training import NetworkRecipe

COUNTED_FRAMES = 4
"""Frames of the video that work is counted on; each takes the same, at the ends as well."""

PUBLISHED_GMAC = 274.5
"""Billion multiply-accumulates a frame of 640 x 480 of the published network computed as the paper
draws it (MODEL.md section 4); its "267.78 G FLOPs" are those of convolutions alone."""


@dataclass(frozen=True)
class NetworkSummary:
    """A network in numbers."""

    parameters: int
    parts: dict[str, int]
    """Parameters of each part, in the order of the network."""
    gmac_per_frame: float
    """Billion multiply-accumulates as this code arranges them, both bands restored."""
    fusion_gmac_per_frame: float
    """The same without restoration."""
    temporal_reach: int
    """Frames on either side that a frame's result depends on."""


def summarise(recipe: NetworkRecipe, *, height: int, width: int) -> NetworkSummary:
    """The numbers of a network on frames of that size.

    Multiply-accumulates are those of convolutions and matrix products, counted by
    torch.utils.flop_counter on tensors that have shapes and no values.
    """
    with torch.device("meta"):
        network = VideoFusion(recipe).eval()
    return NetworkSummary(
        parameters=parameter_count(network),
        parts={name: parameter_count(part) for name, part in network.named_children()},
        gmac_per_frame=_gmac(network, height, width, restore=True),
        fusion_gmac_per_frame=_gmac(network, height, width, restore=False),
        temporal_reach=temporal_reach(recipe),
    )


def _gmac(network: nn.Module, height: int, width: int, *, restore: bool) -> float:
    with torch.device("meta"):
        infrared = torch.empty(1, COUNTED_FRAMES, 1, height, width)
        visible = torch.empty(1, COUNTED_FRAMES, 3, height, width)
    with FlopCounterMode(display=False) as counter:
        network(infrared, visible, restore=restore)
    return float(counter.get_total_flops() / 2 / COUNTED_FRAMES / 1e9)
