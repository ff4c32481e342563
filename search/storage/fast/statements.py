"""The lean storage's writing statements in SQL, built once for each dialect.

No parameter is called like a column, which SQLAlchemy would take for a value of that column.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import (
    ARRAY,
    Float,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    column,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from search.storage.fast.tables import PARAMS, REPORTS, STUDIES, TRIALS, VALUES, unfinished

# Two statements in one message, which takes no parameters: only numbers and a time of ours are put in.
ADDING_AT_ONCE = """SELECT study_id FROM studies WHERE study_id = {study} FOR NO KEY UPDATE;
INSERT INTO trials (number, study_id, state, datetime_start)
SELECT {n_known} + (SELECT count(*) FROM trials WHERE study_id = {study} AND trial_id > {newest}),
study_id, 'RUNNING', '{began}' FROM studies WHERE study_id = {study} RETURNING trial_id, number"""


@cache
def adding_trial() -> Any:
    c = TRIALS.c
    newer = select(func.count()).where(c.study_id == bindparam("study"), c.trial_id > bindparam("newest"))
    number = newer.scalar_subquery() + bindparam("n_known", type_=Integer)
    source = select(
        number,
        STUDIES.c.study_id,
        bindparam("to", type_=c.state.type),
        bindparam("began", type_=c.datetime_start.type),
        bindparam("ended", type_=c.datetime_complete.type),
    ).where(STUDIES.c.study_id == bindparam("study"))
    names = ["number", "study_id", "state", "datetime_start", "datetime_complete"]
    return insert(TRIALS).from_select(names, source).returning(c.trial_id, c.number)


@cache
def putting_params(dialect: str) -> Any:
    names = ["trial_id", "param_name", "param_value", "distribution_json"]
    if dialect == "sqlite":
        source = _open_trial(
            _typed("n", PARAMS.c.param_name), _typed("v", PARAMS.c.param_value), bindparam("k", type_=Text)
        )
        return _counted(sqlite.insert(PARAMS).from_select(names, source).on_conflict_do_nothing())
    given = _arrays("given", n=String, v=Float(53), k=Text)
    source = _open_trial(given.c.n, given.c.v, given.c.k, given=given)
    return _counted(postgresql.insert(PARAMS).from_select(names, source).on_conflict_do_nothing())


@cache
def putting_attributes(dialect: str, table: Table) -> Any:
    names = ["trial_id", "key", "value_json"]
    if dialect == "sqlite":
        source = _open_trial(bindparam("k", type_=String), bindparam("w", type_=Text))
    else:
        given = _arrays("given", k=String, w=Text)
        source = _open_trial(given.c.k, given.c.w, given=given)
    return _over(dialect, table, names, source, ("trial_id", "key"), ("value_json",))


@cache
def putting_report(dialect: str) -> Any:
    c = REPORTS.c
    names = ["trial_id", "step", "intermediate_value", "intermediate_value_type"]
    source = _open_trial(
        _typed("at", c.step), _typed("amount", c.intermediate_value), _typed("kind", c.intermediate_value_type)
    )
    return _over(dialect, REPORTS, names, source, ("trial_id", "step"), tuple(names[2:]))


@cache
def putting_value(dialect: str) -> Any:
    c = VALUES.c
    names = ["trial_id", "objective", "value", "value_type"]
    source = select(
        _typed("trial", c.trial_id),
        _typed("which", c.objective),
        _typed("amount", c.value),
        _typed("kind", c.value_type),
    ).where(literal(1) == 1)  # SQLite would take ON CONFLICT for a join's ON
    return _over(dialect, VALUES, names, source, ("trial_id", "objective"), ("value", "value_type"))


@cache
def moving(begins: bool, ends: bool) -> Any:
    c = TRIALS.c
    able = c.state == TrialState.WAITING if begins else unfinished()
    values: dict[str, Any] = {"state": _typed("to", c.state)}
    if begins:
        values["datetime_start"] = _typed("began", c.datetime_start)
    if ends:
        values["datetime_complete"] = _typed("ended", c.datetime_complete)
    return update(TRIALS).where(c.trial_id == bindparam("trial"), able).values(values)


@cache
def ending_with_value(ends: bool) -> Any:
    c = VALUES.c
    moved = moving(False, ends).returning(TRIALS.c.trial_id).cte("moved")
    source = select(moved.c.trial_id, literal(0), _typed("amount", c.value), _typed("kind", c.value_type))
    names = ["trial_id", "objective", "value", "value_type"]
    return _over("postgresql", VALUES, names, source, ("trial_id", "objective"), ("value", "value_type"))


@cache
def putting_study_attribute(dialect: str, table: Table) -> Any:
    source = select(STUDIES.c.study_id, bindparam("its_key", type_=String), bindparam("word", type_=Text)).where(
        STUDIES.c.study_id == bindparam("owner")
    )
    return _over(dialect, table, ["study_id", "key", "value_json"], source, ("study_id", "key"), ("value_json",), False)


def _open_trial(*columns: Any, given: Any = None) -> Any:
    """One row of `columns` (one for each row of `given`) for a trial that is there and unfinished, and that nobody ends
    before it is written."""
    c = TRIALS.c
    return (
        select(c.trial_id, *columns)
        .select_from(TRIALS if given is None else TRIALS.join(given, true()))
        .where(c.trial_id == bindparam("trial"), unfinished())
        .with_for_update(read=True, of=TRIALS)
    )


def _over(
    dialect: str,
    table: Table,
    names: list[str],
    source: Any,
    unique: Sequence[str],
    changed: Sequence[str],
    rekey: bool = True,
) -> Any:
    """Insert `source`, or write over the row that has the same `unique` columns and give it a new key."""
    adding = (sqlite if dialect == "sqlite" else postgresql).insert(table).from_select(names, source)
    values: dict[str, Any] = {name: adding.excluded[name] for name in changed}
    if rekey:
        key = next(iter(table.primary_key.columns))
        next_key = select(func.max(key) + 1).scalar_subquery()
        values[key.name] = next_key if dialect == "sqlite" else adding.excluded[key.name]
    return _counted(adding.on_conflict_do_update(index_elements=list(unique), set_=values))


def _counted(statement: Any) -> Any:
    return statement.execution_options(preserve_rowcount=True)  # SQLAlchemy forgets it for an INSERT otherwise


def _arrays(name: str, **types: Any) -> Any:
    """Arrays given with the statement, as a table."""
    given = (bindparam(key, type_=ARRAY(kind)) for key, kind in types.items())
    return func.unnest(*given).table_valued(*(column(key, kind) for key, kind in types.items())).render_derived(name)


def _typed(name: str, like: Any) -> Any:
    return bindparam(name, type_=like.type)
