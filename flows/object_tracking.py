"""Objects that a detector of the YOLO family finds and follows; needs the extra `detect`."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from numpy.typing import NDArray
from ultralytics.models import YOLO
from ultralytics.nn import tasks
from ultralytics.utils.nms import TorchNMS

from flows.evaluate_views import Followed
from flows.torchvision_parts import has_operators
from model.checkpoint import UNREADABLE
from schemas.errors import EvaluateError

TRACKER = "bytetrack.yaml"
"""Ultralytics' settings of ByteTrack (Zhang et al., ECCV 2022): boxes alone, no network beside."""

TASKS = ("detect", "segment", "pose")
"""Of networks whose results have upright boxes."""


class Follower:
    """One detector, and a tracker for each stream of a clip."""

    def __init__(self, weights: Path, streams: tuple[str, ...]) -> None:
        """Load the detector.

        Args:
            weights: a .pt of ultralytics.
            streams: whose frames will come, each in its order.

        Raises:
            EvaluateError: the file holds no detector.
        """
        if not has_operators():
            torchvision.ops.nms = TorchNMS.nms  # the same in plain torch, by ultralytics
        self._models = {stream: _detector(weights) for stream in streams}

    def follow(self, stream: str, frame: NDArray[np.uint8], *, is_first: bool) -> Followed:
        """The objects of the next frame of a stream.

        Args:
            stream: one of those named at first.
            frame: RGB, (H, W, 3).
            is_first: of its clip, so that none is known from before.
        """
        bgr = np.ascontiguousarray(frame[..., ::-1])
        (found,) = self._models[stream].track(
            bgr, persist=not is_first, tracker=TRACKER, verbose=False, save=False
        )
        boxes = found.boxes.cpu().numpy()
        numbers = np.full(len(boxes), -1) if boxes.id is None else boxes.id.astype(int)
        followed = numbers >= 0
        kinds = [found.names[int(kind)] for kind in boxes.cls[followed]]
        return Followed(boxes.xyxy[followed], boxes.conf[followed], numbers[followed], tuple(kinds))


def _detector(weights: Path) -> Any:
    if weights.suffix != ".pt":
        raise EvaluateError(f"{weights}: detectors are read from a .pt of ultralytics; give one")
    # no code of the file's runs, whoever imported ultralytics first, with whatever environment
    vars(tasks)["SAFE_LOAD"] = True
    try:
        with warnings.catch_warnings(action="ignore"):  # of unpickling; what fails is told below
            found = YOLO(weights)
    except (*UNREADABLE, ImportError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EvaluateError(
            f"{weights}: no detector of ultralytics, or one with code of its own ({first}); "
            "download it again"
        ) from error
    if found.task not in TASKS:
        raise EvaluateError(
            f"{weights}: is a network to {found.task}; give one to {', '.join(TASKS)}"
        )
    return found
