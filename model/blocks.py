"""The parts VideoFusion is made of (MODEL.md section 2.1).

Every part sees frames as (N, C, H, W) with N = batch * frames, batch first then time. The two that
look along time also take `frames`, the number T of consecutive frames per batch entry.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.training import HEAD_CHANNELS

GATE_REDUCTION = 16
"""Channels per hidden channel of a channel gate (MODEL.md section 2.1)."""

RESIDUAL_START = 0.1
"""Residual branches start at a tenth of Kaiming's scale (MODEL.md section 2.1)."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, C, H, W) over C."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Projection(nn.Module):
    """A 1x1 convolution, then a 3x3 one channel by channel; no bias."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.depthwise = nn.Conv2d(
            out_channels, out_channels, 3, padding=1, groups=out_channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H, W)."""
        projected: Tensor = self.depthwise(self.pointwise(x))
        return projected


class GatedFeedForward(nn.Module):
    """Mixes channels; one half of them, through GELU, gates the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inside = Projection(channels, 2 * channels)
        self.output = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        gate, value = self.inside(x).chunk(2, dim=1)
        mixed: Tensor = self.output(functional.gelu(gate) * value)
        return mixed


class ChannelAttention(nn.Module):
    """The part all attention shares: heads of 16 channels, a temperature each, and the way out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(channels // HEAD_CHANNELS, 1, 1))
        self.output = nn.Conv2d(channels, channels, 1, bias=False)

    def affinity(self, query: Tensor, key: Tensor) -> Tensor:
        """How much each channel of `query` resembles each of `key` over the whole frame.

        Args:
            query: (N, C, H, W).
            key: the same shape.

        Returns:
            Rows that add up to 1, (N, heads, 16, 16).
        """
        query = functional.normalize(_in_heads(query), dim=-1)
        key = functional.normalize(_in_heads(key), dim=-1)
        return torch.softmax(query @ key.transpose(-2, -1) * self.temperature, dim=-1)

    def attend(self, affinity: Tensor, value: Tensor) -> Tensor:
        """Mix the channels of `value` (N, C, H, W) by `affinity` (N, heads, 16, 16)."""
        mixed: Tensor = self.output((affinity @ _in_heads(value)).reshape(value.shape))
        return mixed


def _in_heads(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, heads, 16, H*W)."""
    n, c, h, w = x.shape
    return x.reshape(n, c // HEAD_CHANNELS, HEAD_CHANNELS, h * w)


class SelfAttention(ChannelAttention):
    """Attention of a frame's channels to one another."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query_key_value = Projection(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        query, key, value = self.query_key_value(x).chunk(3, dim=1)
        return self.attend(self.affinity(query, key), value)


class CrossAttention(ChannelAttention):
    """Attention of one source's channels to those of another."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query = Projection(channels, channels)
        self.key_value = Projection(channels, 2 * channels)
        self.unused_norm = ChannelNorm(channels).requires_grad_(requires_grad=False)
        """Two tensors of the official weights that no result depends on (MODEL.md section 2.3)."""

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """What `x` finds in `source`; all (N, C, H, W)."""
        key, value = self.key_value(source).chunk(2, dim=1)
        return self.attend(self.affinity(self.query(x), key), value)


class CoAttention(ChannelAttention):
    """Attention to the frame before and the frame after at once.

    Only what both neighbours agree on counts: the two affinities are multiplied. The second softmax
    is the official code's; the paper writes one over the product of raw affinities (MODEL.md 2.3).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query = Projection(channels, channels)
        self.previous_key_value = Projection(channels, 2 * channels)
        self.next_key_value = Projection(channels, 2 * channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """What every frame finds in its neighbours; (N, C, H, W) in and out."""
        query = self.query(x)
        previous = frame_before(self.previous_key_value(x), frames)
        following = frame_after(self.next_key_value(x), frames)
        key_before, value_before = previous.chunk(2, dim=1)
        key_after, value_after = following.chunk(2, dim=1)
        agreed = self.affinity(query, key_before) * self.affinity(query, key_after)
        return self.attend(torch.softmax(agreed, dim=-1), value_before + value_after)


def frame_before(x: Tensor, frames: int) -> Tensor:
    """Every frame's predecessor, the first frame's being itself; (B*T, ...) in and out."""
    clips = torch.unflatten(x, 0, (-1, frames))  # (B, T, ...)
    return torch.cat([clips[:, :1], clips[:, :-1]], dim=1).flatten(0, 1)


def frame_after(x: Tensor, frames: int) -> Tensor:
    """Every frame's successor, the last frame's being itself; (B*T, ...) in and out."""
    clips = torch.unflatten(x, 0, (-1, frames))  # (B, T, ...)
    return torch.cat([clips[:, 1:], clips[:, -1:]], dim=1).flatten(0, 1)


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
    """A transformer block that refines one source by another, frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(channels)
        self.attention = CrossAttention(channels)
        self.feed_forward_norm = ChannelNorm(channels)
        self.feed_forward = GatedFeedForward(channels)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Refine `x` by `source`, both normalised by the same weights; all (N, C, H, W)."""
        x = x + self.attention(self.attention_norm(x), self.attention_norm(source))
        refined: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return refined


class CoBlock(nn.Module):
    """A transformer block that refines every frame by its two neighbours (one BiCAM layer)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(channels)
        self.attention = CoAttention(channels)
        self.feed_forward_norm = ChannelNorm(channels)
        self.feed_forward = GatedFeedForward(channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Same shape in and out, (N, C, H, W); all frames at once, from the block's input."""
        x = x + self.attention(self.attention_norm(x), frames)
        refined: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return refined


class TemporalConvolutions(nn.Module):
    """Two 3x3x3 convolutions over time and space; frames beyond either end count as zero."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(out_channels, out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(B*T, C, H, W) -> (B*T, out_channels, H, W)."""
        video = torch.unflatten(x, 0, (-1, frames)).transpose(1, 2)  # (B, C, T, H, W)
        found: Tensor = self.layers(video)
        return found.transpose(1, 2).flatten(0, 1)


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
        maps = torch.sigmoid(self.weigh(torch.cat([main, supplement], dim=1)))  # (N, 2, H, W)
        main_weight, supplement_weight = maps.mean((-2, -1), keepdim=True).chunk(2, dim=1)
        mixed: Tensor = self.gates(main_weight * main) + supplement_weight * supplement
        return mixed
