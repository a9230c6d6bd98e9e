"""Samples per CPU-second of our loader against PNG folders and other stores of the same frames."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from model.clips import ClipWindows
from model.loader import PackedBatch, pack
from schemas.store import PROFILES
from tests.benchmarks.footage import Footage, folder_bytes
from tests.benchmarks.loaders import (
    FRAMES,
    Loader,
    Place,
    Sample,
    Windows,
    direct,
    draw_places,
    memory_maps,
    plain_zarr,
    png_careful,
    png_folders,
    stores,
)
from tests.benchmarks.measuring import Spread, alternating, batches_per_cpu_s, calls_per_cpu_s
from tests.benchmarks.tables import Claim, Section, Table

SIDES: tuple[int | None, ...] = (128, 256, None)
"""Crops that are measured, pixels; None: whole frames."""

PLACES = 500
"""Windows drawn for each crop, to be gone through again and again."""

WORKERS, BATCH = 2, 4

PROGRAM = Path(__file__).with_name("alternatives.py")

PNG, MEMMAP = "PNG folders", "memmap .npy (limit)"

OURS: dict[PROFILES, str] = {
    "default": "twinband, default",
    "publish": "twinband, publish",
    "cache": "twinband, cache",
}

ALTERNATIVES = {
    "mds": "MosaicML MDS, raw",
    "webdataset-png": "WebDataset, tar of PNG, in order",
    "webdataset-npy": "WebDataset, tar of npy, in order",
}


@dataclass(frozen=True)
class Effort:
    """How long is measured."""

    rounds: int = 3
    min_cpu_s: float = 1.5
    warm_cpu_s: float = 0.7
    worker_batches: int = 12
    """Fewest that are waited for where workers load."""
    sides: tuple[int | None, ...] = SIDES


def section(footage: Footage, python: Path | None, effort: Effort) -> Section:
    """Everything that is measured about loading.

    Args:
        footage: the frames in every layout.
        python: interpreter of the environment for the alternatives; None leaves them out.
        effort: how long to measure.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rates = measure_one_process(footage, python, effort)
    with_workers = measure_with_workers(footage, effort)
    sizes = frame_bytes(footage)
    frames = f"{footage.width} x {footage.height} pixels"
    return Section(
        title="The loader",
        method=(
            f"One sample is {FRAMES} pairs of four streams, cut at a random place out of "
            f"{len(footage.clips)} real clips of M3SVD ({footage.pairs} pairs of {frames}, "
            "as published, repeated from the start where a clip is shorter). Every loader runs "
            f"in one process with one thread, on files in the page cache. *{PNG}*: four PNG files "
            "a pair as their authors published them (infrared in three channels), decoded whole, "
            "made floats, then cut. *twinband*: `ClipWindows`, which places and cuts by itself, "
            "checksums proven; *read_frames* is the reader behind it. WebDataset reads runs of "
            "eight pairs in the order of its file and cannot read a window anywhere else; MDS "
            "reads the seven pairs of a window one by one."
        ),
        claims=claims(rates, with_workers, sizes),
        tables=(
            *(rate_table(rates, sizes, size_name(side)) for side in effort.sides),
            worker_table(with_workers),
        ),
    )


def measure_one_process(footage: Footage, python: Path | None, effort: Effort) -> dict[str, Spread]:
    """Samples per CPU-second by loader and crop."""
    candidates: dict[str, Callable[[], Mapping[str, float]]] = {}
    for name, opened in plain_loaders().items():
        candidates[name] = partial(_measure_plain, footage, opened, effort)
    for profile, name in OURS.items():
        candidates[name] = partial(_measure_windows, footage, profile, effort)
    if python is not None:
        if not (footage.folder / "mds").exists():
            _run(python, "write", footage.folder)
        for kind, name in ALTERNATIVES.items():
            candidates[name] = partial(_measure_alternative, python, kind, footage, effort)
    return alternating(candidates, effort.rounds)


def plain_loaders() -> dict[str, Callable[[Footage], Loader]]:
    """What reads a given window, by the name it is shown under."""
    found: dict[str, Callable[[Footage], Loader]] = {
        PNG: png_folders,
        "PNG folders, grey infrared, uint8, cut first": png_careful,
        MEMMAP: memory_maps,
    }
    for profile, name in OURS.items():
        found[f"{name}, read_frames"] = partial(direct, profile=profile)
        found[f"{name}, zarr-python"] = partial(plain_zarr, profile=profile)
    return found


def measure_with_workers(footage: Footage, effort: Effort) -> dict[str, Spread]:
    """Samples per CPU-second of this process and its workers, 128 px, by loader."""
    places = draw_places(footage, SIDES[0], PLACES)
    release = footage.release("default")
    data: dict[str, Dataset[Sample]] = {
        PNG: Windows(footage, png_folders, places),
        OURS["default"]: ClipWindows(release, frames=FRAMES, crop=SIDES[0]),
    }
    candidates: dict[str, Callable[[], Mapping[str, float]]] = {
        name: partial(_measure_workers, dataset, effort) for name, dataset in data.items()
    }
    return alternating(candidates, effort.rounds)


def frame_bytes(footage: Footage) -> dict[str, float]:
    """Bytes on disk of a pair with its degraded frames, by loader."""
    sizes: dict[str, float] = {
        PNG: folder_bytes(footage.folder / "png") / footage.frames,
        MEMMAP: folder_bytes(footage.folder / "npy") / footage.frames,
    }
    for profile, name in OURS.items():
        in_stores = sum(folder_bytes(store) for store in stores(footage, profile))
        sizes[name] = in_stores / footage.frames
    for kind, name in ALTERNATIVES.items():
        tar, folder = footage.folder / f"{kind}.tar", footage.folder / kind
        if tar.exists():
            sizes[name] = tar.stat().st_size / footage.frames
        elif folder.exists():
            sizes[name] = folder_bytes(folder) / footage.frames
    return sizes


def claims(
    rates: Mapping[str, Spread], with_workers: Mapping[str, Spread], sizes: Mapping[str, float]
) -> tuple[Claim, ...]:
    """What issue and design promise of the loader."""
    png_bytes = sizes[PNG]
    default, publish, cache = OURS.values()
    found: list[Claim] = []
    for side, bound in zip(SIDES, (100, 35, 12), strict=True):
        if (name := f"{PNG} {size_name(side)}") in rates:
            ratio = rates[f"{default} {size_name(side)}"].over(rates[name])
            what = f"default profile, {size_name(side)}: speed of {PNG}"
            found.append(Claim(what, ratio, ">=", bound))
    found.append(_size_claim(default, sizes[default] / png_bytes, 0.65))
    first = size_name(SIDES[0])
    speed = rates[f"{publish} {first}"].over(rates[f"{PNG} {first}"])
    found.append(Claim(f"publish profile, {first}: speed of {PNG}", speed, ">=", 40))
    found.append(_size_claim(publish, sizes[publish] / png_bytes, 0.52))
    share = rates[f"{cache} {first}"].over(rates[f"{MEMMAP} {first}"])
    found.append(Claim(f"cache profile, {first}: speed of a memmap", share, ">=", 0.8))
    ratio = with_workers[default].over(with_workers[PNG])
    what = f"default profile, {first}, DataLoader with {WORKERS} workers: speed of {PNG}"
    found.append(Claim(what, ratio, ">=", 60))
    return tuple(found)


def _size_claim(name: str, ratio: float, bound: float) -> Claim:
    return Claim(f"{name}: bytes of {PNG}", Spread((ratio,)), "<=", bound)


def rate_table(rates: Mapping[str, Spread], sizes: Mapping[str, float], size: str) -> Table:
    """Every loader at one crop."""
    png, memmap = rates[f"{PNG} {size}"], rates[f"{MEMMAP} {size}"]
    rows: list[tuple[str, ...]] = []
    for key, rate in rates.items():
        loader = key.removesuffix(f" {size}")
        if loader == key:
            continue
        stored = sizes[next(name for name in sizes if loader.startswith(name))]
        rows.append(
            (
                loader,
                str(rate),
                str(rate.over(png)),
                f"{100 * rate.over(memmap).median:.1f} %",
                f"{stored / 1000:.0f}",
                f"{stored / sizes[PNG]:.3f}",
            )
        )
    header = (
        size,
        "samples per CPU-second",
        f"x {PNG}",
        "of memmap",
        "KB a pair",
        f"bytes x {PNG}",
    )
    return Table(header, tuple(rows))


def worker_table(rates: Mapping[str, Spread]) -> Table:
    """The DataLoader with workers."""
    rows = tuple((name, str(rate), str(rate.over(rates[PNG]))) for name, rate in rates.items())
    header = f"DataLoader, {WORKERS} workers (forkserver), batches of {BATCH}, {SIDES[0]} px"
    return Table((header, "samples per CPU-second, all processes", f"x {PNG}"), rows)


def size_name(side: int | None) -> str:
    return "full frame" if side is None else f"{side} px"


def _measure_plain(
    footage: Footage, opened: Callable[[Footage], Loader], effort: Effort
) -> dict[str, float]:
    load = opened(footage)
    rates: dict[str, float] = {}
    for side in effort.sides:
        places = draw_places(footage, side, PLACES)

        def read(number: int, places: list[Place] = places) -> Sample:
            return load(places[number % PLACES])

        rates[size_name(side)] = calls_per_cpu_s(
            read, min_cpu_s=effort.min_cpu_s, warm_cpu_s=effort.warm_cpu_s, warm_calls=PLACES
        )
    return rates


def _measure_windows(footage: Footage, profile: PROFILES, effort: Effort) -> dict[str, float]:
    """Through the data set itself, shuffled, one epoch after the other."""
    rates: dict[str, float] = {}
    for side in effort.sides:
        windows = ClipWindows(footage.release(profile), frames=FRAMES, crop=side)
        order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0)).tolist()

        def read(number: int, windows: ClipWindows = windows, order: list[int] = order) -> Sample:
            epoch, place = divmod(number, len(order))
            if place == 0:
                windows.set_epoch(epoch)
            return windows[order[place]]

        rates[size_name(side)] = calls_per_cpu_s(
            read, min_cpu_s=effort.min_cpu_s, warm_cpu_s=effort.warm_cpu_s, warm_calls=PLACES
        )
    return rates


def _measure_workers(dataset: Dataset[Sample], effort: Effort) -> dict[str, float]:
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        sampler=_Endless(dataset),
        num_workers=WORKERS,
        collate_fn=pack,
        multiprocessing_context="forkserver",
    )
    batches = map(PackedBatch.batch, loader)
    rate = batches_per_cpu_s(
        batches,
        min_cpu_s=effort.min_cpu_s,
        min_batches=effort.worker_batches,
        warm_batches=2 * WORKERS,
    )
    del batches  # ends the workers
    return {"": BATCH * rate}


class _Endless(Sampler[int]):
    """Shuffled indices without an end."""

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self._samples = len(dataset)  # type: ignore[arg-type]  # torch types no length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield from torch.randperm(self._samples, generator=generator).tolist()


def _measure_alternative(
    python: Path, kind: str, footage: Footage, effort: Effort
) -> dict[str, float]:
    drawn = {
        size_name(side): [astuple(place) for place in draw_places(footage, side, PLACES)]
        for side in effort.sides
    }
    places = footage.folder / "places.json"
    places.write_text(json.dumps(drawn))
    printed = _run(python, kind, footage.folder, places, effort.min_cpu_s)
    return {str(size): float(rate) for size, rate in json.loads(printed).items()}


def _run(python: Path, *arguments: object) -> str:
    return subprocess.run(
        [python, PROGRAM, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
