"""The best trial of a study."""

from collections.abc import Iterable

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.study.record import RUN, AnyStudy


def best_trial(search: AnyStudy) -> FrozenTrial | None:
    """The complete, feasible trial with the best value, the earliest of equals; None where there is none."""
    complete = search.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return best_feasible((trial for trial in complete if RUN in trial.user_attrs), search.study.direction)


def best_feasible(trials: Iterable[FrozenTrial], direction: StudyDirection) -> FrozenTrial | None:
    """The best complete trial that keeps its constraints, the earliest of equals; None where there is none."""
    sign = sign_of(direction)
    good = [t for t in trials if t.state == TrialState.COMPLETE and t.values and is_feasible(t)]
    return max(good, key=lambda t: (sign * t.values[0], -t.number), default=None)


def sign_of(direction: StudyDirection) -> float:
    """The factor that makes higher values better."""
    return 1.0 if direction == StudyDirection.MAXIMIZE else -1.0


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether every constraint holds (<= 0)."""
    return all(value <= 0 for value in trial.constraints.values())
