"""my_sampler: a sampler of your own. Here it draws near the best trial, or at random; change what you like.

    drivebeat check my_sampler.py            # does it keep the contract? each failure says what to do
    plugins = ["my_sampler.py"]              # in a study file, with [sampler] name = "my_sampler"

A plug-in is one file. It may import Drivebeat's packages and whatever is installed where it runs. A sampler of another
package is a function of three lines: build it, seeded with mixed(seed, slot), and return it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.sampling.samplers import SamplerSpec, mixed, register_sampler

AT_RANDOM = 0.3  # share of the parameters that are drawn at random after the startup trials


class MySampler(optuna.samplers.BaseSampler):
    """Takes each parameter from the best complete trial, or draws it at random.

    Drivebeat asks again where a trial has the proposed point already, or where no model exists for it.
    """

    def __init__(self, startup_trials: int, seed: int) -> None:
        self._startup_trials = startup_trials
        self._rng = np.random.default_rng(seed)
        self._random = optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}  # every parameter is drawn by itself

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        at_random = self._random.sample_independent(study, trial, param_name, param_distribution)
        if len(complete) < self._startup_trials or self._rng.random() < AT_RANDOM:
            return at_random
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
        best = max(complete, key=lambda each: sign * (each.value or 0.0))
        if param_name not in best.params:
            return at_random
        if isinstance(param_distribution, CategoricalDistribution):
            return best.params[param_name]
        near = param_distribution.to_internal_repr(best.params[param_name])
        far = param_distribution.to_internal_repr(at_random)
        moved = param_distribution.to_external_repr(near + 0.1 * self._rng.random() * (far - near))
        inside = param_distribution._contains(param_distribution.to_internal_repr(moved))
        return moved if inside else best.params[param_name]  # a step may not fit between the two


@register_sampler("my_sampler")
def my_sampler(spec: SamplerSpec, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    """Build the sampler for one slot of a study. Random numbers follow from seed and slot, for workers ask at once."""
    return MySampler(spec.startup_trials, mixed(seed, slot))
