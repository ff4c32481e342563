"""The pruners that a study file can choose by name, two of our own among them, and faster ones for a FastStorage."""

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

from search.sampling.forecast import MIN_TRIALS, N_NEAR, CurveTable, best_by, features_of, forecast
from search.storage.fast.storage import FastStorage
from search.storage.optuna_private import is_first_in_interval_step
from search.trials import sign_of


@dataclass(frozen=True, slots=True)
class PrunerSpec:
    """A pruner in a study file.

    name: see PRUNERS. startup_trials: number of complete trials before anything is pruned. warmup_epochs: number of
    first epochs that are never pruned. percentile: share of the best that is kept, in percent (percentile).
    reduction_factor: one of so many trials is continued (hyperband, halving). patience: number of epochs without
    progress before the median decides (patient). leaders: number of best trials that a trial is compared with
    (leaders). chance: probability of becoming the best trial, below which a trial is pruned (forecast).
    """

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
            raise ValueError(f"chance is {self.chance}; from 0 (nothing is pruned) to below 1 is needed, e.g. 0.05")


class PrunerOfComplete(optuna.pruners.BasePruner, abc.ABC):
    """A pruner that compares a trial with complete ones.

    It prunes nothing before `startup_trials` trials are complete, nor in the first `warmup_epochs` epochs.
    """

    def __init__(self, startup_trials: int, warmup_epochs: int) -> None:
        self._startup_trials = startup_trials
        self._warmup_epochs = warmup_epochs

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return self.prune_given(study, trial, lambda: study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def prune_given(self, study: optuna.Study, trial: FrozenTrial, read: Callable[[], Sequence[FrozenTrial]]) -> bool:
        """Return whether to prune `trial`. read: returns the complete trials; called only if they are needed."""
        step = trial.last_step
        if step is None or step < self._warmup_epochs:
            return False
        complete = read()
        return len(complete) >= self._startup_trials and self._is_behind(study, trial, step, complete)

    @abc.abstractmethod
    def _is_behind(self, study: optuna.Study, trial: FrozenTrial, step: int, complete: Sequence[FrozenTrial]) -> bool:
        """Return whether to prune `trial`, whose last report was at `step`, after all warm-ups."""


class LeadersPruner(PrunerOfComplete):
    """A pruner that ends a trial that is worse than the leaders were at the same epoch.

    The leaders are the `n_leaders` best complete trials. A trial is pruned if its best score so far is below that of
    every leader at this epoch. A slow starter therefore continues if a leader also started slowly. In contrast, the
    median pruner compares a trial with all others at this epoch, whatever their final scores.
    """

    def __init__(self, n_leaders: int, startup_trials: int, warmup_epochs: int) -> None:
        if n_leaders < 1:
            raise ValueError(f"n_leaders is {n_leaders}; at least 1 is needed")
        super().__init__(max(1, startup_trials), warmup_epochs)
        self._n_leaders = n_leaders

    def _is_behind(self, study: optuna.Study, trial: FrozenTrial, step: int, complete: Sequence[FrozenTrial]) -> bool:
        sign = sign_of(study.direction)
        leaders = heapq.nlargest(self._n_leaders, complete, key=lambda leader: sign * float(leader.value or 0.0))
        scores = [best_by(leader.intermediate_values, step, sign) for leader in leaders]
        bound = min((score for score in scores if not math.isnan(score)), default=-math.inf)
        best = best_by(trial.intermediate_values, step, sign)
        return math.isnan(best) or best < bound


class ForecastPruner(PrunerOfComplete):
    """A pruner that ends a trial whose probability of beating the best complete one is below `chance`.

    The final score is forecast by search.sampling.forecast. With few trials, or a trial unlike all others, its error is
    large and nothing is pruned. A trial that is better than all complete ones at this epoch is never pruned.
    """

    def __init__(self, chance: float, startup_trials: int, warmup_epochs: int, n_near: int = N_NEAR) -> None:
        super().__init__(startup_trials, warmup_epochs)
        self._chance = chance
        self._n_near = n_near
        self._tables: dict[tuple[str, int], CurveTable] = {}  # by study and step

    def _is_behind(self, study: optuna.Study, trial: FrozenTrial, step: int, complete: Sequence[FrozenTrial]) -> bool:
        sign = sign_of(study.direction)
        now = features_of(trial.intermediate_values, step, sign)
        if now is None:
            return True
        table = self._tables.setdefault((study.study_name, step), CurveTable(step, sign)).with_all(complete)
        if len(table) < max(self._startup_trials, MIN_TRIALS) or now[1] >= table[:, 1].max():
            return False
        return forecast(now, table, self._n_near).chance_of(float(table[:, -1].max())) < self._chance


def build_pruner(spec: PrunerSpec, epochs: int) -> optuna.pruners.BasePruner:
    """Build the pruner of a study whose trials report after each of `epochs` epochs."""
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
    """Return a pruner with the same decisions as `pruner` that is faster on a FastStorage; `pruner` where none exists.

    Faster ones exist for Optuna's median, percentile and patient pruners, and for our own.
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
    """A PercentilePruner or MedianPruner of Optuna's, with the sorted reports that a FastStorage keeps.

    The reports of each complete trial are read once. A decision then reads only the changes since the last one, or
    nothing if set_trial_intermediate_value has just read them. On other storages, and for a study that shows only some
    of its trials, Optuna's pruner decides.
    """

    def __init__(self, pruner: PercentilePruner) -> None:
        self.pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether to prune `trial`. Executes one SQL statement at most, except in the first call."""
        storage, pruner = study._storage, self.pruner
        if type(study) is not Study or not isinstance(storage, FastStorage):
            return pruner.prune(study, trial)
        step, warmup = trial.last_step, pruner._n_warmup_steps
        if step is None or step < warmup:
            return False
        if not is_first_in_interval_step(step, trial.intermediate_values.keys(), warmup, pruner._interval_steps):
            return False
        maximize = study.direction == StudyDirection.MAXIMIZE
        with storage.rungs(study._study_id) as rungs:
            n_trials = len(rungs.trials)
            if n_trials == 0 or n_trials < pruner._n_startup_trials:
                return False
            best = _best(trial.intermediate_values.values(), maximize)
            if math.isnan(best):
                return True
            if rungs.n_at(step) < pruner._n_min_trials:
                return False
            bound = rungs.percentile(step, 100 - pruner._percentile if maximize else pruner._percentile)
        if math.isnan(bound):
            return False
        return best < bound if maximize else best > bound


class QuickOfComplete(BasePruner):
    """A PrunerOfComplete that reads no trials if set_trial_intermediate_value of a FastStorage has just read them."""

    def __init__(self, pruner: PrunerOfComplete) -> None:
        self.pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether to prune `trial`. Executes one SQL statement at most, except after trials have ended."""
        storage = study._storage
        if type(study) is not Study or not isinstance(storage, FastStorage):
            return self.pruner.prune(study, trial)
        return self.pruner.prune_given(study, trial, lambda: storage.complete_trials(study._study_id))


def _best(values: Iterable[float], maximize: bool) -> float:
    """Return the best of `values` that is not NaN; NaN where there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return math.nan
    return max(numbers) if maximize else min(numbers)
