"""Pruners of our own, for any Optuna study: they read complete trials and the one they judge, and write nothing."""

import abc
import heapq
import math
from collections.abc import Callable, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.sampling.forecast import LEAST_KNOWN, N_NEAR, CurveTable, best_by, features_of, forecast
from search.trials import sign_of


class PrunerOfComplete(optuna.pruners.BasePruner, abc.ABC):
    """Decides from complete trials and the one it judges; nothing before `startup_trials` trials are complete, nor in
    the first `warmup_epochs` epochs."""

    def __init__(self, startup_trials: int, warmup_epochs: int) -> None:
        self._startup_trials = startup_trials
        self._warmup_epochs = warmup_epochs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return self.prune_given(study, trial, lambda: study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def prune_given(self, study: optuna.Study, trial: FrozenTrial, read: Callable[[], Sequence[FrozenTrial]]) -> bool:
        """The same with complete trials read by `read`."""
        step = trial.last_step
        if step is None or step < self._warmup_epochs:
            return False
        complete = read()
        return len(complete) >= self._startup_trials and self._ends(study, trial, step, complete)

    @abc.abstractmethod
    def _ends(self, study: optuna.Study, trial: FrozenTrial, step: int, complete: Sequence[FrozenTrial]) -> bool:
        """Whether `trial`, which reported `step` last, should end, past all warm-ups."""


class LeadersPruner(PrunerOfComplete):
    """Ends a trial that lags behind the best trials as they were at the same epoch.

    The bar at an epoch is what the worst of the `n_leaders` best complete trials had reached by then, each by its best
    report so far. So a slow starter is spared as soon as one of the leaders started as slowly, and towards the end
    whoever will not join the leaders is stopped. A median asks how a trial ranks at this epoch among all, leaders
    and others, and keeps half; this asks what the leaders were like.

    Nothing is pruned before `startup_trials` trials are complete, nor in the first `warmup_epochs` epochs.
    """

    def __init__(self, n_leaders: int, startup_trials: int, warmup_epochs: int) -> None:
        if n_leaders < 1:
            raise ValueError(f"n_leaders is {n_leaders}; at least 1 is needed")
        super().__init__(max(1, startup_trials), warmup_epochs)
        self._n_leaders = n_leaders

    def _ends(self, study: optuna.Study, trial: FrozenTrial, step: int, complete: Sequence[FrozenTrial]) -> bool:
        sign = sign_of(study.direction)
        leaders = heapq.nlargest(self._n_leaders, complete, key=lambda one: sign * float(one.value or 0.0))
        reached = [best_by(one.intermediate_values, step, sign) for one in leaders]
        bar = min((one for one in reached if not math.isnan(one)), default=-math.inf)
        mine = best_by(trial.intermediate_values, step, sign)
        return math.isnan(mine) or mine < bar


class ForecastPruner(PrunerOfComplete):
    """Ends a trial whose chance to beat the best complete one is below `chance`.

    How its end is forecast stands in search.sampling.forecast: few trials, or one unlike all, give wide limits and no
    pruning. A trial that leads all complete ones at this epoch goes on whatever the forecast.

    Nothing is pruned before `startup_trials` trials are complete, nor in the first `warmup_epochs` epochs.
    """

    def __init__(self, chance: float, startup_trials: int, warmup_epochs: int, n_near: int = N_NEAR) -> None:
        super().__init__(startup_trials, warmup_epochs)
        self._chance = chance
        self._n_near = n_near
        self._known: dict[tuple[str, int], CurveTable] = {}  # by study and step

    def _ends(self, study: optuna.Study, trial: FrozenTrial, step: int, complete: Sequence[FrozenTrial]) -> bool:
        sign = sign_of(study.direction)
        now = features_of(trial.intermediate_values, step, sign)
        if now is None:
            return True
        known = self._known.setdefault((study.study_name, step), CurveTable(step, sign)).with_all(complete)
        if len(known) < max(self._startup_trials, LEAST_KNOWN) or now[1] >= known[:, 1].max():
            return False
        return forecast(now, known, self._n_near).chance_of(float(known[:, -1].max())) < self._chance
