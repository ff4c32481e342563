"""What a training step minimises: (estimate, clean), both Tensor[batch, 1, time], to a scalar.

Each loss is a frozen config with `build()`; the table LOSSES at the foot has them all. Losses are computed in
float32 at least, whatever precision the model ran in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from optuna.distributions import FloatDistribution
from torch import Tensor, nn

# Bounds the SI-SDR loss to -50 .. +50 dB: past 50 dB there is nothing left to gain on real recordings.
SI_SDR_LIMIT = 1e-5
# An estimate 80 dB below the clean signal counts as silence in the SI-SDR loss.
SILENCE_ENERGY_SHARE = 1e-8
# A clean window with less energy is silent: signals lie within (-1, 1), and float32 needs the room below.
AUDIBLE_ENERGY = 1e-16


class Loss(nn.Module):
    """A function of (estimate, clean) as a module; shapes must agree, as broadcasting hides mistakes."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Scalar loss of two Tensor[batch, 1, time]; raises ValueError where the shapes differ."""
        if estimate.shape != clean.shape:
            raise ValueError(
                f"estimate has shape {tuple(estimate.shape)} and clean {tuple(clean.shape)};"
                " both must be the same [batch, 1, time]"
            )
        dtype = torch.promote_types(estimate.dtype, torch.float32)
        return self.function(estimate.to(dtype), clean.to(dtype))


def _refuse(loss: str, name: str, value: float, allowed: str) -> ValueError:
    return ValueError(f"{loss}: {name} is {value}; {allowed} is needed")


def _check_peak_weight(loss: str, peak_weight: float) -> None:
    if not 0.0 <= peak_weight <= 1.0:
        raise _refuse(loss, "peak_weight", peak_weight, "a number from 0 (plain L1) to 1 (peaks only)")


def peak_weighted_l1(estimate: Tensor, clean: Tensor, peak_weight: float) -> Tensor:
    """mean(|e - c| * ((1 - w) + w * |c| / max|c|)) over Tensor[batch, 1, time]; w = peak_weight in [0, 1].

    Plain L1 is won by silence, as most of a heart sound is a pause; this makes the beats count for more. The
    maximum is taken per window: a loud window must not flatten a faint one's weights, and a window's loss
    must not depend on which others share its batch. A silent clean window keeps the even weight 1 - w.
    """
    magnitude = clean.abs()
    peak = magnitude.amax(dim=-1, keepdim=True)
    shape = magnitude / torch.where(peak > 0, peak, 1.0)
    return ((estimate - clean).abs() * ((1.0 - peak_weight) + peak_weight * shape)).mean()


def negative_si_sdr(estimate: Tensor, clean: Tensor) -> Tensor:
    """Mean negative SI-SDR in dB over the windows of Tensor[batch, 1, time], from -50 (perfect) to +50 dB.

    SI-SDR is 10 log10(q / (1 - q)) with q = <e, c>^2 / (|e|^2 |c|^2), the squared cosine. Here q + 1e-5 and
    1 - q + 1e-5 stand for the two, and |e|^2 + 1e-8 |c|^2 for |e|^2. So values and gradients are finite and
    silence (q = 0) is the worst output, not a 0 dB one. A silent clean window has no SI-SDR and adds 0.
    """
    clean_energy = clean.square().sum(dim=-1)
    audible = clean_energy > AUDIBLE_ENERGY
    safe_energy = torch.where(audible, clean_energy, 1.0)
    estimate_energy = estimate.square().sum(dim=-1) + SILENCE_ENERGY_SHARE * safe_energy
    # One division by each energy in turn: their product can leave the range of float32.
    product = (estimate * clean).sum(dim=-1)
    q = ((product / safe_energy) * (product / estimate_energy)).clamp(max=1.0)
    loss_db = 10 * torch.log10((1 - q + SI_SDR_LIMIT) / (q + SI_SDR_LIMIT))
    return torch.where(audible, loss_db, 0.0).mean()


def _si_sdr_and_l1(estimate: Tensor, clean: Tensor, l1_weight: float, peak_weight: float) -> Tensor:
    return negative_si_sdr(estimate, clean) + l1_weight * peak_weighted_l1(estimate, clean, peak_weight)


@dataclass(frozen=True, slots=True)
class LossConfig:
    """What every loss's config is: a frozen value that knows its name and builds its module."""

    name: ClassVar[str]

    def build(self) -> nn.Module:
        """Make the module: (estimate, clean), both Tensor[batch, 1, time], to a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")


@dataclass(frozen=True, slots=True)
class L1Config(LossConfig):
    """mean |e - c|. At low SNR its minimum is close to silence."""

    name: ClassVar[str] = "l1"

    def build(self) -> nn.Module:
        return Loss(F.l1_loss)


@dataclass(frozen=True, slots=True)
class SmoothL1Config(LossConfig):
    """L1 without the kink at zero error (Girshick, Fast R-CNN, 2015), d = e - c.

    Mean of d^2 / (2 beta) where |d| < beta, of |d| - beta / 2 elsewhere; beta in the signals' unit.
    """

    name: ClassVar[str] = "smooth_l1"
    beta: Annotated[float, FloatDistribution(0.001, 1.0, log=True)] = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.beta < float("inf"):
            raise _refuse(self.name, "beta", self.beta, "a positive amplitude")

    def build(self) -> nn.Module:
        return Loss(partial(F.smooth_l1_loss, beta=self.beta))


@dataclass(frozen=True, slots=True)
class MseConfig(LossConfig):
    """mean (e - c)^2."""

    name: ClassVar[str] = "mse"

    def build(self) -> nn.Module:
        return Loss(F.mse_loss)


@dataclass(frozen=True, slots=True)
class PeakL1Config(LossConfig):
    """L1 that weighs the beats more than the pauses: see `peak_weighted_l1`."""

    name: ClassVar[str] = "peak_l1"
    peak_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.25

    def __post_init__(self) -> None:
        _check_peak_weight(self.name, self.peak_weight)

    def build(self) -> nn.Module:
        return Loss(partial(peak_weighted_l1, peak_weight=self.peak_weight))


@dataclass(frozen=True, slots=True)
class NegSiSdrConfig(LossConfig):
    """Negative SI-SDR in dB plus l1_weight times the peak-weighted L1; its minimum, at e = c, is -50.

    SI-SDR asks for the shape and is free of scale; the L1 term holds the amplitude and pulls an estimate out
    of exact silence, where SI-SDR has no slope.
    """

    name: ClassVar[str] = "si_sdr"
    l1_weight: Annotated[float, FloatDistribution(0.1, 20.0, log=True)] = 5.0
    peak_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.25

    def __post_init__(self) -> None:
        _check_peak_weight(self.name, self.peak_weight)
        if not 0.0 < self.l1_weight < float("inf"):
            raise _refuse(self.name, "l1_weight", self.l1_weight, "a positive number")

    def build(self) -> nn.Module:
        return Loss(partial(_si_sdr_and_l1, l1_weight=self.l1_weight, peak_weight=self.peak_weight))


LOSSES: dict[str, type[LossConfig]] = {
    cls.name: cls for cls in (L1Config, SmoothL1Config, MseConfig, PeakL1Config, NegSiSdrConfig)
}
