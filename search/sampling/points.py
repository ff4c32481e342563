"""Points of a search space: equality, enumeration, and a sampler that proposes untried ones."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

Distributions = Mapping[str, BaseDistribution]
Key = tuple[float, ...]

# The size of the largest space that is enumerated.
MAX_ENUMERATED = 20_000
DRAWS, RANDOM_DRAWS = 4, 200
Accept = Callable[[Mapping[str, Any]], bool]


def key_of(params: Mapping[str, Any], distributions: Distributions) -> Key | None:
    """Return a key that is the same for equal points; None for one that lacks a parameter or has a foreign value."""
    if any(name not in params for name in distributions):
        return None
    try:
        return tuple(distributions[name].to_internal_repr(params[name]) for name in sorted(distributions))
    except (ValueError, TypeError):  # a value that another program has stored
        return None


def taken(trials: Sequence[FrozenTrial], distributions: Distributions) -> frozenset[Key]:
    """Return the keys of the points of all `trials`, in any state."""
    keys = set()
    for trial in trials:
        fixed = trial.system_attrs.get("fixed_params", {}) if trial.state == TrialState.WAITING else {}
        if not isinstance(fixed, dict):
            continue
        keys.add(key_of({**fixed, **trial.params}, distributions))
    return frozenset(key for key in keys if key is not None)


def n_points(distributions: Distributions) -> int | None:
    """Return the number of points of the space; None where it is infinite, that is, has a continuous axis."""
    sizes = [len(values) if (values := axis(d)) is not None else None for d in distributions.values()]
    return math.prod(size for size in sizes if size is not None) if None not in sizes else None


def axis(distribution: BaseDistribution) -> Sequence[Any] | None:
    """Return all values of a distribution, in order; None for a continuous one."""
    match distribution:
        case CategoricalDistribution():
            return distribution.choices
        case IntDistribution():
            return range(distribution.low, distribution.high + 1, distribution.step)
        case FloatDistribution(step=float(step), low=low):
            return [distribution.to_external_repr(low + i * step) for i in range(_n_steps(distribution) + 1)]
    if distribution.single():
        assert isinstance(distribution, FloatDistribution)
        return [distribution.low]
    return None


def _n_steps(distribution: FloatDistribution) -> int:
    assert distribution.step is not None
    return round((distribution.high - distribution.low) / distribution.step)


def points_at_random(distributions: Distributions, seed: int) -> Iterator[dict[str, Any]]:
    """Yield every point of a finite space once, in a random order."""
    axes = {name: axis(distribution) for name, distribution in distributions.items()}
    total = n_points(distributions)
    assert total is not None, "only a finite space can be enumerated"
    for number in np.random.default_rng(seed).permutation(total):
        rest, point = int(number), {}
        for name, values in axes.items():
            assert values is not None
            rest, i = divmod(rest, len(values))
            point[name] = values[i]
        yield point


def any_left(distributions: Distributions, accept: Accept) -> bool:
    """Return whether `accept` is true for a point of the space; True for a space that is not enumerated."""
    size = n_points(distributions)
    if size is None or size > MAX_ENUMERATED:
        return True
    return any(accept(point) for point in points_at_random(distributions, 0))


def some_points(distributions: Distributions, n: int) -> Iterator[dict[str, Any]]:
    """Yield up to `n` random points of any space, the same in every call."""
    size = n_points(distributions)
    if size is not None and size <= MAX_ENUMERATED:
        yield from itertools.islice(points_at_random(distributions, 0), n)
        return
    rng = np.random.default_rng(0)
    for _ in range(n):
        yield {name: _draw(distribution, rng) for name, distribution in distributions.items()}


def _draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    values = axis(distribution)
    if values is not None:
        return values[int(rng.integers(len(values)))]
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        return math.exp(rng.uniform(math.log(distribution.low), math.log(distribution.high)))
    return float(rng.uniform(distribution.low, distribution.high))


class UntriedPoints(optuna.samplers.BaseSampler):
    """A sampler that draws whole points from `inner`, and draws again while `accept` is false.

    The space is given, so `inner` does not infer it from earlier trials. After DRAWS draws of `inner`, or at once if
    `enumerated`, a finite space is enumerated in a random order, and an infinite one is sampled at random. If `accept`
    is false for all points, the last one is proposed.
    """

    def __init__(
        self,
        inner: optuna.samplers.BaseSampler,
        distributions: Distributions,
        seed: int,
        accept: Accept,
        *,
        enumerated: bool = False,
    ) -> None:
        self._inner = inner
        self._distributions = distributions
        self._seed = seed
        self._accept = accept
        self._enumerated = enumerated

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: d for name, d in self._distributions.items() if not d.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        single = {name: values[0] for name, d in self._distributions.items() if d.single() and (values := axis(d))}
        given = {**single, **trial.system_attrs.get("fixed_params", {})}
        point: dict[str, Any] = {}
        for point in self._draws(study, trial, search_space):
            if self._accept(point | given):
                break
        return point

    def _draws(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Iterator[dict[str, Any]]:
        if not self._enumerated:
            for _ in range(DRAWS):
                yield self._draw(self._inner, study, trial, search_space)
        size = n_points(search_space)
        if size is not None and size <= MAX_ENUMERATED:
            yield from points_at_random(search_space, self._seed)
            return
        random = optuna.samplers.RandomSampler(seed=self._seed)
        for _ in range(RANDOM_DRAWS):
            yield self._draw(random, study, trial, search_space)

    def _draw(
        self,
        sampler: optuna.samplers.BaseSampler,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        relative = search_space
        if isinstance(sampler, optuna.samplers.CmaEsSampler):  # supports numbers only
            relative = {n: d for n, d in search_space.items() if not isinstance(d, CategoricalDistribution)}
        point = sampler.sample_relative(study, trial, relative)
        return {
            name: point[name] if name in point else sampler.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
        }

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        with warnings.catch_warnings():
            # Optuna warns that a sampler ignores constraints; infeasible trials are pruned, which every sampler knows
            warnings.filterwarnings("ignore", message="Constraints have been set")
            self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._inner.reseed_rng()
