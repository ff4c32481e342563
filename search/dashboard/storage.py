"""What the dashboard reads: Optuna's cached storage without the notes of all trials, whose best trial is feasible.

optuna-dashboard keeps the notes of trials with their study, and reads all of them whenever it wants anything of it.
Trials are read by search.storage.fast.storage: fewer objects on the way, and increments instead of whole studies.
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
from search.storage.optuna_private import CachedStorage, FrozenStudy, models
from search.trials import REMOVED, best_feasible


@dataclass(slots=True, eq=False)
class Known:
    """A study as long as it is the same one: `proof` is the first and the last trial known to have finished."""

    proof: tuple[FrozenTrial, ...] = ()


class PageStorage(CachedStorage):
    """The storage for optuna-dashboard's own application."""

    def __init__(self, opened: BaseStorage, engine: Engine) -> None:
        if not isinstance(opened, CachedStorage):
            raise TypeError(f"{type(opened).__name__}: a storage of open_storage(url, lean=False) is needed")
        super().__init__(opened._backend)
        self.engine = engine
        self._reader = FastStorage(lambda: engine) if engine.dialect.name in ("sqlite", "postgresql") else None
        self._known: dict[int, Known] = {}
        self._reading = threading.RLock()

    def identity(self, study_id: int) -> Known | None:
        """The same object as before as long as the study is the same one; where another process deleted it and SQLite
        gave its id to another one, a new object, and what was known of the old one is forgotten. None: no such study.

        A study of which no trial has finished cannot be told from another such one: it is taken for new every time.
        """
        on_sqlite = self.engine.dialect.name == "sqlite"
        with self._reading:
            known = self._known.pop(study_id, None)
            if known is None or (on_sqlite and not self._is_there(study_id, known.proof)):
                self._forget(study_id)
                known = Known()
                try:
                    if on_sqlite:
                        self._read(study_id, known)
                    else:
                        self.get_study_name_from_id(study_id)
                except KeyError:
                    return None
            self._known[study_id] = known
            return known

    def _read(self, study_id: int, known: Known, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        assert self._reader is not None
        trials = self._reader.get_all_trials(study_id, False, states)
        first = next((trial for trial in trials if trial.state.is_finished()), None)
        if first is not None:
            last = next(trial for trial in reversed(trials) if trial.state.is_finished())
            known.proof = (first,) if first is last else (first, last)
        return trials

    def _is_there(self, study_id: int, proof: Sequence[FrozenTrial]) -> bool:
        """Whether the study has these finished trials, which never change."""
        c = TRIALS.c
        asked = select(c.trial_id, c.number, c.state, c.datetime_start, c.datetime_complete).where(
            c.study_id == study_id, c.trial_id.in_([trial._trial_id for trial in proof])
        )
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            found = connection.execute(asked).all()
        rows = {(i, number, state, to_local(began), to_local(ended)) for i, number, state, began, ended in found}
        wanted = {(t._trial_id, t.number, t.state, t.datetime_start, t.datetime_complete) for t in proof}
        return bool(wanted) and rows == wanted

    def _forget(self, study_id: int) -> None:
        """What was known of a study is known no more."""
        if self._reader is not None:
            self._reader._forget(study_id)
        with self._lock:
            if (of_optuna := self._studies.get(study_id)) is not None:
                of_optuna.name = of_optuna.directions = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's; a finished trial is the same object every time, where no copy is asked for."""
        if self._reader is None:
            return super().get_all_trials(study_id, deepcopy, states)
        with self._reading:
            trials = self._read(study_id, self.identity(study_id) or Known(), states)
        return copy.deepcopy(trials) if deepcopy else trials

    def delete_study(self, study_id: int) -> None:
        """As Optuna's; SQLite may give its id, and those of its trials, to the next study."""
        super().delete_study(study_id)
        with self._reading:
            self._forget(study_id)
            self._known.pop(study_id, None)

    def get_all_studies(self) -> list[FrozenStudy]:
        """As Optuna's, without the notes of trials among the system attributes."""
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
            fast = select(model.study_id, model.key, model.value_json).where(
                not_(model.key.like(NOTE_OF_A_TRIAL)), not_(model.key.like(f"{REMOVED}%"))
            )
            for study_id, key, value in connection.execute(fast):
                system[study_id][key] = json.loads(value)
        return [
            FrozenStudy(name, None, attributes[study_id], system[study_id], study_id, directions=directions[study_id])
            for study_id, name in studies
        ]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best feasible one. Raises ValueError where there is none."""
        (direction,) = self.get_study_directions(study_id)
        best = best_feasible(self.get_all_trials(study_id, deepcopy=False), direction)
        if best is None:
            raise ValueError("no trial is complete and feasible yet")
        return best
