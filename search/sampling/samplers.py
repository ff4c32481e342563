"""Samplers and pruners by name: the two tables a study file chooses from."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import optuna

from search.sampling.imputed import ImputedSampler
from search.sampling.points import MAX_LISTED, Distributions, axis
from search.sampling.pruners import ForecastPruner, LeadersPruner
from search.sampling.untried import Accept, UntriedPoints
from training.errors import ConfigError

GP_SLOTS = 200  # an ask of a Gaussian process takes tens of milliseconds at 100 trials and seconds at 1,000


@dataclass(frozen=True, slots=True)
class SamplerSpec:
    """name: see SAMPLERS. startup_trials: random trials before the sampler trusts its model (tpe, gp, cmaes; auto's
    Gaussian process takes half as many)."""

    name: Literal["auto", "tpe", "random", "qmc", "gp", "cmaes", "grid"] = "auto"
    startup_trials: int = 10

    def __post_init__(self) -> None:
        if self.startup_trials < 1:
            raise ValueError(f"startup_trials is {self.startup_trials}; at least 1 is needed")


@dataclass(frozen=True, slots=True)
class PrunerSpec:
    """name: see PRUNERS. startup_trials: complete trials before anything is pruned; warmup_epochs: epochs that are
    never pruned; percentile: the best share kept (percentile); reduction_factor: one in so many goes on (hyperband,
    halving); patience: epochs without progress (patient, which then asks the median); leaders: the best trials that a
    trial is held against (leaders); chance: to become the best, below which a trial ends (forecast)."""

    name: Literal["hyperband", "median", "percentile", "halving", "patient", "leaders", "forecast", "none"] = "forecast"
    startup_trials: int = 5
    warmup_epochs: int = 2
    percentile: float = 50.0
    reduction_factor: int = 3
    patience: int = 3
    leaders: int = 3
    chance: float = 0.05

    def __post_init__(self) -> None:
        if self.reduction_factor < 2 or self.patience < 0 or self.startup_trials < 0 or self.warmup_epochs < 0:
            raise ValueError("pruner: reduction_factor is at least 2, the other counts at least 0")
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}; 0 to 100 is needed")
        if self.leaders < 1:
            raise ValueError(f"leaders is {self.leaders}; at least 1 is needed")
        if not 0 <= self.chance < 1:
            raise ValueError(f"chance is {self.chance}; from 0 (nothing is pruned) to below 1 is needed, 0.05 say")


def build_sampler(
    spec: SamplerSpec, distributions: Distributions, seed: int, slot: int, accept: Accept = lambda point: True
) -> optuna.samplers.BaseSampler:
    """The sampler for one trial of a study on `distributions`, proposing points that `accept` lets pass.

    Its draws follow from (study seed, slot), so no two workers draw alike.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        inner = SAMPLERS[spec.name](spec, seed, slot)
    return UntriedPoints(inner, distributions, _mixed(seed, slot), accept, listed=spec.name == "grid")


def build_pruner(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner of a study whose trials report after each of `epochs` epochs."""
    return PRUNERS[spec.name](spec, epochs)


def _mixed(seed: int, slot: int) -> int:
    return (seed * 1_000_003 + slot * 7919 + 1) % 2**32


def _tpe(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot))


def _random(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=_mixed(seed, slot))


def _qmc(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    # one scrambled sequence for the study; which point of it comes next is kept in the storage
    return optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)


def _gp(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    # pruned trials, of which it would not hear, are shown to it with the ends that are forecast for them
    return ImputedSampler(optuna.samplers.GPSampler(n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot)))


def _cmaes(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot), warn_independent_sampling=False
    )


def _auto(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    """The Gaussian process and TPE in turn: the one is sooner near the best, the other stays stuck less often. By the
    time that the first grows slow a search goes on around its best points, which TPE does as well."""
    if slot % 2 == 0 or slot >= GP_SLOTS:
        return _tpe(spec, seed, slot)
    return _gp(replace(spec, startup_trials=max(1, spec.startup_trials // 2)), seed, slot)


def grid_axes(distributions: Distributions, where: str) -> dict[str, list[Any]]:
    """The values of each axis of a grid. Raises ConfigError for an axis without end, and for a grid too large."""
    axes: dict[str, list[Any]] = {}
    for name, distribution in distributions.items():
        values = axis(distribution)
        if values is None:
            raise ConfigError(
                f"{where}: sampler grid: {name} has no list of values; give ranges.{name} choices or a step"
            )
        axes[name] = list(values)
    size = math.prod(map(len, axes.values()))
    if size > MAX_LISTED:
        raise ConfigError(
            f"{where}: sampler grid: {size:,} points, at most {MAX_LISTED:,} are allowed; fix or narrow a parameter"
        )
    return axes


# A grid has no sampler of Optuna's: its GridSampler repeats points that other workers are still running.
SAMPLERS: dict[str, Callable[[SamplerSpec, int, int], optuna.samplers.BaseSampler]] = {
    "auto": _auto,
    "tpe": _tpe,
    "random": _random,
    "qmc": _qmc,
    "gp": _gp,
    "cmaes": _cmaes,
    "grid": _random,
}


def _hyperband(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    least = min(max(1, spec.warmup_epochs), epochs)
    return optuna.pruners.HyperbandPruner(
        min_resource=least, max_resource=epochs, reduction_factor=spec.reduction_factor
    )


def _median(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner(n_startup_trials=spec.startup_trials, n_warmup_steps=spec.warmup_epochs)


def _percentile(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.PercentilePruner(
        spec.percentile, n_startup_trials=spec.startup_trials, n_warmup_steps=spec.warmup_epochs
    )


def _halving(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=max(1, spec.warmup_epochs), reduction_factor=spec.reduction_factor
    )


def _patient(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.PatientPruner(_median(spec, epochs), patience=spec.patience)


def _leaders(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return LeadersPruner(spec.leaders, startup_trials=spec.startup_trials, warmup_epochs=spec.warmup_epochs)


def _forecast(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return ForecastPruner(spec.chance, startup_trials=spec.startup_trials, warmup_epochs=spec.warmup_epochs)


def _none(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.NopPruner()


PRUNERS: dict[str, Callable[[PrunerSpec, int], optuna.pruners.BasePruner]] = {
    "hyperband": _hyperband,
    "median": _median,
    "percentile": _percentile,
    "halving": _halving,
    "patient": _patient,
    "leaders": _leaders,
    "forecast": _forecast,
    "none": _none,
}
