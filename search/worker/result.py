"""Telling Optuna how a trial ended: once, whoever of several workers comes to it."""

import dataclasses

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.study.record import REASON
from search.study.study import SearchStudy
from search.worker.outcome import TrialOutcome

MEMORY = "memory"  # the constraint's name; feasible <= 0


def judged(search: SearchStudy, outcome: TrialOutcome) -> TrialOutcome:
    """`outcome`; infeasible instead of failed where memory was short and the study is to learn from that."""
    if outcome.out_of_memory and _learns_memory(search):
        return dataclasses.replace(outcome, state="infeasible")
    return outcome


def _learns_memory(search: SearchStudy) -> bool:
    return search.spec.constraints.memory == "learn"


def tell(search: SearchStudy, trial: optuna.Trial, outcome: TrialOutcome) -> None:
    """Tell it, unless it was told before; whether it fitted into memory, where the study is to learn that."""
    study = search.study
    storage = study._storage
    if storage.get_trial(trial._trial_id).state.is_finished():
        return  # told before its worker died or lost the connection
    state = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL}.get(outcome.state, TrialState.PRUNED)
    try:
        if _learns_memory(search) and outcome.fits is not None:
            trial.set_constraint(MEMORY, -1.0 if outcome.fits else 1.0)
        if outcome.reason:
            storage.set_trial_user_attr(trial._trial_id, REASON, outcome.reason)
        study.tell(trial, outcome.value if state == TrialState.COMPLETE else None, state=state)
    except (ValueError, UpdateFinishedTrialError):
        # between settling and telling this worker slept past its lease, and another one told the same outcome
        if not storage.get_trial(trial._trial_id).state.is_finished():
            raise


def ending(number: int, outcome: TrialOutcome) -> str:
    """One line for the log."""
    value = f" {outcome.value:+.3f}" if outcome.value is not None else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"trial {number} {outcome.state}{value} ({outcome.n_epochs} epochs){reason}"
