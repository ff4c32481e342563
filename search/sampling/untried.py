"""A sampler around a sampler: whole points only, and none that was tried or cannot exist."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.sampling.points import MAX_LISTED, Distributions, axis, n_points, points_at_random

Accept = Callable[[Mapping[str, Any]], bool]
DRAWS, RANDOM_DRAWS = 4, 200


class UntriedPoints(optuna.samplers.BaseSampler):
    """Proposes whole points of a known space, drawn again while `accept` refuses them.

    The space is known before the first trial, so `inner` need not guess it from trials that went before. A point is
    asked of `inner` a few times; then, or at once where `listed`, any acceptable point of a finite space is taken,
    or a random one of an infinite space. Where nothing is accepted the last draw is proposed all the same.
    """

    def __init__(
        self,
        inner: optuna.samplers.BaseSampler,
        distributions: Distributions,
        seed: int,
        accept: Accept,
        *,
        listed: bool = False,
    ) -> None:
        self._inner = inner
        self._distributions = distributions
        self._seed = seed
        self._accept = accept
        self._listed = listed

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
        if not self._listed:
            for _ in range(DRAWS):
                yield self._draw(self._inner, study, trial, search_space)
        size = n_points(search_space)
        if size is not None and size <= MAX_LISTED:
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
        able = search_space
        if isinstance(sampler, optuna.samplers.CmaEsSampler):  # moves through numbers only
            able = {n: d for n, d in search_space.items() if not isinstance(d, CategoricalDistribution)}
        point = sampler.sample_relative(study, trial, able)
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
            # infeasible trials are told pruned, and that every sampler heeds
            warnings.filterwarnings("ignore", message="Constraints have been set")
            self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._inner.reseed_rng()
