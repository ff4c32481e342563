"""What losses are made of: the config they all have, the module that checks shapes, the weighted sum of terms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


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


class WeightedSum(nn.Module):
    """Sum of weight times term; a term of weight 0 is left out, so that it costs no time."""

    def __init__(self, *terms: tuple[float, Callable[[Tensor, Tensor], Tensor]]) -> None:
        super().__init__()
        self.terms = [(weight, term) for weight, term in terms if weight]
        # Modules must be known as such, or their buffers would not follow `.to(device)`.
        self.parts = nn.ModuleList(term for _, term in self.terms if isinstance(term, nn.Module))

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Scalar of two Tensor[batch, 1, time]."""
        return torch.stack([weight * term(estimate, clean) for weight, term in self.terms]).sum()


@dataclass(frozen=True, slots=True)
class LossConfig:
    """What every loss's config is: a frozen value that knows its name and builds its module."""

    name: ClassVar[str]

    def build(self) -> nn.Module:
        """Make the module: (estimate, clean), both Tensor[batch, 1, time], to a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")


def require(config: LossConfig, name: str, holds: bool, allowed: str) -> None:
    """Raises ValueError naming the loss, its field `name`, the value got and what is `allowed`, unless `holds`."""
    # A comparison with NaN is false, so NaN is refused wherever `holds` is a comparison.
    if not holds:
        raise ValueError(f"{config.name}: {name} is {getattr(config, name)}; {allowed} is needed")


# Bounds the SI-SDR loss to -50 .. +50 dB: past 50 dB there is nothing left to gain on real recordings.
SI_SDR_LIMIT = 1e-5
# An estimate 80 dB below the clean signal counts as silence in the SI-SDR loss.
SILENCE_ENERGY_SHARE = 1e-8
# A clean window with less energy is silent: signals lie within (-1, 1), and float32 needs the room below.
AUDIBLE_ENERGY = 1e-16
# The level penalty stops growing 60 dB below the clean level: a slope of 1 / level has no place at zero.
LEVEL_FLOOR_SHARE = 1e-6


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


def level_penalty(estimate: Tensor, clean: Tensor) -> Tensor:
    """mean |ln(RMS of e / RMS of c)| over the windows of Tensor[batch, 1, time]: 0 at equal level, ln 1000 at silence.

    |e|^2 + 1e-6 |c|^2 stands for |e|^2 (and so for |c|^2), which keeps value and gradient finite. A silent clean
    window has no level to hold and adds 0.
    """
    clean_energy = clean.square().sum(dim=-1)
    audible = clean_energy > AUDIBLE_ENERGY
    safe_energy = torch.where(audible, clean_energy, 1.0)
    ratio = (estimate.square().sum(dim=-1) / safe_energy + LEVEL_FLOOR_SHARE) / (1 + LEVEL_FLOOR_SHARE)
    return torch.where(audible, 0.5 * ratio.log().abs(), 0.0).mean()
