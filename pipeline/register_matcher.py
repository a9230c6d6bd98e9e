"""A learned matcher as a source of proposals: kornia's LoFTR with weights that the user has."""

import hashlib
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from kornia.feature import LoFTR
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from pipeline.register_descriptors import Image, View
from pipeline.register_fit import Homography, scaling
from schemas.errors import RegisterError

WIDTH_PX = 640
"""Of the frames that are matched, at most: what LoFTR was trained on (Sun et al., 2021)."""

SIDE_STEP_PX = 8
"""LoFTR's coarse grid; sides are multiples of it."""

PAIRS = 3
"""Matched of those pooled; each takes seconds on a processor."""

INLIER_PX = 3.0
"""Of MAGSAC, pixels of the matched infrared frames."""

MIN_MATCHES = 8
"""Over all pairs; four always agree."""


@dataclass(frozen=True)
class LearnedMatcher:
    """LoFTR, ready to propose homographies."""

    network: LoFTR

    def __call__(self, here: View, there: View) -> Iterable[Homography]:
        """At most one homography through the matches of some of the frames.

        Args:
            here: infrared frames.
            there: visible frames of the same instants.
        """
        chosen = np.unique(np.linspace(0, len(here.frames) - 1, PAIRS).round().astype(int))
        ours: list[NDArray[np.float32]] = []
        theirs: list[NDArray[np.float32]] = []
        for place in chosen.tolist():
            found = self._matches(_sized(here.frames[place]), _sized(there.frames[place]))
            ours.append(found["keypoints0"].numpy())
            theirs.append(found["keypoints1"].numpy())
        points, moved = np.concatenate(theirs), np.concatenate(ours)
        if len(points) < MIN_MATCHES:
            return
        homography, _ = cv2.findHomography(points, moved, cv2.USAC_MAGSAC, INLIER_PX)
        if homography is None or abs(float(np.linalg.det(homography))) < np.finfo(float).eps:
            return
        to_small, from_small = _to_sized(there.frames[0]), _to_sized(here.frames[0])
        full = np.linalg.inv(from_small) @ homography @ to_small
        yield np.asarray(full / full[2, 2], np.float64)

    def _matches(self, infrared: Image, visible: Image) -> dict[str, torch.Tensor]:
        images = {
            name: torch.from_numpy(image / 255)[None, None]  # (1, 1, H, W)
            for name, image in (("image0", infrared), ("image1", visible))
        }
        with torch.inference_mode():
            found: dict[str, torch.Tensor] = self.network(images)
        return found


def _size(frame: Image) -> tuple[int, int]:
    """Width and height of the frame as it is matched."""
    height, width = frame.shape
    scale = min(1.0, WIDTH_PX / width)
    across, down = (max(1, round(side * scale / SIDE_STEP_PX)) for side in (width, height))
    return across * SIDE_STEP_PX, down * SIDE_STEP_PX


def _sized(frame: Image) -> Image:
    return np.asarray(cv2.resize(frame, _size(frame), interpolation=cv2.INTER_AREA), np.float32)


def _to_sized(frame: Image) -> Homography:
    """From pixels of the frame to those of what is matched."""
    across, down = (new / old for new, old in zip(_size(frame), frame.shape[::-1], strict=True))
    matrix = scaling(1.0)
    matrix[0, 0], matrix[0, 2] = across, (across - 1) / 2
    matrix[1, 1], matrix[1, 2] = down, (down - 1) / 2
    return matrix


def run_load_matcher(path: Path, sha256: str) -> LearnedMatcher:
    """LoFTR with the weights of a local file.

    Args:
        path: a state dictionary as safetensors or as torch saves it, or a checkpoint that holds
            one as `state_dict`.
        sha256: of the file.

    Raises:
        RegisterError: the file is missing, another one, damaged, or of another network.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RegisterError(
            f"register.matcher.weights: {path}: {error.strerror or error}; weights are never "
            "downloaded; put the file there or remove register.matcher"
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise RegisterError(
            f"register.matcher.sha256 is {sha256} and {path} has {actual}; correct the one or "
            "replace the other"
        )
    network = LoFTR(pretrained=None)
    try:
        weights = (
            load_safetensors(content) if path.suffix == ".safetensors" else _run_torch_load(path)
        )
        network.load_state_dict(weights)
    except (
        SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError,
        AttributeError, KeyError,
    ) as error:  # fmt: skip
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise RegisterError(
            f"register.matcher.weights: {path} holds no weights of kornia's LoFTR: "
            f"{' '.join(line.strip() for line in told[:2])[:300]}"
        ) from error
    return LearnedMatcher(network.eval())


def _run_torch_load(path: Path) -> dict[str, Any]:
    stored = torch.load(path, map_location="cpu", weights_only=True)
    found: dict[str, Any] = stored.get("state_dict", stored)
    return found
