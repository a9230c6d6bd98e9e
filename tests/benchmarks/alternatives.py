"""WebDataset and MosaicML MDS over the same frames: a program for an environment of its own.

`alternatives.py write FOLDER` lays the frames in FOLDER/npy out for both. `alternatives.py KIND
FOLDER PLACES MIN_CPU_S` prints samples per CPU-second as JSON. It imports nothing of twinband.
"""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

STREAMS = ("infrared", "infrared_degraded", "visible", "visible_degraded")

FRAMES, TAR_FRAMES = 7, 8
"""Pairs of a sample, and of the runs of frames that WebDataset reads one after the other."""

WARM_SAMPLES = {"mds": 200, "webdataset-png": 2, "webdataset-npy": 100}
"""Read before the clock starts; of quick readers enough to bring every file into the page cache."""

FULL_LEVELS = 255.0

Place = tuple[int, int, int, int, int, int]
"""Clip, first pair, y, x, height, width."""

Frames = NDArray[Any]


def mds() -> ModuleType:
    """The core of MosaicML streaming.

    Its package also imports ready-made data sets, and with them torchvision, which loads only
    beside the very build of torch that it was made for.
    """
    spec = find_spec("streaming")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("mosaicml-streaming is missing; run make bench, which installs it")
    package = ModuleType("streaming")
    package.__path__ = spec.submodule_search_locations
    sys.modules["streaming"] = package
    return import_module("streaming.base")


@cache
def webdataset() -> ModuleType:
    """Imported by name, since the checks of the code run where it is not installed."""
    return import_module("webdataset")


@cache
def open_mds(folder: Path) -> Any:
    """The frames of all clips, one after the other."""
    return mds().StreamingDataset(local=str(folder / "mds"), batch_size=1)


def write(folder: Path) -> None:
    """Lay the arrays of folder/npy out as MDS frames and as two kinds of tar files."""
    clips = sorted((folder / "npy").iterdir())
    columns = dict.fromkeys(STREAMS, "bytes")
    with mds().MDSWriter(out=str(folder / "mds"), columns=columns) as writer:
        for clip in clips:
            arrays = [np.load(clip / f"{stream}.npy") for stream in STREAMS]
            for frames in zip(*arrays, strict=True):
                named = zip(STREAMS, frames, strict=True)
                writer.write({stream: frame.tobytes() for stream, frame in named})
    for kind in ("png", "npy"):
        with webdataset().TarWriter(str(folder / f"webdataset-{kind}.tar")) as tar:
            for number, clip in enumerate(clips):
                arrays = [np.load(clip / f"{stream}.npy", mmap_mode="r") for stream in STREAMS]
                for first in range(0, len(arrays[0]), TAR_FRAMES):
                    blocks = [array[first : first + TAR_FRAMES] for array in arrays]
                    if len(blocks[0]) == TAR_FRAMES:
                        tar.write({"__key__": f"{number:03d}-{first:06d}"} | _entry(blocks, kind))


def _entry(blocks: list[Frames], kind: str) -> dict[str, bytes]:
    """One run of frames by file name; PNGs as M3SVD has them, infrared in three channels."""
    entry: dict[str, bytes] = {}
    for stream, block in zip(STREAMS, blocks, strict=True):
        if kind == "npy":
            file = io.BytesIO()
            np.save(file, block)
            entry[f"{stream}.array"] = file.getvalue()
        else:
            for number, frame in enumerate(block):
                code = cv2.COLOR_GRAY2BGR if frame.ndim == 2 else cv2.COLOR_RGB2BGR
                encoded = cv2.imencode(".png", cv2.cvtColor(frame, code))[1]
                entry[f"{stream}.{number}.image"] = encoded.tobytes()
    return entry


def read_mds(folder: Path, places: list[Place]) -> Iterator[dict[str, torch.Tensor]]:
    """Windows anywhere: a whole frame of all streams is got for each of their pairs."""
    frames = open_mds(folder)
    clip_folder = min((folder / "npy").iterdir())
    arrays = {name: np.load(clip_folder / f"{name}.npy", mmap_mode="r") for name in STREAMS}
    pairs = len(arrays["infrared"])
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    for clip, first, y, x, height, width in chain.from_iterable(repeat(places)):
        start = clip * pairs + first
        got = [frames[index] for index in range(start, start + FRAMES)]
        sample: dict[str, torch.Tensor] = {}
        for name in STREAMS:
            whole = [np.frombuffer(frame[name], np.uint8).reshape(shapes[name]) for frame in got]
            sample[name] = _tensor(np.stack([f[y : y + height, x : x + width] for f in whole]))
        yield sample


def read_tar(folder: Path, kind: str, places: list[Place]) -> Iterator[dict[str, torch.Tensor]]:
    """Runs of frames in the order of the tar file, each cut where the next place says."""
    url = str(folder / f"webdataset-{kind}.tar")
    runs = webdataset().WebDataset(url, shardshuffle=False).repeat()
    drawn = chain.from_iterable(repeat(places))
    for entry, (_, _, y, x, height, width) in zip(runs, drawn, strict=True):
        sample: dict[str, torch.Tensor] = {}
        for stream in STREAMS:
            if kind == "npy":
                block = np.load(io.BytesIO(entry[f"{stream}.array"]))
                cut = block[:FRAMES, y : y + height, x : x + width]
                sample[stream] = _tensor(np.ascontiguousarray(cut))
            else:
                frames = [_decoded(entry[f"{stream}.{number}.image"]) for number in range(FRAMES)]
                cuts = [frame[y : y + height, x : x + width] for frame in frames]
                sample[stream] = _tensor(np.stack(cuts))
        yield sample


def _decoded(encoded: bytes) -> Frames:
    """A PNG as WebDataset users get it: whole, three channels, floats of 0..1."""
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("an entry of the tar file is no image")
    rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb.astype(np.float32) / FULL_LEVELS


def _tensor(frames: Frames) -> torch.Tensor:
    """(T, C, h, w)."""
    tensor = torch.from_numpy(frames)
    return tensor[:, None] if tensor.dim() == 3 else tensor.permute(0, 3, 1, 2)


KINDS: dict[str, Callable[[Path, list[Place]], Iterator[dict[str, torch.Tensor]]]] = {
    "mds": read_mds,
    "webdataset-png": lambda folder, places: read_tar(folder, "png", places),
    "webdataset-npy": lambda folder, places: read_tar(folder, "npy", places),
}


def samples_per_cpu_s(samples: Iterator[object], min_cpu_s: float, *, warm: int) -> float:
    """How many samples one second of CPU time of this process pays for, threads included."""
    for _ in range(warm):
        next(samples)
    begin, made = time.process_time(), 0
    while True:
        next(samples)
        made += 1
        spent_s = time.process_time() - begin
        if spent_s >= min_cpu_s:
            return made / spent_s


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    kind, folder = arguments[0], Path(arguments[1])
    if kind == "write":
        write(folder)
        return
    places = json.loads(Path(arguments[2]).read_text())
    rates = {
        size: samples_per_cpu_s(
            KINDS[kind](folder, drawn), float(arguments[3]), warm=WARM_SAMPLES[kind]
        )
        for size, drawn in places.items()
    }
    sys.stdout.write(json.dumps(rates) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
