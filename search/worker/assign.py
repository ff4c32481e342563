"""Claim a slot, assign a trial to it, and recover the slots of workers that are gone."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from search.queue.slots import (
    Claim,
    OrphanDetector,
    claim,
    clear,
    close,
    consecutive_deaths,
    next_slot,
    record_trial,
    recorded_trials,
    reopen,
)
from search.queue.workers import name_for_people
from search.sampling.points import Accept, any_left
from search.sampling.pruners import quick
from search.sampling.samplers import build_sampler
from search.storage.fast.storage import batch
from search.study.space import VisibleStudy, fixed_params, sample, unusable, why_refused
from search.study.study import Study
from search.trials import FATE, REASON, RESUMED, WORKER, Fate
from search.worker.context import Assignment, WorkerContext
from search.worker.generations import visible_study
from search.worker.result import TrialResult

MAX_DEATHS = 3


def claim_slot(context: WorkerContext, trials: Sequence[FrozenTrial], accept: Accept) -> Claim | None:
    """Claim the next slot of the study.

    trials: all trials of the study. accept: whether a point is untried (search.study.study.untried).

    Open slots, whose worker stopped or died, come first. A new slot is claimed only if an untried point is left and, in
    a deterministic study, if all earlier generations have finished. Enqueued trials that cannot run are failed, and
    take no slot.

    Returns None where no slot can be claimed now.
    """
    study, engine = context.study, context.engine
    refused = [trial.number for trial in trials if trial.state == TrialState.WAITING and _refuse(context, trial)]
    new = any(trial.state == TrialState.WAITING and trial.number not in refused for trial in trials)
    new = new or any_left(study.space.sampled, accept)
    if study.spec.deterministic:
        new = new and visible_study(study, engine, next_slot(engine, study.identity)) is not None
    return claim(engine, study.identity, context.process, context.lease_s, new=new)


def assign(context: WorkerContext, claimed: Claim, trials: Sequence[FrozenTrial], accept: Accept) -> Assignment | None:
    """Assign a trial to a claimed slot: the trial that was started in it, else an enqueued trial, else a new one.

    trials: all trials of the study. A new trial gets a point for which `accept` is true: an untried one with a model.

    Returns None where this process was suspended for so long that another worker has taken its slot or its trial, and
    where the slot is opened again, for its trial was deleted or cannot run.
    """
    study, engine = context.study, context.engine
    distributions, spec = study.space.sampled, study.spec
    handle = visible_study(study, engine, claimed.slot) if spec.deterministic else _usable(context, trials)
    assert handle is not None, "a slot is claimed only after all earlier generations have finished"
    handle.pruner = quick(handle.pruner)
    handle.sampler = build_sampler(spec.sampler, distributions, spec.seed, claimed.slot, accept=accept)
    number = claimed.trial
    if number is None and claimed.token > 1:  # the previous worker may have died between study.ask and record_trial
        number = _unrecorded_trial(engine, study.identity, trials)
    earlier = next((trial for trial in trials if trial.number == number), None)
    if claimed.trial is not None and earlier is None:
        free_slot(context, claimed, claimed.trial)
        return None
    # An earlier trial is continued: it keeps its parameters and reports, and its checkpoint is found by its number.
    trial = handle.ask() if earlier is None else optuna.Trial(handle, earlier._trial_id)
    frozen = earlier or trial.storage.get_trial(trial._trial_id)
    if claimed.trial is None and _refuse(context, frozen):
        close(engine, claimed, "open")
        return None
    if claimed.trial is None and not record_trial(engine, claimed, trial.number):
        return None  # a new trial stays unrecorded, and the next worker of the slot finds it
    if frozen.state.is_finished():
        return Assignment(claimed, trial, {}, frozen)
    try:
        return Assignment(claimed, trial, _begin(context, trial, frozen, resumed=earlier is not None))
    except (UpdateFinishedTrialError, KeyError):  # another program has just ended the trial, or deleted it
        now = next((each for each in study.optuna.get_trials(deepcopy=False) if each.number == trial.number), None)
        if now is None:
            free_slot(context, claimed, trial.number)
            return None
        if not now.state.is_finished():
            raise
        return Assignment(claimed, trial, {}, now)


def free_slot(context: WorkerContext, claimed: Claim, number: int) -> None:
    """Free the slot of a trial that was deleted for another trial, and log it."""
    context.log(f"trial {number} was deleted; its slot is free for another trial")
    clear(context.engine, claimed)


def _begin(context: WorkerContext, trial: optuna.Trial, frozen: FrozenTrial, *, resumed: bool) -> dict[str, Any]:
    """Sample the trial's parameters and store them with the worker's name; return the parameters.

    Raises UpdateFinishedTrialError for a trial that another program has ended, and KeyError for a deleted one.
    """
    if frozen.state == TrialState.WAITING:  # somebody has put it back
        trial.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    with batch(trial.storage, trial._trial_id):
        if resumed:
            n_before = frozen.user_attrs.get(RESUMED)
            trial.set_user_attr(RESUMED, (n_before if isinstance(n_before, int) else 0) + 1)
        trial.set_user_attr(WORKER, context.process.name)
        return sample(trial, context.study.space)


def _refuse(context: WorkerContext, trial: FrozenTrial) -> bool:
    """Fail a trial that was enqueued with a point that cannot run, and return whether it is one."""
    if trial.state.is_finished():
        return False
    reason = why_refused(fixed_params(trial), context.study.space)
    if not reason:
        return False
    storage, trial_id = context.study.optuna._storage, trial._trial_id
    with contextlib.suppress(UpdateFinishedTrialError):  # another program has ended it
        with batch(storage, trial_id):
            storage.set_trial_user_attr(trial_id, FATE, str(Fate.FAILED))
            storage.set_trial_user_attr(trial_id, REASON, reason)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
        context.log(f"trial {trial.number} {Fate.FAILED}: {reason}")
    return True


def _usable(context: WorkerContext, trials: Sequence[FrozenTrial]) -> optuna.Study:
    """Return the study without the trials that a sampler or a pruner must not see, and log new ones of them once."""
    study = context.study
    left_out = unusable(trials, study.space)
    for number, reason in left_out.items():
        if number not in context.left_out:
            context.left_out.add(number)
            context.log(f"trial {number} of another program is left out by the sampler and the pruner: {reason}")
    return VisibleStudy(study.optuna, lambda trial: trial.number not in left_out) if left_out else study.optuna


def _unrecorded_trial(engine: Engine, study: str, trials: Sequence[FrozenTrial]) -> int | None:
    """Return the first running trial without parameters that no slot records; None where there is none.

    Its worker died between study.ask and record_trial. Call this only while holding the lock of the assignment: no
    living worker is then between the two. A trial with parameters belongs to another program.
    """
    running = [trial.number for trial in trials if trial.state == TrialState.RUNNING and not trial.params]
    recorded = recorded_trials(engine, study) if running else set()
    return min((number for number in running if number not in recorded), default=None)


def recover(study: Study, engine: Engine, detector: OrphanDetector) -> list[int]:
    """Reopen the slots of workers that are gone, so that the next worker continues their trials.

    A trial whose last MAX_DEATHS workers died without finishing an epoch gets a failure as its result.

    Returns the numbers of the trials.
    """
    recovered = []
    for orphan in detector.find(engine, study.identity, time.monotonic()):
        last_epoch = None if orphan.trial is None else _last_epoch(study, orphan.trial)
        deaths = consecutive_deaths(orphan, last_epoch)
        hopeless = orphan.trial is not None and deaths >= MAX_DEATHS and not orphan.has_result
        last = name_for_people(orphan.worker)
        reason = f"{deaths} workers in a row died in it without finishing an epoch, the last was {last}"
        result = TrialResult(Fate.FAILED, None, 0, reason).encode() if hopeless else None
        if reopen(engine, orphan, last_epoch=last_epoch, result=result) and orphan.trial is not None:
            recovered.append(orphan.trial)
    return recovered


def _last_epoch(study: Study, number: int) -> int | None:
    """Return the last epoch that a trial has reported, from 0; None before its first report, or if it was deleted."""
    storage = study.optuna._storage
    try:
        trial_id = storage.get_trial_id_from_study_id_trial_number(study.optuna._study_id, number)
        return storage.get_trial(trial_id).last_step
    except KeyError:
        return None
