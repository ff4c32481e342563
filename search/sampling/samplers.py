"""The samplers that a study file can choose by name."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import optuna

from search.sampling.imputed import ImputedSampler
from search.sampling.points import MAX_ENUMERATED, Accept, Distributions, UntriedPoints, axis
from training.errors import ConfigError

GP_SLOTS = 200  # the Gaussian process takes tens of milliseconds a trial at 100 trials, and seconds at 1,000


@dataclass(frozen=True, slots=True)
class SamplerSpec:
    """A sampler in a study file.

    name: see SAMPLERS. startup_trials: number of random trials before the sampler uses its model (tpe, gp, cmaes; the
    Gaussian process of auto takes half as many).
    """

    name: Literal["auto", "tpe", "random", "qmc", "gp", "cmaes", "grid"] = "auto"
    startup_trials: int = 10

    def __post_init__(self) -> None:
        if self.startup_trials < 1:
            raise ValueError(f"startup_trials is {self.startup_trials}; at least 1 is needed")


def build_sampler(
    spec: SamplerSpec, distributions: Distributions, seed: int, slot: int, accept: Accept = lambda point: True
) -> optuna.samplers.BaseSampler:
    """Build the sampler for the trial in `slot`, which proposes points for which `accept` is true.

    seed: the study's. The random numbers follow from (seed, slot), so that no two workers draw the same ones.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        inner = SAMPLERS[spec.name](spec, seed, slot)
    return UntriedPoints(inner, distributions, _mixed(seed, slot), accept, enumerated=spec.name == "grid")


def _mixed(seed: int, slot: int) -> int:
    return (seed * 1_000_003 + slot * 7919 + 1) % 2**32


def _tpe(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot))


def _random(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=_mixed(seed, slot))


def _qmc(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    # one scrambled sequence for the study; the storage has the index of its next point
    return optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)


def _gp(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    # Optuna's GPSampler ignores pruned trials, so their final scores are imputed
    return ImputedSampler(optuna.samplers.GPSampler(n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot)))


def _cmaes(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        n_startup_trials=spec.startup_trials, seed=_mixed(seed, slot), warn_independent_sampling=False
    )


def _auto(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    """Alternate between TPE and the Gaussian process, and use TPE only from GP_SLOTS on.

    The Gaussian process finds good points sooner, and TPE is stuck less often. With many trials the Gaussian process is
    slow, and both refine the best points equally well.
    """
    if slot % 2 == 0 or slot >= GP_SLOTS:
        return _tpe(spec, seed, slot)
    return _gp(replace(spec, startup_trials=max(1, spec.startup_trials // 2)), seed, slot)


def grid_axes(distributions: Distributions, where: str) -> dict[str, list[Any]]:
    """Return name -> values of each axis of a grid. Raises ConfigError for a continuous axis or too large a grid."""
    axes: dict[str, list[Any]] = {}
    for name, distribution in distributions.items():
        values = axis(distribution)
        if values is None:
            raise ConfigError(
                f"{where}: sampler grid: {name} has no list of values; give ranges.{name} choices or a step"
            )
        axes[name] = list(values)
    size = math.prod(map(len, axes.values()))
    if size > MAX_ENUMERATED:
        raise ConfigError(
            f"{where}: sampler grid: {size:,} points, at most {MAX_ENUMERATED:,} are allowed; fix or narrow a parameter"
        )
    return axes


# For a grid UntriedPoints enumerates the space. Optuna's GridSampler repeats points that other workers are running.
SAMPLERS: dict[str, Callable[[SamplerSpec, int, int], optuna.samplers.BaseSampler]] = {
    "auto": _auto,
    "tpe": _tpe,
    "random": _random,
    "qmc": _qmc,
    "gp": _gp,
    "cmaes": _cmaes,
    "grid": _random,
}
