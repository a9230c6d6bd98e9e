"""Degradations of time and place: frames repeated, lost, or laid a little beside each other.

Each function takes frames, uint8, shape (T, C, h, w), the step and its draws, and gives frames of
the same shape.
"""

import torch
from torch import Tensor

from pipeline.degrade_draws import StepDraw, View
from schemas.degradations import DroppedFrames, Misregistration, RepeatedFrames

LONGEST_REPEAT = 8
"""Frames in a row that may repeat one; it bounds how far back a window must be read."""

PLACE_UNIT = 1 << 5
"""Frames are sampled at multiples of 1/32 pixel: two weights of 5 bits and a level make 18."""


def shown(frames: Tensor, view: View, sources: list[int]) -> Tensor:
    """The frames of the block that are the clip's frames `sources`, or the nearest that it has."""
    first, last = view.indices[0], view.indices[-1]
    places = {index: place for place, index in enumerate(view.indices)}
    own = [places.get(min(max(source, first), last), place) for place, source in enumerate(sources)]
    return frames[torch.tensor(own, device=frames.device)]


def repeated_frames(frames: Tensor, step: RepeatedFrames, drawn: StepDraw) -> Tensor:
    """Some frames show the last one that is no repeat."""
    share = drawn.scaled(step.share, "share")
    sources = []
    for index in drawn.view.indices:
        back = 0
        while back < min(LONGEST_REPEAT, index) and drawn.at("repeat", index - back) < share:
            back += 1
        sources.append(index - back)
    return shown(frames, drawn.view, sources)


def dropped_frames(frames: Tensor, step: DroppedFrames, drawn: StepDraw) -> Tensor:
    """The content lags by the frames that its stretch still has to lose, and jumps at each loss."""
    share = drawn.scaled(step.share, "share")
    sources = []
    for index in drawn.view.indices:
        end = index - index % step.recovery_frames + step.recovery_frames
        to_lose = sum(drawn.at("lost", frame) < share for frame in range(index + 1, end))
        sources.append(max(0, index - to_lose))
    return shown(frames, drawn.view, sources)


def misregistration(frames: Tensor, step: Misregistration, drawn: StepDraw) -> Tensor:
    """Every frame resampled by a homography near the identity, the borders drawn out."""
    still = _corner_moves(drawn, "corner", drawn.scaled(step.corners_px, "corners"))
    warped = [
        _warped(
            frames[place],
            drawn.view,
            [
                (y + dy, x + dx)
                for (y, x), (dy, dx) in zip(
                    still,
                    _corner_moves(drawn, f"jitter-{index}", step.jitter_px * drawn.strength),
                    strict=True,
                )
            ],
        )
        for place, index in enumerate(drawn.view.indices)
    ]
    return torch.stack(warped)


def _corner_moves(drawn: StepDraw, name: str, most_px: float) -> list[tuple[float, float]]:
    """How far each corner moves along y and x, at most `most_px` each way."""
    return [
        ((2 * drawn.at(name, 2 * n) - 1) * most_px, (2 * drawn.at(name, 2 * n + 1) - 1) * most_px)
        for n in range(4)
    ]


def _warped(frame: Tensor, view: View, moves: list[tuple[float, float]]) -> Tensor:
    """One frame (C, h, w) seen through a homography that moves the whole frame's corners."""
    window, (height, width) = view.window, frame.shape[-2:]
    bottom, right = window.frame_height - 1.0, window.frame_width - 1.0
    corners = [(0.0, 0.0), (0.0, right), (bottom, 0.0), (bottom, right)]
    h = _homography(
        corners, [(y + dy, x + dx) for (y, x), (dy, dx) in zip(corners, moves, strict=True)]
    )
    # float64, one operation at a time: each is rounded the same for every shape
    y = torch.arange(window.y, window.y + height, dtype=torch.float64, device=frame.device)[:, None]
    x = torch.arange(window.x, window.x + width, dtype=torch.float64, device=frame.device)[None, :]
    depth = (y * h[6]).add(x * h[7]).add(1.0)
    from_y = (y * h[0]).add(x * h[1]).add(h[2]).div(depth)
    from_x = (y * h[3]).add(x * h[4]).add(h[5]).div(depth)
    rows, below = _places(from_y, window.frame_height, window.y, height)
    columns, beside = _places(from_x, window.frame_width, window.x, width)
    levels = frame.to(torch.int32)
    lower, upper = (
        (rows, columns),
        ((rows + 1).clamp(max=height - 1), (columns + 1).clamp(max=width - 1)),
    )
    top = (
        levels[:, lower[0], lower[1]] * (PLACE_UNIT - beside)
        + levels[:, lower[0], upper[1]] * beside
    )
    base = (
        levels[:, upper[0], lower[1]] * (PLACE_UNIT - beside)
        + levels[:, upper[0], upper[1]] * beside
    )
    summed = top * (PLACE_UNIT - below) + base * below + PLACE_UNIT**2 // 2
    return (summed >> (2 * (PLACE_UNIT.bit_length() - 1))).to(torch.uint8)


def _places(place: Tensor, whole: int, first: int, length: int) -> tuple[Tensor, Tensor]:
    """Index in the block of the pixel below each place, and how far above it, in PLACE_UNITs."""
    fixed = place.clamp(0, whole - 1).mul(PLACE_UNIT).add(0.5).floor().to(torch.int64)
    index = (fixed >> (PLACE_UNIT.bit_length() - 1)) - first
    return index.clamp(0, length - 1), (fixed % PLACE_UNIT).to(torch.int32)


def _homography(
    corners: list[tuple[float, float]], moved: list[tuple[float, float]]
) -> list[float]:
    """The eight numbers that take the corners (y, x) to the moved ones; the ninth is 1."""
    rows, values = [], []
    for (y, x), (to_y, to_x) in zip(corners, moved, strict=True):
        rows.append([y, x, 1.0, 0.0, 0.0, 0.0, -y * to_y, -x * to_y])
        rows.append([0.0, 0.0, 0.0, y, x, 1.0, -y * to_x, -x * to_x])
        values += [to_y, to_x]
    solved = torch.linalg.solve(
        torch.tensor(rows, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    )
    return [float(value) for value in solved]
