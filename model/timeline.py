"""What layers along time see of videos: whole at once, or part after part without a seam."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

REACH = 1
"""Frames that one layer along time sees before and after each."""


class Timeline:
    """The place in time of the frames that pass through the network together.

    A new one sees whole videos. Set `ends` to False and more of them can follow: each layer then
    puts out the frames whose successors it has seen, and finds those it still needs kept here. The
    first part must have more frames than the network's reach, those after it at least one; the last
    may be empty.
    """

    def __init__(self, batch: int = 1) -> None:
        """For `batch` videos side by side."""
        self.batch = batch
        self.ends = True
        """Whether the part at hand is the last."""
        self._kept: dict[Hashable, Tensor] = {}

    def surrounded(self, layer: Hashable, x: Tensor, beyond: Callable[[Tensor], Tensor]) -> Tensor:
        """The frames at hand with those before and after them that `layer` needs.

        Args:
            layer: whose frames they are.
            x: (B*T, C, H, W); T may be 0 at the very end.
            beyond: makes what counts as lying beyond either end of a video, out of the frame there.

        Returns:
            (B, T', H, W, C), two frames more than the layer is to put out.
        """
        kept = self._kept.pop(layer, None)
        videos = as_videos(x, self.batch)
        before = beyond(videos[:, :REACH]) if kept is None else kept
        newest = (videos if len(x) else before)[:, -REACH:]
        frames = torch.cat([before, videos] + [beyond(newest)] * self.ends, dim=1)
        if not self.ends:
            self._kept[layer] = frames[:, -2 * REACH :].clone()
        return frames

    def delayed(self, stream: Hashable, x: Tensor, count: int) -> Tensor:
        """The next `count` frames of a stream that runs ahead; the others of `x` wait.

        Args:
            stream: what the frames are.
            x: (B*T, C, H, W).
            count: frames in all videos together, B*T'.
        """
        kept = self._kept.pop(stream, None)
        if kept is None and len(x) == count:
            return x
        videos = as_videos(x, self.batch)
        frames = videos if kept is None else torch.cat([kept, videos], dim=1)
        now = count // self.batch
        if now < frames.shape[1]:
            self._kept[stream] = frames[:, now:].clone()
        return as_images(frames[:, :now])


def as_videos(images: Tensor, batch: int) -> Tensor:
    """(B*T, C, H, W) -> (B, T, H, W, C)."""
    return torch.unflatten(images.permute(0, 2, 3, 1), 0, (batch, len(images) // batch))


def as_images(videos: Tensor) -> Tensor:
    """(B, T, H, W, C) -> (B*T, C, H, W)."""
    return videos.flatten(0, 1).permute(0, 3, 1, 2)
