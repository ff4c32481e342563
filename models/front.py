"""The front end before any denoiser: least-squares filters that cancel noise with the reference channels."""

from dataclasses import dataclass
from typing import Annotated, cast

import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import Tensor, nn

from models.base import DenoiserConfig
from models.parts.least_squares import cancelled, check_filters, delayed, recursively_cancelled
from models.parts.streaming import Carry, CausalDenoiser, Core, Reach


@dataclass(frozen=True, slots=True)
class FrontConfig:
    """A filter from each reference channel to channel 0, solved on each window.

    The residual of channel 0 becomes the first channel of the denoiser, followed by the channels of the window. A
    window without reference channels is not changed.

    filter_taps: taps of each filter; 0 leaves the front end out.
    filter_spacing: samples between taps. +-64 ms take 17 taps with spacing 2 at 250 Hz and 8 at 1 kHz.
    filter_ridge: see models.parts.least_squares.cancelled.
    """

    filter_taps: Annotated[int, CategoricalDistribution((0, 9, 17, 33))] = 0
    filter_spacing: int = 2
    filter_ridge: Annotated[float, FloatDistribution(1e-3, 3e-1, log=True)] = 3e-2

    def __post_init__(self) -> None:
        if self.filter_taps:
            check_filters("front", self.filter_taps, self.filter_spacing, self.filter_ridge)

    def build(self, denoiser: DenoiserConfig, n_channels: int, n_more: int = 0) -> nn.Module:
        """Build `denoiser` for windows of `n_channels`, with the filters before it if there are any.

        n_more: channels after those of a window, which are no references. The first of them is an earlier estimate.
        """
        if not self.filter_taps or n_channels == 1:
            return denoiser.build(n_channels + n_more)
        net = denoiser.build(n_channels + 1 + n_more)
        return (SolvedFirstWithLoss if hasattr(net, "training_loss") else SolvedFirst)(net, self, n_channels, n_more)

    def build_causal(self, denoiser: DenoiserConfig, n_channels: int, reach: Reach) -> CausalDenoiser:
        """Build the causal form of `denoiser`, with recursive filters before it if there are any.

        Raises ValueError for a family without one.
        """
        if not self.filter_taps or n_channels == 1:
            return denoiser.build_causal(n_channels, reach)
        net = denoiser.build_causal(n_channels + 1, reach)
        return CausalDenoiser(RecursiveFirst(net.core, self, reach))


class RecursiveFirst(nn.Module):
    """The causal form of SolvedFirst: a Core of models.parts.streaming.

    The taps reach into the past. The filters of a block are the least-squares solution over the blocks before it.
    """

    def __init__(self, core: nn.Module, front: FrontConfig, reach: Reach) -> None:
        super().__init__()
        self.core, self.front = core, front
        blocks = cast(Core, core)
        self.block, self.delay, self.past = blocks.block, blocks.delay, reach.past(blocks.block)

    def run_blocks(self, noisy: Tensor, carry: Carry) -> Tensor:
        f = self.front
        # Solving needs single precision.
        with torch.autocast(noisy.device.type, enabled=False):
            held = carry.extend(noisy[:, 1:].float(), (f.filter_taps - 1) * f.filter_spacing)
            n_samples = noisy.shape[-1]
            shifted = [held[..., i * f.filter_spacing :][..., :n_samples] for i in range(f.filter_taps)]
            regressors = torch.stack(shifted, dim=2).flatten(1, 2)
            left = recursively_cancelled(noisy[:, :1].float(), regressors, f.filter_ridge, self.block, self.past, carry)
        return cast(Core, self.core).run_blocks(torch.cat((left, noisy), dim=1), carry)


class SolvedFirst(nn.Module):
    """[batch, n_channels, time] -> [batch, 1, time], by a net with one channel more: the filters' residual.

    n_channels: of a window. n_more: channels after them, which are passed on to the net but are no references; the
        first of them is an earlier estimate, which the filters leave in channel 0.
    """

    def __init__(self, net: nn.Module, front: FrontConfig, n_channels: int, n_more: int) -> None:
        super().__init__()
        self.net, self.front, self.n_channels, self.n_more = net, front, n_channels, n_more

    def forward(self, noisy: Tensor, *more: Tensor) -> Tensor:
        """Return the net's estimate. more: what the net takes besides, see models.diffusion.Diffusion.forward."""
        estimate: Tensor = self.net(self.solved(noisy), *more)
        return estimate

    def solved(self, noisy: Tensor) -> Tensor:
        """Return [batch, 1 + channel, time]: the residual of channel 0, then the channels of the window."""
        f = self.front
        # Solving needs single precision.
        with torch.autocast(noisy.device.type, enabled=False):
            primary, references = noisy[:, :1].float(), noisy[:, 1 : self.n_channels].float()
            # What is known of the heart is no noise that the filters should explain.
            heart = noisy[:, self.n_channels : self.n_channels + 1].float() if self.n_more else 0.0
            regressors = delayed(references, f.filter_taps, f.filter_spacing)
            left = cancelled(primary - heart, regressors, torch.ones_like(primary), f.filter_ridge) + heart
        return torch.cat((left, noisy), dim=1)


class SolvedFirstWithLoss(SolvedFirst):
    """The same for a net with a training loss of its own (models.base)."""

    def training_loss(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """Return the net's training loss on the filtered window."""
        loss: Tensor = self.net.training_loss(self.solved(noisy), clean)  # type: ignore[operator]
        return loss
