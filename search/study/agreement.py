"""Where Optuna's side of a database and ours disagree, and how to fix it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from search.errors import StudyError
from search.queue.pairs import Edge, Pair, follow, pairs
from search.queue.slots import has_budget, slot_trials
from search.storage.optuna_private import FrozenStudy
from search.study.adopt import adopt, is_ours
from search.study.record import (
    StoredIdentity,
    forget_deleted,
    identity_of,
    orphaned_rows,
    store_identity,
    stored_document,
    stored_identity,
)
from search.trials import SPEC

AGREEING = (Edge.KEEP, Edge.CONTINUE, Edge.BEGIN)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A disagreement of the two sides. fix: text; repair: does it, None where nothing can be done."""

    found: str
    fix: str
    repair: Callable[[], object] | None


def disagreements(storage: BaseStorage, engine: Engine) -> list[Disagreement]:
    """Return where the two sides disagree."""
    forget = partial(forget_deleted, engine)
    found = [
        Disagreement(f"study {identity} was deleted, and its budget is left", "remove it", forget)
        for identity in sorted(orphaned_rows(engine))
    ]
    for study in storage.get_all_studies():
        if SPEC in study.user_attrs:
            found += _of_study(study, storage, engine)
    return found


def _of_study(study: FrozenStudy, storage: BaseStorage, engine: Engine) -> Iterator[Disagreement]:
    name, study_id = study.study_name, study._study_id
    try:
        stored_document(name, study.user_attrs)
    except StudyError as error:
        yield Disagreement(str(error), "use the Drivebeat that made it, or delete it", None)
        return
    identity = identity_of(engine, study_id, name, study.user_attrs)
    if identity is None or not has_budget(engine, identity):
        repair = partial(adopt, name, storage, engine)
        yield Disagreement(f"study {name} is a copy without a budget", "adopt it", repair)
        return
    if stored_identity(study.user_attrs) != StoredIdentity(identity, study_id):
        carry = partial(store_identity, storage, study_id, identity)
        yield Disagreement(f"study {name} does not carry its identity {identity}", "store it", carry)
    recorded = slot_trials(engine, identity)
    trials = storage.get_all_trials(study_id, deepcopy=False)
    by_number = {trial.number: trial for trial in trials}
    for pair in pairs(engine, identity, {number: trial.state for number, trial in by_number.items()}):
        if pair.edge not in AGREEING:
            yield _of_pair(name, identity, pair, by_number.get(pair.trial), storage, engine)
    for trial in trials:
        stray = trial.state == TrialState.RUNNING and is_ours(trial) and trial.number not in recorded
        if stray and trial.params:
            yield Disagreement(
                f"study {name}: trial {trial.number} is running, and no slot records it",
                "fail it",
                partial(storage.set_trial_state_values, trial._trial_id, TrialState.FAIL),
            )


def foreign_running(storage: BaseStorage, engine: Engine) -> dict[str, list[int]]:
    """Return study -> numbers of its running trials of other programs, which may have ended without telling them."""
    found = {}
    for study in storage.get_all_studies():
        identity = identity_of(engine, study._study_id, study.study_name, study.user_attrs)
        if SPEC in study.user_attrs and identity is not None:
            trials = storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,))
            foreign = {trial.number for trial in trials if not is_ours(trial)} - slot_trials(engine, identity)
            if foreign:
                found[study.study_name] = sorted(foreign)
    return found


def _of_pair(
    name: str, identity: str, pair: Pair, trial: FrozenTrial | None, storage: BaseStorage, engine: Engine
) -> Disagreement:
    state = "missing" if trial is None else trial.state.name.lower()
    found = f"study {name}: slot {pair.slot} is {pair.state}, and its trial {pair.trial} is {state}"
    if pair.edge == Edge.FAIL_TRIAL and trial is not None:
        return Disagreement(
            found, "fail the trial", partial(storage.set_trial_state_values, trial._trial_id, TrialState.FAIL)
        )
    fixes = {
        Edge.FINISH: "finish the slot",
        Edge.FAIL: "fail the slot",
        Edge.REOPEN: "reopen the slot",
        Edge.CLEAR: "give the slot another trial",
    }
    return Disagreement(found, fixes[pair.edge], partial(follow, engine, identity, pair))
