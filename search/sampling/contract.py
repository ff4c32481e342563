"""What every sampler must do, as rules: (text, function, advice); see training.plugins.contract.

A function takes the sampler's name in SAMPLERS and returns the problem, "" where there is none. The studies are in
memory; their trials are complete, pruned, failed and running, with a formula for a score.
"""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from search.sampling.samplers import SAMPLERS, SamplerSpec, build_sampler

Direction = Literal["maximize", "minimize"]
Rule = tuple[str, Callable[[str], str], str]

N_TRIALS, STARTUP_TRIALS = 9, 3
N_AT_ONCE = 6
RATE = "learning_rate"  # a continuous axis: equal values are no chance
SPACE: Mapping[str, BaseDistribution] = MappingProxyType(
    {
        "width": IntDistribution(8, 64, step=8),
        RATE: FloatDistribution(1e-4, 1e-2, log=True),
        "share": FloatDistribution(0.0, 1.0, step=0.25),
        "kind": CategoricalDistribution(("a", "b", True)),
    }
)


def _proposals(
    name: str, *, seed: int = 0, direction: Direction = "maximize", told: bool = True
) -> list[dict[str, Any]]:
    """Return the points of N_TRIALS trials, or of N_AT_ONCE that are all running if not `told`."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(direction=direction)
            return [_proposal(study, name, seed, slot, told) for slot in range(N_TRIALS if told else N_AT_ONCE)]
    finally:
        optuna.logging.set_verbosity(before)


def _proposal(study: optuna.Study, name: str, seed: int, slot: int, told: bool) -> dict[str, Any]:
    study.sampler = build_sampler(SamplerSpec(name, STARTUP_TRIALS), SPACE, seed, slot)
    trial = study.ask(dict(SPACE))
    score = trial.params["width"] / 64 - abs(trial.params["share"] - 0.5)
    if told and slot % 5 != 4:  # every fifth goes on
        trial.report(score, 0)
        state = {1: TrialState.PRUNED, 2: TrialState.FAIL}.get(slot % 5, TrialState.COMPLETE)
        study.tell(trial, score if state == TrialState.COMPLETE else None, state)
    return dict(trial.params)


def is_a_sampler(name: str) -> str:
    """Return why the builder does not build a sampler of Optuna."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        built = SAMPLERS[name](SamplerSpec(name, STARTUP_TRIALS), 0, 0)
    return "" if isinstance(built, optuna.samplers.BaseSampler) else f"a {type(built).__name__} is built"


def stays_in_the_space(name: str) -> str:
    """Return why a proposal lies outside of its range, or lacks a parameter, for either direction."""
    directions: tuple[Direction, ...] = ("maximize", "minimize")
    for direction in directions:
        for point in _proposals(name, direction=direction):
            if point.keys() != SPACE.keys():
                return f"a proposal has the parameters {', '.join(point)}, the space {', '.join(SPACE)}"
            for key, distribution in SPACE.items():
                if not distribution._contains(distribution.to_internal_repr(point[key])):
                    return f"{key} = {point[key]!r} lies outside of {distribution}"
    return ""


def follows_from_seed_and_slot(name: str) -> str:
    """Return why the same seed, slots and trials give other proposals."""
    return "" if _proposals(name) == _proposals(name) else "two studies of one seed get other proposals"


def draws_anew_for_each_slot(name: str) -> str:
    """Return why workers that ask at once get one point."""
    rates = [point[RATE] for point in _proposals(name, told=False)]
    return "" if len(set(rates)) == len(rates) else f"{len(rates)} slots get {len(set(rates))} values of {RATE}"


def depends_on_the_seed(name: str) -> str:
    """Return why another seed of the study gives the same proposals."""
    one, other = (_proposals(name, seed=seed, told=False) for seed in (0, 1))
    return "" if one != other else "the seeds 0 and 1 give equal proposals"


RULES: tuple[Rule, ...] = (
    (
        "the builder returns a sampler of Optuna",
        is_a_sampler,
        "return an instance of a class derived from optuna.samplers.BaseSampler",
    ),
    (
        "every proposal lies in the space, after complete, pruned, failed and running trials",
        stays_in_the_space,
        "draw from the distributions that sample_relative and sample_independent are called with",
    ),
    (
        "seed, slot and earlier trials decide a proposal",
        follows_from_seed_and_slot,
        "seed every generator with search.sampling.samplers.mixed(seed, slot)",
    ),
    (
        "slots that ask at once get different points",
        draws_anew_for_each_slot,
        "seed every generator with search.sampling.samplers.mixed(seed, slot)",
    ),
    (
        "another seed gives other points",
        depends_on_the_seed,
        "seed every generator with search.sampling.samplers.mixed(seed, slot)",
    ),
)
