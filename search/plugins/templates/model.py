"""my_model: a denoiser of your own. Here it is a stack of dilated convolutions; change what you like.

    drivebeat check my_model.py              # does it keep the contract? each failure says what to do
    plugins = ["my_model.py"]                # in a study file, with models = ["my_model"]
    drivebeat create STUDY.toml              # stores this file's source with the study

A plug-in is one file. It may import Drivebeat's packages and whatever is installed where it runs.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.layers import SameConv, check_counts, check_kernels, run_padded


class MyModel(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]. Channel 0 is the one to denoise, the others are references."""

    def __init__(self, n_channels: int, width: int, n_layers: int, kernel: int) -> None:
        super().__init__()
        # SameConv repeats the end samples. Zeros there would make errors at the ends of every window.
        self.first = SameConv(n_channels, width, kernel)
        self.layers = nn.ModuleList(SameConv(width, width, kernel, dilation=2**i) for i in range(n_layers))
        self.last = nn.Conv1d(width, 1, 1)

    def forward(self, noisy: Tensor) -> Tensor:
        # Any length from one sample on: run_padded extends the window to a multiple (of 1 here) and crops the output.
        return run_padded(self.denoise, noisy, 1, margin_samples=16)

    def denoise(self, noisy: Tensor) -> Tensor:
        x = self.first(noisy)
        for layer in self.layers:
            x = x + layer(torch.nn.functional.gelu(x))
        estimate: Tensor = self.last(x)
        return estimate


# The name is what a study file calls the model. @register stands above @dataclass.
@register("my_model")
@dataclass(frozen=True, slots=True)
class MyModelConfig(DenoiserConfig):
    """The hyperparameters: type, range that a search samples, and default, on one line each.

    width: channels of the hidden layers. n_layers: of dilated convolutions, each of twice the dilation. kernel: odd.
    """

    width: Annotated[int, IntDistribution(8, 32, step=8)] = 16
    n_layers: Annotated[int, IntDistribution(2, 6)] = 4
    kernel: Annotated[int, CategoricalDistribution((3, 5, 9))] = 5

    def __post_init__(self) -> None:
        # What can exist, which may be wider than the ranges. A ValueError of one line makes a trial infeasible.
        check_counts("my_model", width=self.width, n_layers=self.n_layers)
        check_kernels("my_model", kernel=self.kernel)

    def build(self, n_channels: int = 1) -> nn.Module:
        return MyModel(n_channels, self.width, self.n_layers, self.kernel)
