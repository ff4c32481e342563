"""Optuna's own tables as SQLAlchemy Core sees them, and what their rows hold as Python knows it."""

from datetime import UTC, datetime
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import ColumnElement, Table, or_

from search.storage.optuna_private import models

STUDIES: Table = models.StudyModel.__table__
DIRECTIONS: Table = models.StudyDirectionModel.__table__
STUDY_USER: Table = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM: Table = models.StudySystemAttributeModel.__table__
TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
REPORTS: Table = models.TrialIntermediateValueModel.__table__
USER: Table = models.TrialUserAttributeModel.__table__
SYSTEM: Table = models.TrialSystemAttributeModel.__table__
HEARTBEATS: Table = models.TrialHeartbeatModel.__table__

OF_A_TRIAL = (PARAMS, VALUES, REPORTS, USER, SYSTEM)  # in the order of a trial's marks (search.storage.fast.cache)

_SPECIAL = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}


def unfinished() -> ColumnElement[bool]:
    """Whether a trial may still be changed."""
    return or_(TRIALS.c.state == TrialState.RUNNING, TRIALS.c.state == TrialState.WAITING)


def number_of(stored: float | None, kind: str) -> float:
    """The number that a column of values and its column of kinds stand for."""
    if kind != "FINITE":
        return _SPECIAL[kind]
    assert stored is not None
    return float(stored)


def stored_value(value: float) -> tuple[float | None, Any]:
    """(value, kind) as the table of objective values keeps it."""
    stored: tuple[float | None, Any] = models.TrialValueModel.value_to_stored_repr(float(value))
    return stored


def stored_report(value: float) -> tuple[float | None, Any]:
    """(value, kind) as the table of intermediate values keeps it; NaN has a kind of its own there."""
    stored: tuple[float | None, Any] = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(
        float(value)
    )
    return stored


def to_utc(local: datetime | None) -> datetime | None:
    """Optuna hands out naive local times and stores naive UTC."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)


def to_local(stored: datetime | None) -> datetime | None:
    """The inverse of to_utc."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
