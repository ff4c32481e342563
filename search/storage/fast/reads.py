"""The SELECT statements of the fast storage: one for the changed trials of a study, one for their new rows."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from optuna.trial import TrialState
from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Float,
    Integer,
    Select,
    String,
    Table,
    and_,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    union_all,
)

from search.storage.fast.studies import RECOGNISED, attributes_of, with_proof
from search.storage.fast.tables import (
    HEAD,
    OF_A_TRIAL,
    PARAMS,
    REPORTS,
    STUDIES,
    SYSTEM,
    TRIALS,
    USER,
    VALUES,
    Marks,
)
from search.storage.fast.writes import upsert_report
from search.storage.optuna_private import models
from search.trials import REMOVED

LAST_ID = "2147483647"  # the largest INTEGER
_MARKS = ("params", "values", "reports", "user", "system")


class Since(NamedTuple):
    """What the cache has of a study: trials up to the trial_id `newest`, of which these are running and waiting.

    proof: a trial_id, see cache.StudyCache. with_reports: also read the reports of trials that are complete now.
    """

    proof: int
    newest: int
    running: Collection[int]
    waiting: Collection[int]
    with_reports: bool


def changed_trials(connection: Connection, study_id: int, since: Since) -> Sequence[Any]:
    """Return the trials of a study that are new, or whose state has changed, in one statement.

    The rows are (study_name, identity, proof_began, trial_id, number, state, datetime_start, datetime_complete, step,
    value, kind), sorted by trial_id: one row with trial_id None where nothing has changed, and no row where there is no
    such study. The first three (see studies.RECOGNISED) tell whether it is the study of the cache.
    with_reports: a complete trial has a row for each of its reports; otherwise step, value and kind are None.
    """
    dialect = connection.dialect.name
    return connection.execute(_changed(dialect), _since_parameters(dialect, study_id, since)).all()


def report_and_changed(
    connection: Connection, report: Mapping[str, Any], study_id: int, since: Since
) -> tuple[bool, Sequence[Any]]:
    """Set an intermediate value (see writes.report_row) and read changed_trials in one statement. PostgreSQL only.

    Returns whether the value was set, and the rows as they were before.
    """
    parameters = {**report, **_since_parameters("postgresql", study_id, since)}
    rows = connection.execute(_report_and_changed(), parameters).all()
    return bool(rows) and rows[0][-1] == 1, rows


def reports_of(connection: Connection, trial_ids: Collection[int]) -> Sequence[Any]:
    """Return (trial_id, step, value, kind) of all reports of these trials, in one statement."""
    dialect = connection.dialect.name
    return connection.execute(_reports(dialect), {"trials": _list(dialect, trial_ids)}).all()


def rows_after(connection: Connection, marks: Mapping[int, Marks]) -> Sequence[Any]:
    """Return the rows of trials that are newer than their marks, in one statement.

    The rows are (kind, row_id, trial_id, n, name, number, text). kind 0: a param (name, number, distribution as JSON);
    1: a value of objective n, and 2: a report at step n (number, its kind as text); 3: a user attribute, and 4: a
    system attribute (name, JSON).
    """
    dialect = connection.dialect.name
    table = [(trial_id, *mark) for trial_id, mark in marks.items()]
    if dialect == "sqlite":
        return connection.execute(_rows(dialect), {"marks": json.dumps(table)}).all()
    columns = zip(*table, strict=True)
    return connection.execute(_rows(dialect), dict(zip(("trial", *_MARKS), map(list, columns), strict=True))).all()


def rows_of(connection: Connection, trial_id: int) -> Sequence[Any]:
    """Return all rows of a trial, in one statement; none where there is no such trial.

    The rows are those of rows_after with the columns began and ended, and one of kind HEAD with study_id as row_id,
    number as n, state as name, and the times of start and end.
    """
    return connection.execute(_trial(), {"trial": trial_id}).all()


def first_distribution(connection: Connection, study_id: int, name: str) -> str | None:
    """Return the distribution, as JSON, of the param in any trial of the study; None where no trial has it."""
    found: str | None = connection.execute(_first_distribution(), {"study": study_id, "name": name}).scalar()
    return found


@cache
def _changed(dialect: str) -> Select[Any]:
    c = TRIALS.c
    # `+ 0` keeps SQLite from the index by study: few trials are newer than `newest`, and the primary key finds them
    study = c.study_id + 0 if dialect == "sqlite" else c.study_id
    # With both bounds, PostgreSQL's generic plan, which does not know the parameters, estimates few rows.
    newer = and_(c.trial_id > bindparam("newest", type_=Integer), c.trial_id <= literal_column(LAST_ID))
    new = and_(newer, study == bindparam("study", type_=Integer))
    ran = and_(_among(c.trial_id, "running", dialect), c.state != TrialState.RUNNING)
    waited = and_(_among(c.trial_id, "waiting", dialect), c.state != TrialState.WAITING)
    columns = (c.trial_id, c.number, c.state, c.datetime_start, c.datetime_complete)
    news = union_all(*(select(*columns).where(which) for which in (new, ran, waited))).subquery("news")
    r = REPORTS.c
    with_reports = and_(
        r.trial_id == news.c.trial_id,
        news.c.state == TrialState.COMPLETE,
        bindparam("with_reports", type_=Integer) == 1,
    )
    return (
        select(
            *(*RECOGNISED, news.c.trial_id, news.c.number, cast(news.c.state, String)),
            *(news.c.datetime_start, news.c.datetime_complete),
            *(r.step, r.intermediate_value, cast(r.intermediate_value_type, String)),
        )
        .select_from(with_proof().outerjoin(news, true()).outerjoin(REPORTS, with_reports))
        .where(STUDIES.c.study_id == bindparam("study", type_=Integer))
        .order_by(news.c.trial_id)
    )


@cache
def _report_and_changed() -> Select[Any]:
    put = upsert_report("postgresql").returning(REPORTS.c.trial_id).cte("put")
    return _changed("postgresql").add_columns(select(func.count()).select_from(put).scalar_subquery())


@cache
def _reports(dialect: str) -> Select[Any]:
    c = REPORTS.c
    wanted = _among(c.trial_id, "trials", dialect)
    return select(c.trial_id, c.step, c.intermediate_value, cast(c.intermediate_value_type, String)).where(wanted)


def _since_parameters(dialect: str, study_id: int, since: Since) -> dict[str, Any]:
    return {
        "study": study_id,
        "proof": since.proof,
        "newest": since.newest,
        "running": _list(dialect, since.running),
        "waiting": _list(dialect, since.waiting),
        "with_reports": int(since.with_reports),
    }


@cache
def _rows(dialect: str) -> Any:
    marks = _marks_of(dialect)
    selects = []
    for kind, (table, mark) in enumerate(zip(OF_A_TRIAL, _MARKS, strict=True)):
        key = next(iter(table.primary_key.columns))
        after = and_(table.c.trial_id == marks.c.trial, key > marks.c[mark])
        selects.append(select(*_columns(kind, key)).select_from(marks.join(table, after)))
    return union_all(*selects)


@cache
def _trial() -> Any:
    trial = bindparam("trial", type_=Integer)
    c = TRIALS.c
    head = [
        literal(HEAD).label("kind"),
        c.study_id.label("row_id"),
        c.trial_id.label("trial_id"),
        c.number.label("n"),
        cast(c.state, String).label("name"),
        cast(null(), Float(53)).label("number"),
        cast(null(), String).label("text"),
        c.datetime_start.label("began"),
        c.datetime_complete.label("ended"),
    ]
    selects = [select(*head).where(c.trial_id == trial)]
    no_times = (cast(null(), DateTime).label("began"), cast(null(), DateTime).label("ended"))
    for kind, table in enumerate(OF_A_TRIAL):
        key = next(iter(table.primary_key.columns))
        selects.append(select(*_columns(kind, key), *no_times).where(table.c.trial_id == trial))
    return union_all(*selects)


@cache
def _first_distribution() -> Select[Any]:
    return (
        select(PARAMS.c.distribution_json)
        .select_from(PARAMS.join(TRIALS, TRIALS.c.trial_id == PARAMS.c.trial_id))
        .where(
            TRIALS.c.study_id == bindparam("study", type_=Integer),
            PARAMS.c.param_name == bindparam("name", type_=String),
        )
        .limit(1)
    )


def _columns(kind: int, key: ColumnElement[int]) -> list[ColumnElement[Any]]:
    table = OF_A_TRIAL[kind]
    c = table.c
    no_n, no_name = cast(null(), Integer), cast(null(), String)
    columns: dict[Table, Callable[[], tuple[Any, Any, Any, Any]]] = {
        PARAMS: lambda: (no_n, c.param_name, c.param_value, c.distribution_json),
        VALUES: lambda: (c.objective, no_name, c.value, cast(c.value_type, String)),
        REPORTS: lambda: (c.step, no_name, c.intermediate_value, cast(c.intermediate_value_type, String)),
        USER: lambda: (no_n, c.key, cast(null(), Float(53)), c.value_json),
        SYSTEM: lambda: (no_n, c.key, cast(null(), Float(53)), c.value_json),
    }
    n, name, number, text = columns[table]()
    return [
        literal(kind).label("kind"),
        key.label("row_id"),
        c.trial_id.label("trial_id"),
        n.label("n"),
        name.label("name"),
        number.label("number"),
        text.label("text"),
    ]


def _marks_of(dialect: str) -> CTE:
    """Return the marks in the statement's parameters as a table: arrays on PostgreSQL, JSON on SQLite."""
    names = ("trial", *_MARKS)
    if dialect == "sqlite":
        given = func.json_each(bindparam("marks", type_=String)).table_valued("value", name="given")
        parts = [func.json_extract(given.c.value, f"$[{i}]").label(name) for i, name in enumerate(names)]
        return select(*parts).cte("marks")
    arrays = [bindparam(name, type_=ARRAY(Integer)) for name in names]
    unnested = func.unnest(*arrays).table_valued(*(column(name, Integer) for name in names)).render_derived("given")
    return select(*(unnested.c[name] for name in names)).cte("marks")


def _among(key: ColumnElement[int], name: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that `key` is in the list that the parameter `name` holds (see _list)."""
    if dialect == "sqlite":
        return key.in_(select(func.json_each(bindparam(name, type_=String)).table_valued("value").c.value))
    return key == any_(cast(bindparam(name, type_=String), ARRAY(Integer)))


def _list(dialect: str, ids: Collection[int]) -> str:
    """Return a list as one parameter: a JSON array on SQLite, an array literal on PostgreSQL."""
    inner = ",".join(map(str, ids))
    return f"[{inner}]" if dialect == "sqlite" else f"{{{inner}}}"


NOTE_OF_A_TRIAL = "dashboard:%:note_%"
NOTE_VERSION = "dashboard:%:note_ver"
NOTE_TEXT = "dashboard:%:note_str:%"

_KEY, _VALUE = models.StudySystemAttributeModel.key, models.StudySystemAttributeModel.value_json
_STUDY = models.StudySystemAttributeModel.study_id


def system_attributes(engine: Engine, study_id: int, *patterns: str) -> dict[str, Any]:
    """Read only the system attributes of a study whose keys match one of `patterns` (SQL's LIKE)."""
    wanted: ColumnElement[bool] = _KEY.like(patterns[0])
    for pattern in patterns[1:]:
        wanted = wanted | _KEY.like(pattern)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        rows = connection.execute(select(_KEY, _VALUE).where(_STUDY.in_((study_id,)), wanted)).all()
    return attributes_of([(key, text) for key, text in rows])


def trial_of_key(key: str) -> int:
    """Return the trial_id in the key of a trial's note, or of its removed artifacts."""
    return int(key.removeprefix(REMOVED)) if key.startswith(REMOVED) else int(key.split(":")[1])


def notes_by_trial(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return trial_id -> the attributes of its note."""
    notes: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, value in attributes.items():
        notes[trial_of_key(key)][key] = value
    return notes
