"""Retention: which trials keep their artifacts (figures, sounds, configs), and the removal of all others."""

from collections.abc import Callable, Sequence

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from search.pages.notes import WRITTEN_BY_RETENTION, note_of, replace_note
from search.storage.fast.reads import system_attributes, trial_of_key
from search.storage.optuna_private import ArtifactStore
from search.study.spec import ArtifactSpec
from search.study.study import Study
from search.trials import REMOVED, artifacts_of, ranked


def retained(trials: Sequence[FrozenTrial], keep: ArtifactSpec, direction: StudyDirection) -> frozenset[int]:
    """Return the numbers of the trials whose artifacts are kept.

    These are the `keep.best` best complete, feasible trials, the `keep.last` that ended last, and those that have not
    ended.
    """
    best = ranked(trials, direction)[: keep.best]
    ended = [(t.datetime_complete, t.number) for t in trials if t.state.is_finished() and t.datetime_complete]
    last = [number for _, number in sorted(ended, reverse=True)[: keep.last]]
    running = [t.number for t in trials if not t.state.is_finished()]
    return frozenset([*(t.number for t in best), *last, *running])


def remove_artifacts(
    study: Study,
    trials: Sequence[FrozenTrial],
    engine: Engine,
    artifacts: ArtifactStore,
    log: Callable[[str], None],
) -> int:
    """Remove the artifacts of trials that are not retained, and rewrite their notes.

    trials: all trials of the study. Another worker may do the same at the same time, or complete the removal after this
    one dies. An error of the store is logged, and the rest is removed in the next call.

    Returns the number of trials whose artifacts were removed.
    """
    study_id, storage = study.optuna._study_id, study.optuna._storage
    kept = retained(trials, study.spec.artifacts, study.optuna.direction)
    candidates = [t for t in trials if t.number not in kept and artifacts_of(t.system_attrs)]
    if not candidates:
        return 0
    done = {trial_of_key(key) for key in system_attributes(engine, study_id, f"{REMOVED}%")}
    n_removed = 0
    for trial in candidates:
        if trial._trial_id in done:
            continue
        try:
            for identifier in artifacts_of(trial.system_attrs).values():
                _remove(artifacts, identifier)
        except OSError as error:
            log(f"artifacts of trial {trial.number} are not removed yet: {error}")
            break
        _record_removal(storage, engine, study_id, trial)
        n_removed += 1
    return n_removed


def _remove(artifacts: ArtifactStore, identifier: str) -> None:
    try:
        artifacts.remove(identifier)
    except (ArtifactNotFound, FileNotFoundError):
        return  # another worker has removed it


def _record_removal(storage: BaseStorage, engine: Engine, study_id: int, trial: FrozenTrial) -> None:
    # in attributes of the study, for Optuna's finished trials are read-only
    note = note_of(trial, study_id, removed=True)
    replace_note(storage, engine, study_id, trial._trial_id, note, WRITTEN_BY_RETENTION)
    storage.set_study_system_attr(study_id, f"{REMOVED}{trial._trial_id}", len(artifacts_of(trial.system_attrs)))
