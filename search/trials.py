"""A trial and a study as the database holds them: the names of our attributes, a trial's fate, and which is the
best.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

# A trial's user attributes.
RUN = "run"  # the whole run, as JSON
FATE = "fate"  # how it ended, a Fate
REASON = "reason"  # why it ended so
WORKER = "worker"  # who trains it, or did last
RESUMED = "resumed"  # how often another worker continued it
DEVICE, SECONDS = "device", "seconds"
MODEL, N_PARAMETERS, LATENCY_MS = "model", "n_parameters", "latency_ms"
BEST_EPOCH = "best_epoch"
BY_SNR = "scores_by_snr"
SI_SDR_AT = "si_sdr_db@"  # + the SNR in dB
COLLAPSED = "collapsed"  # the first word of the reason why such a trial was pruned

# A study's user attributes.
SPEC = "drivebeat:spec"
FAMILY = "drivebeat:family"
SPACE = "drivebeat:space"
FINGERPRINT = "drivebeat:data_fingerprint"

# A study's system attributes.
MESSAGES = "drivebeat:messages"  # which messages were sent
PAGE_AT = "drivebeat:page_at"  # when its page was drawn last
CLASSICAL_ROWS = "drivebeat:classical"
REMOVED = "drivebeat:artifacts_removed:"  # + the trial's id: how many of its artifacts were removed


class Fate(StrEnum):
    """What became of a trial. Optuna knows no infeasible trials: it stores them as pruned."""

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
FINISHED = (Fate.COMPLETE, Fate.PRUNED, Fate.INFEASIBLE)  # those that count towards the budget


def fate_of(trial: FrozenTrial) -> Fate:
    """The fate of `trial`: Optuna's state, and INFEASIBLE where the trial says so and is stored as pruned.

    Trials of before the fate was stored are infeasible where a constraint is broken, or where they were pruned without
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
    """How many of `trials` had each fate, all fates included."""
    counts = dict.fromkeys(Fate, 0)
    for trial in trials:
        counts[fate_of(trial)] += 1
    return counts


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether every constraint holds (<= 0)."""
    return all(value <= 0 for value in trial.constraints.values())


def sign_of(direction: StudyDirection) -> float:
    """The factor that makes higher values better."""
    return 1.0 if direction == StudyDirection.MAXIMIZE else -1.0


def ranked(trials: Iterable[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """The complete, feasible trials among `trials`, best first, the earliest of equals first."""
    sign = sign_of(direction)
    good = [t for t in trials if t.state == TrialState.COMPLETE and t.values and is_feasible(t)]
    return sorted(good, key=lambda t: (-sign * t.values[0], t.number))


def best_feasible(trials: Iterable[FrozenTrial], direction: StudyDirection) -> FrozenTrial | None:
    """The first of `ranked`; None where there is none."""
    return next(iter(ranked(trials, direction)), None)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The best complete, feasible trial of the study that stored its run; None where there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return best_feasible((trial for trial in complete if RUN in trial.user_attrs), study.direction)


def pareto_front(points: Sequence[tuple[float, float]], *, rising: bool) -> list[tuple[float, float]]:
    """The (cost, score) of `points` that no cheaper point equals or beats, by cost; rising: higher scores are
    better.
    """
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1] if rising else point[1])):
        if not front or (score > front[-1][1] if rising else score < front[-1][1]):
            front.append((cost, score))
    return front
