"""The statements of the fast storage for studies and their attributes."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from optuna.study import StudyDirection
from sqlalchemy import Connection, Integer, Select, String, Table, Text, and_, bindparam, delete, insert, select
from sqlalchemy.sql.selectable import FromClause

from search.storage.fast.decode import attributes_of
from search.storage.fast.tables import (
    DIRECTIONS,
    HEARTBEATS,
    OF_A_TRIAL,
    STUDIES,
    STUDY_SYSTEM,
    STUDY_USER,
    TRIALS,
)
from search.storage.fast.upsert import upsert
from search.storage.optuna_private import FrozenStudy
from search.trials import IDENTITY

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
    return attributes_of((key, text) for _, key, text in rows) if rows else None


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
