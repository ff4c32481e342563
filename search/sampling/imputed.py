"""A sampler that hears of every trial: pruned ones are shown to it as complete, with the ends forecast for them."""

import copy
import math
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.sampling.forecast import LEAST_KNOWN, CurveTable, best_by, features_of, forecast
from search.trials import sign_of

LEAST_FOR_FLOOR = 4


class ImputedSampler(optuna.samplers.BaseSampler):
    """`inner`, which learns from complete trials alone, on a study in which every ended trial has an end.

    A Gaussian process that never hears of pruned trials proposes their like again and again.
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
    """A study whose pruned trials are shown as complete where their end can be told."""

    def __init__(self, study: optuna.Study) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._shown = impute(study.get_trials(deepcopy=False), sign_of(study.direction))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        shown = [trial for trial in self._shown if states is None or trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown


def impute(trials: Sequence[FrozenTrial], sign: float) -> list[FrozenTrial]:
    """`trials`, pruned ones complete: with the end that is forecast (search.sampling.forecast), at least the best score
    that they had and at most the best end of a complete trial, or while too few are complete with the best score they
    had.

    A trial found infeasible before it had a score ends at the floor. The floor is as far below the median as the best
    is above it, and no end is shown below it: a few diverged trainings would otherwise be all that a Gaussian process
    sees. Trials with other constraints than the complete ones, and pruned ones that never had a score, stay as they
    are.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    names = {frozenset(trial.constraints) for trial in complete}
    known: dict[int, CurveTable] = {}
    ends: dict[int, float] = {trial.number: sign * float(trial.value or 0.0) for trial in complete}
    for trial in trials:
        if trial.state == TrialState.PRUNED and frozenset(trial.constraints) in (names or {frozenset()}):
            end = _end_of(trial, complete, known, sign)
            if end is not None:
                ends[trial.number] = end
    finite = [end for end in ends.values() if math.isfinite(end)]
    floor = 2 * float(np.median(finite)) - max(finite) if len(finite) >= LEAST_FOR_FLOOR else -math.inf
    return [_ended(trial, max(floor, ends[trial.number]), sign) if trial.number in ends else trial for trial in trials]


def _end_of(
    trial: FrozenTrial, complete: Sequence[FrozenTrial], known: dict[int, CurveTable], sign: float
) -> float | None:
    """How a pruned trial would have ended, higher being better; None where nothing tells."""
    step = trial.last_step
    if step is None:
        infeasible = any(value > 0 for value in trial.constraints.values())
        return -math.inf if infeasible and len(complete) >= LEAST_FOR_FLOOR else None
    score = best_by(trial.intermediate_values, step, sign)
    if math.isnan(score):
        return None
    now = features_of(trial.intermediate_values, step, sign)
    rows = known.setdefault(step, CurveTable(step, sign)).with_all(complete)
    if now is None or len(rows) < LEAST_KNOWN:
        return score
    return max(score, min(forecast(now, rows).end, float(rows[:, -1].max())))


def _ended(trial: FrozenTrial, end: float, sign: float) -> FrozenTrial:
    """A copy that is complete with `end`; the trial itself where it is so already."""
    if trial.state == TrialState.COMPLETE and trial.value == sign * end:
        return trial
    shown = copy.copy(trial)
    shown.state = TrialState.COMPLETE
    shown.values = [sign * end]
    return shown
