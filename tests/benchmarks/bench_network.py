"""What a frame costs the published network, beside the same taken literally from MODEL.md."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from model.network import FusedVideo, VideoFusion
from tests.benchmarks.literal_network import LiteralVideoFusion, official_tensors
from tests.benchmarks.measuring import Spread, alternating, significant
from tests.benchmarks.tables import Claim, Section, Table

OURS, BFLOAT16, RESTORING = "ours", "ours, bfloat16", "ours, restoring"
LITERAL, LITERAL_RESTORING = "literal", "literal, restoring"


@dataclass(frozen=True)
class Effort:
    """What is measured, how often."""

    rounds: int = 3
    frames: int = 7
    height: int = 240
    width: int = 320


def section(effort: Effort) -> Section:
    """CPU time a frame, and how far apart the results are."""
    torch.set_num_threads(1)
    network, literal = networks()
    generator = torch.Generator().manual_seed(0)
    size = (effort.height, effort.width)
    infrared = torch.rand(1, effort.frames, 1, *size, generator=generator)
    visible = torch.rand(1, effort.frames, 3, *size, generator=generator)
    colours = infrared.expand(-1, -1, 3, -1, -1).contiguous()
    outputs: dict[str, FusedVideo] = {}

    def kept(name: str, run: Callable[[], FusedVideo]) -> Callable[[], Mapping[str, float]]:
        def measure() -> Mapping[str, float]:
            with torch.inference_mode():
                begin = time.process_time()
                outputs[name] = run()
                return {"": (time.process_time() - begin) / effort.frames}

        return measure

    def bfloat16() -> FusedVideo:
        with torch.autocast("cpu", torch.bfloat16):
            output: FusedVideo = network(infrared, visible, restore=False)
        return output

    costs = alternating(
        {
            LITERAL_RESTORING: kept(LITERAL_RESTORING, lambda: literal(colours, visible)),
            LITERAL: kept(LITERAL, lambda: literal(colours, visible, restore=False)),
            RESTORING: kept(RESTORING, lambda: network(infrared, visible)),
            OURS: kept(OURS, lambda: network(infrared, visible, restore=False)),
            BFLOAT16: kept(BFLOAT16, bfloat16),
        },
        effort.rounds,
    )
    exact = outputs[LITERAL].fused
    error = max(
        (one - other).abs().max().item()
        for one, other in (
            (outputs[OURS].fused, exact),
            *zip(_videos(outputs[RESTORING]), _videos(outputs[LITERAL_RESTORING]), strict=True),
        )
    )
    squared = (outputs[BFLOAT16].fused.float() - exact).square().mean()
    psnr_db = (-10 * squared.log10()).item()
    return Section(
        title="The network",
        method=(
            f"The published network, random weights, {effort.frames} random frames of "
            f"{effort.width} x {effort.height}, one thread, CPU time a frame; each round runs all "
            "five in turn in one process with its default memory allocator. *Literal* is "
            "MODEL.md taken step by step, frame by frame along time "
            "(tests/benchmarks/literal_network.py); it always restores both bands as published, "
            "and a second row leaves that out as `fuse` does. bfloat16 is torch's automatic mixed "
            "precision; it pays where the processor multiplies bfloat16 matrices by itself (AMX)."
        ),
        claims=(
            Claim(
                "fusion alone, over the literal network as published",
                costs[LITERAL_RESTORING].over(costs[OURS]),
                ">=",
                2.2,
            ),
            Claim(
                "fusion alone, over the literal network without restoration",
                costs[LITERAL].over(costs[OURS]),
                ">=",
                2.2,
            ),
            Claim(
                "largest difference of any result", Spread((error * 1e6,)), "<=", 10, "millionths"
            ),
        ),
        tables=(
            Table(
                ("network", "CPU-seconds a frame", "times as fast as literal, as published"),
                tuple(
                    (name, str(cost), str(costs[LITERAL_RESTORING].over(cost)))
                    for name, cost in costs.items()
                ),
            ),
            Table(
                ("fusion in bfloat16 against float32", "dB"),
                (("peak signal-to-noise ratio", significant(psnr_db)),),
            ),
        ),
    )


def networks(device: str = "cpu") -> tuple[VideoFusion, LiteralVideoFusion]:
    """Both networks with the same weights, none of them special."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = VideoFusion().eval()
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    network = network.to(device)
    return network, LiteralVideoFusion(official_tensors(network))


def _videos(output: FusedVideo) -> list[torch.Tensor]:
    return [video for video in output if video is not None]
