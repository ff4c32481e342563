"""Convolutional autoencoder: strided convolutions down, transposed ones up, channels doubling per level."""

from dataclasses import dataclass
from typing import Annotated

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.layers import (
    OUTPUTS,
    Activation,
    Norm,
    Output,
    UpConv,
    check_choices,
    check_counts,
    check_kernels,
    conv_block,
    finish,
    run_padded,
)


class Autoencoder(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]."""

    def __init__(self, config: "AutoencoderConfig", n_channels: int) -> None:
        super().__init__()
        c = config
        widths = [c.width * 2**level for level in range(c.levels)]
        self.down = nn.ModuleList(
            conv_block(n_in, n_out, c.kernel, c.norm, c.activation, c.dropout, stride=2)
            for n_in, n_out in zip([n_channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.Sequential(UpConv(n_in, n_out, c.kernel, stride=2), *finish(n_out, c.norm, c.activation, c.dropout))
            for n_in, n_out in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.out = nn.Sequential(UpConv(widths[0], 1, c.kernel, stride=2), OUTPUTS[c.output]())
        self.skip = c.skip
        self.multiple = 2**c.levels
        # Up-sampled features alternate, so repeating their end sample disturbs the pattern. The disturbance reaches as
        # far as the kernels of all levels together: less than this many of the coarsest steps.
        self.n_margin = c.kernel // 2

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, self.multiple, self.n_margin * self.multiple)

    def denoise(self, x: Tensor) -> Tensor:
        """Return the estimate of windows whose length is a multiple of ``2 ** levels``."""
        passed: list[Tensor] = []
        for block in self.down:
            x = block(x)
            passed.append(x)
        passed.pop()
        for block in self.up:
            # The skip connection is added, which needs no parameters.
            x = block(x) + passed.pop() if self.skip else block(x)
        estimate: Tensor = self.out(x)
        return estimate


@register("autoencoder")
@dataclass(frozen=True, slots=True)
class AutoencoderConfig(DenoiserConfig):
    """`width` channels after the first of `levels` halvings, doubling at each further one.

    The lab's 1-16-32-64-128 with 64,961 parameters: width 16, levels 4, kernel 3, norm "none".
    """

    levels: Annotated[int, IntDistribution(2, 5)] = 4
    width: Annotated[int, IntDistribution(8, 32, step=8)] = 16
    kernel: Annotated[int, CategoricalDistribution((3, 5, 9, 15))] = 9
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "none"
    activation: Annotated[Activation, CategoricalDistribution(("leaky_relu", "prelu", "gelu"))] = "leaky_relu"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "tanh"
    skip: Annotated[bool, CategoricalDistribution((False, True))] = True
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0

    def __post_init__(self) -> None:
        check_counts("autoencoder", levels=self.levels, width=self.width)
        check_kernels("autoencoder", kernel=self.kernel)
        check_choices("autoencoder", self.norm, self.activation, self.output, self.dropout)

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("autoencoder", n_channels=n_channels)
        return Autoencoder(self, n_channels)
