"""Claim a slot and assign it a trial, and give back the slots of workers that are gone."""

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
    """Claim the next slot of the study; None where the budget is spent or claimed, or no point is left.

    Slots that lost their worker come first. A new one is claimed only where `trials`, all of the study's, leave a point
    to try, and in a deterministic study once the generation before has ended.
    """
    study, engine = context.study, context.engine
    new = any(trial.state == TrialState.WAITING for trial in trials)
    new = new or any_left(study.space.sampled, untried(study, trials))
    if study.spec.deterministic:
        new = new and visible_study(study, engine, next_slot(engine, study.name)) is not None
    return claim(engine, study.name, context.process, context.lease_s, new=new)


def assign(context: WorkerContext, claimed: Claim, trials: Sequence[FrozenTrial]) -> Assignment | None:
    """The trial of a claimed slot: the one that was begun in it, else one that was enqueued, else a new point.

    No point is given twice, and none that cannot exist. None where this worker was stopped for so long in between that
    another one has its slot or its trial.
    """
    study, engine = context.study, context.engine
    distributions, spec = study.space.sampled, study.spec
    handle = visible_study(study, engine, claimed.slot) if spec.deterministic else study.optuna
    assert handle is not None, "a slot is claimed only after the generation before has ended"
    handle.pruner = quick(handle.pruner)
    accept = untried(study, trials)
    handle.sampler = build_sampler(spec.sampler, distributions, spec.seed, claimed.slot, accept=accept)
    number = claimed.trial
    if number is None and claimed.token > 1:  # the worker before may have died between asking Optuna and recording
        number = _unrecorded_trial(engine, study.name, trials)
    earlier = next((trial for trial in trials if trial.number == number), None)
    # an earlier trial is continued: its values and reports stay, and its checkpoint is found by its number
    trial = handle.ask() if earlier is None else optuna.Trial(handle, earlier._trial_id)
    if claimed.trial is None and not record_trial(engine, claimed, trial.number):
        return None  # a new trial is then found as an unrecorded one
    if earlier is not None and earlier.state.is_finished():
        return Assignment(claimed, trial, {})
    with batch(trial.storage, trial._trial_id):
        if earlier is not None:
            trial.set_user_attr(RESUMED, earlier.user_attrs.get(RESUMED, 0) + 1)
        trial.set_user_attr(WORKER, context.process.name)
        params = sample(trial, study.space)
    return Assignment(claimed, trial, params)


def _unrecorded_trial(engine: Engine, study: str, trials: Sequence[FrozenTrial]) -> int | None:
    """A running trial that no slot records: its worker died between asking Optuna for it and recording it.

    Call it only while holding the assignment's lock, so that no worker alive is in between.
    """
    running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    known = recorded_trials(engine, study) if running else set()
    return min((number for number in running if number not in known), default=None)


def recover(study: Study, engine: Engine, detector: OrphanDetector) -> list[int]:
    """Reopen the slots of workers that are gone, so that the next worker continues their trials; the trials' numbers.

    A trial that cost MAX_DEATHS workers their lives without an epoch in between is to be failed by the next worker.
    """
    recovered = []
    for orphan in detector.find(engine, study.name, time.monotonic()):
        last_epoch = None if orphan.trial is None else _last_epoch(study, orphan.trial)
        deaths = consecutive_deaths(orphan, last_epoch)
        hopeless = orphan.trial is not None and deaths >= MAX_DEATHS and not orphan.has_result
        reason = f"it took {deaths} workers with it and no epoch was finished in between, the last {orphan.worker}"
        result = TrialResult(Fate.FAILED, None, 0, reason).encode() if hopeless else None
        if reopen(engine, orphan, last_epoch=last_epoch, result=result) and orphan.trial is not None:
            recovered.append(orphan.trial)
    return recovered


def _last_epoch(study: Study, number: int) -> int | None:
    """The newest epoch that a trial has reported."""
    storage = study.optuna._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study.optuna._study_id, number)
    return storage.get_trial(trial_id).last_step
