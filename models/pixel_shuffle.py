"""Pixel-shuffle autoencoder, which changes the rate by moving samples between time and channels and drops none.

This is the one-dimensional form of sub-pixel convolution (Shi et al. 2016, arXiv:1609.05158).
"""

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
    SameConv,
    check_choices,
    check_counts,
    check_kernels,
    conv_block,
    run_padded,
)


def unshuffle(x: Tensor, factor: int) -> Tensor:
    """Move samples from time to channels: [batch, channel, factor * time] -> [batch, channel * factor, time]."""
    n_batch, n_channels, n_samples = x.shape
    parts = x.reshape(n_batch, n_channels, n_samples // factor, factor)
    return parts.transpose(2, 3).reshape(n_batch, n_channels * factor, n_samples // factor)


def shuffle(x: Tensor, factor: int) -> Tensor:
    """Reverse `unshuffle`: [batch, channel * factor, time] -> [batch, channel, factor * time]."""
    n_batch, n_channels, n_steps = x.shape
    parts = x.reshape(n_batch, n_channels // factor, factor, n_steps)
    return parts.transpose(2, 3).reshape(n_batch, n_channels // factor, n_steps * factor)


@dataclass(frozen=True, slots=True)
class PixelShuffleShape:
    """The shape of a pixel-shuffle autoencoder around its bottleneck."""

    levels: int
    width: int
    kernel: int
    norm: Norm
    activation: Activation
    output: Output
    skip: bool
    dropout: float
    factor: int

    @property
    def n_deep(self) -> int:
        """Return the number of channels at the bottleneck."""
        n_deep: int = self.factor * self.width * (2 * self.factor) ** (self.levels - 1)
        return n_deep

    def check(self, model: str) -> None:
        """Raise ValueError, naming `model`, if this shape cannot exist."""
        check_counts(model, levels=self.levels, width=self.width)
        check_kernels(model, kernel=self.kernel)
        check_choices(model, self.norm, self.activation, self.output, self.dropout)
        if self.width % 2:
            raise ValueError(f"{model}: width = {self.width}, must be even: try {self.width + 1}")
        if self.factor < 2:
            raise ValueError(f"{model}: factor = {self.factor}, must be at least 2: try 2")


class PixelShuffleAutoencoder(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time].

    `bottleneck` maps [batch, shape.n_deep, steps] to the same shape, at a rate lower by ``factor ** levels``.
    """

    def __init__(self, shape: PixelShuffleShape, bottleneck: nn.Module, n_channels: int) -> None:
        super().__init__()
        c = shape
        # Each level doubles the channels by its convolution and multiplies them by `factor` in the unshuffle.
        widths = [c.width * (2 * c.factor) ** level for level in range(c.levels)]
        inputs = [n_channels, *(c.factor * width for width in widths[:-1])]
        self.down = nn.ModuleList(
            conv_block(n_in, n_out, c.kernel, c.norm, c.activation, c.dropout)
            for n_in, n_out in zip(inputs, widths, strict=True)
        )
        self.bottleneck = bottleneck
        self.up = nn.ModuleList(
            conv_block(width * c.factor, width * c.factor // 2, c.kernel, c.norm, c.activation, c.dropout)
            for width in reversed(widths)
        )
        self.out = nn.Sequential(SameConv(c.width // 2, 1, c.kernel), OUTPUTS[c.output]())
        self.factor, self.skip = c.factor, c.skip
        self.multiple = c.factor**c.levels
        # Up-sampled features alternate, so repeating their end sample disturbs the pattern. The disturbance reaches as
        # far as the kernels of all levels together: less than this many of the coarsest steps.
        self.n_margin = c.kernel // 2

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, self.multiple, self.n_margin * self.multiple)

    def denoise(self, x: Tensor) -> Tensor:
        """Return the estimate of windows whose length is a multiple of ``factor ** levels``."""
        passed: list[Tensor] = []
        for block in self.down:
            x = unshuffle(block(x), self.factor)
            passed.append(x)
        passed.pop()
        x = self.bottleneck(x)
        for block in self.up:
            x = shuffle(block(x), self.factor)
            if self.skip and passed:
                x = x + passed.pop()
        estimate: Tensor = self.out(x)
        return estimate


@register("pixel_shuffle")
@dataclass(frozen=True, slots=True)
class PixelShuffleConfig(DenoiserConfig):
    """`width` channels after the first convolution; each of `levels` levels lowers the rate by `factor`.

    The lab's 1-16 | 32-64 | 128-256 | 512-1024 | 2048 with 8,390,889 parameters: width 16, levels 4,
    kernel 3, norm "none".
    """

    levels: Annotated[int, IntDistribution(2, 4)] = 3
    width: Annotated[int, IntDistribution(4, 16, step=4)] = 8
    kernel: Annotated[int, CategoricalDistribution((3, 5, 7))] = 3
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "none"
    activation: Annotated[Activation, CategoricalDistribution(("leaky_relu", "prelu", "gelu"))] = "leaky_relu"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "tanh"
    skip: Annotated[bool, CategoricalDistribution((False, True))] = True
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    factor: int = 2

    def __post_init__(self) -> None:
        self.shape().check("pixel_shuffle")

    def shape(self) -> PixelShuffleShape:
        """Return the shape of the autoencoder, whose bottleneck is empty."""
        c = self
        return PixelShuffleShape(
            c.levels, c.width, c.kernel, c.norm, c.activation, c.output, c.skip, c.dropout, c.factor
        )

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("pixel_shuffle", n_channels=n_channels)
        return PixelShuffleAutoencoder(self.shape(), nn.Identity(), n_channels)
