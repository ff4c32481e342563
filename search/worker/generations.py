"""Deterministic studies: which trials a sampler and a pruner see does not depend on the workers' number or speed.

Slots form generations of equal size. A generation starts when all earlier ones have finished. The sampler and the
pruner of a trial see the trials of earlier generations and no others. With one CPU thread a trial, the same study file
then gives the same trials with one worker or several, and also if workers are killed. The price: workers wait for the
last trial of each generation, and samplers and pruners do not see the trials of the current one.
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
    """A study of which samplers and pruners see only the trials whose numbers are in `visible`."""

    def __init__(
        self, name: str, storage: BaseStorage, pruner: optuna.pruners.BasePruner, visible: frozenset[int]
    ) -> None:
        super().__init__(name, storage, pruner=pruner)
        self._visible = visible

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False, states=states)
        visible = [trial for trial in trials if trial.number in self._visible]
        return copy.deepcopy(visible) if deepcopy else visible


def visible_study(study: Study, engine: Engine, slot: int) -> VisibleStudy | None:
    """Return the study with the trials that are visible to `slot`; None while an earlier generation is running."""
    size = study.spec.generation
    n_earlier = slot // size * size
    with engine.begin() as connection:
        earlier = connection.execute(
            select(SLOTS.c.trial, SLOTS.c.state).where(SLOTS.c.study == study.name, SLOTS.c.slot < n_earlier)
        ).all()
    if len(earlier) < n_earlier or any(row.state not in ("finished", "failed") for row in earlier):
        return None
    visible = frozenset(row.trial for row in earlier if row.trial is not None)
    return VisibleStudy(study.name, study.optuna._storage, study.optuna.pruner, visible)
