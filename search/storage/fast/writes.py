"""The INSERT and UPDATE statements of the fast storage: one a call, which does nothing to a finished or missing trial.

A row that is overwritten gets a new primary key, so that readers that ask for rows after the newest one they have read
(search.storage.fast.reads) find it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Float,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from search.storage.fast.tables import (
    DIRECTIONS,
    HEARTBEATS,
    OF_A_TRIAL,
    PARAMS,
    REPORTS,
    STUDIES,
    STUDY_SYSTEM,
    STUDY_USER,
    SYSTEM,
    TRIALS,
    USER,
    VALUES,
)
from search.storage.optuna_private import models

# Two statements in one message, which takes no parameters: integers and a time are formatted into the text.
ADD_TRIAL_AT_ONCE = """SELECT study_id FROM studies WHERE study_id = {study} FOR NO KEY UPDATE;
INSERT INTO trials (number, study_id, state, datetime_start)
SELECT {n_cached} + (SELECT count(*) FROM trials WHERE study_id = {study} AND trial_id > {newest}),
study_id, 'RUNNING', '{began}' FROM studies WHERE study_id = {study} RETURNING trial_id, number"""


@cache
def insert_trial() -> Any:
    c = TRIALS.c
    newer = select(func.count()).where(c.study_id == bindparam("study"), c.trial_id > bindparam("newest"))
    number = newer.scalar_subquery() + bindparam("n_cached", type_=Integer)
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
def insert_params(dialect: str) -> Any:
    names = ["trial_id", "param_name", "param_value", "distribution_json"]
    if dialect == "sqlite":
        source = _unfinished_trial(
            _typed("n", PARAMS.c.param_name), _typed("v", PARAMS.c.param_value), bindparam("k", type_=Text)
        )
        return _with_rowcount(sqlite.insert(PARAMS).from_select(names, source).on_conflict_do_nothing())
    given = _arrays("given", n=String, v=Float(53), k=Text)
    source = _unfinished_trial(given.c.n, given.c.v, given.c.k, given=given)
    return _with_rowcount(postgresql.insert(PARAMS).from_select(names, source).on_conflict_do_nothing())


@cache
def upsert_attributes(dialect: str, table: Table) -> Any:
    names = ["trial_id", "key", "value_json"]
    if dialect == "sqlite":
        source = _unfinished_trial(bindparam("k", type_=String), bindparam("w", type_=Text))
    else:
        given = _arrays("given", k=String, w=Text)
        source = _unfinished_trial(given.c.k, given.c.w, given=given)
    return _upsert(dialect, table, names, source, ("trial_id", "key"), ("value_json",))


@cache
def upsert_report(dialect: str) -> Any:
    c = REPORTS.c
    names = ["trial_id", "step", "intermediate_value", "intermediate_value_type"]
    source = _unfinished_trial(
        _typed("at", c.step), _typed("amount", c.intermediate_value), _typed("kind", c.intermediate_value_type)
    )
    return _upsert(dialect, REPORTS, names, source, ("trial_id", "step"), tuple(names[2:]))


@cache
def upsert_value(dialect: str) -> Any:
    c = VALUES.c
    names = ["trial_id", "objective", "value", "value_type"]
    source = select(
        _typed("trial", c.trial_id),
        _typed("which", c.objective),
        _typed("amount", c.value),
        _typed("kind", c.value_type),
    ).where(literal(1) == 1)  # without WHERE, SQLite parses ON CONFLICT as the ON of a join
    return _upsert(dialect, VALUES, names, source, ("trial_id", "objective"), ("value", "value_type"))


@cache
def update_state(begins: bool, ends: bool) -> Any:
    c = TRIALS.c
    allowed = c.state == TrialState.WAITING if begins else unfinished()
    values: dict[str, Any] = {"state": _typed("to", c.state)}
    if begins:
        values["datetime_start"] = _typed("began", c.datetime_start)
    if ends:
        values["datetime_complete"] = _typed("ended", c.datetime_complete)
    return update(TRIALS).where(c.trial_id == bindparam("trial"), allowed).values(values)


@cache
def update_state_and_value(ends: bool) -> Any:
    c = VALUES.c
    moved = update_state(False, ends).returning(TRIALS.c.trial_id).cte("moved")
    source = select(moved.c.trial_id, literal(0), _typed("amount", c.value), _typed("kind", c.value_type))
    names = ["trial_id", "objective", "value", "value_type"]
    return _upsert("postgresql", VALUES, names, source, ("trial_id", "objective"), ("value", "value_type"))


@cache
def upsert_study_attribute(dialect: str, table: Table) -> Any:
    source = select(STUDIES.c.study_id, bindparam("attribute", type_=String), bindparam("text", type_=Text)).where(
        STUDIES.c.study_id == bindparam("owner")
    )
    return _upsert(
        dialect, table, ["study_id", "key", "value_json"], source, ("study_id", "key"), ("value_json",), False
    )


def _unfinished_trial(*columns: Any, given: Any = None) -> Any:
    """Select a row of `columns` (for each row of `given`) if the trial is unfinished, and lock it until it is written.

    The trial's id is the parameter "trial".
    """
    c = TRIALS.c
    return (
        select(c.trial_id, *columns)
        .select_from(TRIALS if given is None else TRIALS.join(given, true()))
        .where(c.trial_id == bindparam("trial"), unfinished())
        .with_for_update(read=True, of=TRIALS)
    )


def _upsert(
    dialect: str,
    table: Table,
    names: list[str],
    source: Any,
    unique: Sequence[str],
    changed: Sequence[str],
    rekey: bool = True,
) -> Any:
    """Insert the rows of `source`, or overwrite those with the same `unique` columns.

    names: columns of `source`. changed: columns to overwrite. rekey: give an overwritten row a new primary key.
    """
    statement = (sqlite if dialect == "sqlite" else postgresql).insert(table).from_select(names, source)
    values: dict[str, Any] = {name: statement.excluded[name] for name in changed}
    if rekey:
        key = next(iter(table.primary_key.columns))
        next_key = select(func.max(key) + 1).scalar_subquery()
        values[key.name] = next_key if dialect == "sqlite" else statement.excluded[key.name]
    return _with_rowcount(statement.on_conflict_do_update(index_elements=list(unique), set_=values))


def _with_rowcount(statement: Any) -> Any:
    return statement.execution_options(preserve_rowcount=True)  # SQLAlchemy has no rowcount of an INSERT without it


def _arrays(name: str, **types: Any) -> Any:
    """Return parameters that are arrays, name -> type, as a table."""
    given = (bindparam(key, type_=ARRAY(kind)) for key, kind in types.items())
    return func.unnest(*given).table_valued(*(column(key, kind) for key, kind in types.items())).render_derived(name)


def _typed(name: str, like: Any) -> Any:
    """Return a parameter with the type of a column."""
    return bindparam(name, type_=like.type)


Param = tuple[str, float, BaseDistribution]


def add_study(connection: Connection, name: str, directions: Sequence[StudyDirection]) -> int:
    """Add a study, and return its id. Needs a transaction. Raises IntegrityError where the name exists."""
    study_id: int = connection.execute(
        insert(STUDIES).values(study_name=name).returning(STUDIES.c.study_id)
    ).scalar_one()
    rows = [{"study_id": study_id, "objective": i, "direction": d} for i, d in enumerate(directions)]
    connection.execute(insert(DIRECTIONS), rows)
    return study_id


def remove_study(connection: Connection, study_id: int) -> bool:
    """Remove a study with all its rows. Needs a transaction. Returns False where there is no such study."""
    trial_ids = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
    connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update())
    for table in (*OF_A_TRIAL, HEARTBEATS):
        connection.execute(delete(table).where(table.c.trial_id.in_(trial_ids)))
    for table in (TRIALS, DIRECTIONS, STUDY_USER, STUDY_SYSTEM):
        connection.execute(delete(table).where(table.c.study_id == study_id))
    return connection.execute(delete(STUDIES).where(STUDIES.c.study_id == study_id)).rowcount == 1


def put_study_attribute(connection: Connection, table: Table, study_id: int, key: str, value: Any) -> bool:
    """Set an attribute of a study; return False where there is no such study."""
    row = {"owner": study_id, "attribute": key, "text": json.dumps(value)}
    return connection.execute(upsert_study_attribute(connection.dialect.name, table), row).rowcount == 1


def add_trial(
    connection: Connection, study_id: int, newest: int, n_cached: int, template: FrozenTrial | None
) -> tuple[int, int, datetime | None] | None:
    """Add a trial. Needs a transaction if there is a template, else autocommit.

    newest, n_cached: the highest trial_id in the cache, and the number of trials up to it, from which the new number is
    counted. template: a trial to copy; None: add a running one. On PostgreSQL the study is locked, as Optuna does it,
    so that numbers have no gaps.

    Returns (trial_id, number, local time of start); None where there is no such study.
    """
    began = datetime.now() if template is None else template.datetime_start
    if connection.dialect.name != "sqlite" and template is None:
        added = _add_at_once(connection, study_id, newest, n_cached, to_utc(began))
        return None if added is None else (*added, began)
    if connection.dialect.name != "sqlite":
        lock = (
            select(STUDIES.c.study_id).where(STUDIES.c.study_id == bindparam("study")).with_for_update(key_share=True)
        )
        if connection.execute(lock, {"study": study_id}).first() is None:
            return None
    row = connection.execute(
        insert_trial(),
        {
            "study": study_id,
            "newest": newest,
            "n_cached": n_cached,
            "to": TrialState.RUNNING if template is None else template.state,
            "began": to_utc(began),
            "ended": None if template is None else to_utc(template.datetime_complete),
        },
    ).first()
    if row is None:
        return None
    trial_id, number = row
    if template is not None:
        _add_rows(connection, trial_id, template)
    return trial_id, number, began


def _add_at_once(
    connection: Connection, study_id: int, newest: int, n_cached: int, began: datetime | None
) -> tuple[int, int] | None:
    """Lock the study and add a running trial to it, in one message to PostgreSQL.

    Its two statements form one transaction, and the second sees what was committed before the lock was acquired.
    """
    sql = ADD_TRIAL_AT_ONCE.format(study=int(study_id), newest=int(newest), n_cached=int(n_cached), began=began)
    result = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    cursor = result.cursor
    assert cursor is not None
    cursor.nextset()
    found: tuple[int, int] | None = cursor.fetchone()
    result.close()
    return found


def put_params(connection: Connection, trial_id: int, params: Sequence[Param]) -> bool:
    """Set params of an unfinished trial, except those that are set already; return False where none was set."""
    names, values, kinds = zip(*((n, v, distribution_to_json(d)) for n, v, d in params), strict=True)
    dialect = connection.dialect.name
    if dialect == "sqlite":
        rows = [{"trial": trial_id, "n": n, "v": v, "k": k} for n, v, k in zip(names, values, kinds, strict=True)]
        return connection.execute(insert_params(dialect), rows).rowcount > 0
    row = {"trial": trial_id, "n": list(names), "v": list(map(float, values)), "k": list(kinds)}
    return connection.execute(insert_params(dialect), row).rowcount > 0


def put_attributes(connection: Connection, table: Table, trial_id: int, values: Mapping[str, Any]) -> bool:
    """Set attributes of an unfinished trial; return False where it is finished or missing."""
    dialect = connection.dialect.name
    texts = {key: json.dumps(value) for key, value in values.items()}
    if dialect == "sqlite":
        rows = [{"trial": trial_id, "k": key, "w": text} for key, text in texts.items()]
        return connection.execute(upsert_attributes(dialect, table), rows).rowcount > 0
    row = {"trial": trial_id, "k": list(texts), "w": list(texts.values())}
    return connection.execute(upsert_attributes(dialect, table), row).rowcount > 0


def put_report(connection: Connection, trial_id: int, step: int, value: float) -> bool:
    """Set an intermediate value of an unfinished trial; return False where it is finished or missing."""
    row = report_row(trial_id, step, value)
    return connection.execute(upsert_report(connection.dialect.name), row).rowcount == 1


def report_row(trial_id: int, step: int, value: float) -> dict[str, Any]:
    """Return the parameters of the statement that sets an intermediate value."""
    number, kind = stored_report(value)
    return {"trial": trial_id, "at": step, "amount": number, "kind": kind}


def put_values(connection: Connection, trial_id: int, values: Sequence[float]) -> None:
    """Set objective values of a trial in any state."""
    for objective, value in enumerate(values):
        number, kind = stored_value(value)
        row = {"trial": trial_id, "which": objective, "amount": number, "kind": kind}
        connection.execute(upsert_value(connection.dialect.name), row)


def put_state(connection: Connection, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
    """Set the state and the values of an unfinished trial. Needs a transaction if `takes_transaction` is true.

    A trial becomes RUNNING only from WAITING, so that one of several concurrent calls succeeds. Returns whether the
    state was set.
    """
    row: dict[str, Any] = {"trial": trial_id, "to": state}
    now = to_utc(datetime.now())
    begins, ends = state == TrialState.RUNNING, state.is_finished()
    row |= ({"began": now} if begins else {}) | ({"ended": now} if ends else {})
    if values is not None and not takes_transaction(connection.dialect.name, values):
        number, kind = stored_value(values[0])
        return connection.execute(update_state_and_value(ends), row | {"amount": number, "kind": kind}).rowcount == 1
    moved = connection.execute(update_state(begins, ends), row).rowcount == 1
    if moved and values is not None:
        put_values(connection, trial_id, values)
    return moved


def takes_transaction(dialect: str, values: Sequence[float] | None) -> bool:
    """Return whether put_state executes more than one statement."""
    return values is not None and (dialect == "sqlite" or len(values) != 1)


def _add_rows(connection: Connection, trial_id: int, template: FrozenTrial) -> None:
    """Insert params, values, reports and attributes of `template` for a new trial."""
    trial_key = {"trial_id": trial_id}
    values = [stored_value(value) for value in template._values or ()]
    reports = {step: stored_report(value) for step, value in template.intermediate_values.items()}
    rows: dict[Table, list[dict[str, Any]]] = {
        PARAMS: [
            {
                "param_name": n,
                "param_value": d.to_internal_repr(template.params[n]),
                "distribution_json": distribution_to_json(d),
            }
            for n, d in ((name, template.distributions[name]) for name in template.params)
        ],
        VALUES: [{"objective": i, "value": number, "value_type": kind} for i, (number, kind) in enumerate(values)],
        REPORTS: [
            {"step": step, "intermediate_value": number, "intermediate_value_type": kind}
            for step, (number, kind) in reports.items()
        ],
        USER: [{"key": key, "value_json": json.dumps(value)} for key, value in template.user_attrs.items()],
        SYSTEM: [{"key": key, "value_json": json.dumps(value)} for key, value in template.system_attrs.items()],
    }
    for table, table_rows in rows.items():
        if table_rows:
            connection.execute(insert(table), [trial_key | row for row in table_rows])


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


def unfinished() -> ColumnElement[bool]:
    """Return the condition that a trial may still be changed."""
    return or_(TRIALS.c.state == TrialState.RUNNING, TRIALS.c.state == TrialState.WAITING)
