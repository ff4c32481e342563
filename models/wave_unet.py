"""Wave-U-Net (Stoller, Ewert & Dixon 2018, arXiv:1806.03185), with batch normalisation as is common.

Down: convolve, then take every second sample. Up: interpolate linearly, concatenate the skip connection, convolve. At
the end the input is concatenated and a 1x1 convolution returns the estimate.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.layers import (
    OUTPUTS,
    Activation,
    Norm,
    Output,
    check_choices,
    check_counts,
    check_kernels,
    conv_block,
    run_padded,
    upsample_linear,
)

MARGIN_SAMPLES = 32
"""Samples of reflected signal at both ends. Interpolation and kernels of the fine levels distort the last samples:
without the margin, the error at the ends of a window was 3 to 5 times that in the middle, with it below 2 times."""


@dataclass(frozen=True, slots=True)
class UNetShape:
    """The shape of a Wave-U-Net around its bottleneck."""

    levels: int
    width: int
    kernel_down: int
    kernel_up: int
    norm: Norm
    activation: Activation
    output: Output
    skip: bool
    dropout: float

    def check(self, model: str) -> None:
        """Raise ValueError, naming `model`, if this shape cannot exist."""
        check_counts(model, levels=self.levels, width=self.width)
        check_kernels(model, kernel_down=self.kernel_down, kernel_up=self.kernel_up)
        check_choices(model, self.norm, self.activation, self.output, self.dropout)


class WaveUNet(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time].

    `bottleneck` maps [batch, levels * width, steps] to the same shape, at a rate lower by ``2 ** levels``.
    """

    def __init__(self, shape: UNetShape, bottleneck: nn.Module, n_channels: int) -> None:
        super().__init__()
        s = shape
        widths = [s.width * level for level in range(1, s.levels + 1)]
        self.down = nn.ModuleList(
            conv_block(n_in, n_out, s.kernel_down, s.norm, s.activation, s.dropout)
            for n_in, n_out in zip([n_channels, *widths], widths, strict=False)
        )
        self.bottleneck = bottleneck
        below = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            conv_block(n_below + n_out * s.skip, n_out, s.kernel_up, s.norm, s.activation, s.dropout)
            for n_below, n_out in zip(reversed(below), reversed(widths), strict=True)
        )
        self.out = nn.Sequential(nn.Conv1d(n_channels + s.width, 1, 1), OUTPUTS[s.output]())
        self.skip = s.skip
        self.multiple = 2**s.levels

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, self.multiple, MARGIN_SAMPLES)

    def denoise(self, noisy: Tensor) -> Tensor:
        """Return the estimate of windows whose length is a multiple of ``2 ** levels``."""
        x, passed = noisy, []
        for block in self.down:
            x = block(x)
            passed.append(x)
            x = x[..., ::2]
        x = self.bottleneck(x)
        for block in self.up:
            x = upsample_linear(x)
            joined = passed.pop()
            x = block(torch.cat((x, joined), dim=1) if self.skip else x)
        estimate: Tensor = self.out(torch.cat((x, noisy), dim=1))
        return estimate


@dataclass(frozen=True, slots=True)
class UNetConfig(DenoiserConfig):
    """The fields that every Wave-U-Net has, with any bottleneck; not a model itself.

    Each of `levels` levels halves the rate and adds `width` channels.
    """

    levels: Annotated[int, IntDistribution(4, 10)] = 6
    width: Annotated[int, IntDistribution(8, 32, step=8)] = 8
    kernel_down: Annotated[int, CategoricalDistribution((5, 9, 15))] = 9
    kernel_up: Annotated[int, CategoricalDistribution((3, 5, 9))] = 5
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "batch"
    activation: Annotated[Activation, CategoricalDistribution(("leaky_relu", "prelu", "gelu"))] = "leaky_relu"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "tanh"
    skip: Annotated[bool, CategoricalDistribution((False, True))] = True
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0

    @property
    def d_model(self) -> int:
        """Return the number of channels at the bottleneck."""
        return self.levels * self.width

    def shape(self) -> UNetShape:
        """Return the shape around the bottleneck."""
        c = self
        return UNetShape(
            c.levels, c.width, c.kernel_down, c.kernel_up, c.norm, c.activation, c.output, c.skip, c.dropout
        )

    def middle(self) -> nn.Module:
        """Build the bottleneck of a plain Wave-U-Net: one more convolution."""
        return conv_block(self.d_model, self.d_model, self.kernel_down, self.norm, self.activation, self.dropout)


@register("wave_unet")
@dataclass(frozen=True, slots=True)
class WaveUNetConfig(UNetConfig):
    """The lab's sizes: levels 10 (6,071,426 parameters) or 7 (2,262,842), width 24, kernels 15 and 5."""

    def __post_init__(self) -> None:
        self.shape().check("wave_unet")

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("wave_unet", n_channels=n_channels)
        return WaveUNet(self.shape(), self.middle(), n_channels)
