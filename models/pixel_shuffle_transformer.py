"""Pixel-shuffle autoencoder (Shi et al. 2016, arXiv:1609.05158) with a Transformer over time at its bottleneck."""

from dataclasses import dataclass
from typing import Annotated

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import nn

from models.base import DenoiserConfig, register
from models.parts.attention import Positional, TimeTransformer, check_attention
from models.parts.layers import Activation, Norm, Output, check_counts
from models.pixel_shuffle import PixelShuffleAutoencoder, PixelShuffleShape


@register("pixel_shuffle_transformer")
@dataclass(frozen=True, slots=True)
class PixelShuffleTransformerConfig(DenoiserConfig):
    """`encoder_layers` Transformer layers, as wide as the number of channels after the last unshuffle.

    The lab's 33,577,193 parameters: width 16, levels 4, kernel 3, norm "none", which make d_model 2048, with
    nhead 8, feed_forward 2048 and one layer.
    """

    levels: Annotated[int, IntDistribution(2, 4)] = 3
    width: Annotated[int, IntDistribution(4, 16, step=4)] = 4
    kernel: Annotated[int, CategoricalDistribution((3, 5, 7))] = 3
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "group"
    activation: Annotated[Activation, CategoricalDistribution(("leaky_relu", "prelu", "gelu"))] = "leaky_relu"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "tanh"
    skip: Annotated[bool, CategoricalDistribution((False, True))] = True
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    encoder_layers: Annotated[int, IntDistribution(1, 2)] = 1
    # Every d_model in range is a multiple of 32, so each nhead in range divides it.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 8
    feed_forward: Annotated[int, CategoricalDistribution((128, 256, 512, 1024, 2048))] = 256
    attention_dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    positional: Annotated[Positional, CategoricalDistribution(("sinusoidal", "none"))] = "sinusoidal"
    norm_first: Annotated[bool, CategoricalDistribution((False, True))] = True
    factor: int = 2

    def __post_init__(self) -> None:
        model, c = "pixel_shuffle_transformer", self
        c.shape().check(model)
        check_counts(model, encoder_layers=c.encoder_layers)
        origin = f"factor x width x (2 x factor)^(levels - 1) = {c.factor} x {c.width} x {2 * c.factor}^{c.levels - 1}"
        check_attention(model, c.d_model, origin, c.nhead, c.feed_forward, c.attention_dropout, c.positional)

    @property
    def d_model(self) -> int:
        """Return the number of channels at the bottleneck, which is the width of the Transformer."""
        return self.shape().n_deep

    def shape(self) -> PixelShuffleShape:
        """Return the shape of the autoencoder around the Transformer."""
        c = self
        return PixelShuffleShape(
            c.levels, c.width, c.kernel, c.norm, c.activation, c.output, c.skip, c.dropout, c.factor
        )

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("pixel_shuffle_transformer", n_channels=n_channels)
        c = self
        bottleneck = TimeTransformer(
            c.d_model, c.nhead, c.feed_forward, c.encoder_layers, c.attention_dropout, c.positional, c.norm_first
        )
        return PixelShuffleAutoencoder(c.shape(), bottleneck, n_channels)
