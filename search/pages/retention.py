"""Which trials keep their figures, sounds and configs, and the removal of the others'."""

from collections.abc import Callable, Sequence

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from search.pages.notes import CLEARED, artifacts_of, note_of, replace_note
from search.storage.fast.reads import system_attributes, trial_of_key
from search.storage.optuna_private import ArtifactStore
from search.study.spec import ArtifactSpec
from search.study.study import Study
from search.trials import REMOVED, ranked


def retained(trials: Sequence[FrozenTrial], keep: ArtifactSpec, direction: StudyDirection) -> frozenset[int]:
    """Numbers of the trials whose artifacts stay: the best complete and feasible ones, those that ended last, and
    those that have not ended."""
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
    """Remove the artifacts of all `trials` of the study but those that are retained, and say so in their notes; how
    many trials lost theirs.

    Each may be done again by another worker, or by the next one after this one died in between. A store that does
    not answer is said; what is left is removed the next time.
    """
    study_id, storage = study.optuna._study_id, study.optuna._storage
    stay = retained(trials, study.spec.artifacts, study.optuna.direction)
    leave = [t for t in trials if t.number not in stay and artifacts_of(t)]
    if not leave:
        return 0
    gone = {trial_of_key(key) for key in system_attributes(engine, study_id, f"{REMOVED}%")}
    n_cleared = 0
    for trial in leave:
        if trial._trial_id in gone:
            continue
        try:
            for identifier in artifacts_of(trial).values():
                _remove(artifacts, identifier)
        except OSError as error:
            log(f"artifacts of trial {trial.number} stay for now: {error}")
            break
        _tell_cleared(storage, engine, study_id, trial)
        n_cleared += 1
    return n_cleared


def _remove(artifacts: ArtifactStore, identifier: str) -> None:
    try:
        artifacts.remove(identifier)
    except (ArtifactNotFound, FileNotFoundError):
        return  # another worker was here before


def _tell_cleared(storage: BaseStorage, engine: Engine, study_id: int, trial: FrozenTrial) -> None:
    # with the study, for Optuna lets nobody write to a finished trial
    replace_note(storage, engine, study_id, trial._trial_id, note_of(trial, study_id, cleared=True), CLEARED)
    storage.set_study_system_attr(study_id, f"{REMOVED}{trial._trial_id}", len(artifacts_of(trial)))
