"""The best trial of a study."""

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.told import RUN, AnyStudy


def best_trial(search: AnyStudy) -> FrozenTrial | None:
    """The complete, feasible trial with the best value, the earliest of equals; None where there is none."""
    best: FrozenTrial | None = None
    rising = search.study.direction != StudyDirection.MINIMIZE
    for trial in search.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.value is None or not is_feasible(trial) or RUN not in trial.user_attrs:
            continue
        if best is None or best.value is None or (trial.value > best.value if rising else trial.value < best.value):
            best = trial
    return best


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether every constraint holds (<= 0)."""
    return all(value <= 0 for value in trial.constraints.values())
