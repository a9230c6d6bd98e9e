"""The parts VideoFusion is made of (MODEL.md section 2.1).

Every part sees frames as (N, C, H, W) with N = batch * frames, batch first then time. The channels
of a pixel lie beside each other in memory (torch.channels_last), which norms, 1x1 convolutions and
attention all read in order; other layouts give the same values, slower. Parts that look along time
take a `Timeline` too.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.attention import (
    ChannelNorm,
    CoAttention,
    CrossAttention,
    Projection,
    SelfAttention,
)
from model.timeline import Timeline, as_images, as_videos

GATE_REDUCTION = 16
"""Channels per hidden channel of a channel gate (MODEL.md section 2.1)."""

RESIDUAL_START = 0.1
"""Residual branches start at a tenth of Kaiming's scale (MODEL.md section 2.1)."""


def frame_by_frame(part: Callable[..., Tensor], *sources: Tensor) -> Tensor:
    """What `part` makes of frames that do not see each other, (N, ...) each and in all.

    On a CPU without gradients they pass one at a time: what is computed on the way is then small
    enough that the C library hands out the same memory again and again. A window at once spends up
    to half of its time on fresh pages (MODEL.md section 3.1), and all of them stay in use.
    """
    first = sources[0]
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or first.is_cuda or len(first) == 1:
        return part(*sources)
    frames = zip(*(torch.split(source, 1) for source in sources), strict=True)
    return torch.cat([part(*frame) for frame in frames])


class GatedFeedForward(nn.Module):
    """Mixes channels; one half of them, through GELU, gates the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inside = Projection(channels, parts=2)
        self.output = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        gate, value = self.inside(x)
        mixed: Tensor = self.output(functional.gelu(gate) * value)
        return mixed


class SelfBlock(nn.Module):
    """A transformer block within each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(channels)
        self.attention = SelfAttention(channels)
        self.feed_forward_norm = ChannelNorm(channels)
        self.feed_forward = GatedFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        x = x + self.attention(self.attention_norm(x))
        refined: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return refined


class CrossBlock(nn.Module):
    """A transformer block that refines one source by others, frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(channels)
        self.attention = CrossAttention(channels)
        self.feed_forward_norm = ChannelNorm(channels)
        self.feed_forward = GatedFeedForward(channels)

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        """The sum of `x` refined by each of `sources` alone; all (N, C, H, W).

        `x` and sources are normalised by the same weights; what is asked of the sources is computed
        once for all.
        """
        normal = [self.attention_norm(source) for source in sources]
        found = [x + one for one in self.attention(self.attention_norm(x), *normal)]
        refined = [one + self.feed_forward(self.feed_forward_norm(one)) for one in found]
        together: Tensor = functools.reduce(torch.add, refined)
        return together


class CoBlock(nn.Module):
    """A transformer block that refines every frame by its two neighbours (one BiCAM layer)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(channels)
        self.attention = CoAttention(channels)
        self.feed_forward_norm = ChannelNorm(channels)
        self.feed_forward = GatedFeedForward(channels)

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """(N, C, H, W) in and out, all frames at once, from the block's input.

        The first frame of a video is its own predecessor, the last its own successor.
        """
        frames = timeline.surrounded(self, x, beyond=_itself)
        images = frame_by_frame(self.attention_norm, as_images(frames))
        normal = as_videos(images, timeline.batch)
        places = frames[:, 1:-1], normal[:, 1:-1], normal[:, :-2], normal[:, 2:]
        return frame_by_frame(self._refined, *(as_images(place) for place in places))

    def _refined(self, x: Tensor, normal: Tensor, before: Tensor, after: Tensor) -> Tensor:
        x = x + self.attention(normal, before, after)
        refined: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return refined


def _itself(frame: Tensor) -> Tensor:
    return frame


class TemporalConvolutions(nn.Module):
    """Two 3x3x3 convolutions over time and space; frames beyond either end count as zero."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        in_space = (0, 1, 1)  # along time the frames come with their neighbours
        self.layers = nn.Sequential(
            nn.Conv3d(channels, out_channels, 3, padding=in_space),
            nn.LeakyReLU(0.2),
            nn.Conv3d(out_channels, out_channels, 3, padding=in_space),
        )

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H, W)."""
        first, activation, second = self.layers
        return _convolved(second, activation(_convolved(first, x, timeline)), timeline)


def _convolved(layer: nn.Module, x: Tensor, timeline: Timeline) -> Tensor:
    frames = timeline.surrounded(layer, x, beyond=torch.zeros_like)
    volume = frames.permute(0, 4, 1, 2, 3)  # (B, C, T, H, W)
    found: Tensor = layer(volume)
    return as_images(found.permute(0, 2, 3, 4, 1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("weight"):
                    nn.init.kaiming_normal_(parameter).mul_(RESIDUAL_START)
                else:
                    nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        refined: Tensor = x + self.conv_2(functional.leaky_relu(self.conv_1(x), 0.1))
        return refined


class Downsample(nn.Sequential):
    """(N, C, H, W) -> (N, 2C, H/2, W/2), every pixel kept as a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)
        )


class Upsample(nn.Sequential):
    """(N, C, H, W) -> (N, C/2, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(channels // 2, channels // 2, 3, padding=1),
        )


class ChannelGate(nn.Module):
    """Weighs channels by their mean and maximum over the frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // GATE_REDUCTION, 1, bias=False)
        self.expand = nn.Conv2d(channels // GATE_REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        mean, peak = x.mean((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
        return torch.sigmoid(self._excite(mean) + self._excite(peak)) * x

    def _excite(self, pooled: Tensor) -> Tensor:
        excited: Tensor = self.expand(functional.leaky_relu(self.squeeze(pooled), 0.2))
        return excited


class SpatialGate(nn.Module):
    """Weighs pixels by the mean and maximum of their channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(pooled)) * x


class Gates(nn.Sequential):
    """A channel gate, then a spatial gate."""

    def __init__(self, channels: int) -> None:
        super().__init__(ChannelGate(channels), SpatialGate())


class GatedMix(nn.Module):
    """Blends a main and a supplementary source; gates the main one (CMA in the official code)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2 * channels, 2, 1, bias=False)
        self.gates = Gates(channels)

    def forward(self, main: Tensor, supplement: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W); the blend has one weight per frame and source."""
        from_main, from_supplement = self.weigh.weight.chunk(2, dim=1)
        maps = torch.sigmoid(
            functional.conv2d(main, from_main) + functional.conv2d(supplement, from_supplement)
        )  # (N, 2, H, W)
        main_weight, supplement_weight = maps.mean((-2, -1), keepdim=True).chunk(2, dim=1)
        mixed: Tensor = self.gates(main_weight * main) + supplement_weight * supplement
        return mixed
