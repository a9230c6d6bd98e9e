"""VideoFusion: two degraded videos in, one fused and two restored videos out.

The architecture of arXiv 2503.23359 as its official weights need it (MODEL.md section 2).
"""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.blocks import (
    CoBlock,
    CrossBlock,
    Downsample,
    GatedMix,
    Gates,
    ResidualBlock,
    SelfBlock,
    TemporalConvolutions,
    Upsample,
    frame_by_frame,
)
from model.timeline import Timeline
from schemas.training import NetworkRecipe, Precision

IMAGE_CHANNELS = 3
"""Both bands enter as RGB, infrared as grey repeated, as the official weights expect."""

RESIDUAL_BLOCKS = 4
"""Per band and lower scale (MODEL.md section 2.1)."""

SIZE_MULTIPLE = 4
"""Frames are halved twice."""


class FusedVideo(NamedTuple):
    """What the network makes of a window; each (B, T, 3, H, W), RGB in [0, 1]."""

    fused: Tensor
    infrared: Tensor | None
    """Restored infrared; None where no restoration was asked for."""
    visible: Tensor | None
    """Restored visible; None where no restoration was asked for."""


class BandStage(nn.Module):
    """One band at half or quarter resolution: down, along time, then residual blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = Downsample(channels // 2)
        self.temporal = TemporalConvolutions(channels, channels)
        self.residual = nn.Sequential(*(ResidualBlock(channels) for _ in range(RESIDUAL_BLOCKS)))

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """(N, C/2, 2H, 2W) -> (N, C, H, W)."""
        x = self.temporal(frame_by_frame(self.down, x), timeline)
        return frame_by_frame(self.residual, x)


class DifferentialReinforcement(nn.Module):
    """CmDRM: adds to one band what the other shows and it lacks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cross = CrossBlock(channels)
        self.mix = GatedMix(channels)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Reinforce `own` by its difference to `other`; all (N, C, H, W)."""
        return frame_by_frame(self._reinforced, own, other)

    def _reinforced(self, own: Tensor, other: Tensor) -> Tensor:
        reinforced: Tensor = self.mix(self.cross(own, other - own), own)
        return reinforced


class GuidedFusion(nn.Module):
    """CMGF: one shared block looks from the sum of the bands at each of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cross = CrossBlock(channels)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fuse two bands; all (N, C, H, W)."""
        return frame_by_frame(self._fused, infrared, visible)

    def _fused(self, infrared: Tensor, visible: Tensor) -> Tensor:
        fused: Tensor = self.cross(infrared + visible, infrared, visible)
        return fused


class Unreinforced(nn.Module):
    """In place of CmDRM: a band as it is."""

    def forward(self, own: Tensor, _other: Tensor) -> Tensor:
        """(N, C, H, W) in and out."""
        return own


class Addition(nn.Module):
    """In place of CMGF: the sum of both bands."""

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """(N, C, H, W) in and out."""
        return infrared + visible


class CoAttentionStack(nn.ModuleList):
    """BiCAM: layer upon layer, every frame looks at its two neighbours; no layer, as it is."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__(CoBlock(channels) for _ in range(layers))

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """(N, C, H, W) in and out."""
        for layer in self:
            x = layer(x, timeline)
        return x


class Decoder(nn.Module):
    """Features to an image, frame by frame."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SelfBlock(channels) for _ in range(blocks)))
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels // 2, IMAGE_CHANNELS, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 3, H, W) in [0, 1]."""
        return frame_by_frame(self._decoded, x)

    def _decoded(self, x: Tensor) -> Tensor:
        return (torch.tanh(self.head(self.blocks(x))) + 1) / 2


class VideoFusion(nn.Module):
    """The network; `_1`, `_2`, `_3` are full, half and quarter resolution.

    Attention and gates pool over whole frames, so a tile of a frame gives another result than the
    frame itself; along time no result depends on frames further than `temporal_reach`.
    """

    def __init__(self, recipe: NetworkRecipe | None = None) -> None:
        super().__init__()
        self.recipe = recipe or NetworkRecipe()
        channels_1, channels_2, channels_3 = self.recipe.scale_channels
        blocks_1, blocks_2, _ = self.recipe.blocks

        self.infrared_1 = TemporalConvolutions(IMAGE_CHANNELS, channels_1)
        self.visible_1 = TemporalConvolutions(IMAGE_CHANNELS, channels_1)
        self.infrared_2, self.visible_2 = BandStage(channels_2), BandStage(channels_2)
        self.infrared_3, self.visible_3 = BandStage(channels_3), BandStage(channels_3)

        def reinforcement(channels: int) -> nn.Module:
            whole = self.recipe.reinforcement
            return DifferentialReinforcement(channels) if whole else Unreinforced()

        def fusion(channels: int) -> nn.Module:
            return GuidedFusion(channels) if self.recipe.guided_fusion else Addition()

        self.reinforce_infrared_2 = reinforcement(channels_2)
        self.reinforce_visible_2 = reinforcement(channels_2)
        self.reinforce_infrared_3 = reinforcement(channels_3)
        self.reinforce_visible_3 = reinforcement(channels_3)

        self.fuse_1, self.fuse_2 = fusion(channels_1), fusion(channels_2)
        self.fuse_3 = fusion(channels_3)
        self.enhance_1 = nn.Sequential(*(SelfBlock(channels_1) for _ in range(blocks_1)))
        self.enhance_2 = nn.Sequential(*(SelfBlock(channels_2) for _ in range(blocks_2)))

        layers_1, layers_2, layers_3 = self.recipe.co_attention_layers
        self.co_attend_3 = CoAttentionStack(channels_3, layers_3)
        self.up_2 = Upsample(channels_3)
        self.co_attend_2 = CoAttentionStack(channels_2, layers_2)
        self.up_1 = Upsample(channels_2)
        self.co_attend_1 = CoAttentionStack(channels_1, layers_1)

        self.select_infrared, self.select_visible = Gates(channels_1), Gates(channels_1)
        self.decode_fused = Decoder(channels_1, self.recipe.decoder_blocks)
        self.decode_infrared = Decoder(channels_1, self.recipe.decoder_blocks)
        self.decode_visible = Decoder(channels_1, self.recipe.decoder_blocks)

    def forward(
        self,
        infrared: Tensor,
        visible: Tensor,
        *,
        restore: bool = True,
        timeline: Timeline | None = None,
    ) -> FusedVideo:
        """Fuse a window of pairs and, unless told otherwise, restore both bands.

        Args:
            infrared: grey (B, T, 1, H, W) or RGB (B, T, 3, H, W) in [0, 1]; any T >= 1, any H, W.
            visible: RGB (B, T, 3, H, W) in [0, 1].
            restore: whether to run the two restoration decoders.
            timeline: of B videos that come in parts; the frames that come out then lag behind by
                `temporal_reach` until it ends. None: the window is all there is.

        Raises:
            ValueError: the shapes do not belong together.
        """
        _check_shapes(infrared, visible)
        batch, _, _, height, width = visible.shape
        infrared = infrared.expand(-1, -1, IMAGE_CHANNELS, -1, -1)
        features = self._features(_images(infrared), _images(visible), timeline or Timeline(batch))

        def video(images: Tensor) -> Tensor:
            return torch.unflatten(images[..., :height, :width], 0, (batch, -1))

        fused = video(self.decode_fused(features))
        if not restore:
            return FusedVideo(fused, None, None)
        return FusedVideo(
            fused,
            video(self.decode_infrared(frame_by_frame(self.select_infrared, features))),
            video(self.decode_visible(frame_by_frame(self.select_visible, features))),
        )

    def _features(self, infrared: Tensor, visible: Tensor, timeline: Timeline) -> Tensor:
        """Features of both bands, related along time; (B*T, 3, H, W) -> (B*T', C, H, W)."""
        fused_1, fused_2, fused_3 = self._fused_scales(infrared, visible, timeline)
        fused_3 = frame_by_frame(self.up_2, self.co_attend_3(fused_3, timeline))
        fused_2 = fused_3 + timeline.delayed("half", fused_2, len(fused_3))
        fused_2 = frame_by_frame(self.up_1, self.co_attend_2(fused_2, timeline))
        fused_1 = fused_2 + timeline.delayed("full", fused_1, len(fused_2))
        features: Tensor = self.co_attend_1(fused_1, timeline)
        return features

    def _fused_scales(
        self, infrared: Tensor, visible: Tensor, timeline: Timeline
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The two bands fused at full, half and quarter resolution, C, 2C and 4C channels."""
        infrared_1 = self.infrared_1(infrared, timeline)
        visible_1 = self.visible_1(visible, timeline)
        fused_1 = frame_by_frame(self.enhance_1, self.fuse_1(infrared_1, visible_1))

        infrared_2 = self.infrared_2(infrared_1, timeline)  # (B*T, 2C, H/2, W/2)
        visible_2 = self.visible_2(visible_1, timeline)
        infrared_2, visible_2 = (
            self.reinforce_infrared_2(infrared_2, visible_2),
            self.reinforce_visible_2(visible_2, infrared_2),
        )
        fused_2 = frame_by_frame(self.enhance_2, self.fuse_2(infrared_2, visible_2))

        infrared_3 = self.infrared_3(infrared_2, timeline)  # (B*T, 4C, H/4, W/4)
        visible_3 = self.visible_3(visible_2, timeline)
        infrared_3, visible_3 = (
            self.reinforce_infrared_3(infrared_3, visible_3),
            self.reinforce_visible_3(visible_3, infrared_3),
        )
        return fused_1, fused_2, self.fuse_3(infrared_3, visible_3)


def temporal_reach(recipe: NetworkRecipe) -> int:
    """Furthest frame, either way, that a result depends on; 14 for the published network.

    Two for the two convolutions along time of each scale, one for each co-attention layer
    (MODEL.md section 4).
    """
    return 2 * len(recipe.blocks) + sum(recipe.co_attention_layers)


def device_at_hand() -> torch.device:
    """The first GPU, or the processor where torch sees none (CUDA_VISIBLE_DEVICES hides them)."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def arithmetic(device: str, precision: Precision) -> AbstractContextManager[object]:
    """Compute with a network in that precision on a type of device; weights stay float32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")


def parameter_count(network: nn.Module) -> int:
    """Numbers in the network's weights."""
    return sum(parameter.numel() for parameter in network.parameters())


def _images(video: Tensor) -> Tensor:
    """(B, T, C, H, W) -> (B*T, C, H', W') with sides that divide by four, channels last."""
    images = pad_to_multiple(video.flatten(0, 1))
    return images.contiguous(memory_format=torch.channels_last)


def pad_to_multiple(images: Tensor) -> Tensor:
    """Reflect images (N, C, H, W) at the right and bottom until both sides divide by four."""
    height, width = images.shape[-2:]
    if height % SIZE_MULTIPLE:
        images = images.index_select(-2, _reflected(height, images.device))
    if width % SIZE_MULTIPLE:
        images = images.index_select(-1, _reflected(width, images.device))
    return images


def _reflected(size: int, device: torch.device) -> Tensor:
    """Indices 0 .. the next multiple of four, going back and forth within `size` pixels."""
    period = max(1, 2 * (size - 1))
    positions = torch.arange(size + -size % SIZE_MULTIPLE, device=device) % period
    return torch.minimum(positions, (period - positions) % period)


def _check_shapes(infrared: Tensor, visible: Tensor) -> None:
    if visible.ndim != 5 or visible.shape[2] != IMAGE_CHANNELS or not visible.numel():
        raise ValueError(f"visible must be (B, T, 3, H, W), not {tuple(visible.shape)}")
    allowed = [(*visible.shape[:2], channels, *visible.shape[3:]) for channels in (1, 3)]
    if tuple(infrared.shape) not in allowed:
        raise ValueError(
            f"infrared is {tuple(infrared.shape)}; beside visible {tuple(visible.shape)} it must "
            f"be {allowed[0]} or {allowed[1]}"
        )
