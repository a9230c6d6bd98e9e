"""VideoFusion as MODEL.md section 2 describes it, step by step: the slow twin of model/network.py.

Nothing is shared, folded or cached: norms are written out over pixels as rows, every layer along
time takes its frames one after the other and computes for each of them what its neighbours need.
It reads the official tensor names, so that it is a second opinion on their mapping as well.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from model.checkpoint import official_name
from model.network import FusedVideo, VideoFusion

HEAD_CHANNELS = 16
NORM_EPSILON = 1e-5
BLOCKS = {"co_attention_1": 2, "co_attention_2": 2, "co_attention_3": 4}
ENHANCE_BLOCKS = 2
DECODER_BLOCKS = 2
RESIDUAL_BLOCKS = 4


def official_tensors(network: VideoFusion) -> dict[str, Tensor]:
    """The weights of a network of the published size under their official names."""
    return {official_name(name): tensor for name, tensor in network.state_dict().items()}


class LiteralVideoFusion:
    """The published network over `tensors`; frames are (N, 3, H, W), N = batch * time."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def __call__(self, infrared: Tensor, visible: Tensor, *, restore: bool = True) -> FusedVideo:
        """Fuse (B, T, 3, H, W) pairs in [0, 1], H and W multiples of 4, T at least 2."""
        shape = visible.shape
        infrared_1 = self._convolved_in_time("conv3d_ir_1", infrared)
        visible_1 = self._convolved_in_time("conv3d_vi_1", visible)
        fused_1 = self._self_blocks(
            "fusion_enhance_1.transformer", ENHANCE_BLOCKS, self._merged(1, infrared_1, visible_1)
        )
        infrared_2, visible_2 = self._reinforced(2, infrared_1, visible_1, shape)
        fused_2 = self._self_blocks(
            "fusion_enhance_2.transformer", ENHANCE_BLOCKS, self._merged(2, infrared_2, visible_2)
        )
        infrared_3, visible_3 = self._reinforced(3, infrared_2, visible_2, shape)
        fused_3 = self._co_attention(
            "co_attention_3", self._merged(3, infrared_3, visible_3), shape
        )
        fused_2 = self._co_attention("co_attention_2", self._up("up2", fused_3) + fused_2, shape)
        features = self._co_attention("co_attention_1", self._up("up1", fused_2) + fused_1, shape)
        fused = self._decoded("decoder_fusion", features).reshape(shape)
        if not restore:
            return FusedVideo(fused, None, None)
        restored = []
        for band in ("ir", "vi"):
            chosen = self._channel_gate(f"decomposition.channel_attention_{band}", features)
            chosen = self._spatial_gate(f"decomposition.spatial_attention_{band}", chosen)
            restored.append(self._decoded(f"decoder_{band}", chosen).reshape(shape))
        return FusedVideo(fused, *restored)

    def _conv(self, name: str, x: Tensor, *, groups: int = 1) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        bias = self.tensors.get(f"{name}.bias")
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=groups)

    def _convolved_in_time(self, name: str, video: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B*T, C', H, W)."""
        x = video.transpose(1, 2)
        for layer in ("0", "2"):
            weight = self.tensors[f"{name}.module.{layer}.weight"]
            x = functional.conv3d(x, weight, self.tensors[f"{name}.module.{layer}.bias"], padding=1)
            x = functional.leaky_relu(x, 0.2) if layer == "0" else x
        return x.transpose(1, 2).flatten(0, 1)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        rows = x.flatten(2).transpose(1, 2)  # (N, H*W, C)
        mean = rows.mean(-1, keepdim=True)
        variance = rows.var(-1, keepdim=True, unbiased=False)
        rows = (rows - mean) / torch.sqrt(variance + NORM_EPSILON)
        rows = rows * self.tensors[f"{name}.body.weight"] + self.tensors[f"{name}.body.bias"]
        return rows.transpose(1, 2).reshape(x.shape)

    def _projected(self, name: str, depthwise: str, x: Tensor) -> Tensor:
        wide = self._conv(name, x)
        return self._conv(depthwise, wide, groups=wide.shape[1])

    def _map(self, name: str, query: Tensor, key: Tensor) -> Tensor:
        query = functional.normalize(_in_heads(query), dim=-1)
        key = functional.normalize(_in_heads(key), dim=-1)
        affinity = query @ key.transpose(-2, -1) * self.tensors[f"{name}.temperature"]
        return affinity.softmax(-1)

    def _feed_forward(self, name: str, x: Tensor) -> Tensor:
        normal = self._norm(f"{name}.norm2", x)
        wide = self._projected(f"{name}.ffn.project_in", f"{name}.ffn.dwconv", normal)
        gate, value = wide.chunk(2, dim=1)
        return x + self._conv(f"{name}.ffn.project_out", functional.gelu(gate) * value)

    def _self_blocks(self, name: str, count: int, x: Tensor) -> Tensor:
        for number in range(count):
            block = f"{name}.{number}"
            normal = self._norm(f"{block}.norm1", x)
            query, key, value = self._projected(
                f"{block}.attn.qkv", f"{block}.attn.qkv_dwconv", normal
            ).chunk(3, dim=1)
            found = self._map(f"{block}.attn", query, key) @ _in_heads(value)
            x = x + self._conv(f"{block}.attn.project_out", found.reshape(x.shape))
            x = self._feed_forward(block, x)
        return x

    def _cross(self, name: str, x: Tensor, source: Tensor) -> Tensor:
        query = self._projected(
            f"{name}.attn.q", f"{name}.attn.q_dwconv", self._norm(f"{name}.norm1", x)
        )
        key, value = self._projected(
            f"{name}.attn.kv", f"{name}.attn.kv_dwconv", self._norm(f"{name}.norm1", source)
        ).chunk(2, dim=1)
        found = self._map(f"{name}.attn", query, key) @ _in_heads(value)
        x = x + self._conv(f"{name}.attn.project_out", found.reshape(x.shape))
        return self._feed_forward(name, x)

    def _merged(self, scale: int, infrared: Tensor, visible: Tensor) -> Tensor:
        name, both = f"fusion_{scale}.cross_transformer", infrared + visible
        return self._cross(name, both, infrared) + self._cross(name, both, visible)

    def _reinforced(
        self, scale: int, infrared: Tensor, visible: Tensor, shape: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """Both bands one scale further down, each reinforced by what the other shows."""
        bands = []
        for band, x in (("ir", infrared), ("vi", visible)):
            down = self._conv(f"down_{band}_{scale - 1}.body.0", x)
            down = functional.pixel_unshuffle(down, 2)
            video = torch.unflatten(down, 0, tuple(shape[:2]))
            stage = self._convolved_in_time(f"conv3d_{band}_{scale}", video)
            for number in range(RESIDUAL_BLOCKS):
                block = f"{band}_conv_enhance_{scale}.blocks.0.{number}"
                inner = functional.leaky_relu(self._conv(f"{block}.conv1", stage), 0.1)
                stage = stage + self._conv(f"{block}.conv2", inner)
            bands.append(stage)
        mixed = []
        infrared, visible = bands
        for band, own, other in (("ir", infrared, visible), ("vi", visible, infrared)):
            cross = self._cross(
                f"cross_modal_enhance_{band}_{scale}.cross_transformer", own, other - own
            )
            weighed = torch.sigmoid(
                self._conv(f"CMA_{band}_{scale}.conv", torch.cat([cross, own], dim=1))
            )
            main_weight, own_weight = weighed.mean((-2, -1), keepdim=True).chunk(2, dim=1)
            main = self._channel_gate(f"CMA_{band}_{scale}.ChannelAttention", main_weight * cross)
            main = self._spatial_gate(f"CMA_{band}_{scale}.SpatialAttention", main)
            mixed.append(main + own_weight * own)
        return mixed[0], mixed[1]

    def _channel_gate(self, name: str, x: Tensor) -> Tensor:
        pooled = (functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1))
        mean, peak = (
            self._conv(f"{name}.fc2", functional.leaky_relu(self._conv(f"{name}.fc1", p), 0.2))
            for p in pooled
        )
        return torch.sigmoid(mean + peak) * x

    def _spatial_gate(self, name: str, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self._conv(f"{name}.conv1", pooled)) * x

    def _co_attention(self, name: str, x: Tensor, shape: torch.Size) -> Tensor:
        """Layer upon layer, every frame from its own and both neighbours' features before."""
        for layer in range(BLOCKS[name]):
            block = f"{name}.layers.{layer}.co_transformer"
            video = torch.unflatten(x, 0, tuple(shape[:2]))
            last = shape[1] - 1
            refined = [
                self._co_block(
                    block, video[:, t], video[:, max(0, t - 1)], video[:, min(last, t + 1)]
                )
                for t in range(shape[1])
            ]
            x = torch.stack(refined, dim=1).flatten(0, 1)
        return x

    def _co_block(self, name: str, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        query = self._projected(
            f"{name}.attn.q", f"{name}.attn.q_dwconv", self._norm(f"{name}.norm1", x)
        )
        maps, values = [], []
        for side, neighbour in (("prev", before), ("next", after)):
            key, value = self._projected(
                f"{name}.attn.kv_{side}",
                f"{name}.attn.kv_dwconv_{side}",
                self._norm(f"{name}.norm1", neighbour),
            ).chunk(2, dim=1)
            maps.append(self._map(f"{name}.attn", query, key))
            values.append(_in_heads(value))
        agreed = (maps[0] * maps[1]).softmax(-1)
        found = agreed @ values[0] + agreed @ values[1]
        x = x + self._conv(f"{name}.attn.project_out", found.reshape(x.shape))
        return self._feed_forward(name, x)

    def _up(self, name: str, x: Tensor) -> Tensor:
        x = self._conv(f"{name}.body.0", x)
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self._conv(f"{name}.body.2", x)

    def _decoded(self, name: str, x: Tensor) -> Tensor:
        x = self._self_blocks(f"{name}.decoder", DECODER_BLOCKS, x)
        x = functional.leaky_relu(self._conv(f"{name}.conv.0", x), 0.2)
        return (torch.tanh(self._conv(f"{name}.conv.2", x)) + 1) / 2


def _in_heads(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, heads, 16, H*W)."""
    return x.reshape(x.shape[0], -1, HEAD_CHANNELS, x.shape[-2] * x.shape[-1])
