"""Deterministic studies: what a trial may know does not depend on how many workers there are or how fast they run.

Slots form generations of equal size. A generation begins when the one before has ended, and its trials know, when
they are sampled and when they are judged by the pruner, the trials of earlier generations and no others. With equal
threads the same study file then gives the same trials on one worker or many, killed or not. It costs the time that
workers wait for a generation's last trial, and advice that is up to a generation old.
"""

import copy
from collections.abc import Container

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, select

from search.storage.tables import SLOTS
from search.study.study import Study


class VisibleStudy(optuna.Study):
    """A study that shows only the trials whose numbers are in `known`, and the one under way."""

    def __init__(
        self, name: str, storage: BaseStorage, pruner: optuna.pruners.BasePruner, known: frozenset[int]
    ) -> None:
        super().__init__(name, storage, pruner=pruner)
        self._known = known

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False, states=states)
        shown = [trial for trial in trials if trial.number in self._known]
        return copy.deepcopy(shown) if deepcopy else shown


def visible_study(study: Study, engine: Engine, slot: int) -> VisibleStudy | None:
    """The study as the trial in `slot` may know it; None while an earlier generation is under way."""
    size = study.spec.generation
    begins = slot // size * size
    with engine.begin() as connection:
        earlier = connection.execute(
            select(SLOTS.c.trial, SLOTS.c.state).where(SLOTS.c.study == study.name, SLOTS.c.slot < begins)
        ).all()
    if len(earlier) < begins or any(row.state not in ("finished", "failed") for row in earlier):
        return None
    known = frozenset(row.trial for row in earlier if row.trial is not None)
    return VisibleStudy(study.name, study.optuna._storage, study.optuna.pruner, known)
