"""What the lean storage writes: one statement a call, which itself refuses a trial that has finished or is not there.

A row that is written over gets a new key, so that readers who ask for what came after the newest row they know (see
search.storage.fast.reads) find it too.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    delete,
    insert,
    select,
)

from search.storage.fast import statements
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
    stored_report,
    stored_value,
    to_utc,
)

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
    return connection.execute(statements.putting_study_attribute(connection.dialect.name, table), row).rowcount == 1


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
        statements.adding_trial(),
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
    words = statements.ADDING_AT_ONCE.format(study=int(study_id), newest=int(newest), n_known=int(n_known), began=began)
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
        return connection.execute(statements.putting_params(dialect), rows).rowcount > 0
    row = {"trial": trial_id, "n": list(names), "v": list(map(float, values)), "k": list(kinds)}
    return connection.execute(statements.putting_params(dialect), row).rowcount > 0


def put_attributes(connection: Connection, table: Table, trial_id: int, values: Mapping[str, Any]) -> bool:
    """Set attributes of an unfinished trial; False where it has finished, or there is none."""
    dialect = connection.dialect.name
    words = {key: json.dumps(value) for key, value in values.items()}
    if dialect == "sqlite":
        rows = [{"trial": trial_id, "k": key, "w": word} for key, word in words.items()]
        return connection.execute(statements.putting_attributes(dialect, table), rows).rowcount > 0
    row = {"trial": trial_id, "k": list(words), "w": list(words.values())}
    return connection.execute(statements.putting_attributes(dialect, table), row).rowcount > 0


def put_report(connection: Connection, trial_id: int, step: int, value: float) -> bool:
    """Set an intermediate value of an unfinished trial; False where it has finished, or there is none."""
    row = report_row(trial_id, step, value)
    return connection.execute(statements.putting_report(connection.dialect.name), row).rowcount == 1


def report_row(trial_id: int, step: int, value: float) -> dict[str, Any]:
    """The parameters of the statement that sets an intermediate value."""
    number, kind = stored_report(value)
    return {"trial": trial_id, "at": step, "amount": number, "kind": kind}


def put_values(connection: Connection, trial_id: int, values: Sequence[float]) -> None:
    """Set objective values of a trial, whatever its state."""
    for objective, value in enumerate(values):
        number, kind = stored_value(value)
        row = {"trial": trial_id, "which": objective, "amount": number, "kind": kind}
        connection.execute(statements.putting_value(connection.dialect.name), row)


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
        return (
            connection.execute(statements.ending_with_value(ends), row | {"amount": number, "kind": kind}).rowcount == 1
        )
    moved = connection.execute(statements.moving(begins, ends), row).rowcount == 1
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
