"""Metrics that compare estimate and clean signal sample by sample, mapping [..., time] to float64[...].

The leading dimensions are windows; the caller averages over them. The docstring of each metric says whether an all-zero
output ("silence") wins, that is, scores better than a noisy input. Never choose a model by such a metric.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

SI_SDR_FLOOR_DB = -60.0
SI_SDR_CEILING_DB = 100.0
MetricFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
# An estimate with less than this share of the clean energy (-120 dB) is silence with rounding errors.
SILENCE_ENERGY_SHARE = 1e-12


def in_float64(*signals: Tensor) -> list[Tensor]:
    """Return the signals in float64. Raises ValueError if their shapes differ, which broadcasting would hide."""
    if len({tuple(signal.shape) for signal in signals}) > 1 or signals[0].ndim == 0:
        shapes = ", ".join(str(tuple(signal.shape)) for signal in signals)
        raise ValueError(f"signals have shapes {shapes}; all must have one shape [..., time]")
    return [signal.to(torch.float64) for signal in signals]


def _energy(signal: Tensor) -> Tensor:
    return signal.square().sum(dim=-1)


def _decibels(wanted: Tensor, unwanted: Tensor, usable: Tensor) -> Tensor:
    """Return 10 log10(wanted / unwanted), limited to floor and ceiling; the floor where `usable` is false."""
    ratio_db = 10 * torch.log10(wanted / unwanted)
    ratio_db = ratio_db.nan_to_num(SI_SDR_FLOOR_DB, SI_SDR_CEILING_DB, SI_SDR_FLOOR_DB)
    ratio_db = ratio_db.clamp(SI_SDR_FLOOR_DB, SI_SDR_CEILING_DB)
    return torch.where(usable, ratio_db, SI_SDR_FLOOR_DB)


def si_sdr_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """Return the scale-invariant signal-to-distortion ratio in dB of [..., time]: float64[...]. Silence loses.

    10 log10(|a c|^2 / |e - a c|^2) with a = <e, c> / <c, c> (Le Roux et al., "SDR - half-baked or well done?", ICASSP
    2019), without removing the mean, clipped to [-60, 100]. The value is -60 for an estimate that is zero, not finite
    or 120 dB below the clean signal, and for every estimate of an all-zero clean window. It does not depend on
    polarity: -c scores like c.

    Raises ValueError if the shapes differ.
    """
    e, c = in_float64(estimate, clean)
    clean_energy = _energy(c)
    scale = (e * c).sum(dim=-1) / clean_energy
    target = scale[..., None] * c
    usable = torch.isfinite(scale) & (_energy(e) > SILENCE_ENERGY_SHARE * clean_energy)
    return _decibels(_energy(target), _energy(e - target), usable)


def snr_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """Return the signal-to-noise ratio in dB of [..., time]: float64[...], 10 log10(|c|^2 / |e - c|^2). Silence wins.

    Clipped to [-60, 100]; -60 for an estimate that is not finite or an all-zero clean window. An all-zero estimate
    scores 0 dB, better than any noisy input below 0 dB.

    Raises ValueError if the shapes differ.
    """
    e, c = in_float64(estimate, clean)
    error_energy, clean_energy = _energy(e - c), _energy(c)
    return _decibels(clean_energy, error_energy, torch.isfinite(error_energy) & (clean_energy > 0))


def snr_improvement_db(estimate: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
    """Return snr_db(estimate, clean) - snr_db(noisy, clean) of [..., time]: float64[...]. Silence wins.

    An all-zero estimate improves a window at -10 dB by 10 dB.

    Raises ValueError if the shapes differ.
    """
    in_float64(estimate, noisy, clean)
    return snr_db(estimate, clean) - snr_db(noisy, clean)


def prd_percent(estimate: Tensor, clean: Tensor) -> Tensor:
    """Return the percent root-mean-square difference of [..., time]: float64[...]. Silence wins.

    100 sqrt(|e - c|^2 / |c|^2). An all-zero estimate scores 100 %, a noisy input at -10 dB 316 %. The value is infinite
    if the estimate is not finite or the clean window is all-zero.

    Raises ValueError if the shapes differ.
    """
    e, c = in_float64(estimate, clean)
    return (100 * torch.sqrt(_energy(e - c) / _energy(c))).nan_to_num(math.inf, math.inf)


def cosine_similarity(estimate: Tensor, clean: Tensor) -> Tensor:
    """Return <e, c> / (|e| |c|) of [..., time]: float64[...] in [-1, 1], 1 for a scaled copy. Silence loses.

    The value is 0 if either signal is all-zero, as for unrelated signals, and -1 if the estimate is not finite.

    Raises ValueError if the shapes differ.
    """
    e, c = in_float64(estimate, clean)
    norms = torch.linalg.vector_norm(e, dim=-1) * torch.linalg.vector_norm(c, dim=-1)
    cosine = (e * c).sum(dim=-1) / torch.where(norms > 0, norms, 1.0)
    return torch.where(torch.isfinite(norms), cosine, -1.0).clamp(-1.0, 1.0)


def mad(estimate: Tensor, clean: Tensor) -> Tensor:
    """Return the mean absolute deviation of [..., time]: float64[...], mean |e - c| in the signals' unit. Silence wins.

    An all-zero estimate scores mean |c|, less than a noisy input below about 0 dB. The value is infinite if the
    estimate is not finite.

    Raises ValueError if the shapes differ.
    """
    e, c = in_float64(estimate, clean)
    return (e - c).abs().mean(dim=-1).nan_to_num(math.inf, math.inf)


def rms_ratio_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """Return the RMS of the estimate over that of the clean signal in dB, of [..., time]: float64[...].

    It is 0 dB for an estimate of the right level. This is a diagnosis, not a score, so it is not among METRICS. The
    value is clipped to [-60, 100]; it is -60 for silence, and 100 if the estimate is not finite or the clean window is
    all-zero.

    Raises ValueError if the shapes differ.
    """
    e, c = in_float64(estimate, clean)
    energy = _energy(e)
    ratio_db = _decibels(energy, _energy(c), usable=energy > 0)
    return torch.where(torch.isfinite(energy) & (_energy(c) > 0), ratio_db, SI_SDR_CEILING_DB)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric, its unit and its direction.

    function: maps (estimate, noisy, clean), each [..., time] of one shape, to float64[...].
    direction: whether larger or smaller values are better.
    silence_wins: whether an all-zero output beats the noisy input at -10 dB. Do not choose a model by such a metric.
    needs_noise: whether it says nothing about a window without noise, as a ratio to the noise of the input.
    """

    function: MetricFunction
    unit: str
    direction: Literal["maximize", "minimize"]
    silence_wins: bool
    needs_noise: bool = False


METRICS: dict[str, MetricSpec] = {}


def register_metric(
    name: str,
    *,
    unit: str,
    direction: Literal["maximize", "minimize"],
    silence_wins: bool,
    needs_noise: bool = False,
) -> Callable[[MetricFunction], MetricFunction]:
    """Return a decorator that adds a function of (estimate, noisy, clean) to METRICS; see MetricSpec.

    Raises ValueError for a name that is registered already.
    """

    def add(function: MetricFunction) -> MetricFunction:
        if name in METRICS:
            raise ValueError(
                f"metric {name!r} is registered already, by {METRICS[name].function.__module__}; rename one"
            )
        METRICS[name] = MetricSpec(function, unit, direction, silence_wins, needs_noise)
        return function

    return add


def _without_noisy(metric: Callable[[Tensor, Tensor], Tensor]) -> MetricFunction:
    return lambda estimate, noisy, clean: metric(estimate, clean)


register_metric("si_sdr_db", unit="dB", direction="maximize", silence_wins=False)(_without_noisy(si_sdr_db))
register_metric("snr_db", unit="dB", direction="maximize", silence_wins=True)(_without_noisy(snr_db))
register_metric("snr_improvement_db", unit="dB", direction="maximize", silence_wins=True, needs_noise=True)(
    snr_improvement_db
)
register_metric("prd_percent", unit="%", direction="minimize", silence_wins=True)(_without_noisy(prd_percent))
register_metric("cosine_similarity", unit="", direction="maximize", silence_wins=False)(
    _without_noisy(cosine_similarity)
)
register_metric("mad", unit="signal", direction="minimize", silence_wins=True)(_without_noisy(mad))
