"""The storage for optuna-dashboard: quick on large studies, and its best trial is feasible.

optuna-dashboard stores the notes of trials as attributes of their study, and reads all of them with every attribute of
the study. This storage leaves them out. It reads trials by search.storage.fast.storage, which creates fewer objects and
reads only new trials.
"""

import copy
import json
import threading
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, not_, select

from search.storage.fast.cache import to_local
from search.storage.fast.reads import NOTE_OF_A_TRIAL
from search.storage.fast.storage import FastStorage
from search.storage.fast.tables import TRIALS
from search.storage.locks import exclusive
from search.storage.optuna_private import CachedStorage, FrozenStudy, models
from search.study.record import identity_of, remove_rows
from search.trials import REMOVED, SPEC, best_feasible


@dataclass(slots=True, eq=False)
class KnownStudy:
    """Stands for a study as long as its id belongs to the same study.

    proof: the first and the last finished trial that were read, one if they are the same, empty if there is none.
    """

    proof: tuple[FrozenTrial, ...] = ()


class PageStorage(CachedStorage):
    """The storage for optuna-dashboard.

    opened: the storage of open_storage(url, fast=False).
    engine: of the same database.
    """

    def __init__(self, opened: BaseStorage, engine: Engine) -> None:
        if not isinstance(opened, CachedStorage):
            raise TypeError(f"{type(opened).__name__}: a storage of open_storage(url, fast=False) is needed")
        super().__init__(opened._backend)
        self.engine = engine
        self._reader = FastStorage(lambda: engine) if engine.dialect.name in ("sqlite", "postgresql") else None
        self._known: dict[int, KnownStudy] = {}
        self._reading = threading.RLock()

    def known(self, study_id: int) -> KnownStudy | None:
        """Return an object that stays the same as long as the id belongs to the same study; None for no such study.

        If another process deleted the study, SQLite may give its id to a new study. The cache of the old study is then
        cleared and a new object returned. Studies without a finished trial cannot be distinguished, so they get a new
        object every time.
        """
        on_sqlite = self.engine.dialect.name == "sqlite"
        with self._reading:
            known = self._known.pop(study_id, None)
            if known is None or (on_sqlite and not self._has_trials(study_id, known.proof)):
                self._forget(study_id)
                known = KnownStudy()
                try:
                    if on_sqlite:
                        self._read(study_id, known)
                    else:
                        self.get_study_name_from_id(study_id)
                except KeyError:
                    return None
            self._known[study_id] = known
            return known

    def _read(self, study_id: int, known: KnownStudy, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the trials of the study and update `known.proof`."""
        assert self._reader is not None
        trials = self._reader.get_all_trials(study_id, False, states)
        first = next((trial for trial in trials if trial.state.is_finished()), None)
        if first is not None:
            last = next(trial for trial in reversed(trials) if trial.state.is_finished())
            known.proof = (first,) if first is last else (first, last)
        return trials

    def _has_trials(self, study_id: int, proof: Sequence[FrozenTrial]) -> bool:
        """Return whether the study has the finished trials `proof`, which never change."""
        c = TRIALS.c
        query = select(c.trial_id, c.number, c.state, c.datetime_start, c.datetime_complete).where(
            c.study_id == study_id, c.trial_id.in_([trial._trial_id for trial in proof])
        )
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            found = connection.execute(query).all()
        rows = {(i, number, state, to_local(start), to_local(end)) for i, number, state, start, end in found}
        expected = {(t._trial_id, t.number, t.state, t.datetime_start, t.datetime_complete) for t in proof}
        return bool(expected) and rows == expected

    def _forget(self, study_id: int) -> None:
        """Clear all caches of a study."""
        if self._reader is not None:
            self._reader._forget(study_id)
        with self._lock:
            if (cached := self._studies.get(study_id)) is not None:
                cached.name = cached.directions = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials, as Optuna does. With deepcopy=False, a finished trial is the same object every time."""
        if self._reader is None:
            return super().get_all_trials(study_id, deepcopy, states)
        with self._reading:
            trials = self._read(study_id, self.known(study_id) or KnownStudy(), states)
        return copy.deepcopy(trials) if deepcopy else trials

    def delete_study(self, study_id: int) -> None:
        """Delete the study with its budget, and clear its caches: SQLite may reuse its id and the ids of its trials."""
        name, attributes = self.get_study_name_from_id(study_id), self.get_study_user_attrs(study_id)
        identity = identity_of(self.engine, study_id, name, attributes)
        with exclusive(self.engine, "create"):
            super().delete_study(study_id)
            if identity is not None and SPEC in attributes:
                remove_rows(self.engine, identity)
        self.forget(study_id)

    def forget(self, study_id: int) -> None:
        """Clear all caches of a study, after it was renamed or deleted."""
        with self._reading:
            self._forget(study_id)
            self._known.pop(study_id, None)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies, as Optuna does, without the notes of trials among the system attributes."""
        directions: dict[int, list[StudyDirection]] = defaultdict(list)
        attributes: dict[int, dict[str, Any]] = defaultdict(dict)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            studies = connection.execute(
                select(models.StudyModel.study_id, models.StudyModel.study_name).order_by(models.StudyModel.study_id)
            ).all()
            direction = models.StudyDirectionModel
            for row in connection.execute(
                select(direction.study_id, direction.direction).order_by(direction.study_id, direction.objective)
            ):
                directions[row[0]].append(row[1])
            user = models.StudyUserAttributeModel
            for study_id, key, value in connection.execute(select(user.study_id, user.key, user.value_json)):
                attributes[study_id][key] = json.loads(value)
            system: dict[int, dict[str, Any]] = defaultdict(dict)
            model = models.StudySystemAttributeModel
            without_notes = select(model.study_id, model.key, model.value_json).where(
                not_(model.key.like(NOTE_OF_A_TRIAL)), not_(model.key.like(f"{REMOVED}%"))
            )
            for study_id, key, value in connection.execute(without_notes):
                system[study_id][key] = json.loads(value)
        return [
            FrozenStudy(name, None, attributes[study_id], system[study_id], study_id, directions=directions[study_id])
            for study_id, name in studies
        ]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the best feasible trial. Raises ValueError if there is none."""
        (direction,) = self.get_study_directions(study_id)
        best = best_feasible(self.get_all_trials(study_id, deepcopy=False), direction)
        if best is None:
            raise ValueError("no trial is complete and feasible yet")
        return best
