"""Rename, copy and delete studies, and cancel trials, while workers may run."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError

from data.errors import shell_command
from search.artifacts.base import Log, TrialStore, remove_artifact
from search.errors import StudyError
from search.queue.slots import UNFINISHED, add_slots, has_budget
from search.storage.fast.reads import NOTE_OF_A_TRIAL, trial_of_key
from search.storage.fast.storage import batch
from search.storage.fast.tables import STUDIES as OPTUNA_STUDIES
from search.storage.locks import exclusive
from search.storage.optuna_private import ArtifactStore, FrozenStudy
from search.storage.tables import SLOTS, STUDIES, set_budget
from search.study.names import check_name
from search.study.record import identity_of, missing, new_identity, remove_rows, store_identity
from search.trials import (
    ARTIFACT,
    BEST_CONFIG,
    CANCELLED,
    COPIED,
    COPIED_FILES,
    FATE,
    IDENTITY,
    REASON,
    REMOVED,
    SPEC,
    Fate,
    artifacts_of,
)


def find(storage: BaseStorage, name: str) -> FrozenStudy:
    """Return the Optuna study `name`, whoever created it. Raises StudyError, with the nearest name, for none."""
    studies = storage.get_all_studies()
    found = next((study for study in studies if study.study_name == name), None)
    if found is None:
        raise missing(name, [study.study_name for study in studies])
    return found


def rename(name: str, new: str, storage: BaseStorage, engine: Engine) -> None:
    """Rename a study. Workers go on with it.

    Raises StudyError where `name` is missing or `new` exists, and ConfigError for a name that no study may have.
    """
    check_name(new, "rename")
    if new == name:
        raise StudyError(f"study {name!r} is called so already; give another name")
    with exclusive(engine, "create"):
        study = find(storage, name)
        identity = identity_of(engine, study._study_id, name, study.user_attrs)
        if SPEC in study.user_attrs and identity is not None and has_budget(engine, identity):
            # A study of an older version has its name as its identity, which must not change with the name.
            store_identity(storage, study._study_id, identity)
        columns = OPTUNA_STUDIES.c
        try:
            with engine.begin() as connection:
                connection.execute(
                    update(OPTUNA_STUDIES).where(columns.study_id == study._study_id).values(study_name=new)
                )
        except IntegrityError as error:
            raise StudyError(f"a study {new!r} exists already; choose another name") from error


def delete(name: str, storage: BaseStorage, engine: Engine, store: TrialStore, log: Log) -> int:
    """Delete a study with its trials, its budget, and its artifacts and checkpoints; return the number of its trials.

    Artifacts that another study of the database refers to are kept, and those of trials that were copied. A worker that
    trains for it ends the trial and goes on with its other studies. Raises StudyError.
    """
    with exclusive(engine, "create"):
        study = find(storage, name)
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
        identity = identity_of(engine, study._study_id, name, study.user_attrs)
        with contextlib.suppress(KeyError):  # another program has deleted it in this moment
            storage.delete_study(study._study_id)
        if identity is not None:
            remove_rows(engine, identity)
    if identity is not None:
        for trial in trials:
            if not trial.state.is_finished():
                store.checkpoints(identity, trial.number, log).delete()
    remove_all_artifacts(study, trials, storage, store.artifacts, log)
    return len(trials)


def remove_all_artifacts(
    study: FrozenStudy, trials: Sequence[FrozenTrial], storage: BaseStorage, artifacts: ArtifactStore, log: Log
) -> None:
    """Remove the artifacts of a study that is deleted, and of its trials, but for those that belong to another study.

    These are the artifacts of copied trials (COPIED), those that a copy took over (COPIED_FILES), and those that
    another study in the database refers to. trials: of the study.
    """
    n_copied = study.user_attrs.get(COPIED, 0)
    own = [trial for trial in trials if not isinstance(n_copied, int) or trial.number >= n_copied]
    attached = [artifacts_of(trial.system_attrs) for trial in own] + [artifacts_of(study.system_attrs)]
    originals = study.system_attrs.get(COPIED_FILES, ())
    kept = set(map(str, originals)) if isinstance(originals, (list, tuple)) else set()
    files = {identifier for found in attached for identifier in found.values()} - kept
    for other in storage.get_all_studies() if files else []:
        if other._study_id != study._study_id:
            others = storage.get_all_trials(other._study_id, deepcopy=False)
            referring = [other.system_attrs, *(trial.system_attrs for trial in others)]
            files -= {identifier for attributes in referring for identifier in artifacts_of(attributes).values()}
    if len(own) < len(trials):
        log(f"the artifacts of {len(trials) - len(own)} copied trials are kept, for the original refers to them")
    for artifact in files:
        try:
            remove_artifact(artifacts, artifact)
        except OSError as error:
            log(f"artifacts are left in the store: {error}")
            return


def copy(name: str, storage: BaseStorage, engine: Engine, target: BaseStorage, target_engine: Engine, new: str) -> str:
    """Copy a study with its trials, notes, budget and slots into another database, or this one; return its identity.

    The artifacts are not copied: the copy refers to the same files. Trials that run during the copy are started again
    by the copy's workers.

    target: storage of the other database; target_engine: its engine. new: name of the copy. Raises StudyError where
    `name` is missing or `new` exists, and ConfigError for a name that no study may have.
    """
    check_name(new, "copy")
    study = find(storage, name)
    slots = _slots(storage, engine, study)  # before the trials: a slot that is behind its trial closes by rule
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    with exclusive(target_engine, "create"):
        try:
            study_id = target.create_new_study(study.directions, new)
        except optuna.exceptions.DuplicatedStudyError as error:
            raise StudyError(f"a study {new!r} exists already; choose another name: --name NAME") from error
        ids = {trial._trial_id: target.create_new_trial(study_id, trial) for trial in trials}
        for key, value in _copied_attributes(study.system_attrs).items():
            target.set_study_system_attr(study_id, _renumbered(key, ids), value)
        identity = new_identity(new)
        if slots is not None:
            budget, rows = slots
            add_slots(target_engine, identity, rows, budget["started_at"])
            set_budget(target_engine, identity, budget["n_trials"], budget["hours"])
            store_identity(target, study_id, identity)
        others = {key: value for key, value in study.user_attrs.items() if key not in (IDENTITY, SPEC)}
        for key, value in others.items():
            target.set_study_user_attr(study_id, key, value)
        target.set_study_user_attr(study_id, COPIED, len(trials))
        if SPEC in study.user_attrs:  # last: a study without it is not complete
            target.set_study_user_attr(study_id, SPEC, study.user_attrs[SPEC])
    return identity


def _slots(
    storage: BaseStorage, engine: Engine, study: FrozenStudy
) -> tuple[Mapping[str, Any], list[tuple[int | None, str]]] | None:
    """Return the budget of a study, and (trial, state) of its slots for a copy; None where it has no budget."""
    identity = identity_of(engine, study._study_id, study.study_name, study.user_attrs)
    with engine.connect() as connection:
        budget = connection.execute(select(STUDIES).where(STUDIES.c.study == identity)).mappings().first()
        query = select(SLOTS.c.trial, SLOTS.c.state).where(SLOTS.c.study == identity).order_by(SLOTS.c.slot)
        rows = connection.execute(query).all()
    if budget is None:
        return None
    return dict(budget), [(row.trial, "open" if row.state in UNFINISHED else row.state) for row in rows]


def _copied_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the system attributes of a copy: those of the study, with the ids of its artifacts, which stay its own.

    The export of the best trial is left out, for the copy replaces it as soon as another trial is the best.
    """
    best = attributes.get(BEST_CONFIG)
    own = {BEST_CONFIG, f"{ARTIFACT}{best.get('artifact')}" if isinstance(best, dict) else BEST_CONFIG}
    copied = {key: value for key, value in attributes.items() if key not in own}
    return {**copied, COPIED_FILES: sorted(artifacts_of(copied).values())}


def _renumbered(key: str, ids: Mapping[int, int]) -> str:
    """Return the key of a study's system attribute with the new trial_id, where the key contains one."""
    prefix, _, rest = NOTE_OF_A_TRIAL.partition("%")
    is_note = key.startswith(prefix) and rest.strip("%") in key and key.split(":")[1].isdigit()
    if not (is_note or key.startswith(REMOVED)):
        return key
    trial_id = trial_of_key(key)
    return key.replace(str(trial_id), str(ids.get(trial_id, trial_id)), 1)


def cancellable(name: str, number: int, storage: BaseStorage) -> FrozenTrial:
    """Return a trial that can be cancelled. Raises StudyError where there is no such trial, or it has ended."""
    study = find(storage, name)
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        known = f"it has the trials 0 to {len(trials) - 1}" if trials else "it has none yet"
        raise StudyError(f"study {name!r} has no trial {number}; {known}")
    if trial.state.is_finished():
        raise StudyError(_ended(name, number))
    return trial


def _ended(name: str, number: int) -> str:
    return (
        f"trial {number} of study {name!r} has ended; waiting and running trials can be cancelled, list them: "
        f"{shell_command('watch', name)}"
    )


def cancel(name: str, number: int, storage: BaseStorage) -> TrialState:
    """End a waiting or running trial as failed; return its state before.

    Its worker, if it has one, ends the training within a fraction of its lease. The budget gives another trial for it.
    Raises StudyError where there is no such trial, or it has ended.
    """
    trial = cancellable(name, number, storage)
    try:
        with batch(storage, trial._trial_id):
            storage.set_trial_user_attr(trial._trial_id, FATE, str(Fate.FAILED))
            storage.set_trial_user_attr(trial._trial_id, REASON, CANCELLED)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError as error:
        raise StudyError(_ended(name, number)) from error
    return trial.state
