"""Names of the attributes that we store with studies and trials, a trial's fate, and the best trial."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

# A trial's user attributes.
RUN = "run"  # its RunConfig as JSON
FATE = "fate"  # a Fate
REASON = "reason"  # why it has this fate
WORKER = "worker"  # name of the worker that runs it, or ran it last
RESUMED = "resumed"  # how often another worker has continued it
DEVICE, SECONDS = "device", "seconds"
MODEL, N_PARAMETERS, LATENCY_MS = "model", "n_parameters", "latency_ms"
BEST_EPOCH = "best_epoch"
BY_SNR = "scores_by_snr"
SI_SDR_AT = "si_sdr_db@"  # + the SNR in dB
COLLAPSED = "collapsed"  # what the reason begins with if the trial was pruned for a collapsed output

# A study's user attributes.
SPEC = "drivebeat:spec"
FAMILY = "drivebeat:family"
SPACE = "drivebeat:space"
FINGERPRINT = "drivebeat:data_fingerprint"

# A study's system attributes.
MESSAGES = "drivebeat:messages"  # which messages have been sent
PAGE_AT = "drivebeat:page_at"  # when the study page was drawn last
CLASSICAL_ROWS = "drivebeat:classical"  # scores of the classical methods, as JSON
REMOVED = "drivebeat:artifacts_removed:"  # + trial_id: how many of its artifacts were removed


class Fate(StrEnum):
    """The state of a trial. Optuna has no infeasible trials, so they are stored as pruned."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


_FATES = {
    TrialState.WAITING: Fate.WAITING,
    TrialState.RUNNING: Fate.RUNNING,
    TrialState.COMPLETE: Fate.COMPLETE,
    TrialState.PRUNED: Fate.PRUNED,
    TrialState.FAIL: Fate.FAILED,
}
FINISHED = (Fate.COMPLETE, Fate.PRUNED, Fate.INFEASIBLE)  # trials that count towards the budget


def fate_of(trial: FrozenTrial) -> Fate:
    """Return the fate of `trial`: Optuna's state, or INFEASIBLE for a pruned trial with that fate as attribute.

    A trial of an older version, without the attribute, is infeasible if it violates a constraint or was pruned without
    a report.
    """
    fate = _FATES[trial.state]
    if fate == Fate.COMPLETE and not is_feasible(trial):
        return Fate.INFEASIBLE
    if fate != Fate.PRUNED:
        return fate
    stored = trial.user_attrs.get(FATE)
    if stored in (Fate.PRUNED, Fate.INFEASIBLE):
        return Fate(stored)
    return fate if trial.intermediate_values and is_feasible(trial) else Fate.INFEASIBLE


def count_fates(trials: Iterable[FrozenTrial]) -> dict[Fate, int]:
    """Return fate -> number of `trials`, for all fates."""
    counts = dict.fromkeys(Fate, 0)
    for trial in trials:
        counts[fate_of(trial)] += 1
    return counts


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether all constraints of `trial` hold (<= 0)."""
    return all(value <= 0 for value in trial.constraints.values())


def sign_of(direction: StudyDirection) -> float:
    """Return the factor, 1 or -1, that makes higher values better."""
    return 1.0 if direction == StudyDirection.MAXIMIZE else -1.0


def ranked(trials: Iterable[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """Return the complete, feasible trials among `trials`, best first; equal ones by number."""
    sign = sign_of(direction)
    good = [t for t in trials if t.state == TrialState.COMPLETE and t.values and is_feasible(t)]
    return sorted(good, key=lambda t: (-sign * t.values[0], t.number))


def best_feasible(trials: Iterable[FrozenTrial], direction: StudyDirection) -> FrozenTrial | None:
    """Return the best complete, feasible trial among `trials`; None where there is none."""
    return next(iter(ranked(trials, direction)), None)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Return the best complete, feasible trial of the study that has a stored run; None where there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return best_feasible((trial for trial in complete if RUN in trial.user_attrs), study.direction)


def pareto_front(points: Sequence[tuple[float, float]], *, rising: bool) -> list[tuple[float, float]]:
    """Return the Pareto front of `points` (cost, score), sorted by cost. rising: higher scores are better."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1] if rising else point[1])):
        if not front or (score > front[-1][1] if rising else score < front[-1][1]):
            front.append((cost, score))
    return front
