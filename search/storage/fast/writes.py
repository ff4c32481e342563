"""The statements of the fast storage that change a trial: one a call, which does nothing to a finished trial.

SQLite gives the ids of deleted trials to new ones. So a write names the trial's study, number and start as well, as far
as they are known, and does nothing to another trial that got its id.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import TrialState
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Float,
    Integer,
    String,
    Table,
    Text,
    and_,
    bindparam,
    column,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from search.storage.fast.tables import PARAMS, REPORTS, TRIALS, VALUES
from search.storage.optuna_private import models


def upsert(
    dialect: str,
    table: Table,
    names: list[str],
    source: Any,
    unique: Sequence[str],
    changed: Sequence[str],
    *,
    rekey: bool = True,
) -> Any:
    """Insert the rows of `source`, or overwrite those with the same `unique` columns.

    names: columns of `source`. changed: columns to overwrite. rekey: give an overwritten row a new primary key, so that
    readers that ask for rows after the newest one they have read (search.storage.fast.reads) find it.
    """
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table).from_select(names, source)
    values: dict[str, Any] = {name: statement.excluded[name] for name in changed}
    if rekey:
        key = next(iter(table.primary_key.columns))
        next_key = select(func.max(key) + 1).scalar_subquery()
        values[key.name] = next_key if dialect == "sqlite" else statement.excluded[key.name]
    return with_rowcount(statement.on_conflict_do_update(index_elements=list(unique), set_=values))


def with_rowcount(statement: Any) -> Any:
    """Return the statement with the option without which SQLAlchemy has no rowcount of an INSERT."""
    return statement.execution_options(preserve_rowcount=True)


Param = tuple[str, float, BaseDistribution]


class TrialKey(NamedTuple):
    """Tells a trial from others that have had, or will get, its trial_id.

    began: naive UTC, as in the database; None for a trial that had not begun, which any start may follow.
    """

    study_id: int
    number: int
    began: datetime | None

    def is_of(self, other: "TrialKey") -> bool:
        """Return whether `other`, read later, is the same trial."""
        return self[:2] == other[:2] and self.began in (None, other.began)


@cache
def insert_params(dialect: str) -> Any:
    names = ["trial_id", "param_name", "param_value", "distribution_json"]
    if dialect == "sqlite":
        source = _unfinished_trial(
            dialect, _typed("n", PARAMS.c.param_name), _typed("v", PARAMS.c.param_value), bindparam("k", type_=Text)
        )
        return with_rowcount(sqlite.insert(PARAMS).from_select(names, source).on_conflict_do_nothing())
    given = _arrays("given", n=String, v=Float(53), k=Text)
    source = _unfinished_trial(dialect, given.c.n, given.c.v, given.c.k, given=given)
    return with_rowcount(postgresql.insert(PARAMS).from_select(names, source).on_conflict_do_nothing())


@cache
def upsert_attributes(dialect: str, table: Table) -> Any:
    names = ["trial_id", "key", "value_json"]
    if dialect == "sqlite":
        source = _unfinished_trial(dialect, bindparam("k", type_=String), bindparam("w", type_=Text))
    else:
        given = _arrays("given", k=String, w=Text)
        source = _unfinished_trial(dialect, given.c.k, given.c.w, given=given)
    return upsert(dialect, table, names, source, ("trial_id", "key"), ("value_json",))


@cache
def upsert_report(dialect: str) -> Any:
    c = REPORTS.c
    names = ["trial_id", "step", "intermediate_value", "intermediate_value_type"]
    source = _unfinished_trial(
        dialect, _typed("at", c.step), _typed("amount", c.intermediate_value), _typed("kind", c.intermediate_value_type)
    )
    return upsert(dialect, REPORTS, names, source, ("trial_id", "step"), tuple(names[2:]))


@cache
def upsert_value(dialect: str, unfinished_only: bool) -> Any:
    c = VALUES.c
    names = ["trial_id", "objective", "value", "value_type"]
    columns = (_typed("at", c.objective), _typed("amount", c.value), _typed("kind", c.value_type))
    if unfinished_only:
        source = _unfinished_trial(dialect, *columns)
    else:  # without WHERE, SQLite parses ON CONFLICT as the ON of a join
        source = select(_typed("trial", c.trial_id), *columns).where(literal(1) == 1)
    return upsert(dialect, VALUES, names, source, ("trial_id", "objective"), ("value", "value_type"))


@cache
def update_state(dialect: str, ends: bool) -> Any:
    c = TRIALS.c
    values: dict[str, Any] = {"state": _typed("to", c.state)}
    if ends:
        values["datetime_complete"] = _typed("ended", c.datetime_complete)
    return update(TRIALS).where(_changeable(dialect)).values(values)


@cache
def update_waiting() -> Any:
    c = TRIALS.c
    values = {"state": TrialState.RUNNING, "datetime_start": _typed("began", c.datetime_start)}
    waiting = and_(c.trial_id == bindparam("trial", type_=Integer), c.state == TrialState.WAITING)
    return update(TRIALS).where(waiting).values(values).returning(c.study_id, c.number, c.datetime_start)


@cache
def update_state_and_value(ends: bool) -> Any:
    c = VALUES.c
    moved = update_state("postgresql", ends).returning(TRIALS.c.trial_id).cte("moved")
    source = select(moved.c.trial_id, literal(0), _typed("amount", c.value), _typed("kind", c.value_type))
    names = ["trial_id", "objective", "value", "value_type"]
    return upsert("postgresql", VALUES, names, source, ("trial_id", "objective"), ("value", "value_type"))


def _unfinished_trial(dialect: str, *columns: Any, given: Any = None) -> Any:
    """Select a row of `columns` (for each row of `given`) if the trial may be changed, and lock it until it is written.

    The lock also orders concurrent writes to a trial, so that their rows are committed in the order of their keys.
    """
    return (
        select(TRIALS.c.trial_id, *columns)
        .select_from(TRIALS if given is None else TRIALS.join(given, true()))
        .where(_changeable(dialect))
        .with_for_update(key_share=True, of=TRIALS)
    )


def _changeable(dialect: str) -> ColumnElement[bool]:
    """Return the condition that a trial is the one that the parameters of storage.which name, and unfinished."""
    c = TRIALS.c
    study, number, began = (
        _typed("of_study", c.study_id),
        _typed("of_number", c.number),
        _typed("of_began", c.datetime_start),
    )
    return and_(
        c.trial_id == bindparam("trial", type_=Integer),
        or_(c.state == TrialState.RUNNING, c.state == TrialState.WAITING),
        or_(study.is_(None), c.study_id == study),
        or_(number.is_(None), c.number == number),
        or_(began.is_(None), _instant(c.datetime_start, dialect) == _instant(began, dialect)),
    )


def _instant(time: Any, dialect: str) -> Any:
    """Return a time to be compared. On SQLite it is text, which other programs may have written without fractions."""
    return func.strftime("%Y-%m-%d %H:%M:%f", time) if dialect == "sqlite" else time


def _arrays(name: str, **types: Any) -> Any:
    """Return parameters that are arrays, name -> type, as a table."""
    given = (bindparam(key, type_=ARRAY(kind)) for key, kind in types.items())
    return func.unnest(*given).table_valued(*(column(key, kind) for key, kind in types.items())).render_derived(name)


def _typed(name: str, like: Any) -> Any:
    """Return a parameter with the type of a column."""
    return bindparam(name, type_=like.type)


def put_params(connection: Connection, trial: Mapping[str, Any], params: Sequence[Param]) -> bool:
    """Set params of an unfinished trial, except those that are set already; return False where none was set.

    trial: see storage.which.
    """
    names, values, kinds = zip(*((n, v, distribution_to_json(d)) for n, v, d in params), strict=True)
    dialect = connection.dialect.name
    if dialect == "sqlite":
        rows = [{**trial, "n": n, "v": v, "k": k} for n, v, k in zip(names, values, kinds, strict=True)]
        return connection.execute(insert_params(dialect), rows).rowcount > 0
    row = {**trial, "n": list(names), "v": list(map(float, values)), "k": list(kinds)}
    return connection.execute(insert_params(dialect), row).rowcount > 0


def put_attributes(connection: Connection, table: Table, trial: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Set attributes of an unfinished trial; return False where it is finished or missing. trial: see storage.which."""
    dialect = connection.dialect.name
    texts = {key: json.dumps(value) for key, value in values.items()}
    if dialect == "sqlite":
        rows = [{**trial, "k": key, "w": text} for key, text in texts.items()]
        return connection.execute(upsert_attributes(dialect, table), rows).rowcount > 0
    row = {**trial, "k": list(texts), "w": list(texts.values())}
    return connection.execute(upsert_attributes(dialect, table), row).rowcount > 0


def put_report(connection: Connection, trial: Mapping[str, Any], step: int, value: float) -> bool:
    """Set an intermediate value of an unfinished trial; return False where it is finished or missing.

    trial: see storage.which.
    """
    row = report_row(trial, step, value)
    return connection.execute(upsert_report(connection.dialect.name), row).rowcount == 1


def report_row(trial: Mapping[str, Any], step: int, value: float) -> dict[str, Any]:
    """Return the parameters of the statement that sets an intermediate value. trial: see storage.which."""
    number, kind = stored_report(value)
    return {**trial, "at": step, "amount": number, "kind": kind}


def put_values(
    connection: Connection, trial: Mapping[str, Any], values: Sequence[float], *, unfinished_only: bool
) -> None:
    """Set objective values of a trial: of an unfinished one, see `which`, or of the trial_id in any state."""
    statement = upsert_value(connection.dialect.name, unfinished_only)
    for objective, value in enumerate(values):
        number, kind = stored_value(value)
        connection.execute(statement, {**trial, "at": objective, "amount": number, "kind": kind})


def begin(connection: Connection, trial_id: int) -> TrialKey | None:
    """Set a waiting trial running, as one of several concurrent calls; return its key, and None for the other calls."""
    row = connection.execute(update_waiting(), {"trial": trial_id, "began": to_utc(datetime.now())}).first()
    return None if row is None else TrialKey(*row)


def put_state(
    connection: Connection, trial: Mapping[str, Any], state: TrialState, values: Sequence[float] | None
) -> bool:
    """Set the state (not RUNNING, see `begin`) and the values of an unfinished trial; return False where it is not one.

    Needs a transaction if `takes_transaction` is true. trial: see storage.which.
    """
    dialect, ends = connection.dialect.name, state.is_finished()
    row = {**trial, "to": state} | ({"ended": to_utc(datetime.now())} if ends else {})
    if values is not None and not takes_transaction(dialect, values):
        number, kind = stored_value(values[0])
        return connection.execute(update_state_and_value(ends), row | {"amount": number, "kind": kind}).rowcount == 1
    moved = connection.execute(update_state(dialect, ends), row).rowcount == 1
    if moved and values is not None:
        put_values(connection, trial, values, unfinished_only=False)
    return moved


def takes_transaction(dialect: str, values: Sequence[float] | None) -> bool:
    """Return whether put_state executes more than one statement."""
    return values is not None and (dialect == "sqlite" or len(values) != 1)


def stored_value(value: float) -> tuple[float | None, Any]:
    """Return (value, kind) as Optuna stores an objective value."""
    stored: tuple[float | None, Any] = models.TrialValueModel.value_to_stored_repr(float(value))
    return stored


def stored_report(value: float) -> tuple[float | None, Any]:
    """Return (value, kind) as Optuna stores an intermediate value, for which NaN is a kind."""
    stored: tuple[float | None, Any] = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(
        float(value)
    )
    return stored


def to_utc(local: datetime | None) -> datetime | None:
    """Convert naive local time, as Optuna uses it, to naive UTC, as it stores it."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)
