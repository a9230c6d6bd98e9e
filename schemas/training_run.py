"""What a training run writes about itself: its surroundings, its state, its validations."""

import datetime as dt
from typing import Literal

from pydantic import Field, JsonValue

from schemas.base import Sha256, StrictModel, Version
from schemas.training import TrainingRecipe


class TrainingData(StrictModel):
    """What a run is trained on."""

    dataset: str
    version: Version
    root_hash: Sha256
    train_windows: int = Field(ge=1)
    val_windows: int = Field(ge=0, description="0: the release has no val split.")


class TrainingStart(StrictModel):
    """One start of a run: the first, or one that went on."""

    after_step: int = Field(ge=0, description="0 for the first start.")
    started_at: dt.datetime = Field(description="UTC.")
    twinband: str = Field(description="Version of this package.")
    commit: str | None = Field(
        description="Of a checkout, with -dirty where files were changed; None: not known."
    )
    torch: str
    python: str
    platform: str
    processor: str
    device: str = Field(description="The GPU's name, or cpu.")
    threads: int = Field(ge=1, description="Of one rank's arithmetic.")
    ranks: int = Field(ge=1, description="Processes that train together.")
    workers: int = Field(ge=0, description="Processes of each rank that read windows.")


class TrainingRun(StrictModel):
    """run.json: all that a run follows from, and where and when it was done."""

    format: Literal["twinband-training-run"] = "twinband-training-run"
    version: Literal[1] = 1
    recipe: TrainingRecipe
    windows_per_step: int = Field(ge=1, description="batch x accumulate x ranks.")
    data: TrainingData | None = Field(description="None: not a release.")
    first_weights: Sha256 | None = Field(
        description="Of the checkpoint that training began from; None: drawn by the seed."
    )
    starts: tuple[TrainingStart, ...]


class TrainingValidation(StrictModel):
    """One line of validations.jsonl: the network on windows it is not trained on."""

    step: int = Field(ge=0)
    loss: float
    infrared_psnr_db: float = Field(description="Of the restored against the clean infrared.")
    visible_psnr_db: float = Field(description="Of the restored against the clean visible.")


class TrainingState(StrictModel):
    """What stands beside the tensors in a state that a run can go on from."""

    format: Literal["twinband-training-state"] = "twinband-training-state"
    version: Literal[1] = 1
    step: int = Field(ge=0, description="Steps done.")
    loader: dict[str, JsonValue] = Field(description="Where the next batch begins.")
    validated_step: int = Field(-1, ge=-1, description="Of the last validation; -1: none.")
    best: TrainingValidation | None = Field(
        None, description="With the lowest loss; its weights are in best.safetensors."
    )
    stale: int = Field(0, ge=0, description="Validations since the best one.")
