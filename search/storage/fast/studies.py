"""The statements of the fast storage for studies, their attributes, and trials that are added to them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from optuna.distributions import distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Connection,
    Integer,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    select,
)
from sqlalchemy.sql.selectable import FromClause

from search.storage.fast.cache import UNDECODABLE, json_of
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
from search.storage.fast.writes import TrialKey, stored_report, stored_value, to_utc, upsert
from search.storage.optuna_private import FrozenStudy
from search.trials import IDENTITY

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


_MARK = STUDY_USER.alias("mark")
_PROOF = TRIALS.alias("proof")
# What a study is recognised by (see cache.StudyCache): its name, IDENTITY, and the start of the trial `proof`.
RECOGNISED = (STUDIES.c.study_name, _MARK.c.value_json.label("identity"), _PROOF.c.datetime_start.label("proof_began"))


class Recognised(NamedTuple):
    """What a study is recognised by, as RECOGNISED, with its id."""

    study_id: int
    name: str
    identity: str | None
    proof_began: datetime | None


def with_proof() -> FromClause:
    """Return the table of studies, joined to what RECOGNISED selects; the trial_id is the parameter "proof"."""
    mark = and_(_MARK.c.study_id == STUDIES.c.study_id, _MARK.c.key == IDENTITY)
    proof = and_(_PROOF.c.trial_id == bindparam("proof", type_=Integer), _PROOF.c.study_id == STUDIES.c.study_id)
    return STUDIES.outerjoin(_MARK, mark).outerjoin(_PROOF, proof)


def study_named(connection: Connection, name: str, proof: int) -> Recognised | None:
    """Return the study `name`, in one statement; None where there is none. proof: a trial_id, see StudyCache."""
    row = connection.execute(_named(), {"name": name, "proof": proof}).first()
    return None if row is None else Recognised(*row)


def study_name_of(connection: Connection, study_id: int) -> str | None:
    """Return the name of a study; None where there is none."""
    found: str | None = connection.execute(select(STUDIES.c.study_name).where(STUDIES.c.study_id == study_id)).scalar()
    return found


def directions_of(connection: Connection, study_id: int) -> list[StudyDirection]:
    """Return the directions of a study; an empty list where there is no such study."""
    c = DIRECTIONS.c
    return list(connection.execute(select(c.direction).where(c.study_id == study_id).order_by(c.objective)).scalars())


def study_attributes(connection: Connection, table: Table, study_id: int) -> dict[str, Any] | None:
    """Return a study's attributes in `table`, in one statement; None where there is no such study."""
    c = table.c
    rows = connection.execute(
        select(STUDIES.c.study_id, c.key, c.value_json)
        .select_from(STUDIES.outerjoin(table, c.study_id == STUDIES.c.study_id))
        .where(STUDIES.c.study_id == study_id)
    ).all()
    return attributes_of([(key, text) for _, key, text in rows]) if rows else None


def attributes_of(rows: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Return name -> content for rows of (name, JSON), without those that are not JSON."""
    decoded = ((name, json_of(text)) for name, text in rows if name is not None)
    return {name: content for name, content in decoded if content is not UNDECODABLE}


def all_studies(connection: Connection) -> list[FrozenStudy]:
    """Return all studies with their directions and attributes, in four statements."""
    directions: dict[int, list[StudyDirection]] = defaultdict(list)
    c = DIRECTIONS.c
    studies = connection.execute(select(STUDIES.c.study_id, STUDIES.c.study_name).order_by("study_id")).all()
    for study_id, direction in connection.execute(select(c.study_id, c.direction).order_by(c.objective)):
        directions[study_id].append(direction)
    user, system = (_attributes_by_study(connection, table) for table in (STUDY_USER, STUDY_SYSTEM))
    return [
        FrozenStudy(name, None, attributes_of(user[i]), attributes_of(system[i]), i, directions=directions[i])
        for i, name in studies
    ]


def _attributes_by_study(connection: Connection, table: Table) -> dict[int, list[tuple[Any, Any]]]:
    found: dict[int, list[tuple[Any, Any]]] = defaultdict(list)
    for study_id, key, text in connection.execute(select(table.c.study_id, table.c.key, table.c.value_json)):
        found[study_id].append((key, text))
    return found


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
    return connection.execute(_upsert_attribute(connection.dialect.name, table), row).rowcount == 1


@cache
def _named() -> Select[Any]:
    return (
        select(STUDIES.c.study_id, *RECOGNISED)
        .select_from(with_proof())
        .where(STUDIES.c.study_name == bindparam("name", type_=String))
    )


@cache
def _upsert_attribute(dialect: str, table: Table) -> Any:
    source = select(STUDIES.c.study_id, bindparam("attribute", type_=String), bindparam("text", type_=Text)).where(
        STUDIES.c.study_id == bindparam("owner")
    )
    names = ["study_id", "key", "value_json"]
    return upsert(dialect, table, names, source, ("study_id", "key"), ("value_json",), rekey=False)
