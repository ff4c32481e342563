"""The statements of the fast storage that add a trial."""

import json
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Integer, Table, and_, bindparam, case, exists, func, insert, select

from search.storage.fast.tables import PARAMS, REPORTS, STUDIES, SYSTEM, TRIALS, USER, VALUES
from search.storage.fast.writes import TrialKey, stored_report, stored_value, to_utc

# Two statements in one message, which takes no parameters: integers and times are formatted into the text.
ADD_TRIAL_AT_ONCE = """SELECT study_id FROM studies WHERE study_id = {study} FOR NO KEY UPDATE;
INSERT INTO trials (number, study_id, state, datetime_start)
SELECT CASE WHEN EXISTS
(SELECT FROM trials WHERE trial_id = {proof} AND study_id = {study} AND datetime_start = '{proof_began}')
THEN {n_cached} + (SELECT count(*) FROM trials WHERE study_id = {study} AND trial_id > {newest})
ELSE (SELECT count(*) FROM trials WHERE study_id = {study}) END,
study_id, 'RUNNING', '{began}' FROM studies WHERE study_id = {study} RETURNING trial_id, number"""


class Counted(NamedTuple):
    """The trials of a study that are in the cache, from which the number of a new one is counted.

    newest, n_cached: the highest trial_id, and the number of trials up to it. proof, proof_began: a trial_id and its
    start; all trials are counted where the study has no such trial, for then the cache is of another study.
    """

    newest: int = 0
    n_cached: int = 0
    proof: int = 0
    proof_began: datetime | None = None


def add_trial(
    connection: Connection, study_id: int, counted: Counted, template: FrozenTrial | None
) -> tuple[int, TrialKey] | None:
    """Add a trial. Needs a transaction if there is a template, else autocommit.

    template: a trial to copy; None: add a running one. On PostgreSQL the study is locked, as Optuna does it, so that
    numbers have no gaps.

    Returns its trial_id and its key; None where there is no such study.
    """
    began = to_utc(datetime.now() if template is None else template.datetime_start)
    if connection.dialect.name != "sqlite" and template is None:
        added = _add_at_once(connection, study_id, counted, began)
    else:
        added = _add(connection, study_id, counted, template, began)
    if added is None:
        return None
    trial_id, number = added
    if template is not None:
        _add_rows(connection, trial_id, template)
    return trial_id, TrialKey(study_id, number, began)


def _add(
    connection: Connection, study_id: int, counted: Counted, template: FrozenTrial | None, began: datetime | None
) -> tuple[int, int] | None:
    if connection.dialect.name != "sqlite":
        lock = (
            select(STUDIES.c.study_id).where(STUDIES.c.study_id == bindparam("study")).with_for_update(key_share=True)
        )
        if connection.execute(lock, {"study": study_id}).first() is None:
            return None
    row = connection.execute(
        _insert_trial(),
        {
            "study": study_id,
            **counted._asdict(),
            "to": TrialState.RUNNING if template is None else template.state,
            "began": began,
            "ended": None if template is None else to_utc(template.datetime_complete),
        },
    ).first()
    return None if row is None else (row[0], row[1])


def _add_at_once(
    connection: Connection, study_id: int, counted: Counted, began: datetime | None
) -> tuple[int, int] | None:
    """Lock the study and add a running trial to it, in one message to PostgreSQL.

    Its two statements form one transaction, and the second sees what was committed before the lock was acquired.
    """
    newest, n_cached, proof, proof_began = counted
    sql = ADD_TRIAL_AT_ONCE.format(
        study=int(study_id),
        newest=int(newest),
        n_cached=int(n_cached),
        proof=int(proof),
        proof_began=proof_began or "-infinity",
        began=began,
    )
    result = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    cursor = result.cursor
    assert cursor is not None
    cursor.nextset()
    found: tuple[int, int] | None = cursor.fetchone()
    result.close()
    return found


@cache
def _insert_trial() -> Any:
    c = TRIALS.c
    study = bindparam("study", type_=Integer)
    proof_began = bindparam("proof_began", type_=c.datetime_start.type)
    proved = and_(c.trial_id == bindparam("proof", type_=Integer), c.study_id == study, c.datetime_start == proof_began)
    n_all = select(func.count()).where(c.study_id == study)
    n_newer = n_all.where(c.trial_id > bindparam("newest", type_=Integer))
    number = case(
        (exists().where(proved), n_newer.scalar_subquery() + bindparam("n_cached", type_=Integer)),
        else_=n_all.scalar_subquery(),
    )
    source = select(
        number,
        STUDIES.c.study_id,
        bindparam("to", type_=c.state.type),
        bindparam("began", type_=c.datetime_start.type),
        bindparam("ended", type_=c.datetime_complete.type),
    ).where(STUDIES.c.study_id == study)
    names = ["number", "study_id", "state", "datetime_start", "datetime_complete"]
    return insert(TRIALS).from_select(names, source).returning(c.trial_id, c.number)


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
