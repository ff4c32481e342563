"""Names of the attributes that we store with studies and trials, a trial's fate, and the best trial."""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

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
CANCELLED = "cancelled"  # the reason of a cancelled trial
COLLAPSED = "collapsed"  # what the reason begins with if the trial was pruned for a collapsed output

# A study's user attributes.
SPEC = "drivebeat:spec"
FAMILY = "drivebeat:family"
SPACE = "drivebeat:space"
FINGERPRINT = "drivebeat:data_fingerprint"
COPIED = "drivebeat:copied_trials"  # number of its first trials, which were copied, and whose artifacts are another's
PLUGIN = "drivebeat:plugin:"  # + the SHA-256 of a plug-in: its source
IDENTITY = "drivebeat:identity"  # {"id": its identity, "study_id": Optuna's id of the study it was given to}

# A study's system attributes.
MESSAGES = "drivebeat:messages"  # which messages have been sent
PAGE_AT = "drivebeat:page_at"  # when the study page was drawn last
CLASSICAL_ROWS = "drivebeat:classical"  # scores of the classical methods, as JSON
PLACE = "drivebeat:artifacts"  # where a worker stored artifacts last: its folder and host, or the bucket's URL
WEIGHTS_OF = "drivebeat:weights:"  # + a trial's number: id of the artifact with its weights; "" once removed
COPIED_FILES = "drivebeat:copied_artifacts"  # ids of the study's artifacts that are the original's
# {"trial": number, "digest": of its export, "artifact": id} of the stored best.yaml
BEST_CONFIG = "drivebeat:best_config"
REMOVED = "drivebeat:artifacts_removed:"  # + trial_id: how many of its artifacts were removed

ARTIFACT = "artifacts:"  # + an artifact's id: prefix of Optuna's system attributes of trials and studies


_TEXTS = frozenset({RUN, FATE, REASON, WORKER, DEVICE, MODEL})
_COUNTS = frozenset({RESUMED, BEST_EPOCH, N_PARAMETERS})
_NUMBERS = frozenset({SECONDS, LATENCY_MS})


def attributes_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the user attributes of a trial, without those of ours that another program has changed to another type."""
    return {key: value for key, value in trial.user_attrs.items() if _well_formed(key, value)}


def _well_formed(key: str, value: Any) -> bool:
    if key in _TEXTS:
        return isinstance(value, str)
    if key == BY_SNR:
        return isinstance(value, dict) and all(isinstance(scores, dict) for scores in value.values())
    number = isinstance(value, int if key in _COUNTS else int | float) and not isinstance(value, bool)
    return number or not (key in _COUNTS | _NUMBERS or key.startswith(SI_SDR_AT))


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

    A trial of an older version, without the attribute, is infeasible if it violates a constraint, or was pruned with a
    reason and without a report. Without both, another program has pruned it.
    """
    fate = _FATES[trial.state]
    if fate == Fate.COMPLETE and not is_feasible(trial):
        return Fate.INFEASIBLE
    if fate != Fate.PRUNED:
        return fate
    stored = trial.user_attrs.get(FATE)
    if stored in (Fate.PRUNED, Fate.INFEASIBLE):
        return Fate(stored)
    ended_early = bool(trial.intermediate_values) or REASON not in trial.user_attrs
    return fate if ended_early and is_feasible(trial) else Fate.INFEASIBLE


def by_origin(
    trials: Iterable[FrozenTrial], slot_trials: frozenset[int]
) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Split `trials` into those of the budget and the ended ones of other programs.

    slot_trials: numbers of the trials that slots record (search.queue.slots). Enqueued trials that Drivebeat failed
    without a slot are among the first. Waiting trials are in neither list, nor are running ones without a slot.
    """
    budgeted, others = [], []
    for trial in trials:
        if trial.number in slot_trials or (trial.state == TrialState.FAIL and FATE in trial.user_attrs):
            budgeted.append(trial)
        elif trial.state.is_finished():
            others.append(trial)
    return budgeted, others


def count_fates(trials: Iterable[FrozenTrial]) -> dict[Fate, int]:
    """Return fate -> number of `trials`, for all fates."""
    counts = dict.fromkeys(Fate, 0)
    for trial in trials:
        counts[fate_of(trial)] += 1
    return counts


def artifacts_of(system_attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return file name -> id of the artifacts in the system attributes of a trial or a study, removed ones included."""
    found = {}
    for key, value in system_attrs.items():
        if key.startswith(ARTIFACT):
            with contextlib.suppress(TypeError, ValueError, KeyError):  # changed by another program
                meta = json.loads(value)
                found[str(meta["filename"])] = str(meta["artifact_id"])
    return found


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
    return best_of_trials(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), study.direction)


def best_of_trials(trials: Iterable[FrozenTrial], direction: StudyDirection) -> FrozenTrial | None:
    """Return the best complete, feasible one of `trials` that has a stored run; None where there is none."""
    complete = (trial for trial in trials if trial.state == TrialState.COMPLETE)
    return best_feasible((trial for trial in complete if RUN in attributes_of(trial)), direction)


def pareto_front(points: Sequence[tuple[float, float]], *, rising: bool) -> list[tuple[float, float]]:
    """Return the Pareto front of `points` (cost, score), sorted by cost. rising: higher scores are better."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1] if rising else point[1])):
        if not front or (score > front[-1][1] if rising else score < front[-1][1]):
            front.append((cost, score))
    return front
