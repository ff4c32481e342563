"""The samplers that a study file can choose by name. SAMPLERS holds their builders; `register_sampler` adds one."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import optuna

from search.sampling.imputed import ImputedSampler
from search.sampling.points import MAX_ENUMERATED, Accept, Distributions, UntriedPoints, axis
from training.decode import pick
from training.errors import ConfigError
from training.plugins.kinds import add_kind

GP_SLOTS = 200  # the Gaussian process takes tens of milliseconds a trial at 100 trials, and seconds at 1,000


@dataclass(frozen=True, slots=True)
class SamplerSpec:
    """A sampler in a study file.

    name: a key of SAMPLERS, which search.study.spec.check compares. startup_trials: number of random trials before the
    sampler uses its model (tpe, gp, cmaes; the Gaussian process of auto takes half as many).
    """

    name: str = "auto"
    startup_trials: int = 10

    def __post_init__(self) -> None:
        if self.startup_trials < 1:
            raise ValueError(f"startup_trials is {self.startup_trials}; at least 1 is needed")


Builder = Callable[[SamplerSpec, int, int], optuna.samplers.BaseSampler]
SAMPLERS: dict[str, Builder] = {}


def register_sampler(name: str) -> Callable[[Builder], Builder]:
    """Return a decorator that adds a builder to SAMPLERS: a function of (spec, seed, slot) that returns a sampler.

    seed: the study's. slot: the number of the slot that the sampler proposes a point for; a sampler proposes for one
    trial, so random numbers must follow from both. `mixed(seed, slot)` gives a seed for it.

    Raises ValueError for a name that is registered already.
    """

    def add(builder: Builder) -> Builder:
        if name in SAMPLERS:
            raise ValueError(f"sampler {name!r} is registered already, by {SAMPLERS[name].__module__}; rename one")
        SAMPLERS[name] = builder
        return builder

    return add


def build_sampler(
    spec: SamplerSpec, distributions: Distributions, seed: int, slot: int, accept: Accept = lambda point: True
) -> optuna.samplers.BaseSampler:
    """Build the sampler for the trial in `slot`, which proposes points for which `accept` is true.

    seed: the study's. The random numbers follow from (seed, slot), so that no two workers draw the same ones.

    Raises ConfigError for an unknown sampler.
    """
    build = pick(SAMPLERS, spec.name, "sampler.name", "sampler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        inner = build(spec, seed, slot)
    return UntriedPoints(inner, distributions, mixed(seed, slot), accept, enumerated=spec.name == "grid")


def mixed(seed: int, slot: int) -> int:
    """Return a seed, below 2^32, that differs between the slots of a study."""
    return (seed * 1_000_003 + slot * 7919 + 1) % 2**32


@register_sampler("tpe")
def _tpe(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=spec.startup_trials, seed=mixed(seed, slot))


@register_sampler("random")
@register_sampler("grid")  # UntriedPoints enumerates the space; Optuna's GridSampler repeats points that others run
def _random(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=mixed(seed, slot))


@register_sampler("qmc")
def _qmc(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    # one scrambled sequence for the study; the storage has the index of its next point
    return optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)


@register_sampler("gp")
def _gp(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    # Optuna's GPSampler ignores pruned trials, so their final scores are imputed
    return ImputedSampler(optuna.samplers.GPSampler(n_startup_trials=spec.startup_trials, seed=mixed(seed, slot)))


@register_sampler("cmaes")
def _cmaes(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        n_startup_trials=spec.startup_trials, seed=mixed(seed, slot), warn_independent_sampling=False
    )


@register_sampler("auto")
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


add_kind("sampler", SAMPLERS)  # last: with Drivebeat's own in the table
