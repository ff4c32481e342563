"""Claim a slot, assign a trial to it, and recover the slots of workers that are gone."""

import time
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from search.queue.slots import (
    Claim,
    OrphanDetector,
    claim,
    consecutive_deaths,
    next_slot,
    record_trial,
    recorded_trials,
    reopen,
)
from search.sampling.points import any_left
from search.sampling.pruners import quick
from search.sampling.samplers import build_sampler
from search.storage.fast.storage import batch
from search.study.space import sample
from search.study.study import Study, untried
from search.trials import RESUMED, WORKER, Fate
from search.worker.context import Assignment, WorkerContext
from search.worker.generations import visible_study
from search.worker.result import TrialResult

MAX_DEATHS = 3


def claim_slot(context: WorkerContext, trials: Sequence[FrozenTrial]) -> Claim | None:
    """Claim the next slot of the study.

    trials: all trials of the study. Open slots, whose worker stopped or died, come first. A new slot is claimed only if
    an untried point is left and, in a deterministic study, if all earlier generations have finished.

    Returns None where no slot can be claimed now.
    """
    study, engine = context.study, context.engine
    new = any(trial.state == TrialState.WAITING for trial in trials)
    new = new or any_left(study.space.sampled, untried(study, trials))
    if study.spec.deterministic:
        new = new and visible_study(study, engine, next_slot(engine, study.name)) is not None
    return claim(engine, study.name, context.process, context.lease_s, new=new)


def assign(context: WorkerContext, claimed: Claim, trials: Sequence[FrozenTrial]) -> Assignment | None:
    """Assign a trial to a claimed slot: the trial that was started in it, else an enqueued trial, else a new one.

    trials: all trials of the study. A new trial gets an untried point for which a model exists.

    Returns None where this process was suspended for so long that another worker has taken its slot or its trial.
    """
    study, engine = context.study, context.engine
    distributions, spec = study.space.sampled, study.spec
    handle = visible_study(study, engine, claimed.slot) if spec.deterministic else study.optuna
    assert handle is not None, "a slot is claimed only after all earlier generations have finished"
    handle.pruner = quick(handle.pruner)
    accept = untried(study, trials)
    handle.sampler = build_sampler(spec.sampler, distributions, spec.seed, claimed.slot, accept=accept)
    number = claimed.trial
    if number is None and claimed.token > 1:  # the previous worker may have died between study.ask and record_trial
        number = _unrecorded_trial(engine, study.name, trials)
    earlier = next((trial for trial in trials if trial.number == number), None)
    # An earlier trial is continued: it keeps its parameters and reports, and its checkpoint is found by its number.
    trial = handle.ask() if earlier is None else optuna.Trial(handle, earlier._trial_id)
    if claimed.trial is None and not record_trial(engine, claimed, trial.number):
        return None  # a new trial stays unrecorded, and the next worker of the slot finds it
    if earlier is not None and earlier.state.is_finished():
        return Assignment(claimed, trial, {})
    with batch(trial.storage, trial._trial_id):
        if earlier is not None:
            trial.set_user_attr(RESUMED, earlier.user_attrs.get(RESUMED, 0) + 1)
        trial.set_user_attr(WORKER, context.process.name)
        params = sample(trial, study.space)
    return Assignment(claimed, trial, params)


def _unrecorded_trial(engine: Engine, study: str, trials: Sequence[FrozenTrial]) -> int | None:
    """Return the first running trial that no slot records; None where there is none.

    Its worker died between study.ask and record_trial. Call this only while holding the lock of the assignment: no
    living worker is then between the two.
    """
    running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    recorded = recorded_trials(engine, study) if running else set()
    return min((number for number in running if number not in recorded), default=None)


def recover(study: Study, engine: Engine, detector: OrphanDetector) -> list[int]:
    """Reopen the slots of workers that are gone, so that the next worker continues their trials.

    A trial whose last MAX_DEATHS workers died without finishing an epoch gets a failure as its result.

    Returns the numbers of the trials.
    """
    recovered = []
    for orphan in detector.find(engine, study.name, time.monotonic()):
        last_epoch = None if orphan.trial is None else _last_epoch(study, orphan.trial)
        deaths = consecutive_deaths(orphan, last_epoch)
        hopeless = orphan.trial is not None and deaths >= MAX_DEATHS and not orphan.has_result
        reason = f"{deaths} workers in a row died in it without finishing an epoch, the last was {orphan.worker}"
        result = TrialResult(Fate.FAILED, None, 0, reason).encode() if hopeless else None
        if reopen(engine, orphan, last_epoch=last_epoch, result=result) and orphan.trial is not None:
            recovered.append(orphan.trial)
    return recovered


def _last_epoch(study: Study, number: int) -> int | None:
    """Return the last epoch that a trial has reported, from 0; None before its first report."""
    storage = study.optuna._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study.optuna._study_id, number)
    return storage.get_trial(trial_id).last_step
