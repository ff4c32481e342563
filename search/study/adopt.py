"""Identity and budget of a study that is created, copied or moved: by us, or by another program without our rows."""

from dataclasses import dataclass

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from search.errors import StudyError
from search.queue.slots import Progress, add_slots, has_budget, progress
from search.storage.locks import exclusive
from search.storage.tables import set_budget
from search.study.record import (
    StoredIdentity,
    identity_of,
    missing,
    new_identity,
    not_created,
    store_identity,
    stored_document,
    stored_identity,
)
from search.trials import COPIED, IDENTITY, RUN, SPEC, WORKER, attributes_of

SLOT_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "finished",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "open",
}


@dataclass(frozen=True, slots=True)
class Adopted:
    """A study that was adopted: its identity, and the progress of its budget."""

    identity: str
    progress: Progress


def adopt(name: str, storage: BaseStorage, engine: Engine) -> Adopted:
    """Give a study that another program has copied or moved into this database a budget of its own.

    Its trials that Drivebeat ran count towards the budget of its study file. Running ones are started again.

    Raises StudyError for a study that is missing, that Drivebeat did not create, or that has a budget.
    """
    with exclusive(engine, "create"):
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError as error:
            raise missing(name, optuna.get_all_study_names(storage)) from error
        attributes = study.user_attrs
        if SPEC not in attributes:
            raise not_created(name)
        budget = stored_document(name, attributes)["budget"]
        found = identity_of(engine, study._study_id, name, attributes)
        if found is not None and has_budget(engine, found):
            state = progress(engine, found)
            raise StudyError(
                f"study {name!r} has its budget already: {state.finished} of {state.budget} trials finished; nothing "
                "to adopt"
            )
        identity = settle_identity(study, engine)
        set_budget(engine, identity, int(budget["trials"]), budget["hours"])
        return Adopted(identity, progress(engine, identity))


def settle_identity(study: optuna.Study, engine: Engine) -> str:
    """Return the identity of a study, and store it where it is missing; a new one where the study has no budget.

    A study without a budget gets a slot for each of its trials that Drivebeat ran. Needs the lock "create".
    """
    storage, study_id, name = study._storage, study._study_id, study.study_name
    attributes = study.user_attrs
    found = identity_of(engine, study_id, name, attributes)
    if found is None or not has_budget(engine, found) or (IDENTITY not in attributes and SPEC not in attributes):
        found = new_identity(name)
        trials = study.get_trials(deepcopy=False)
        ran = [trial for trial in trials if is_ours(trial)]
        began = [trial.datetime_start.timestamp() for trial in ran if trial.datetime_start is not None]
        store_identity(storage, study_id, found)
        if trials and SPEC in attributes:
            storage.set_study_user_attr(study_id, COPIED, len(trials))
        add_slots(engine, found, [(trial.number, SLOT_STATES[trial.state]) for trial in ran], min(began, default=None))
    elif stored_identity(attributes) != StoredIdentity(found, study_id):
        store_identity(storage, study_id, found)
    return found


def is_ours(trial: FrozenTrial) -> bool:
    """Return whether a worker of Drivebeat has started the trial."""
    attributes = attributes_of(trial)
    return (WORKER in attributes or RUN in attributes) and trial.state in SLOT_STATES
