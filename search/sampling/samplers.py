"""Samplers and pruners by name: the two tables a study file chooses from."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import optuna

from search.sampling.imputed import ImputedSampler
from search.sampling.points import MAX_LISTED, Accept, Distributions, UntriedPoints, axis
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
