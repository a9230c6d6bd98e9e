"""Attention of the channels of a frame to one another, to another source and to other frames.

What is true of the parts in model/blocks.py is true of these: frames are (N, C, H, W), channels
last in memory.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.training import HEAD_CHANNELS

LEAST_NORM = 1e-12
"""Below this a channel counts as dark everywhere when attention compares it (MODEL.md 2.1)."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (N, C, H, W) over C."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Projection(nn.Module):
    """A 1x1 convolution, then a 3x3 one channel by channel; no bias.

    What comes out is wanted in `parts` (queries, keys, values, gates): each is computed by its own
    share of the weights, so that it lies in memory by itself.
    """

    def __init__(self, channels: int, *, parts: int = 1) -> None:
        super().__init__()
        wide = parts * channels
        self.parts = parts
        self.pointwise = nn.Conv2d(channels, wide, 1, bias=False)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> `parts` times the same."""
        shares = zip(
            self.pointwise.weight.chunk(self.parts),
            self.depthwise.weight.chunk(self.parts),
            strict=True,
        )
        return [
            functional.conv2d(
                functional.conv2d(x, pointwise), depthwise, padding=1, groups=x.shape[1]
            )
            for pointwise, depthwise in shares
        ]


class ChannelAttention(nn.Module):
    """The part all attention shares: heads of 16 channels, a temperature each, and the way out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(channels // HEAD_CHANNELS, 1, 1))
        self.output = nn.Conv2d(channels, channels, 1, bias=False)

    def affinity(self, query: Tensor, key: Tensor) -> Tensor:
        """How much each channel of `query` resembles each of `key` over the whole frame.

        The cosine of two channels: their product over the frame, divided by both lengths.

        Args:
            query: (N, C, H, W).
            key: the same shape.

        Returns:
            Rows that add up to 1, (N, heads, 16, 16).
        """
        queries, keys = _pixels(query), _pixels(key)
        products = (products_by_rows if query.is_cuda else products_of_heads)(query, key)
        lengths = _lengths(queries).unsqueeze(-1) * _lengths(keys).unsqueeze(-2)
        return torch.softmax(products / lengths * self.temperature, dim=-1)

    def attend(self, affinity: Tensor, value: Tensor) -> Tensor:
        """Mix the channels of `value` (N, C, H, W) by `affinity` (N, heads, 16, 16).

        Mixing and the way out are both linear in the channels of a pixel: one C x C matrix a frame.
        """
        heads = torch.unflatten(self.output.weight.flatten(1), 1, (-1, HEAD_CHANNELS))
        matrix = torch.einsum("ohi,nhij->nhjo", heads, affinity).flatten(1, 2)  # (N, C, C)
        mixed = _pixels(value) @ matrix
        return torch.unflatten(mixed, 1, tuple(value.shape[-2:])).permute(0, 3, 1, 2)


def products_of_heads(query: Tensor, key: Tensor) -> Tensor:
    """The product over the frame of each two channels of a head, (N, heads, 16, 16)."""
    heads = zip(
        torch.split(_pixels(query), HEAD_CHANNELS, -1),
        torch.split(_pixels(key), HEAD_CHANNELS, -1),
        strict=True,
    )
    return torch.stack([own.transpose(1, 2) @ other for own, other in heads], dim=1)


def products_by_rows(query: Tensor, key: Tensor) -> Tensor:
    """The same as a sum of products over the rows of the frame, all at once.

    A GPU leaves most of its units idle over one product of few channels and many pixels: one such
    of 48 channels and 640 x 480 pixels took 60 times as long on an H200. Channels of different
    heads are multiplied too, which costs less there than to take them apart.
    """
    count, channels, height, _ = query.shape
    own, other = (x.permute(0, 2, 3, 1).flatten(0, 1) for x in (query, key))  # (N*H, W, C)
    rows = torch.unflatten(own.transpose(1, 2) @ other, 0, (count, height))
    exact = torch.promote_types(rows.dtype, torch.float32)
    heads = (channels // HEAD_CHANNELS, HEAD_CHANNELS)
    products = rows.sum(1, dtype=exact).view(count, *heads, *heads)
    return products.diagonal(dim1=1, dim2=3).movedim(-1, 1)


def _pixels(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H*W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _lengths(pixels: Tensor) -> Tensor:
    """Length of every channel over the frame, (N, H*W, C) -> (N, heads, 16)."""
    exact = torch.promote_types(pixels.dtype, torch.float32)
    squares = (pixels * pixels).sum(1, dtype=exact)
    return torch.unflatten(squares.clamp_min(LEAST_NORM**2).sqrt(), 1, (-1, HEAD_CHANNELS))


class SelfAttention(ChannelAttention):
    """Attention of a frame's channels to one another."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query_key_value = Projection(channels, parts=3)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out, (N, C, H, W)."""
        query, key, value = self.query_key_value(x)
        return self.attend(self.affinity(query, key), value)


class CrossAttention(ChannelAttention):
    """Attention of one source's channels to those of another."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query = Projection(channels)
        self.key_value = Projection(channels, parts=2)
        self.unused_norm = ChannelNorm(channels).requires_grad_(requires_grad=False)
        """Two tensors of the official weights that no result depends on (MODEL.md section 2.3)."""

    def forward(self, x: Tensor, *sources: Tensor) -> list[Tensor]:
        """What `x` finds in each of `sources`; all (N, C, H, W)."""
        (query,) = self.query(x)
        found = []
        for source in sources:
            key, value = self.key_value(source)
            found.append(self.attend(self.affinity(query, key), value))
        return found


class CoAttention(ChannelAttention):
    """Attention to the frame before and the frame after at once.

    Only what both neighbours agree on counts: the two affinities are multiplied. The second softmax
    is the official code's; the paper writes one over the product of raw affinities (MODEL.md 2.3).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query = Projection(channels)
        self.previous_key_value = Projection(channels, parts=2)
        self.next_key_value = Projection(channels, parts=2)

    def forward(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """What every frame finds in its two neighbours; all (N, C, H, W)."""
        (query,) = self.query(x)
        key_before, value_before = self.previous_key_value(before)
        key_after, value_after = self.next_key_value(after)
        agreed = self.affinity(query, key_before) * self.affinity(query, key_after)
        return self.attend(torch.softmax(agreed, dim=-1), value_before + value_after)
