"""Mask on a learned encoding from a temporal convolutional network (Conv-TasNet: Luo & Mesgarani 2019,
arXiv:1809.07454).

The encoder is linear and takes all channels, so that its filters can subtract a part of one channel from another.
"""

from dataclasses import dataclass
from typing import Annotated, get_args

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.encoded import CausalEncoded, EncodedDenoiser, Mask, frame_decoder, frame_encoder
from models.parts.layers import (
    ACTIVATIONS,
    Activation,
    Norm,
    Output,
    SameConv,
    check_choices,
    check_counts,
    check_kernels,
    check_named,
    finish,
    make_norm,
)
from models.parts.streaming import Carry, CausalDenoiser, Reach, run_causal


class SeparableBlock(nn.Module):
    """Pointwise, dilated depthwise and pointwise convolution beside a shortcut: [batch, width, steps] kept."""

    def __init__(
        self, width: int, hidden: int, kernel: int, dilation: int, norm: Norm, activation: Activation, dropout: float
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(width, hidden, 1),
            *finish(hidden, norm, activation, 0.0),
            SameConv(hidden, hidden, kernel, dilation=dilation, groups=hidden),
            *finish(hidden, norm, activation, dropout),
            nn.Conv1d(hidden, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.net(x)
        return added

    def run_causal(self, x: Tensor, past: int, carry: Carry) -> Tensor:
        """Return the same by the causal forms of its layers, see models.parts.streaming."""
        return x + run_causal(self.net, x, past, carry)


def separable_tcn(
    n_filters: int,
    width: int,
    hidden: int,
    kernel: int,
    blocks: int,
    repeats: int,
    norm: Norm,
    activation: Activation,
    dropout: float,
) -> nn.Sequential:
    """Build a network on [batch, n_filters, steps]: `repeats` times `blocks` blocks, with doubling dilation."""
    return nn.Sequential(
        make_norm(norm, n_filters),
        nn.Conv1d(n_filters, width, 1),
        *(
            SeparableBlock(width, hidden, kernel, 2**block, norm, activation, dropout)
            for _ in range(repeats)
            for block in range(blocks)
        ),
        ACTIVATIONS[activation](),
        nn.Conv1d(width, n_filters, 1),
    )


@register("tcn_mask")
@dataclass(frozen=True, slots=True)
class TcnMaskConfig(DenoiserConfig):
    """`filters` learned frames every `stride` samples, `repeats` x `blocks` blocks with dilations 1, 2, 4 ...

    A frame of 8 ms takes stride 8 at 1 kHz and 2 at 250 Hz; the context is about
    ``repeats * (kernel - 1) * 2 ** blocks`` frames.
    """

    stride: Annotated[int, CategoricalDistribution((2, 4, 8, 16))] = 8
    overlap: Annotated[int, IntDistribution(1, 3)] = 2
    filters: Annotated[int, IntDistribution(32, 256, step=32)] = 64
    width: Annotated[int, IntDistribution(16, 128, step=16)] = 32
    hidden: Annotated[int, IntDistribution(32, 256, step=32)] = 64
    kernel: Annotated[int, CategoricalDistribution((3, 5, 7))] = 3
    blocks: Annotated[int, IntDistribution(3, 8)] = 5
    repeats: Annotated[int, IntDistribution(1, 3)] = 2
    norm: Annotated[Norm, CategoricalDistribution(("batch", "group", "layer", "none"))] = "layer"
    activation: Annotated[Activation, CategoricalDistribution(("prelu", "leaky_relu", "gelu"))] = "leaky_relu"
    mask: Annotated[Mask, CategoricalDistribution(("sigmoid", "relu", "none"))] = "sigmoid"
    output: Annotated[Output, CategoricalDistribution(("tanh", "linear"))] = "linear"
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0

    def __post_init__(self) -> None:
        model, c = "tcn_mask", self
        check_counts(model, stride=c.stride, overlap=c.overlap, filters=c.filters, width=c.width)
        check_counts(model, hidden=c.hidden, blocks=c.blocks, repeats=c.repeats)
        check_kernels(model, kernel=c.kernel)
        check_choices(model, c.norm, c.activation, c.output, c.dropout)
        check_named(model, "mask", c.mask, get_args(Mask))

    def build(self, n_channels: int = 1) -> nn.Module:
        return self._encoded(n_channels)

    def build_causal(self, n_channels: int, reach: Reach) -> CausalDenoiser:
        if self.output != "linear":
            raise ValueError(
                f"tcn_mask: output = {self.output!r} limits the amplitude, which is not known while a signal "
                'arrives; set output to "linear" for a causal model'
            )
        return CausalDenoiser(CausalEncoded(self._encoded(n_channels), reach))

    def _encoded(self, n_channels: int) -> EncodedDenoiser:
        check_counts("tcn_mask", n_channels=n_channels)
        c = self
        body = separable_tcn(
            c.filters, c.width, c.hidden, c.kernel, c.blocks, c.repeats, c.norm, c.activation, c.dropout
        )
        encoder = frame_encoder(n_channels, c.filters, c.stride, c.overlap)
        decoder = frame_decoder(c.filters, c.stride, c.overlap)
        return EncodedDenoiser(encoder, body, decoder, c.mask, c.output, c.stride, c.overlap)
