"""What the dashboard reads: Optuna's cached storage without the notes of all trials, whose best trial is feasible.

optuna-dashboard keeps the notes of trials with their study, and reads all of them whenever it wants anything of it.
Trials are read by search.lean_storage: fewer objects on the way, and increments instead of whole studies.
"""

import json
from collections import defaultdict
from collections.abc import Container, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, not_, select

from search.export import is_feasible
from search.lean_storage import LeanStorage
from search.study_attributes import NOTE_OF_A_TRIAL, REMOVED


class PageStorage(_CachedStorage):
    """The storage for optuna-dashboard's own application."""

    def __init__(self, opened: BaseStorage, engine: Engine) -> None:
        if not isinstance(opened, _CachedStorage):
            raise TypeError(f"{type(opened).__name__}: a storage of open_storage(url, lean=False) is needed")
        super().__init__(opened._backend)
        self.engine = engine
        self._reader = LeanStorage(lambda: engine) if engine.dialect.name in ("sqlite", "postgresql") else None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's; a finished trial is the same object every time, where no copy is asked for."""
        if self._reader is None:
            return super().get_all_trials(study_id, deepcopy, states)
        return self._reader.get_all_trials(study_id, deepcopy, states)

    def delete_study(self, study_id: int) -> None:
        """As Optuna's; SQLite may give its id, and those of its trials, to the next study."""
        super().delete_study(study_id)
        if self._reader is not None:
            self._reader._forget(study_id)

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
            lean = select(model.study_id, model.key, model.value_json).where(
                not_(model.key.like(NOTE_OF_A_TRIAL)), not_(model.key.like(f"{REMOVED}%"))
            )
            for study_id, key, value in connection.execute(lean):
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


def best_feasible(trials: Sequence[FrozenTrial], direction: StudyDirection) -> FrozenTrial | None:
    """The best complete trial that keeps its constraints, the earliest of equals; None where there is none."""
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    good = [t for t in trials if t.state == TrialState.COMPLETE and t.values and is_feasible(t)]
    return max(good, key=lambda t: (sign * t.values[0], -t.number), default=None)
