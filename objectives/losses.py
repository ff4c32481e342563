"""Training losses: functions of estimate and clean signal, both Tensor[batch, 1, time], that return a scalar.

Each loss is a frozen config class whose `build()` makes the module; `register_loss` adds it to LOSSES by name. Below
them stand the terms that losses are made of, and the modules that compute them. Losses are computed in float32 or
wider, whatever precision the model ran in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Annotated, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import Tensor, nn

from objectives.spectral import SILENT_ENERGY, MultiResolutionStft
from objectives.wavelet import MorletL1, geometric_scales

# Limits the SI-SDR loss to -50 ... +50 dB: beyond 50 dB nothing can be gained on real recordings.
SI_SDR_LIMIT_DB = 50.0
# An estimate 80 dB below the clean signal counts as silence in the SI-SDR loss.
SILENCE_ENERGY_SHARE = 1e-8
# The level penalty stops growing 60 dB below the clean level, because its slope, 1 / level, is infinite at zero.
LEVEL_FLOOR_SHARE = 1e-6


@dataclass(frozen=True, slots=True)
class LossConfig:
    """The base class of the configs of all losses."""

    name: ClassVar[str]

    def build(self) -> nn.Module:
        """Build the module, which maps (estimate, clean), both Tensor[batch, 1, time], to a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define build()")


LOSSES: dict[str, type[LossConfig]] = {}

L = TypeVar("L", bound=LossConfig)


def register_loss(name: str) -> Callable[[type[L]], type[L]]:
    """Return a class decorator that adds a config class to LOSSES as `name`; use it above ``@dataclass``.

    Raises ValueError for a name or a class that is registered already.
    """

    def add(cls: type[L]) -> type[L]:
        if cls in LOSSES.values():
            raise ValueError(f"loss {cls.__name__} is registered already, as {cls.name!r}; derive a class")
        if name in LOSSES:
            raise ValueError(f"loss {name!r} is registered already, by {LOSSES[name].__module__}; rename one")
        cls.name = name
        LOSSES[name] = cls
        return cls

    return add


@register_loss("l1")
@dataclass(frozen=True, slots=True)
class L1Config(LossConfig):
    """The mean of |e - c|. At low SNR its minimum is close to silence."""

    def build(self) -> nn.Module:
        return Loss(F.l1_loss)


@register_loss("smooth_l1")
@dataclass(frozen=True, slots=True)
class SmoothL1Config(LossConfig):
    """L1 without the kink at zero error (Girshick, Fast R-CNN, 2015).

    The mean of d^2 / (2 beta) for |d| < beta and of |d| - beta / 2 elsewhere, with d = e - c; beta has the signals'
    unit.
    """

    beta: Annotated[float, FloatDistribution(0.001, 1.0, log=True)] = 0.1

    def __post_init__(self) -> None:
        require(self, "beta", 0.0 < self.beta < inf, "a positive amplitude")

    def build(self) -> nn.Module:
        return Loss(partial(F.smooth_l1_loss, beta=self.beta))


@register_loss("mse")
@dataclass(frozen=True, slots=True)
class MseConfig(LossConfig):
    """The mean of (e - c)^2."""

    def build(self) -> nn.Module:
        return Loss(F.mse_loss)


@register_loss("peak_l1")
@dataclass(frozen=True, slots=True)
class PeakL1Config(LossConfig):
    """L1 in which the heart sounds weigh more than the pauses; see `peak_weighted_l1`."""

    peak_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.25

    def __post_init__(self) -> None:
        _check_peak_weight(self)

    def build(self) -> nn.Module:
        return Loss(partial(peak_weighted_l1, peak_weight=self.peak_weight))


@register_loss("si_sdr")
@dataclass(frozen=True, slots=True)
class NegSiSdrConfig(LossConfig):
    """Negative SI-SDR in dB plus l1_weight times the peak-weighted L1; its minimum, at e = c, is -limit_db.

    SI-SDR depends on the shape of the estimate, not on its scale. The L1 term fixes the amplitude, and it has a
    gradient at exact silence, where SI-SDR has none.

    limit_db: largest SI-SDR that counts. A lower limit keeps windows with little noise, whose SI-SDR can rise without
        end, from outweighing the others (Wisdom et al. 2020, arXiv:2006.12701).
    """

    l1_weight: Annotated[float, FloatDistribution(0.1, 20.0, log=True)] = 5.0
    peak_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.25
    # Left out of documents while it has its default, see training.decode.encode.
    limit_db: float = field(default=SI_SDR_LIMIT_DB, metadata={"added": True})

    def __post_init__(self) -> None:
        _check_l1(self)
        require(self, "limit_db", 0.0 < self.limit_db <= SI_SDR_LIMIT_DB, f"a number up to {SI_SDR_LIMIT_DB:g}")

    def build(self) -> nn.Module:
        l1 = partial(peak_weighted_l1, peak_weight=self.peak_weight)
        return Loss(WeightedSum((1.0, partial(negative_si_sdr, limit_db=self.limit_db)), (self.l1_weight, l1)))


@register_loss("anti_collapse")
@dataclass(frozen=True, slots=True)
class AntiCollapseConfig(LossConfig):
    """Negative SI-SDR + l1_weight times peak-weighted L1 + level_weight times |ln(RMS of e / RMS of c)|; -50 at e = c.

    The loss penalises the two outputs that models collapse to. Silence: L1 shrinks an estimate that is mostly wrong,
    and SI-SDR does not depend on the scale; the gradient of the level term grows as the level falls, and the term
    reaches ln 1000 = 6.9 level_weight at silence. A copy of the input: it has the level of clean signal and noise
    together, and the SI-SDR of the input, far above the minimum.
    """

    l1_weight: Annotated[float, FloatDistribution(0.1, 20.0, log=True)] = 5.0
    peak_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.25
    level_weight: Annotated[float, FloatDistribution(0.3, 30.0, log=True)] = 3.0

    def __post_init__(self) -> None:
        _check_l1(self)
        require(self, "level_weight", 0.0 <= self.level_weight < inf, "a number from 0 up")

    def build(self) -> nn.Module:
        l1 = partial(peak_weighted_l1, peak_weight=self.peak_weight)
        return Loss(WeightedSum((1.0, negative_si_sdr), (self.l1_weight, l1), (self.level_weight, level_penalty)))


@register_loss("cwt")
@dataclass(frozen=True, slots=True)
class CwtConfig(LossConfig):
    """(1 - alpha) mean |e - c| + alpha mean |W(e) - W(c)|, with W the real Morlet CWT (objectives.wavelet).

    The n_scales scales are in samples and in equal ratios; scale s responds to frequencies around 0.8 rate_hz / s. The
    default of 2.5 to 80 covers 10 to 80 Hz both at 250 Hz (scales 2.5 to 20) and at 1 kHz (10 to 80). For a known rate,
    a narrower range uses all scales. The number and range of the scales are not searched by default.
    """

    alpha: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.5
    smallest_scale: float = 2.5
    largest_scale: float = 80.0
    n_scales: int = 36

    def __post_init__(self) -> None:
        holds = 0.0 <= self.alpha <= 1.0
        require(self, "alpha", holds, "a number from 0 (waveform only) to 1 (wavelet only)")
        _check_scales(self)

    def build(self) -> nn.Module:
        return Loss(WeightedSum((1.0 - self.alpha, F.l1_loss), (self.alpha, _morlet(self))))


@register_loss("mr_stft")
@dataclass(frozen=True, slots=True)
class MrStftConfig(LossConfig):
    """l1_weight times peak-weighted L1 plus the multi-resolution STFT loss (objectives.spectral).

    The n_resolutions STFT windows have shortest_stft_samples and its doublings: 32 to 256 samples are 0.13 to 1 s at
    250 Hz and 32 to 256 ms at 1 kHz; a heart sound takes 50 to 90 ms. Magnitudes do not depend on polarity and have no
    gradient at silence, so the L1 term is required.
    """

    l1_weight: Annotated[float, FloatDistribution(0.1, 20.0, log=True)] = 5.0
    peak_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.25
    shortest_stft_samples: Annotated[int, CategoricalDistribution((16, 32, 64, 128))] = 32
    n_resolutions: int = 4

    def __post_init__(self) -> None:
        _check_l1(self)
        _check_windows(self)

    def build(self) -> nn.Module:
        l1 = partial(peak_weighted_l1, peak_weight=self.peak_weight)
        return Loss(WeightedSum((self.l1_weight, l1), (1.0, _stft(self))))


@register_loss("combined")
@dataclass(frozen=True, slots=True)
class CombinedConfig(LossConfig):
    """The weighted sum of peak-weighted L1, negative SI-SDR, Morlet CWT L1 and multi-resolution STFT.

    A weight of 0 leaves its term out. At e = c the loss is -50 si_sdr_weight. SI-SDR and STFT do not depend on polarity
    and have no gradient at silence, and SI-SDR does not depend on the amplitude: combine them with L1 or CWT. Scales
    and STFT windows are those of `CwtConfig` and `MrStftConfig`.
    """

    l1_weight: Annotated[float, FloatDistribution(0.0, 20.0)] = 5.0
    peak_weight: Annotated[float, FloatDistribution(0.0, 1.0)] = 0.25
    si_sdr_weight: Annotated[float, FloatDistribution(0.0, 2.0)] = 1.0
    cwt_weight: Annotated[float, FloatDistribution(0.0, 20.0)] = 5.0
    stft_weight: Annotated[float, FloatDistribution(0.0, 5.0)] = 1.0
    smallest_scale: float = 2.5
    largest_scale: float = 80.0
    n_scales: int = 36
    shortest_stft_samples: Annotated[int, CategoricalDistribution((16, 32, 64, 128))] = 32
    n_resolutions: int = 4

    def __post_init__(self) -> None:
        _check_peak_weight(self)
        weights = ("l1_weight", "si_sdr_weight", "cwt_weight", "stft_weight")
        for weight in weights:
            require(self, weight, 0.0 <= getattr(self, weight) < inf, "a number from 0 up")
        if not any(getattr(self, weight) for weight in weights):
            raise ValueError(f"{self.name}: {', '.join(weights)} are all 0; at least one above 0 is needed")
        _check_scales(self)
        _check_windows(self)

    def build(self) -> nn.Module:
        return Loss(
            WeightedSum(
                (self.l1_weight, partial(peak_weighted_l1, peak_weight=self.peak_weight)),
                (self.si_sdr_weight, negative_si_sdr),
                (self.cwt_weight, _morlet(self)),
                (self.stft_weight, _stft(self)),
            )
        )


def peak_weighted_l1(estimate: Tensor, clean: Tensor, peak_weight: float) -> Tensor:
    """Return mean(|e - c| * ((1 - w) + w * |c| / max|c|)) over Tensor[batch, 1, time]; w = peak_weight in [0, 1].

    Silence has a small plain L1, because most of a heart-sound signal is pause; here the heart sounds weigh more. The
    maximum is taken per window: a loud window must not flatten the weights of a faint one, and the loss of a window
    must not depend on the other windows in its batch. A silent clean window has the constant weight 1 - w.
    """
    magnitude = clean.abs()
    peak = magnitude.amax(dim=-1, keepdim=True)
    shape = magnitude / torch.where(peak > 0, peak, 1.0)
    return ((estimate - clean).abs() * ((1.0 - peak_weight) + peak_weight * shape)).mean()


def negative_si_sdr(estimate: Tensor, clean: Tensor, limit_db: float = SI_SDR_LIMIT_DB) -> Tensor:
    """Return the mean negative SI-SDR in dB over the windows of Tensor[batch, 1, time].

    It reaches from -limit_db (perfect) to limit_db. SI-SDR is 10 log10(q / (1 - q)) with q = <e, c>^2 / (|e|^2 |c|^2),
    the squared cosine. Here q and 1 - q are replaced by q + t and 1 - q + t with t = 10^(-limit_db / 10), and |e|^2 by
    |e|^2 + 1e-8 |c|^2. Values and gradients are then finite, and silence (q = 0) is the worst output instead of one at
    0 dB. A silent clean window has no SI-SDR and contributes 0.
    """
    clean_energy = clean.square().sum(dim=-1)
    has_signal = clean_energy > SILENT_ENERGY
    safe_energy = torch.where(has_signal, clean_energy, 1.0)
    estimate_energy = estimate.square().sum(dim=-1) + SILENCE_ENERGY_SHARE * safe_energy
    # Divided by one energy at a time, because their product can exceed the range of float32.
    product = (estimate * clean).sum(dim=-1)
    q = ((product / safe_energy) * (product / estimate_energy)).clamp(max=1.0)
    least = 10 ** (-limit_db / 10)
    loss_db = 10 * torch.log10((1 - q + least) / (q + least))
    return torch.where(has_signal, loss_db, 0.0).mean()


def frame_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of logits float[batch, frame, class] and shares of the classes.

    shares: float[batch, frame, class] with the sum 1; a frame with NaN is unknown and left out. Without a known frame
    the result is 0.
    """
    known = shares.isfinite().all(dim=-1)
    wanted = torch.where(known[..., None], shares, 0.0)
    surprise = -(wanted * F.log_softmax(logits.float(), dim=-1)).sum(dim=-1)
    return surprise.sum() / known.sum().clamp_min(1)


def level_penalty(estimate: Tensor, clean: Tensor) -> Tensor:
    """Return the mean of |ln(RMS of e / RMS of c)| over the windows of Tensor[batch, 1, time].

    It is 0 at equal level and ln 1000 at silence. |e|^2 is replaced by |e|^2 + 1e-6 |c|^2, and |c|^2 likewise, which
    keeps value and gradient finite. A silent clean window has no level and contributes 0.
    """
    clean_energy = clean.square().sum(dim=-1)
    has_signal = clean_energy > SILENT_ENERGY
    safe_energy = torch.where(has_signal, clean_energy, 1.0)
    ratio = (estimate.square().sum(dim=-1) / safe_energy + LEVEL_FLOOR_SHARE) / (1 + LEVEL_FLOOR_SHARE)
    return torch.where(has_signal, 0.5 * ratio.log().abs(), 0.0).mean()


class Loss(nn.Module):
    """A function of (estimate, clean) as a module. Other shapes than equal ones are refused, not broadcast."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Return the scalar loss of two Tensor[batch, 1, time]. Raises ValueError if their shapes differ."""
        if estimate.shape != clean.shape:
            raise ValueError(
                f"estimate has shape {tuple(estimate.shape)} and clean {tuple(clean.shape)};"
                " both must be the same [batch, 1, time]"
            )
        dtype = torch.promote_types(estimate.dtype, torch.float32)
        return self.function(estimate.to(dtype), clean.to(dtype))


class WeightedSum(nn.Module):
    """The sum of weight times term. Terms of weight 0 are not computed."""

    def __init__(self, *terms: tuple[float, Callable[[Tensor, Tensor], Tensor]]) -> None:
        super().__init__()
        self.terms = [(weight, term) for weight, term in terms if weight]
        # Registered as submodules, so that `.to(device)` moves their buffers.
        self.parts = nn.ModuleList(term for _, term in self.terms if isinstance(term, nn.Module))

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Return the scalar loss of two Tensor[batch, 1, time]."""
        return torch.stack([weight * term(estimate, clean) for weight, term in self.terms]).sum()


def require(config: LossConfig, name: str, holds: bool, allowed: str) -> None:
    """Raise ValueError unless `holds`, naming the loss, the field `name`, its value and what is `allowed`."""
    # Comparisons with NaN are false, so NaN is refused if `holds` is a comparison.
    if not holds:
        raise ValueError(f"{config.name}: {name} is {getattr(config, name)}; {allowed} is needed")


def _check_l1(config: "NegSiSdrConfig | AntiCollapseConfig | MrStftConfig") -> None:
    _check_peak_weight(config)
    require(config, "l1_weight", 0.0 < config.l1_weight < inf, "a positive number")


def _check_peak_weight(
    config: "PeakL1Config | NegSiSdrConfig | AntiCollapseConfig | MrStftConfig | CombinedConfig",
) -> None:
    holds = 0.0 <= config.peak_weight <= 1.0
    require(config, "peak_weight", holds, "a number from 0 (plain L1) to 1 (peaks only)")


def _check_scales(config: "CwtConfig | CombinedConfig") -> None:
    smallest, largest = config.smallest_scale, config.largest_scale
    require(config, "smallest_scale", 1.0 <= smallest < inf, "a scale of 1 sample or more")
    require(config, "largest_scale", smallest <= largest <= 4096, f"a scale from smallest_scale ({smallest}) to 4096")
    require(config, "n_scales", 1 <= config.n_scales <= 1024, "a count from 1 to 1024")


def _check_windows(config: "MrStftConfig | CombinedConfig") -> None:
    n = config.shortest_stft_samples
    require(config, "shortest_stft_samples", 4 <= n <= 4096 and n % 4 == 0, "a multiple of 4 from 4 to 4096")
    require(config, "n_resolutions", 1 <= config.n_resolutions <= 8, "a count from 1 to 8")


def _morlet(config: "CwtConfig | CombinedConfig") -> MorletL1:
    """Build the CWT term."""
    return MorletL1(geometric_scales(config.smallest_scale, config.largest_scale, config.n_scales))


def _stft(config: "MrStftConfig | CombinedConfig") -> MultiResolutionStft:
    """Build the STFT term."""
    return MultiResolutionStft(tuple(config.shortest_stft_samples << k for k in range(config.n_resolutions)))
