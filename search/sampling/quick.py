"""Pruners that decide as Optuna's do, from what the lean storage keeps by step rather than from all trials."""

import copy
import math
from collections.abc import Iterable

from optuna import Study
from optuna.pruners import BasePruner, MedianPruner, PatientPruner, PercentilePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.sampling.pruners import PrunerOfComplete
from search.storage.fast.storage import FastStorage
from search.storage.optuna_private import is_first_in_interval_step


def quick(pruner: BasePruner) -> BasePruner:
    """The pruner that decides as `pruner` does, quicker on a FastStorage where there is such a one: for the median, a
    percentile, patience with either, and our own. Else `pruner` itself.
    """
    if isinstance(pruner, PrunerOfComplete):
        return QuickOfComplete(pruner)
    if type(pruner) in (MedianPruner, PercentilePruner):
        return QuickPercentile(pruner)  # type: ignore[arg-type]
    if type(pruner) is PatientPruner and pruner._wrapped_pruner is not None:
        inner = quick(pruner._wrapped_pruner)
        if inner is not pruner._wrapped_pruner:
            pruner = copy.copy(pruner)
            pruner._wrapped_pruner = inner
    return pruner


class QuickPercentile(BasePruner):
    """Optuna's PercentilePruner (of which its MedianPruner is one) in the time of a look-up.

    Each complete trial's reports are taken in once; then a decision reads what has changed since the last one, or
    nothing where the report just told has brought it along. Elsewhere than on a FastStorage, and for a study that
    shows a part of its trials, the pruner that it was made from decides.
    """

    def __init__(self, stock: PercentilePruner) -> None:
        self.stock = stock

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether `trial` should end. One statement at most, but for the first time."""
        storage = study._storage
        if type(study) is not Study or not isinstance(storage, FastStorage):
            return self.stock.prune(study, trial)
        its, step = self.stock, trial.last_step
        if step is None or step < its._n_warmup_steps:
            return False
        if not is_first_in_interval_step(
            step, trial.intermediate_values.keys(), its._n_warmup_steps, its._interval_steps
        ):
            return False
        maximize = study.direction == StudyDirection.MAXIMIZE
        with storage.rungs(study._study_id) as rungs:
            n_trials = len(rungs.trials)
            if n_trials == 0 or n_trials < its._n_startup_trials:
                return False
            best = _best(trial.intermediate_values.values(), maximize)
            if math.isnan(best):
                return True
            if rungs.n_at(step) < its._n_min_trials:
                return False
            bound = rungs.percentile(step, 100 - its._percentile if maximize else its._percentile)
        if math.isnan(bound):
            return False
        return best < bound if maximize else best > bound


class QuickOfComplete(BasePruner):
    """A pruner that decides from complete trials, spared the statement that asks for them where the report just told
    has brought them along."""

    def __init__(self, plain: PrunerOfComplete) -> None:
        self.plain = plain

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether `trial` should end. One statement at most, but where trials have ended since."""
        storage = study._storage
        if type(study) is not Study or not isinstance(storage, FastStorage):
            return self.plain.prune(study, trial)
        return self.plain.prune_given(study, trial, lambda: storage.complete_trials(study._study_id))


def _best(values: Iterable[float], maximize: bool) -> float:
    """The best of `values` that is a number; NaN where there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return math.nan
    return max(numbers) if maximize else min(numbers)
