"""Strided encoder, dilated convolutions, a Transformer, and a decoder.

Dilated residual convolutions (WaveNet: van den Oord et al. 2016, arXiv:1609.03499) cover single heart sounds, attention
(Vaswani et al. 2017, arXiv:1706.03762) covers many beats. The band of the signal lies far below the sampling rate, so
both run at a reduced rate.
"""

from dataclasses import dataclass
from typing import Annotated, get_args

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.attention import Positional, TimeTransformer, check_attention
from models.parts.encoded import EncodedDenoiser, Mask
from models.parts.layers import (
    ACTIVATIONS,
    Activation,
    Norm,
    Output,
    SameConv,
    UpConv,
    check_choices,
    check_counts,
    check_kernels,
    check_named,
    conv_block,
    finish,
)


class DilatedBlock(nn.Module):
    """Dilated convolution and a pointwise one beside a shortcut: [batch, width, steps] kept."""

    def __init__(
        self, width: int, kernel: int, dilation: int, norm: Norm, activation: Activation, dropout: float
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            SameConv(width, width, kernel, dilation=dilation),
            *finish(width, norm, activation, dropout),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.net(x)
        return added


@register("conv_transformer")
@dataclass(frozen=True, slots=True)
class ConvTransformerConfig(DenoiserConfig):
    """`halvings` of the rate, each a strided convolution, to `width` channels; then `blocks` and `encoder_layers`.
    `norm` is that of the blocks.

    125 steps per second take halvings 3 at 1 kHz and 1 at 250 Hz. With halvings 3, width 96 and blocks 7 it has
    about half a million parameters.
    """

    halvings: Annotated[int, IntDistribution(1, 4)] = 3
    width: Annotated[int, IntDistribution(32, 128, step=32)] = 64
    kernel: Annotated[int, CategoricalDistribution((5, 7, 9, 15))] = 7
    blocks: Annotated[int, IntDistribution(2, 8)] = 4
    block_kernel: Annotated[int, CategoricalDistribution((3, 5))] = 3
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "layer"
    activation: Annotated[Activation, CategoricalDistribution(("gelu", "leaky_relu", "prelu"))] = "gelu"
    mask: Annotated[Mask, CategoricalDistribution(("none", "sigmoid", "relu"))] = "none"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "linear"
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    encoder_layers: Annotated[int, IntDistribution(1, 4)] = 2
    # Every width in range is a multiple of 32, so each nhead in range divides it.
    nhead: Annotated[int, CategoricalDistribution((2, 4, 8))] = 4
    feed_forward: Annotated[int, CategoricalDistribution((64, 128, 256, 512))] = 128
    attention_dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0
    positional: Annotated[Positional, CategoricalDistribution(("sinusoidal", "none"))] = "sinusoidal"

    def __post_init__(self) -> None:
        model, c = "conv_transformer", self
        check_counts(model, halvings=c.halvings, width=c.width, blocks=c.blocks, encoder_layers=c.encoder_layers)
        check_kernels(model, kernel=c.kernel, block_kernel=c.block_kernel)
        check_choices(model, c.norm, c.activation, c.output, c.dropout)
        check_named(model, "mask", c.mask, get_args(Mask))
        check_attention(model, c.width, "width", c.nhead, c.feed_forward, c.attention_dropout, c.positional)

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("conv_transformer", n_channels=n_channels)
        c = self
        # No norm in encoder and decoder, because it would remove the amplitude and slow down the start of training.
        # The number of channels doubles with each halving of the rate, from at least 8.
        widths = [max(8, c.width >> level) for level in range(c.halvings - 1, 0, -1)] + [c.width]
        encoder = nn.Sequential(
            *(
                conv_block(n_in, n_out, c.kernel, "none", c.activation, stride=2)
                for n_in, n_out in zip([n_channels, *widths], widths, strict=False)
            )
        )
        body = nn.Sequential(
            *(
                DilatedBlock(c.width, c.block_kernel, 2**block, c.norm, c.activation, c.dropout)
                for block in range(c.blocks)
            ),
            TimeTransformer(c.width, c.nhead, c.feed_forward, c.encoder_layers, c.attention_dropout, c.positional),
            nn.Conv1d(c.width, c.width, 1),
        )
        stages: list[nn.Module] = []
        for n_in, n_out in zip(widths[::-1], widths[-2::-1], strict=False):
            stages += [UpConv(n_in, n_out, c.kernel, 2), ACTIVATIONS[c.activation]()]
        decoder = nn.Sequential(*stages, UpConv(widths[0], 1, c.kernel, 2))
        # Together, the kernels of all stages reach less than `kernel` of the coarsest steps.
        return EncodedDenoiser(encoder, body, decoder, c.mask, c.output, 2**c.halvings, c.kernel // 2)
