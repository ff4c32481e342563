"""Wave-U-Net whose bottleneck is a Transformer encoder (Vaswani et al. 2017, arXiv:1706.03762) over time."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import nn

from models.base import register
from models.parts.attention import Positional, TimeTransformer, check_attention
from models.parts.layers import check_counts, check_named
from models.wave_unet import UNetConfig, WaveUNet

Entry = Literal["attention", "conv", "none"]


@register("wave_unet_transformer")
@dataclass(frozen=True, slots=True)
class WaveUNetTransformerConfig(UNetConfig):
    """`encoder_layers` Transformer layers of width ``levels * width`` at the bottom of a Wave-U-Net.

    `entry` is the layer before them, in place of the bottleneck convolution of the plain Wave-U-Net: one more
    Transformer layer, that convolution, or nothing. The lab's models with 8,859,650 parameters (encoder_layers 2) and
    11,294,946 (4) at levels 10, width 24, nhead 8, feed_forward 2048 are the Wave-U-Net without that convolution and
    with encoder_layers + 1 layers: entry "attention". Here all of these layers are used.
    """

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
        check_counts(model, encoder_layers=self.encoder_layers)
        check_attention(
            model,
            self.d_model,
            f"levels x width = {self.levels} x {self.width}",
            self.nhead,
            self.feed_forward,
            self.attention_dropout,
            self.positional,
        )
        check_named(model, "entry", self.entry, get_args(Entry))

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("wave_unet_transformer", n_channels=n_channels)
        c = self
        n_layers = c.encoder_layers + (c.entry == "attention")
        bottleneck: nn.Module = TimeTransformer(
            c.d_model, c.nhead, c.feed_forward, n_layers, c.attention_dropout, c.positional, c.norm_first
        )
        if c.entry == "conv":
            bottleneck = nn.Sequential(c.middle(), bottleneck)
        return WaveUNet(c.shape(), bottleneck, n_channels)
