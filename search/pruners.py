"""Pruners of our own, for any Optuna study: they read complete trials and the one they judge, and write nothing."""

import abc
import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import stdtr

Features = tuple[float, float, float]
Row = tuple[float, float, float, float]
N_FEATURES = 3


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
        sign = _sign(study)
        leaders = heapq.nlargest(self._n_leaders, complete, key=lambda one: sign * float(one.value or 0.0))
        reached = [_best_by(one.intermediate_values, step, sign) for one in leaders]
        bar = min((one for one in reached if not math.isnan(one)), default=-math.inf)
        mine = _best_by(trial.intermediate_values, step, sign)
        return math.isnan(mine) or mine < bar


class ForecastPruner(PrunerOfComplete):
    """Ends a trial whose chance to beat the best complete one is below `chance`.

    The end is forecast by least squares from the score now and what was gained since half as many epochs, over
    complete trials, at most the `n_near` whose score now was nearest: curves of the same space under the same
    schedule are the best model of a curve (Baker et al. 2017, arXiv:1705.10823, with fewer features). The chance comes
    from Student's t of the prediction error, so that few trials, or one unlike all, give wide limits and no pruning.
    A trial that leads all complete ones at this epoch goes on whatever the forecast.

    Nothing is pruned before `startup_trials` trials are complete, nor in the first `warmup_epochs` epochs.
    """

    def __init__(self, chance: float, startup_trials: int, warmup_epochs: int, n_near: int = 30) -> None:
        super().__init__(startup_trials, warmup_epochs)
        self._chance = chance
        self._n_near = n_near
        self._known: dict[tuple[str, int], _Known] = defaultdict(_Known)  # by study and step

    def _ends(self, study: optuna.Study, trial: FrozenTrial, step: int, complete: Sequence[FrozenTrial]) -> bool:
        sign = _sign(study)
        now = _features(trial.intermediate_values, step, sign)
        if now is None:
            return True
        others = self._known[study.study_name, step].with_all(complete, step, sign)
        if len(others) < max(self._startup_trials, N_FEATURES + 2):
            return False
        rows, ends = others[:, :N_FEATURES], others[:, N_FEATURES]
        if now[1] >= rows[:, 1].max():
            return False
        return _chance_to_reach(float(ends.max()), now, rows, ends, self._n_near) < self._chance


@dataclass(slots=True, eq=False)
class _Known:
    """What complete trials had by one step: such a trial changes no more, so each is looked through once."""

    numbers: set[int] = field(default_factory=set)
    rows: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, N_FEATURES + 1)))

    def with_all(self, complete: Sequence[FrozenTrial], step: int, sign: float) -> NDArray[np.float64]:
        """float64[trial, feature and end] of all `complete` trials that have both."""
        new = [trial for trial in complete if trial.number not in self.numbers]
        if new:
            self.numbers.update(trial.number for trial in new)
            rows = [row for trial in new if (row := _row(trial, step, sign)) is not None]
            self.rows = np.concatenate([self.rows, np.array(rows).reshape(-1, N_FEATURES + 1)])
        return self.rows


def _chance_to_reach(
    end: float, now: Features, rows: NDArray[np.float64], ends: NDArray[np.float64], n_near: int
) -> float:
    """The chance that a trial at features `now` ends at `end` or above, from others: rows[trial, feature] -> ends."""
    x = np.array(now)
    near = np.argsort(np.abs(rows[:, 1] - x[1]), kind="stable")[:n_near]
    rows, ends = rows[near], ends[near]
    inverse = np.linalg.pinv(rows.T @ rows)
    weights = inverse @ rows.T @ ends
    free = len(rows) - N_FEATURES
    error = float(np.sum((ends - rows @ weights) ** 2)) / free * (1.0 + float(x @ inverse @ x))
    if error <= 0:
        return 1.0 if float(x @ weights) >= end else 0.0
    return float(1.0 - stdtr(free, (end - float(x @ weights)) / math.sqrt(error)))


def _row(trial: FrozenTrial, step: int, sign: float) -> Row | None:
    """The features of a complete trial at `step` and how it ended; None where it has not both."""
    features = _features(trial.intermediate_values, step, sign)
    if features is None or trial.value is None or not math.isfinite(trial.value):
        return None
    return (*features, sign * trial.value)


def _features(reports: Mapping[int, float], step: int, sign: float) -> Features | None:
    """1, the best score by `step`, and what it gained since half of it; None where a score is missing."""
    score = _best_by(reports, step, sign)
    earlier = _best_by(reports, step // 2, sign)
    return None if step not in reports or math.isnan(score + earlier) else (1.0, score, score - earlier)


def _best_by(reports: Mapping[int, float], step: int, sign: float) -> float:
    """The best finite score up to and with `step`, higher being better; NaN where there is none."""
    known = [sign * value for epoch, value in reports.items() if epoch <= step and math.isfinite(value)]
    return max(known, default=math.nan)


def _sign(study: optuna.Study) -> float:
    return 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
