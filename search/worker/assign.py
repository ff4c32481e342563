"""Whose turn it is: one worker at a time gets a slot and a point, or opens the slots of workers that are gone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from search.queue.slots import Claim, Lookout, claim, deaths_in_a_row, open_again, set_trial, trials_in_slots
from search.sampling.points import any_left, key_of, taken
from search.sampling.quick import quick
from search.sampling.samplers import build_sampler
from search.sampling.untried import Accept
from search.storage.fast.storage import batch
from search.storage.locks import alone
from search.storage.tables import Process
from search.study.space import sample
from search.study.spec import run_of
from search.study.study import SearchStudy
from search.worker.generations import next_slot, past_of
from search.worker.result import TrialOutcome
from training.decode import ConfigError

WORKER, RESUMED = "worker", "resumed"
MAX_DEATHS = 3
# A turn takes seconds at most. Whoever holds it for longer was stopped in it, and others stop waiting for them.
TURN_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A trial to run: its slot, Optuna's handle and its point. One that another worker began has held.trial."""

    held: Claim
    trial: optuna.Trial
    params: Mapping[str, Any]


def next_turn(search: SearchStudy, engine: Engine, process: Process, lease_s: float) -> Turn | None:
    """The next trial of the study for a worker; None where the budget is spent or claimed, or no point is left.

    Trials that lost their worker come first, then points that were enqueued. No point is given twice, and none
    that cannot exist.
    None too where the worker was stopped in its turn for so long that another one has its slot or its trial.
    """
    search.study.get_trials(deepcopy=False)  # a new worker reads the whole study once, and nobody waits for it
    with alone(engine, f"turn {search.name}", expires_s=TURN_S):
        distributions = search.space.sampled
        trials = search.study.get_trials(deepcopy=False)
        accept = _untried(search, trials)
        fresh = any(trial.state == TrialState.WAITING for trial in trials) or any_left(distributions, accept)
        if search.spec.deterministic:
            fresh = fresh and past_of(search, engine, next_slot(engine, search.name)) is not None
        held = claim(engine, search.name, process, lease_s, fresh=fresh)
        if held is None:
            return None
        study = past_of(search, engine, held.slot) if search.spec.deterministic else search.study
        assert study is not None, "a slot is given only after its past has ended"
        study.pruner = quick(study.pruner)
        study.sampler = build_sampler(search.spec.sampler, distributions, search.spec.seed, held.slot, accept=accept)
        number = held.trial
        if number is None and held.token > 1:  # whoever held the slot before may have died having just asked
            number = _stray(engine, search.name, trials)
        earlier = next((trial for trial in trials if trial.number == number), None)
        if earlier is not None:
            # the very trial goes on: its values and reports stay, and its checkpoint is found by its number
            trial = optuna.Trial(study, earlier._trial_id)
            if held.trial is None and not set_trial(engine, held, trial.number):
                return None
            if not earlier.state.is_finished():
                trial.set_user_attr(RESUMED, earlier.user_attrs.get(RESUMED, 0) + 1)
        else:
            trial = study.ask()
            if not set_trial(engine, held, trial.number):
                return None  # nobody's now, it is found as a stray
        if not trial.storage.get_trial(trial._trial_id).state.is_finished():
            with batch(trial.storage, trial._trial_id):
                trial.set_user_attr(WORKER, process.name)
                params = sample(trial, search.space)
            return Turn(held, trial, params)
        return Turn(held, trial, {})


def is_exhausted(search: SearchStudy, trials: Sequence[FrozenTrial]) -> bool:
    """Whether every point of the study's space was tried by one of `trials`, its own."""
    return not any_left(search.space.sampled, _untried(search, trials))


def _untried(search: SearchStudy, trials: Sequence[FrozenTrial]) -> Accept:
    used = taken(trials, search.space.sampled)

    def accept(point: Mapping[str, Any]) -> bool:
        if key_of(point, search.space.sampled) in used:
            return False
        try:
            run_of(search.spec, search.space, point)
        except ConfigError:  # values in range that do not go together
            return False
        return True

    return accept


def sweep(search: SearchStudy, engine: Engine, lookout: Lookout) -> list[int]:
    """Open the slots of workers that are gone, so that the next worker takes their trials on; the trials' numbers.

    A trial that has cost MAX_DEATHS workers their lives without one epoch in between is to be failed by the next one
    instead.
    """
    swept = []
    for orphan in lookout.orphans(engine, search.name, time.monotonic()):
        reached = None if orphan.trial is None else _reached(search, orphan.trial)
        deaths = deaths_in_a_row(orphan, reached)
        hopeless = orphan.trial is not None and deaths >= MAX_DEATHS and not orphan.told
        reason = f"it took {deaths} workers with it and no epoch was finished in between, the last {orphan.worker}"
        outcome = TrialOutcome("failed", None, 0, reason).encode() if hopeless else None
        if open_again(engine, orphan, reached=reached, outcome=outcome) and orphan.trial is not None:
            swept.append(orphan.trial)
    return swept


def _reached(search: SearchStudy, number: int) -> int | None:
    """The newest epoch that a trial has reported."""
    storage = search.study._storage
    return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(search.study._study_id, number)).last_step


def _stray(engine: Engine, study: str, trials: Sequence[FrozenTrial]) -> int | None:
    """A running trial that no slot knows of: asked for by a worker that died before it could note it.

    To be called while holding the turn, when nobody alive is between asking and noting.
    """
    running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    known = trials_in_slots(engine, study) if running else set()
    return min((number for number in running if number not in known), default=None)
