"""What is solved before a denoiser sees a window: filters from the references, for any denoiser."""

from dataclasses import dataclass
from typing import Annotated

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig
from models.parts.least_squares import cancelled, check_filters, delayed


@dataclass(frozen=True, slots=True)
class FrontConfig:
    """Filters of `filter_taps` taps, `filter_spacing` samples apart, from every reference; 0 taps is without.

    What they leave of channel 0 becomes a denoiser's first channel, and the window's own channels follow. +-64 ms take
    taps 17 with spacing 2 at 250 Hz and 8 at 1 kHz. filter_ridge: see models.parts.least_squares.cancelled. A window
    with no references is passed on as it is.
    """

    filter_taps: Annotated[int, CategoricalDistribution((0, 9, 17, 33))] = 0
    filter_spacing: int = 2
    filter_ridge: Annotated[float, FloatDistribution(1e-3, 3e-1, log=True)] = 3e-2

    def __post_init__(self) -> None:
        if self.filter_taps:
            check_filters("front", self.filter_taps, self.filter_spacing, self.filter_ridge)

    def build(self, denoiser: DenoiserConfig, n_channels: int) -> nn.Module:
        """`denoiser` for windows of `n_channels`, behind the filters where there are any to solve."""
        if not self.filter_taps or n_channels == 1:
            return denoiser.build(n_channels)
        net = denoiser.build(n_channels + 1)
        return (SolvedFirstWithLoss if hasattr(net, "training_loss") else SolvedFirst)(net, self)


class SolvedFirst(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time] by a net that takes one channel more."""

    def __init__(self, net: nn.Module, front: FrontConfig) -> None:
        super().__init__()
        self.net, self.front = net, front

    def forward(self, noisy: Tensor) -> Tensor:
        estimate: Tensor = self.net(self.solved(noisy))
        return estimate

    def solved(self, noisy: Tensor) -> Tensor:
        """[batch, 1 + channel, time]: what the references leave of channel 0, then the channels."""
        f = self.front
        # Solving needs single precision.
        with torch.autocast(noisy.device.type, enabled=False):
            primary, references = noisy[:, :1].float(), noisy[:, 1:].float()
            regressors = delayed(references, f.filter_taps, f.filter_spacing)
            left = cancelled(primary, regressors, torch.ones_like(primary), f.filter_ridge)
        return torch.cat((left, noisy), dim=1)


class SolvedFirstWithLoss(SolvedFirst):
    """The same for a net that brings its own loss (models.base)."""

    def training_loss(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """The net's own loss on the solved window."""
        loss: Tensor = self.net.training_loss(self.solved(noisy), clean)  # type: ignore[operator]
        return loss
