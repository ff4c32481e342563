"""A sampler that also learns from pruned trials: their final scores are imputed (forecast)."""

import copy
import math
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.sampling.forecast import MIN_TRIALS, CurveTable, best_by, features_of, forecast
from search.trials import sign_of

MIN_FOR_FLOOR = 4


class ImputedSampler(optuna.samplers.BaseSampler):
    """A sampler that gives `inner`, which learns from complete trials only, pruned ones with imputed final scores.

    Without them, Optuna's Gaussian process proposes points like those of pruned trials again and again.
    """

    def __init__(self, inner: optuna.samplers.BaseSampler) -> None:
        self._inner = inner

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(_ImputedStudy(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


class _ImputedStudy(optuna.Study):
    """A study whose pruned trials are complete where their final score can be imputed."""

    def __init__(self, study: optuna.Study) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._imputed = impute(study.get_trials(deepcopy=False), sign_of(study.direction))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self._imputed if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


def impute(trials: Sequence[FrozenTrial], sign: float) -> list[FrozenTrial]:
    """Return `trials` with pruned ones replaced by complete ones with an imputed final score.

    sign: makes higher scores better. The imputed score is the forecast (search.sampling.forecast), clipped from below
    to the trial's best score and from above to the best final score; with too few complete trials, it is the trial's
    best score.

    The floor is as far below the median of all final scores as the best is above it. A trial that was infeasible before
    it had a score gets the floor, and no final score is below it: otherwise a few diverged trainings would dominate the
    Gaussian process. Pruned trials without a score, and those with other constraints than the complete ones, are not
    changed.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    names = {frozenset(trial.constraints) for trial in complete}
    tables: dict[int, CurveTable] = {}
    ends: dict[int, float] = {trial.number: sign * float(trial.value or 0.0) for trial in complete}
    for trial in trials:
        if trial.state == TrialState.PRUNED and frozenset(trial.constraints) in (names or {frozenset()}):
            end = _imputed_end(trial, complete, tables, sign)
            if end is not None:
                ends[trial.number] = end
    finite = [end for end in ends.values() if math.isfinite(end)]
    floor = 2 * float(np.median(finite)) - max(finite) if len(finite) >= MIN_FOR_FLOOR else -math.inf
    return [
        _with_end(trial, max(floor, ends[trial.number]), sign) if trial.number in ends else trial for trial in trials
    ]


def _imputed_end(
    trial: FrozenTrial, complete: Sequence[FrozenTrial], tables: dict[int, CurveTable], sign: float
) -> float | None:
    """Return the imputed final score of a pruned trial, times `sign`; None where it cannot be imputed.

    tables: step -> table; missing ones are added.
    """
    step = trial.last_step
    if step is None:
        infeasible = any(value > 0 for value in trial.constraints.values())
        return -math.inf if infeasible and len(complete) >= MIN_FOR_FLOOR else None
    score = best_by(trial.intermediate_values, step, sign)
    if math.isnan(score):
        return None
    now = features_of(trial.intermediate_values, step, sign)
    rows = tables.setdefault(step, CurveTable(step, sign)).with_all(complete)
    if now is None or len(rows) < MIN_TRIALS:
        return score
    return max(score, min(forecast(now, rows).end, float(rows[:, -1].max())))


def _with_end(trial: FrozenTrial, end: float, sign: float) -> FrozenTrial:
    """Return a copy of `trial` that is complete with the final score `end`, or `trial` itself where it is equal."""
    if trial.state == TrialState.COMPLETE and trial.value == sign * end:
        return trial
    ended = copy.copy(trial)
    ended.state = TrialState.COMPLETE
    ended.values = [sign * end]
    return ended
