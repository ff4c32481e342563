"""Pruners of our own, for any Optuna study: they read complete trials and the one they judge, and write nothing."""

import abc
import copy
import heapq
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna import Study
from optuna.pruners import BasePruner, MedianPruner, PatientPruner, PercentilePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.sampling.forecast import LEAST_KNOWN, N_NEAR, CurveTable, best_by, features_of, forecast
from search.storage.fast.storage import FastStorage
from search.storage.optuna_private import is_first_in_interval_step
from search.trials import sign_of


@dataclass(frozen=True, slots=True)
class PrunerSpec:
    """name: see PRUNERS. startup_trials: complete trials before anything is pruned; warmup_epochs: epochs that are
    never pruned; percentile: the best share kept (percentile); reduction_factor: one in so many goes on (hyperband,
    halving); patience: epochs without progress (patient, which then asks the median); leaders: the best trials that a
    trial is held against (leaders); chance: to become the best, below which a trial ends (forecast)."""

    name: Literal["hyperband", "median", "percentile", "halving", "patient", "leaders", "forecast", "none"] = "forecast"
    startup_trials: int = 5
    warmup_epochs: int = 2
    percentile: float = 50.0
    reduction_factor: int = 3
    patience: int = 3
    leaders: int = 3
    chance: float = 0.05

    def __post_init__(self) -> None:
        if self.reduction_factor < 2 or self.patience < 0 or self.startup_trials < 0 or self.warmup_epochs < 0:
            raise ValueError("pruner: reduction_factor is at least 2, the other counts at least 0")
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}; 0 to 100 is needed")
        if self.leaders < 1:
            raise ValueError(f"leaders is {self.leaders}; at least 1 is needed")
        if not 0 <= self.chance < 1:
            raise ValueError(f"chance is {self.chance}; from 0 (nothing is pruned) to below 1 is needed, 0.05 say")


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


def build_pruner(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner of a study whose trials report after each of `epochs` epochs."""
    return PRUNERS[spec.name](spec, epochs)


def _hyperband(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    least = min(max(1, spec.warmup_epochs), epochs)
    return optuna.pruners.HyperbandPruner(
        min_resource=least, max_resource=epochs, reduction_factor=spec.reduction_factor
    )


def _median(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner(n_startup_trials=spec.startup_trials, n_warmup_steps=spec.warmup_epochs)


def _percentile(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.PercentilePruner(
        spec.percentile, n_startup_trials=spec.startup_trials, n_warmup_steps=spec.warmup_epochs
    )


def _halving(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=max(1, spec.warmup_epochs), reduction_factor=spec.reduction_factor
    )


def _patient(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.pruners.PatientPruner(_median(spec, epochs), patience=spec.patience)


def _leaders(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return LeadersPruner(spec.leaders, startup_trials=spec.startup_trials, warmup_epochs=spec.warmup_epochs)


def _forecast(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return ForecastPruner(spec.chance, startup_trials=spec.startup_trials, warmup_epochs=spec.warmup_epochs)


def _none(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    return optuna.pruners.NopPruner()


PRUNERS: dict[str, Callable[[PrunerSpec, int], optuna.pruners.BasePruner]] = {
    "hyperband": _hyperband,
    "median": _median,
    "percentile": _percentile,
    "halving": _halving,
    "patient": _patient,
    "leaders": _leaders,
    "forecast": _forecast,
    "none": _none,
}


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
