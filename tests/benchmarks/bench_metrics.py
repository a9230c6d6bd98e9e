"""What the metrics of fusion cost, beside their straightforward NumPy forms, at equal values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flows.optical_flow import optical_flow
from model import metrics
from model.metrics_flow import flow_distance
from model.metrics_windows import structural_similarity, visual_fidelity
from pipeline.image_files import read_image
from tests.benchmarks import metric_forms as forms
from tests.benchmarks.measuring import Spread, alternating, calls_per_cpu_s, significant
from tests.benchmarks.tables import Claim, Section, Table

TOLERANCE = 1e-6
"""Largest relative difference that passes for equal."""


@dataclass(frozen=True)
class Effort:
    """What to measure on, and how long."""

    clip: str = "0111_1753"
    rounds: int = 3
    cpu_s: float = 1.0


Form = Callable[[], float]


def section(source: Path, effort: Effort) -> Section:
    """Every metric on one real pair and its average.

    Args:
        source: M3SVD's val folder.
        effort: how long.
    """
    pairs = forms_of(*frames_of(source, effort.clip))
    for name, (ours, plain) in pairs.items():
        one, other = ours(), plain()
        if abs(one - other) > TOLERANCE * max(1.0, abs(other)):
            raise ValueError(f"{name}: {one} is not {other}")
    found = alternating(
        {
            f"{name} {side}": _measure(form, effort)
            for name, both in pairs.items()
            for side, form in zip(("ours", "plain"), both, strict=True)
        },
        effort.rounds,
    )
    ratios = {name: found[f"{name} ours"].over(found[f"{name} plain"]) for name in pairs}
    claims = tuple(Claim(name, ratio, ">=", 3.0) for name, ratio in ratios.items())
    rows = tuple((name, _ms(found[f"{name} ours"]), _ms(found[f"{name} plain"])) for name in pairs)
    method = (
        "One pair of 640x480 of M3SVD's val folder and the average of both, one thread. Both forms "
        "take uint8 frames, each metric by itself (SSIM and VIF of ours float64 ones, made outside "
        "the clock, 0.05 ms a frame); values are equal to a millionth. "
        "flowD without its optical flow, which is the same for both. `all` is every metric of a "
        "frame but flowD: ours share what they have in common, the plain ones are called in turn."
    )
    header = ("metric", "ours, ms a frame", "plain NumPy, ms a frame")
    return Section("Metrics", method, claims, (Table(header, rows),))


def _measure(form: Form, effort: Effort) -> Callable[[], dict[str, float]]:
    def measured() -> dict[str, float]:
        rate = calls_per_cpu_s(
            lambda _: form(), min_cpu_s=effort.cpu_s, warm_cpu_s=0.2, warm_calls=3
        )
        return {"": rate}

    return measured


def _ms(rate: Spread) -> str:
    return significant(1000 / rate.median)


def frames_of(source: Path, clip: str) -> tuple[NDArray[np.uint8], ...]:
    """Infrared (H, W), and visible RGB (H, W, 3) of two neighbouring instants."""
    infrared = min((source / "infrared_Enhance" / clip).iterdir())
    visible = sorted((source / "visible_Enhance" / clip).iterdir())[:2]
    here = np.asarray(read_image(infrared), np.uint8)
    first, second = (np.asarray(read_image(path), np.uint8) for path in visible)
    return (here if here.ndim == 2 else here[..., 0]), first, second


def forms_of(
    infrared: NDArray[np.uint8], visible: NDArray[np.uint8], later: NDArray[np.uint8]
) -> dict[str, tuple[Form, Form]]:
    """Ours and the plain form of every metric, each giving its value."""
    levels = [_tensor(infrared), metrics.grey(_colour(visible))]
    fused = ((levels[0].int() + levels[1].int()) // 2).to(torch.uint8)
    sources = (levels[0], levels[1])
    plain, *rest = (frame[0].numpy() for frame in (fused, *levels))
    others = (rest[0], rest[1])
    video = torch.cat([_colour(visible), _colour(later)])
    path = optical_flow("dis")(video[1], video[0])
    before, after = (frame.astype(np.float64) for frame in (visible, later))
    flow = path.permute(1, 2, 0).numpy().astype(np.float64)
    f = forms

    def each(form: Callable[..., float]) -> float:
        return sum(form(plain, other) for other in others) / 2

    doubles = [frame.double() for frame in (fused, *levels)]
    made: dict[str, tuple[Form, Form]] = {
        "EN": (lambda: metrics.entropy(fused).item(), lambda: f.entropy(plain)),
        "MI": (
            lambda: metrics.mutual_information(fused, sources).item(),
            lambda: f.mutual_information(plain, others),
        ),
        "SD": (lambda: metrics.deviation(fused).item(), lambda: f.deviation(plain)),
        "SSIM": (
            lambda: _mean(structural_similarity(doubles[0], o) for o in doubles[1:]),
            lambda: each(f.structural_similarity),
        ),
        "VIF": (
            lambda: 2 * _mean(visual_fidelity(doubles[0], o) for o in doubles[1:]),
            lambda: 2 * each(f.visual_fidelity),
        ),
        "AG": (lambda: metrics.average_gradient(fused).item(), lambda: f.average_gradient(plain)),
        "SF": (lambda: metrics.spatial_frequency(fused).item(), lambda: f.spatial_frequency(plain)),
        "CC": (
            lambda: _mean(metrics.correlation(fused, o) for o in sources),
            lambda: each(f.correlation),
        ),
        "SCD": (
            lambda: metrics.difference_correlation(fused, sources).item(),
            lambda: f.difference_correlation(plain, others),
        ),
        "Qabf": (
            lambda: metrics.edge_preservation(fused, sources).item(),
            lambda: f.edge_preservation(plain, others),
        ),
        "flowD": (
            lambda: flow_distance(video, video, lambda _a, _b: path).item(),
            lambda: f.warped_distance(before, after, flow),
        ),
    }
    parts = [plain_form for name, (_, plain_form) in made.items() if name != "flowD"]

    def all_of_ours() -> float:
        return metrics.fusion_metrics(fused, *sources)["Qabf"].item()

    made["all"] = (all_of_ours, lambda: [form() for form in parts][-1])
    return made


def _mean(values: Iterable[Tensor]) -> float:
    found = [value.item() for value in values]
    return sum(found) / len(found)


def _tensor(frame: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frame.copy())[None]


def _colour(frame: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]
