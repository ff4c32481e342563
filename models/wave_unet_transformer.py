"""Wave-U-Net whose bottleneck is a Transformer encoder (Vaswani et al. 2017, arXiv:1706.03762) over time."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.layers import Activation, Norm, Output, check_counts, conv_block
from models.wave_unet import UNetShape, WaveUNet

Positional = Literal["sinusoidal", "none"]
Entry = Literal["attention", "conv", "none"]


def sinusoidal_encoding(n_steps: int, d_model: int) -> Tensor:
    """Positions as sines and cosines of falling frequency, float32[n_steps, d_model], for any size.

    Column 2i is sin(t / 10000^(2i / d_model)), column 2i + 1 its cosine (Vaswani et al. 2017, section 3.5).
    """
    column = torch.arange(d_model)
    wavelength = torch.exp((column - column % 2) * (math.log(10_000.0) / d_model))
    angle = torch.arange(n_steps).unsqueeze(1) / wavelength
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


class TimeTransformer(nn.Module):
    """Self-attention over time: [batch, d_model, steps] -> the same shape."""

    def __init__(self, config: "WaveUNetTransformerConfig") -> None:
        super().__init__()
        c = config
        # Built one by one: nn.TransformerEncoder copies one layer, so all would start with equal weights.
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    c.d_model,
                    c.nhead,
                    c.feed_forward,
                    c.attention_dropout,
                    activation="gelu",
                    batch_first=True,
                    norm_first=c.norm_first,
                )
                for _ in range(c.encoder_layers + (c.entry == "attention"))
            )
        )
        self.positional = c.positional

    def forward(self, x: Tensor) -> Tensor:
        steps = x.transpose(1, 2)
        if self.positional == "sinusoidal":
            steps = steps + sinusoidal_encoding(steps.shape[1], steps.shape[2]).to(steps)
        attended: Tensor = self.layers(steps)
        return attended.transpose(1, 2)


@register("wave_unet_transformer")
@dataclass(frozen=True, slots=True)
class WaveUNetTransformerConfig(DenoiserConfig):
    """`encoder_layers` Transformer layers of width ``levels * width`` at the bottom of a Wave-U-Net.

    `entry` is what stands before them, where the plain Wave-U-Net has its bottleneck convolution: one more
    Transformer layer, that convolution, or nothing. The lab's 8,859,650 parameters (encoder_layers 2) and
    11,294,946 (4) at levels 10, width 24, nhead 8, feed_forward 2048 are the Wave-U-Net less that convolution
    plus encoder_layers + 1 layers: entry "attention". Here every one of these layers is at work.
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
    encoder_layers: Annotated[int, IntDistribution(1, 6)] = 2
    # Every width in range is a multiple of 8, so each nhead in range divides each levels * width.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 8
    feed_forward: Annotated[int, CategoricalDistribution((128, 256, 512, 1024, 2048))] = 256
    attention_dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    positional: Annotated[Positional, CategoricalDistribution(("sinusoidal", "none"))] = "sinusoidal"
    norm_first: Annotated[bool, CategoricalDistribution((False, True))] = True
    entry: Annotated[Entry, CategoricalDistribution(("attention", "conv", "none"))] = "conv"

    def __post_init__(self) -> None:
        model = "wave_unet_transformer"
        self.shape().check(model)
        check_counts(model, encoder_layers=self.encoder_layers, nhead=self.nhead, feed_forward=self.feed_forward)
        if self.d_model % self.nhead:
            raise ValueError(
                f"{model}: nhead = {self.nhead} must divide d_model = levels x width = "
                f"{self.levels} x {self.width} = {self.d_model}: "
                f"try nhead = {math.gcd(self.d_model, self.nhead)} or a width in steps of {self.nhead}"
            )
        if not 0 <= self.attention_dropout < 1:
            raise ValueError(
                f"{model}: attention_dropout = {self.attention_dropout}, must lie in [0, 1): set it to 0 for none"
            )
        for field, value, known in (
            ("positional", self.positional, get_args(Positional)),
            ("entry", self.entry, get_args(Entry)),
        ):
            if value not in known:
                raise ValueError(
                    f"{model}: {field} = {value!r}, must be one of {', '.join(known)}: choose one of these"
                )

    @property
    def d_model(self) -> int:
        """Channels at the bottleneck, where attention runs."""
        return self.levels * self.width

    def shape(self) -> UNetShape:
        """The U around the Transformer."""
        c = self
        return UNetShape(
            c.levels, c.width, c.kernel_down, c.kernel_up, c.norm, c.activation, c.output, c.skip, c.dropout
        )

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("wave_unet_transformer", n_channels=n_channels)
        c = self
        bottleneck: nn.Module = TimeTransformer(c)
        if c.entry == "conv":
            entry = conv_block(c.d_model, c.d_model, c.kernel_down, c.norm, c.activation, c.dropout)
            bottleneck = nn.Sequential(entry, bottleneck)
        return WaveUNet(c.shape(), bottleneck, n_channels)
