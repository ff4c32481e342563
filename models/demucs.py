"""U-Net with gated convolutions and a recurrent or attention bottleneck (Denoiser: Defossez, Synnaeve & Adi 2020,
arXiv:2006.12847).

A level is a strided convolution, an activation, a pointwise convolution and a gated linear unit. The decoder mirrors
the levels; skip connections are added.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.attention import TimeTransformer, check_attention
from models.parts.exporting import exporting, lstm
from models.parts.layers import (
    OUTPUTS,
    Activation,
    Norm,
    Output,
    SameConv,
    UpConv,
    check_choices,
    check_counts,
    check_kernels,
    check_named,
    finish,
    run_padded,
)

Bottleneck = Literal["lstm", "attention", "none"]


class TimeLstm(nn.Module):
    """Bidirectional LSTM over time with a shortcut: [batch, width, steps] -> the same shape."""

    def __init__(self, width: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if n_layers > 1 else 0.0
        self.lstm = nn.LSTM(width, width, n_layers, batch_first=True, dropout=between, bidirectional=True)
        self.merge = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(1, 2)
        seen = lstm(self.lstm, steps) if exporting() else self.lstm(steps)[0]
        merged: Tensor = self.merge(seen)
        return x + merged.transpose(1, 2)


class Demucs(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]."""

    def __init__(self, config: "DemucsConfig", n_channels: int) -> None:
        super().__init__()
        c = config
        widths = [c.width * 2**level for level in range(c.levels)]
        self.down = nn.ModuleList(
            nn.Sequential(
                SameConv(n_in, n_out, c.kernel, c.stride),
                *finish(n_out, c.norm, c.activation, c.dropout),
                nn.Conv1d(n_out, 2 * n_out, 1),
                nn.GLU(dim=1),
            )
            for n_in, n_out in zip([n_channels, *widths], widths, strict=False)
        )
        self.bottleneck = _bottleneck(c)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(n_in, 2 * n_in, 1),
                nn.GLU(dim=1),
                UpConv(n_in, n_out, c.kernel, c.stride),
                *finish(n_out, c.norm, c.activation, c.dropout),
            )
            for n_in, n_out in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.out = nn.Sequential(
            nn.Conv1d(widths[0], 2 * widths[0], 1),
            nn.GLU(dim=1),
            UpConv(widths[0], 1, c.kernel, c.stride),
            OUTPUTS[c.output](),
        )
        for part in self.modules():
            if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
                _keep_size(part)
        self.skip = c.skip
        self.multiple = c.stride**c.levels
        # The transposed convolutions reach half a kernel of steps beyond the ends of a window.
        self.n_margin = -(-(c.kernel // 2) // (c.stride - 1))

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, self.multiple, self.n_margin * self.multiple)

    def denoise(self, x: Tensor) -> Tensor:
        """Return the estimate of windows whose length is a multiple of ``stride ** levels``."""
        passed: list[Tensor] = []
        for block in self.down:
            x = block(x)
            passed.append(x)
        x = self.bottleneck(x)
        for block in (*self.up, self.out):
            x = block(x + passed.pop() if self.skip else x)
        return x


def _keep_size(conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
    """Draw weights, in place, so that the signal keeps its size through the rectifier or gate.

    A rectifier leaves half of the variance of a unit normal, a gated linear unit about 0.29. With torch's own
    initialisation, the signal vanishes after the eight gates of four levels. The paper rescales its weights for the
    same reason.
    """
    gated = conv.kernel_size == (1,)
    n_summed = conv.in_channels * conv.kernel_size[0]
    if isinstance(conv, nn.ConvTranspose1d):
        n_summed = max(1, n_summed // conv.stride[0])
    nn.init.normal_(conv.weight, std=math.sqrt((1 / 0.29 if gated else 2) / n_summed))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _bottleneck(c: "DemucsConfig") -> nn.Module:
    """Build the bottleneck that the config names."""
    n_deep = c.width * 2 ** (c.levels - 1)
    if c.bottleneck == "lstm":
        return TimeLstm(n_deep, c.bottleneck_layers, c.dropout)
    if c.bottleneck == "attention":
        return TimeTransformer(n_deep, c.nhead, 2 * n_deep, c.bottleneck_layers, c.dropout)
    return nn.Identity()


@register("demucs")
@dataclass(frozen=True, slots=True)
class DemucsConfig(DenoiserConfig):
    """`width` channels after the first of `levels` levels, doubling at each level, which divides the rate by `stride`.

    The paper's stride is 4 at 16 kHz; heart sounds sampled at 200 to 1000 Hz leave room for 2.
    """

    levels: Annotated[int, IntDistribution(2, 5)] = 3
    width: Annotated[int, IntDistribution(8, 32, step=8)] = 16
    kernel: Annotated[int, CategoricalDistribution((5, 7, 9))] = 7
    stride: Annotated[int, CategoricalDistribution((2, 4))] = 2
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "none"
    activation: Annotated[Activation, CategoricalDistribution(("relu", "leaky_relu", "gelu"))] = "relu"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "linear"
    skip: Annotated[bool, CategoricalDistribution((False, True))] = True
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    bottleneck: Annotated[Bottleneck, CategoricalDistribution(("lstm", "attention", "none"))] = "lstm"
    bottleneck_layers: Annotated[int, IntDistribution(1, 4)] = 2
    # Every width in range is a multiple of 8, so each nhead in range divides the bottleneck's.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 4

    def __post_init__(self) -> None:
        model, c = "demucs", self
        check_counts(model, levels=c.levels, width=c.width, bottleneck_layers=c.bottleneck_layers)
        check_kernels(model, kernel=c.kernel)
        if c.stride < 2:
            raise ValueError(f"{model}: stride = {c.stride}, must be at least 2: try 2")
        check_choices(model, c.norm, c.activation, c.output, c.dropout)
        check_named(model, "bottleneck", c.bottleneck, get_args(Bottleneck))
        origin = f"width x 2^(levels - 1) = {c.width} x 2^{c.levels - 1}"
        if c.bottleneck == "attention":
            check_attention(model, c.width * 2 ** (c.levels - 1), origin, c.nhead, 1, c.dropout, "sinusoidal")

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("demucs", n_channels=n_channels)
        return Demucs(self, n_channels)
