"""Samplers and pruners by name: the two tables a study file chooses from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from training.decode import ConfigError


@dataclass(frozen=True, slots=True)
class SamplerSpec:
    """name: see SAMPLERS. startup_trials: random trials before the sampler trusts its model (tpe, gp, cmaes)."""

    name: Literal["tpe", "random", "qmc", "gp", "cmaes", "grid"] = "tpe"
    startup_trials: int = 10

    def __post_init__(self) -> None:
        if self.startup_trials < 1:
            raise ValueError(f"startup_trials is {self.startup_trials}; at least 1 is needed")


@dataclass(frozen=True, slots=True)
class PrunerSpec:
    """name: see PRUNERS. startup_trials: complete trials before anything is pruned; warmup_epochs: epochs that are
    never pruned; percentile: the best share kept (percentile); reduction_factor: one in so many goes on (hyperband,
    halving); patience: epochs without progress (patient, which then asks the median)."""

    name: Literal["hyperband", "median", "percentile", "halving", "patient", "none"] = "median"
    startup_trials: int = 5
    warmup_epochs: int = 2
    percentile: float = 50.0
    reduction_factor: int = 3
    patience: int = 3

    def __post_init__(self) -> None:
        if self.reduction_factor < 2 or self.patience < 0 or self.startup_trials < 0 or self.warmup_epochs < 0:
            raise ValueError("pruner: reduction_factor is at least 2, the other counts at least 0")
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}; 0 to 100 is needed")


Distributions = Mapping[str, BaseDistribution]


def build_sampler(spec: SamplerSpec, distributions: Distributions, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    """The sampler for one trial. Its draws follow from (study seed, slot), so no two workers draw the same point."""
    return SAMPLERS[spec.name](spec, distributions, seed, slot)


def build_pruner(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner of a study whose trials report after each of `epochs` epochs."""
    return PRUNERS[spec.name](spec, epochs)


def _mixed(seed: int, slot: int) -> int:
    return (seed * 1_000_003 + slot * 7919 + 1) % 2**32


def _tpe(spec: SamplerSpec, distributions: Distributions, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot))


def _random(spec: SamplerSpec, distributions: Distributions, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=_mixed(seed, slot))


def _qmc(spec: SamplerSpec, distributions: Distributions, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    # one scrambled sequence for the study; which point of it comes next is kept in the storage
    return optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)


def _gp(spec: SamplerSpec, distributions: Distributions, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot))


def _cmaes(spec: SamplerSpec, distributions: Distributions, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot), warn_independent_sampling=False
    )


def _grid(spec: SamplerSpec, distributions: Distributions, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GridSampler(grid_axes(distributions), seed=seed)


def grid_axes(distributions: Distributions, most: int = 20) -> dict[str, list[Any]]:
    """The values of each axis of a grid. Raises ConfigError for an axis that has no finite set of values."""
    axes: dict[str, list[Any]] = {}
    for name, distribution in distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            axes[name] = list(distribution.choices)
            continue
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        low, high, step = distribution.low, distribution.high, distribution.step
        if step is None or (high - low) / step > most:
            raise ConfigError(f"sampler grid: {name} has no short list of values; give ranges.{name} choices or a step")
        axes[name] = [low + i * step for i in range(int((high - low) / step + 1e-9) + 1)]
    return axes


SAMPLERS: dict[str, Callable[[SamplerSpec, Distributions, int, int], optuna.samplers.BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "qmc": _qmc,
    "gp": _gp,
    "cmaes": _cmaes,
    "grid": _grid,
}


def _hyperband(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(
        min_resource=max(1, spec.warmup_epochs), max_resource=epochs, reduction_factor=spec.reduction_factor
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
    return optuna.pruners.PatientPruner(_median(spec, epochs), patience=spec.patience)


def _none(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.NopPruner()


PRUNERS: dict[str, Callable[[PrunerSpec, int], optuna.pruners.BasePruner]] = {
    "hyperband": _hyperband,
    "median": _median,
    "percentile": _percentile,
    "halving": _halving,
    "patient": _patient,
    "none": _none,
}
