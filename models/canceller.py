"""Learned noise cancelling: least-squares filters from the references, then a mask network on what is left.

The filters are the Wiener solution on each window (adaptive noise cancelling: Widrow et al. 1975, Proc. IEEE 63:1692).
Heart sounds in channel 0 disturb this solution. Therefore a network computes weights of the samples from the residual
of a first solution, and the filters are solved again with these weights: iteratively reweighted least squares with
learned weights. The mask network is that of tcn_mask (Luo & Mesgarani 2019, arXiv:1809.07454).
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig, register
from models.parts.encoded import EncodedDenoiser, Mask, frame_decoder, frame_encoder
from models.parts.layers import check_choices, check_counts, run_padded
from models.parts.least_squares import cancelled, check_filters, delayed
from models.tcn_mask import separable_tcn

WEIGHT_FLOOR = 0.02
"""Smallest weight of a sample, so that the filter is defined even if the network trusts no sample."""


class Canceller(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time]. With one channel, the mask network alone."""

    def __init__(self, config: "CancellerConfig", n_channels: int) -> None:
        super().__init__()
        c = config
        self.taps, self.spacing, self.ridge = c.taps, c.spacing, c.ridge
        self.refined = c.refined and n_channels > 1
        self.n_references = n_channels - 1
        if self.refined:
            self.weigher = _tcn(c, 2, "none")
        n_left = (1 + self.refined) if self.n_references else 0
        self.masker = _tcn(c, n_left + n_channels, "sigmoid")

    def forward(self, noisy: Tensor) -> Tensor:
        return run_padded(self.denoise, noisy, 1)

    def denoise(self, noisy: Tensor) -> Tensor:
        """Return the estimate of windows of two or more samples."""
        estimate: Tensor = self.masker(torch.cat((*self.left(noisy), noisy), dim=1))
        return estimate

    def left(self, noisy: Tensor) -> list[Tensor]:
        """Return the residuals of channel 0 after the reweighted and the plain filter, each [batch, 1, time]."""
        if not self.n_references:
            return []
        # Solving needs single precision at least.
        with torch.autocast(noisy.device.type, enabled=False):
            primary, references = noisy[:, :1].float(), noisy[:, 1:].float()
            regressors = delayed(references, self.taps, self.spacing)
            plain = cancelled(primary, regressors, torch.ones_like(primary), self.ridge)
        if not self.refined:
            return [plain]
        trust = torch.sigmoid(self.weigher(torch.cat((plain, primary), dim=1)).float())
        with torch.autocast(noisy.device.type, enabled=False):
            reweighted = cancelled(primary, regressors, WEIGHT_FLOOR + (1 - WEIGHT_FLOOR) * trust, self.ridge)
        return [reweighted, plain]


def _tcn(c: "CancellerConfig", n_inputs: int, mask: Mask) -> EncodedDenoiser:
    body = separable_tcn(c.filters, c.width, c.hidden, 3, c.blocks, 1, "layer", "gelu", c.dropout)
    encoder = frame_encoder(n_inputs, c.filters, c.stride, c.overlap)
    decoder = frame_decoder(c.filters, c.stride, c.overlap)
    return EncodedDenoiser(encoder, body, decoder, mask, "linear", c.stride, c.overlap)


@register("canceller")
@dataclass(frozen=True, slots=True)
class CancellerConfig(DenoiserConfig):
    """Filters of `taps` taps, `spacing` samples apart, from each reference channel; then mask networks as in tcn_mask.

    +-64 ms take 17 taps with spacing 2 at 250 Hz and 8 at 1 kHz. `refined` adds the second, reweighted solution.
    """

    taps: Annotated[int, CategoricalDistribution((9, 17, 33))] = 17
    spacing: Annotated[int, CategoricalDistribution((1, 2, 4, 8))] = 2
    ridge: Annotated[float, FloatDistribution(1e-4, 1e-1, log=True)] = 1e-2
    refined: Annotated[bool, CategoricalDistribution((True, False))] = True
    stride: Annotated[int, CategoricalDistribution((2, 4, 8, 16))] = 8
    overlap: Annotated[int, IntDistribution(1, 3)] = 2
    filters: Annotated[int, IntDistribution(32, 128, step=32)] = 32
    width: Annotated[int, IntDistribution(16, 96, step=16)] = 32
    hidden: Annotated[int, IntDistribution(32, 192, step=32)] = 64
    blocks: Annotated[int, IntDistribution(3, 8)] = 5
    dropout: Annotated[float, FloatDistribution(0.0, 0.3)] = 0.0

    def __post_init__(self) -> None:
        model, c = "canceller", self
        check_filters(model, c.taps, c.spacing, c.ridge)
        check_counts(model, stride=c.stride, overlap=c.overlap, filters=c.filters)
        check_counts(model, width=c.width, hidden=c.hidden, blocks=c.blocks)
        check_choices(model, "layer", "gelu", "linear", c.dropout)

    def build(self, n_channels: int = 1) -> nn.Module:
        check_counts("canceller", n_channels=n_channels)
        return Canceller(self, n_channels)
