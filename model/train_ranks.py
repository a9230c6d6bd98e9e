"""The processes that train together: what they agree on, and how one makes all of them stop.

Every process of a team takes part in the same sequence of calls, so that none ever waits for one
that has stopped: between two steps all say how they fare, and the worst word is what all do.
"""

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from model.loader import Share
from schemas.errors import TrainError

SILENCE = dt.timedelta(minutes=30)
"""After which a rank passes for dead: rank 0 alone validates and writes while the others wait.
PyTorch's own limit for gloo; its 10 minutes for NCCL are short for a large validation."""


class Word(IntEnum):
    """How a rank fares, from good to bad."""

    GO_ON = 0
    ENOUGH = 1
    """Validations have not become better for long enough."""
    STOP = 2
    """It was asked to stop."""
    FAILED = 3


@dataclass(frozen=True)
class Team:
    """This process among those that train together; on its own unless told otherwise."""

    share: Share = field(default_factory=Share)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this rank computes."""

    @property
    def leads(self) -> bool:
        """Whether this rank validates and writes for all."""
        return self.share.rank == 0

    def agree(self, word: Word) -> Word:
        """The worst word of all ranks; every rank has to say one.

        Raises:
            TrainError: another rank has failed, or is gone.
        """
        if self.share.ranks == 1:
            return word
        said = torch.tensor(int(word), device=self.device)
        with self._hearing_all():
            distributed.all_reduce(said, distributed.ReduceOp.MAX)
        worst = Word(int(said))
        if worst is Word.FAILED and word is not Word.FAILED:
            raise OtherRankError(f"rank {self.share.rank} stops: another rank failed and says why")
        return worst

    def mean(self, values: Tensor) -> Tensor:
        """The mean of the same numbers of all ranks.

        Raises:
            TrainError: another rank is gone.
        """
        if self.share.ranks == 1:
            return values
        with self._hearing_all():
            distributed.all_reduce(values)
        return values / self.share.ranks

    def wrapped(self, network: nn.Module, *, whole: bool) -> nn.Module:
        """The network with gradients that are the mean over all ranks.

        Args:
            network: on this rank's device, the same weights on every rank.
            whole: whether every weight has a gradient in every step.
        """
        if self.share.ranks == 1:
            return network
        return DistributedDataParallel(
            network,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            find_unused_parameters=not whole,
        )

    @contextmanager
    def _hearing_all(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo has no type of its own for it
            raise OtherRankError(
                f"rank {self.share.rank} stops: another rank is gone ({_first_line(error)}); "
                "start again to go on from the last checkpoint"
            ) from error


ALONE = Team()


class OtherRankError(TrainError):
    """This rank stops for the sake of another one."""


@contextmanager
def joined_team(environment: Mapping[str, str] = os.environ) -> Iterator[Team]:
    """The team that torchrun has started this process for; alone where it has not.

    NCCL joins GPUs, gloo processors; a rank takes the GPU of its number on its machine.

    Raises:
        TrainError: there are fewer GPUs than ranks on this machine.
    """
    share = Share(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))
    local_rank = int(environment.get("LOCAL_RANK", 0))
    gpus = torch.cuda.device_count()
    if gpus and local_rank >= gpus:
        raise TrainError(
            f"rank {share.rank} is number {local_rank} on a machine with {gpus} GPUs; "
            f"give torchrun --nproc-per-node {gpus} or less"
        )
    device = torch.device("cuda", local_rank) if gpus else torch.device("cpu")
    if share.ranks == 1:
        yield Team(share, device)
        return
    if gpus:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpus else "gloo", timeout=SILENCE)
    try:
        yield Team(share, device)
    finally:
        distributed.destroy_process_group()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
