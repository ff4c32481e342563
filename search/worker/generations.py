"""Deterministic studies: which trials a sampler and a pruner see does not depend on the workers' number or speed.

Slots form generations of equal size. A generation starts when all earlier ones have finished. The sampler and the
pruner of a trial see the trials of earlier generations and no others. With one CPU thread a trial, the same study file
then gives the same trials with one worker or several, and also if workers are killed. The price: workers wait for the
last trial of each generation, and samplers and pruners do not see the trials of the current one.
"""

from sqlalchemy import Engine, select

from search.storage.tables import SLOTS
from search.study.space import VisibleStudy, why_unusable
from search.study.study import Study


def visible_study(study: Study, engine: Engine, slot: int) -> VisibleStudy | None:
    """Return the study with the trials that are visible to `slot`; None while an earlier generation is running."""
    size = study.spec.generation
    n_earlier = slot // size * size
    with engine.begin() as connection:
        earlier = connection.execute(
            select(SLOTS.c.trial, SLOTS.c.state).where(SLOTS.c.study == study.identity, SLOTS.c.slot < n_earlier)
        ).all()
    if len(earlier) < n_earlier or any(row.state not in ("finished", "failed") for row in earlier):
        return None
    visible = frozenset(row.trial for row in earlier if row.trial is not None)
    return VisibleStudy(study.optuna, lambda trial: trial.number in visible and not why_unusable(trial, study.space))
