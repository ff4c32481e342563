"""What the lean storage writes: one statement a call, which itself refuses a trial that has finished or is not there.

A row that is written over gets a new key, so that readers who ask for what came after the newest row they know (see
search.storage.fast.reads) find it too.
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

# Two statements in one message, which takes no parameters: only numbers and a time of ours are put in.
ADD_TRIAL_AT_ONCE = """SELECT study_id FROM studies WHERE study_id = {study} FOR NO KEY UPDATE;
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


Param = tuple[str, float, BaseDistribution]


def add_study(connection: Connection, name: str, directions: Sequence[StudyDirection]) -> int:
    """Add a study; its id. Raises IntegrityError where there is one of that name. In a transaction."""
    study_id: int = connection.execute(
        insert(STUDIES).values(study_name=name).returning(STUDIES.c.study_id)
    ).scalar_one()
    rows = [{"study_id": study_id, "objective": i, "direction": d} for i, d in enumerate(directions)]
    connection.execute(insert(DIRECTIONS), rows)
    return study_id


def remove_study(connection: Connection, study_id: int) -> bool:
    """Remove a study with all that it has; False where there is none. In a transaction."""
    mine = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id)
    connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update())
    for table in (*OF_A_TRIAL, HEARTBEATS):
        connection.execute(delete(table).where(table.c.trial_id.in_(mine)))
    for table in (TRIALS, DIRECTIONS, STUDY_USER, STUDY_SYSTEM):
        connection.execute(delete(table).where(table.c.study_id == study_id))
    return connection.execute(delete(STUDIES).where(STUDIES.c.study_id == study_id)).rowcount == 1


def put_study_attribute(connection: Connection, table: Table, study_id: int, key: str, value: Any) -> bool:
    """Set an attribute of a study; False where there is no such study."""
    row = {"owner": study_id, "its_key": key, "word": json.dumps(value)}
    return connection.execute(putting_study_attribute(connection.dialect.name, table), row).rowcount == 1


def add_trial(
    connection: Connection, study_id: int, newest: int, n_known: int, template: FrozenTrial | None
) -> tuple[int, int, datetime | None] | None:
    """Add a trial; (trial_id, number, local start), or None where there is no such study.

    newest, n_known: the newest trial known of the study, and how many there are up to it; numbers follow from there.
    Numbers have no gaps, for the study is locked first on PostgreSQL, as Optuna does. With a template in a
    transaction, else at once.
    """
    began = datetime.now() if template is None else template.datetime_start
    if connection.dialect.name != "sqlite" and template is None:
        made = _add_at_once(connection, study_id, newest, n_known, to_utc(began))
        return None if made is None else (*made, began)
    if connection.dialect.name != "sqlite":
        lock = (
            select(STUDIES.c.study_id).where(STUDIES.c.study_id == bindparam("study")).with_for_update(key_share=True)
        )
        if connection.execute(lock, {"study": study_id}).first() is None:
            return None
    row = connection.execute(
        adding_trial(),
        {
            "study": study_id,
            "newest": newest,
            "n_known": n_known,
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
    connection: Connection, study_id: int, newest: int, n_known: int, began: datetime | None
) -> tuple[int, int] | None:
    """Lock the study and add a running trial to it, in one message: two statements that PostgreSQL takes for one
    transaction, and of which the second sees what was committed before the lock was had.
    """
    words = ADD_TRIAL_AT_ONCE.format(study=int(study_id), newest=int(newest), n_known=int(n_known), began=began)
    result = connection.exec_driver_sql(words, execution_options={"no_parameters": True})
    cursor = result.cursor
    assert cursor is not None
    cursor.nextset()
    found: tuple[int, int] | None = cursor.fetchone()
    result.close()
    return found


def put_params(connection: Connection, trial_id: int, params: Sequence[Param]) -> bool:
    """Set params of an unfinished trial; one that is set already stays. False where none was set."""
    names, values, kinds = zip(*((n, v, distribution_to_json(d)) for n, v, d in params), strict=True)
    dialect = connection.dialect.name
    if dialect == "sqlite":
        rows = [{"trial": trial_id, "n": n, "v": v, "k": k} for n, v, k in zip(names, values, kinds, strict=True)]
        return connection.execute(putting_params(dialect), rows).rowcount > 0
    row = {"trial": trial_id, "n": list(names), "v": list(map(float, values)), "k": list(kinds)}
    return connection.execute(putting_params(dialect), row).rowcount > 0


def put_attributes(connection: Connection, table: Table, trial_id: int, values: Mapping[str, Any]) -> bool:
    """Set attributes of an unfinished trial; False where it has finished, or there is none."""
    dialect = connection.dialect.name
    words = {key: json.dumps(value) for key, value in values.items()}
    if dialect == "sqlite":
        rows = [{"trial": trial_id, "k": key, "w": word} for key, word in words.items()]
        return connection.execute(putting_attributes(dialect, table), rows).rowcount > 0
    row = {"trial": trial_id, "k": list(words), "w": list(words.values())}
    return connection.execute(putting_attributes(dialect, table), row).rowcount > 0


def put_report(connection: Connection, trial_id: int, step: int, value: float) -> bool:
    """Set an intermediate value of an unfinished trial; False where it has finished, or there is none."""
    row = report_row(trial_id, step, value)
    return connection.execute(putting_report(connection.dialect.name), row).rowcount == 1


def report_row(trial_id: int, step: int, value: float) -> dict[str, Any]:
    """The parameters of the statement that sets an intermediate value."""
    number, kind = stored_report(value)
    return {"trial": trial_id, "at": step, "amount": number, "kind": kind}


def put_values(connection: Connection, trial_id: int, values: Sequence[float]) -> None:
    """Set objective values of a trial, whatever its state."""
    for objective, value in enumerate(values):
        number, kind = stored_value(value)
        row = {"trial": trial_id, "which": objective, "amount": number, "kind": kind}
        connection.execute(putting_value(connection.dialect.name), row)


def put_state(connection: Connection, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
    """Move an unfinished trial to `state`, with its values; RUNNING only from WAITING, so that exactly one of many
    who try wins. False where nothing moved. In a transaction where `takes_transaction` says so.
    """
    row: dict[str, Any] = {"trial": trial_id, "to": state}
    now = to_utc(datetime.now())
    begins, ends = state == TrialState.RUNNING, state.is_finished()
    row |= ({"began": now} if begins else {}) | ({"ended": now} if ends else {})
    if values is not None and not takes_transaction(connection.dialect.name, values):
        number, kind = stored_value(values[0])
        return connection.execute(ending_with_value(ends), row | {"amount": number, "kind": kind}).rowcount == 1
    moved = connection.execute(moving(begins, ends), row).rowcount == 1
    if moved and values is not None:
        put_values(connection, trial_id, values)
    return moved


def takes_transaction(dialect: str, values: Sequence[float] | None) -> bool:
    """Whether put_state takes more than one statement."""
    return values is not None and (dialect == "sqlite" or len(values) != 1)


def _add_rows(connection: Connection, trial_id: int, template: FrozenTrial) -> None:
    mine = {"trial_id": trial_id}
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
    for table, its in rows.items():
        if its:
            connection.execute(insert(table), [mine | row for row in its])


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


def unfinished() -> ColumnElement[bool]:
    """Whether a trial may still be changed."""
    return or_(TRIALS.c.state == TrialState.RUNNING, TRIALS.c.state == TrialState.WAITING)
