"""my_loss: a training loss of your own. Here it is L1 on the samples and on their differences; change what you like.

    drivebeat check my_loss.py               # does it keep the contract? each failure says what to do
    plugins = ["my_loss.py"]                 # in a study file, with loss = "my_loss"

A plug-in is one file. It may import Drivebeat's packages and whatever is installed where it runs.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from optuna.distributions import FloatDistribution
from torch import Tensor, nn

from objectives.losses import Loss, LossConfig, register_loss, require


def my_loss(estimate: Tensor, clean: Tensor, slope_weight: float) -> Tensor:
    """Return the mean of |e - c| plus `slope_weight` times that of its steps, of Tensor[batch, 1, time]."""
    error = estimate - clean
    steps = torch.diff(error, dim=-1, prepend=error[..., :1])  # as long as the window, also for a single sample
    return error.abs().mean() + slope_weight * steps.abs().mean()


# The name is what a study file calls the loss. @register_loss stands above @dataclass.
@register_loss("my_loss")
@dataclass(frozen=True, slots=True)
class MyLossConfig(LossConfig):
    """slope_weight: of the steps from sample to sample. A field has type, range that a search samples, and default."""

    slope_weight: Annotated[float, FloatDistribution(0.01, 10.0, log=True)] = 1.0

    def __post_init__(self) -> None:
        require(self, "slope_weight", 0.0 <= self.slope_weight < float("inf"), "a number from 0 up")

    def build(self) -> nn.Module:
        # Loss refuses shapes that would broadcast, and computes in float32 whatever the model ran in.
        return Loss(partial(my_loss, slope_weight=self.slope_weight))
