"""What degrading and fusing cost on a GPU, beside the same in plain torch and kornia there."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from model.network import FusedVideo
from model.train_step import initial_network, train_step
from pipeline.degrade import degrade_block, reach, read_for_crop
from pipeline.degrade_draws import DegradationDraw, Window
from schemas.base import Band
from schemas.recipe import DegradeRecipe
from schemas.training import Precision, TrainingRecipe
from tests.benchmarks.bench_degrade import CLIPS, CROP, HEIGHT, PAIRS, WIDTH, blur_sigma, sigmas
from tests.benchmarks.bench_network import networks
from tests.benchmarks.measuring import Spread, alternating, significant
from tests.benchmarks.tables import Section, Table

OURS, PLAIN, PROCESSOR = "ours", "torch and kornia", "ours, one CPU thread"
SIZES: dict[str, Window | None] = {
    f"{CROP} x {CROP} of a frame": Window(100, 100, HEIGHT, WIDTH),
    f"{WIDTH} x {HEIGHT}": None,
}
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
RECIPE = DegradeRecipe()

CALLS = 10
"""Queued before the GPU is waited for."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 3
    seconds: float = 1.0
    frames: int = 7
    height: int = 480
    width: int = 640


@dataclass(frozen=True)
class Pairs:
    """Clean frames of both bands on one device, uint8, (T, C, h, w)."""

    infrared: Tensor
    visible: Tensor

    @classmethod
    def drawn(cls, device: str) -> "Pairs":
        rng = np.random.default_rng(0)
        videos = (
            torch.from_numpy(rng.integers(40, 200, (PAIRS, channels, HEIGHT, WIDTH), np.uint8))
            for channels in (1, 3)
        )
        return cls(*(video.to(device) for video in videos))


def section(effort: Effort) -> Section:
    """Samples and frames a second of wall time, all work of the GPU done."""
    torch.set_num_threads(1)
    tables = (_degrading(effort), _fusing(effort), _training(effort))
    return Section(
        title="On a GPU",
        method=(
            f"The preset m3svd on both bands of {PAIRS} pairs that lie in the GPU's memory, one "
            f"sample after the other, {CLIPS} clips in turn. *{PLAIN}* draws fresh noise of each "
            "sample by torch.randn and blurs by kornia's gaussian_blur2d, in float32; no other "
            "crop, window or epoch shares what it draws. Then the published network, fusing alone, "
            "beside the same taken literally from MODEL.md, and steps of its training from batches "
            "that lie in the processor's memory. torch's own settings: convolutions in float32 "
            "are multiplied in TensorFloat-32. Wall time, between waits for the GPU."
        ),
        claims=(),
        tables=tables,
    )


def _degrading(effort: Effort) -> Table:
    on_gpu, on_cpu = Pairs.drawn("cuda"), Pairs.drawn("cpu")
    jobs: dict[str, Callable[[int], object]] = {}
    for size, crop in SIZES.items():
        jobs[f"{OURS} {size}"] = _ours(on_gpu, crop)
        jobs[f"{PLAIN} {size}"] = _plain(on_gpu, crop)
        jobs[f"{PROCESSOR} {size}"] = _ours(on_cpu, crop)
    rates = alternating({name: _rate(job, effort) for name, job in jobs.items()}, effort.rounds)
    rows = []
    for size in SIZES:
        ours, plain, cpu = (rates[f"{who} {size}"] for who in (OURS, PLAIN, PROCESSOR))
        figures = (ours, plain, cpu, ours.over(plain), ours.over(cpu))
        rows.append((size, *(str(figure) for figure in figures)))
    header = (
        f"{PAIRS} pairs of", *(f"{who}, samples a second" for who in (OURS, PLAIN, PROCESSOR)),
        f"over {PLAIN}", f"over {PROCESSOR}",
    )  # fmt: skip
    return Table(header, tuple(rows))


def _ours(pairs: Pairs, crop: Window | None) -> Callable[[int], object]:
    def degrade(call: int) -> tuple[Tensor, ...]:
        clip = f"clip-{call % CLIPS}"
        bands: tuple[tuple[Band, Tensor], ...] = (
            ("infrared", pairs.infrared),
            ("visible", pairs.visible),
        )
        return tuple(_band(frames, DegradationDraw(0, clip, band), crop) for band, frames in bands)

    return degrade


def _band(frames: Tensor, draw: DegradationDraw, crop: Window | None) -> Tensor:
    chain = RECIPE.infrared if draw.band == "infrared" else RECIPE.visible
    if crop is None:
        whole = Window(0, 0, HEIGHT, WIDTH)
        return degrade_block(frames, chain, draw, indices=range(PAIRS), window=whole)
    read = read_for_crop(crop, height=CROP, width=CROP, halo_px=reach(chain, draw).halo_px)
    block = frames[..., read.rows, read.columns]
    return read.keep(degrade_block(block, chain, draw, indices=range(PAIRS), window=read.window))


def _plain(pairs: Pairs, crop: Window | None) -> Callable[[int], object]:
    def degrade(call: int) -> tuple[Tensor, Tensor]:
        stripe_sigma, white_sigma = sigmas(call % CLIPS)
        sigma_px = blur_sigma(call % CLIPS)
        reach_px = int(4 * sigma_px + 0.5)  # as OpenCV and SciPy have it: four sigmas
        rows = columns = slice(None)
        kept = slice(None)
        if crop is not None:
            rows = slice(crop.y - reach_px, crop.y + CROP + reach_px)
            columns = slice(crop.x - reach_px, crop.x + CROP + reach_px)
            kept = slice(reach_px, reach_px + CROP)
        infrared = pairs.infrared[..., rows, columns][..., kept, kept].float()
        noise = white_sigma * torch.randn_like(infrared)
        stripes = stripe_sigma * torch.randn(infrared.shape[-1], device=infrared.device)
        visible = pairs.visible[..., rows, columns].float()
        size = (2 * reach_px + 1,) * 2
        blurred = gaussian_blur2d(visible, size, (sigma_px, sigma_px))[..., kept, kept]
        return _levels(infrared + noise + stripes), _levels(blurred)

    return degrade


def _levels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _rate(job: Callable[[int], object], effort: Effort) -> Callable[[], Mapping[str, float]]:
    """Calls a second of wall time."""

    def measure() -> Mapping[str, float]:
        for call in range(CLIPS):
            job(call)
        torch.cuda.synchronize()
        calls, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < effort.seconds:
            for _ in range(CALLS):
                job(calls)
                calls += 1
            torch.cuda.synchronize()
        return {"": calls / (time.perf_counter() - begin)}

    return measure


def _fusing(effort: Effort) -> Table:
    network, literal = networks("cuda")
    generator = torch.Generator().manual_seed(0)
    size = (effort.height, effort.width)
    infrared = torch.rand(1, effort.frames, 1, *size, generator=generator).cuda()
    visible = torch.rand(1, effort.frames, 3, *size, generator=generator).cuda()
    colours = infrared.expand(-1, -1, 3, -1, -1).contiguous()
    outputs: dict[str, FusedVideo] = {}

    def kept(name: str, precision: torch.dtype | None) -> Callable[[], Mapping[str, float]]:
        model, first = (network, infrared) if name.startswith(OURS) else (literal, colours)

        def measure() -> Mapping[str, float]:
            is_low = precision is not None
            with torch.inference_mode(), torch.autocast("cuda", precision, enabled=is_low):
                outputs[name] = model(first, visible, restore=False)  # and warms up
                torch.cuda.synchronize()
                begin = time.perf_counter()
                for _ in range(CALLS):
                    model(first, visible, restore=False)
                torch.cuda.synchronize()
                spent_s = time.perf_counter() - begin
            return {"": 1000 * spent_s / (CALLS * effort.frames)}

        return measure

    who = {
        f"{name}, {precision}": kept(f"{name}, {precision}", dtype)
        for name in (OURS, "literal")
        for precision, dtype in PRECISIONS.items()
    }
    costs = alternating(who, effort.rounds)
    reference = "literal, float32"
    rows = tuple(
        (
            name,
            f"{cost}",
            f"{costs[reference].over(cost)}",
            significant(float((outputs[name].fused - outputs[reference].fused).abs().max()) * 255),
        )
        for name, cost in costs.items()
    )
    header = (
        f"network, {effort.frames} frames of {effort.width} x {effort.height}",
        "ms a frame", f"rate over {reference}", f"furthest from {reference}, grey levels",
    )  # fmt: skip
    return Table(header, rows)


def _training(effort: Effort) -> Table:
    costs = alternating(
        {precision: _step(precision) for precision in get_args(Precision)}, effort.rounds
    )
    recipe = TrainingRecipe()
    window = f"{recipe.frames} pairs of {recipe.crop} x {recipe.crop}"
    header = (
        f"training step of {recipe.batch} windows of {window}",
        "ms a step", "windows a second", "GB of the GPU's memory",
    )  # fmt: skip
    rows = []
    for precision in get_args(Precision):
        ms, peak = costs[f"{precision} ms"], costs[f"{precision} GB"]
        rate = Spread(tuple(1000 * recipe.batch / value for value in ms.values))
        rows.append((precision, str(ms), str(rate), str(peak)))
    return Table(header, tuple(rows))


def _step(precision: Precision) -> Callable[[], Mapping[str, float]]:
    recipe = TrainingRecipe(precision=precision)
    network = initial_network(recipe).to("cuda").train()
    optimizer = torch.optim.AdamW(p for p in network.parameters() if p.requires_grad)
    generator = torch.Generator().manual_seed(0)
    batch = {
        name: torch.randint(
            256,
            (recipe.batch, recipe.frames, channels, recipe.crop, recipe.crop),
            generator=generator,
            dtype=torch.uint8,
        ).pin_memory()
        for band, channels in (("infrared", 1), ("visible", 3))
        for name in (band, f"{band}_degraded")
    }

    def steps(count: int) -> None:
        for _ in range(count):
            train_step(network, optimizer, batch, recipe)
            optimizer.step()
        torch.cuda.synchronize()

    def measure() -> Mapping[str, float]:
        steps(2)
        torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        steps(CALLS)
        ms = 1000 * (time.perf_counter() - begin) / CALLS
        return {"ms": ms, "GB": torch.cuda.max_memory_allocated() / 1e9}

    return measure
