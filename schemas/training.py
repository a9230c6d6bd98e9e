"""What we choose about the network and its training, and what a weights file says of itself."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import StrictModel

HEAD_CHANNELS = 16
"""Channels of one attention head at every scale (MODEL.md section 2)."""

SCALES = 3
"""Full, half and quarter resolution; channels double at each (MODEL.md section 2)."""

OFFICIAL_STEPS = 220_000
OFFICIAL_WARM_UP_STEPS = 5_000
"""Optimiser steps of the published run and their warm-up (MODEL.md section 2.6)."""

BlockCount = Annotated[int, Field(ge=1, le=16)]


Precision = Literal["float32", "bfloat16"]
"""Of a network's arithmetic."""


class NetworkRecipe(StrictModel):
    """The size of VideoFusion; the default is the published network of 6,750,742 parameters."""

    channels: int = Field(
        32,
        ge=HEAD_CHANNELS,
        le=128,
        multiple_of=HEAD_CHANNELS,
        description="Feature channels at full resolution; twice and four times as many below.",
    )
    blocks: tuple[BlockCount, BlockCount, BlockCount] = Field(
        (2, 2, 4),
        description="Transformer blocks at full, half and quarter resolution: layers of the "
        "co-attention along time and, at the first two, of the enhancement after fusion.",
    )
    decoder_blocks: BlockCount = Field(
        2, description="Transformer blocks of each of the three decoders."
    )
    co_attention: bool = Field(
        True, description="Co-attention along time; false is the paper's ablation w/o BiCAM."
    )
    reinforcement: bool = Field(
        True,
        description="Each band reinforced by the other; false is the paper's ablation w/o CmDRM.",
    )
    guided_fusion: bool = Field(
        True,
        description="Bands fused by cross-attention; false adds them, the paper's ablation w/o "
        "CMGF.",
    )

    @property
    def co_attention_layers(self) -> tuple[int, int, int]:
        """Layers of co-attention along time at full, half and quarter resolution."""
        return self.blocks if self.co_attention else (0, 0, 0)

    @property
    def scale_channels(self) -> tuple[int, int, int]:
        """Channels at full, half and quarter resolution."""
        return self.channels, 2 * self.channels, 4 * self.channels


class LossWeights(StrictModel):
    """Weight of each loss term; the defaults are the paper's (MODEL.md sections 2.4 and 2.5)."""

    intensity: float = Field(
        15.0, ge=0, le=1e6, description="Fused luma against the brighter of the two clean lumas."
    )
    gradient: float = Field(
        1.0, ge=0, le=1e6, description="Fused edges against the stronger of the two clean edges."
    )
    color: float = Field(
        100.0, ge=0, le=1e6, description="Fused chroma against the clean visible chroma."
    )
    fidelity: float = Field(
        10.0,
        ge=0,
        le=1e6,
        description="Each restored band against its clean frames, pixels and edges alike (the "
        "paper's scene fidelity; the official code gives pixels and edges 10 each).",
    )
    variation: float = Field(
        100.0,
        ge=0,
        le=1e6,
        description="Change from frame to frame against that of the clean bands. The paper says "
        "100; the official code has 10 as a hidden default.",
    )
    similarity: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Structural dissimilarity (1 - SSIM) of the fused frames to both clean bands. "
        "Absent from the paper; the official code has 1.",
    )
    consistency: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Fused luma against the visible and, at 0.8, the infrared luma. Absent from "
        "the paper; the official code has 1.",
    )

    @property
    def reaches_all(self) -> bool:
        """Whether every weight of the network has a gradient: all three videos count."""
        restored = self.fidelity + self.variation
        fused = self.intensity + self.gradient + self.color + self.similarity + self.consistency
        return restored > 0 and fused + self.variation > 0

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("all weights are 0, so that nothing is learnt; make one larger")
        return self


class TrainingRecipe(StrictModel):
    """How the network is trained; MODEL.md section 2.6 is the source of the defaults."""

    network: NetworkRecipe = NetworkRecipe()
    losses: LossWeights = LossWeights()
    frames: int = Field(
        7, ge=2, le=64, description="Pairs per window. The paper says 7; the official code has 6."
    )
    crop: int = Field(128, ge=16, le=1024, multiple_of=4, description="Side of a window, pixels.")
    batch: int = Field(
        12,
        ge=1,
        le=1024,
        description="Windows that a rank computes at once; the official run had 3 on each of 4 "
        "GPUs. A step takes batch x accumulate x ranks windows.",
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=1024,
        description="Batches whose gradients are added up for one step, where memory holds no "
        "larger one: the step is that of one batch of all their windows.",
    )
    steps: int = Field(OFFICIAL_STEPS, ge=1, le=10**8, description="Optimiser steps.")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Highest rate of AdamW.")
    final_learning_rate: float = Field(
        1e-6,
        ge=0,
        le=1,
        description="Rate at the last step, end of the cosine. The official code has 1e-6; the "
        "paper says 1e-5.",
    )
    warm_up_steps: int | None = Field(
        None,
        ge=0,
        description="Steps of linear warm-up; None: the official 5,000 of 220,000 in proportion.",
    )
    weight_decay: float = Field(1e-5, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    gradient_clip: float = Field(
        0.01, gt=0, le=1e6, description="Largest norm of all gradients together, every step."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="First weights and order of the windows.")
    augment: bool = Field(
        False,
        description="Mirror windows, reverse them in time and turn them by quarters; the official "
        "run crops at random and does no more.",
    )
    redraw: bool = Field(
        False,
        description="Degrade every window by draws of its own instead of its clip's; degraded "
        "frames that were filmed stay what they are.",
    )
    precision: Precision = Field(
        "float32",
        description="Of the network's arithmetic; losses, weights and optimiser stay float32. "
        "bfloat16 (automatic mixed precision) wants a device with units for it.",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay a step of an exponential moving average of the weights, which is then "
        "what is validated and saved as the result; None, as in the official run: no average.",
    )
    checkpoint_every: int = Field(
        5_000,
        ge=1,
        description="Steps from one state that the run can go on from to the next (the official "
        "run's 5,000); there is one at the end and on SIGTERM in any case.",
    )
    keep_checkpoints: int = Field(2, ge=1, le=1000, description="Latest states that are kept.")
    validate_every: int = Field(
        5_000,
        ge=1,
        description="Steps from one validation to the next (the official run's 5,000); there is "
        "one at the end in any case.",
    )
    validation_windows: int = Field(
        16, ge=1, le=100_000, description="Of the val split, spread evenly and always the same."
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Validations in a row without a lower loss that end the run early; None: "
        "never.",
    )

    @model_validator(mode="after")
    def _runs_downhill(self) -> Self:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate:g}, above learning_rate "
                f"{self.learning_rate:g}; make it the smaller one"
            )
        if self.warm_up_steps is not None and self.warm_up_steps > self.steps:
            raise ValueError(
                f"warm_up_steps is {self.warm_up_steps}, more than the {self.steps} steps; "
                "make it fewer or leave it out"
            )
        return self

    @property
    def warm_up(self) -> int:
        """Steps of linear warm-up."""
        if self.warm_up_steps is not None:
            return self.warm_up_steps
        return self.steps * OFFICIAL_WARM_UP_STEPS // OFFICIAL_STEPS


PRESETS: dict[str, TrainingRecipe] = {
    "published": TrainingRecipe(),
    "small": TrainingRecipe(
        network=NetworkRecipe(channels=16, blocks=(1, 1, 1), decoder_blocks=1),
        losses=LossWeights(variation=10.0),
        frames=5,
        crop=64,
        batch=2,
        steps=2_000,
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        gradient_clip=1.0,
        checkpoint_every=200,
        validate_every=200,
    ),
}
"""The published run, and one that a processor without a GPU gets through: half the width, fewer
blocks, the official code's weight of the variation, and a higher rate, which so small a network
bears."""


class TrainingStep(StrictModel):
    """One line of a run's log; the loss terms are weighted and add up to `loss`."""

    step: int = Field(ge=1, description="1 for the first step.")
    loss: float
    intensity: float
    gradient: float
    color: float
    fidelity: float
    variation: float
    similarity: float
    consistency: float
    gradient_norm: float = Field(description="Of all gradients together, before clipping.")
    learning_rate: float


class CheckpointHeader(StrictModel):
    """What a weights file says of itself, kept in its metadata."""

    format: Literal["twinband-videofusion"] = "twinband-videofusion"
    version: Literal[1] = 1
    network: NetworkRecipe
    training: TrainingRecipe | None = Field(
        None, description="None for weights that were not trained here."
    )
