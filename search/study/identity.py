"""The identity of a study, which stays the same when it is renamed and differs when it is created again.

It is stored on both sides: as an attribute of the Optuna study, and as the key of our rows (search.storage.tables). The
attribute also holds Optuna's id of the study, for optuna.copy_study copies attributes. A study of an older version has
no attribute, and its identity is its name.
"""

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage
from sqlalchemy import Engine, and_, delete, select

from search.errors import StudyGone
from search.storage.fast.tables import STUDIES as OPTUNA_STUDIES
from search.storage.fast.tables import STUDY_USER
from search.storage.locks import exclusive
from search.storage.tables import SLOTS, STUDIES
from search.trials import IDENTITY, SPEC

READABLE = 40  # characters of the name at the start of an identity


@dataclass(frozen=True, slots=True)
class Mark:
    """The attribute IDENTITY of a study. study_id: Optuna's id of the study that the identity was given to."""

    identity: str
    study_id: int

    def document(self) -> dict[str, Any]:
        """Return the attribute's value."""
        return {"id": self.identity, "study_id": self.study_id}


def new_identity(name: str) -> str:
    """Return an identity that no other study has. It begins with `name`, for people who read tables and folders."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:READABLE]
    return f"{readable or 'study'}-{secrets.token_hex(6)}"


def mark_of(attributes: Mapping[str, Any]) -> Mark | None:
    """Return the mark among a study's user attributes; None where there is none, or another program has changed it."""
    match attributes.get(IDENTITY):
        case {"id": str(identity), "study_id": int(study_id)} if identity:
            return Mark(identity, study_id)
    return None


def give(storage: BaseStorage, study_id: int, identity: str) -> None:
    """Store `identity` with the Optuna study."""
    storage.set_study_user_attr(study_id, IDENTITY, Mark(identity, study_id).document())


@dataclass(frozen=True, slots=True)
class Head:
    """An Optuna study, with the attributes that its identity follows from."""

    study_id: int
    name: str
    attributes: Mapping[str, Any]


def heads(storage: BaseStorage) -> list[Head]:
    """Return all Optuna studies. Other attributes are not read, for the notes of trials may be many megabytes."""
    engine = storage.engine if hasattr(storage, "engine") else storage._backend.engine  # type: ignore[attr-defined]
    studies, user = OPTUNA_STUDIES.c, STUDY_USER.c
    join = and_(user.study_id == studies.study_id, user.key.in_((IDENTITY, SPEC)))
    query = select(studies.study_id, studies.study_name, user.key, user.value_json).select_from(
        OPTUNA_STUDIES.outerjoin(STUDY_USER, join)
    )
    names: dict[int, str] = {}
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for study_id, name, key, text in connection.execute(query.order_by(studies.study_id)):
            names[study_id] = name
            if key is not None:
                attributes[study_id][key] = _decoded(text)
    return [Head(study_id, name, attributes[study_id]) for study_id, name in names.items()]


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # another program has changed it
        return None


def identity_of(storage: BaseStorage, study_id: int, name: str, attributes: Mapping[str, Any]) -> str | None:
    """Return the identity of a study, with its user attributes; None for a copy that another program made.

    optuna-dashboard renames a study by a copy, whose original it deletes: such a copy keeps the identity.
    """
    if IDENTITY not in attributes:
        return name
    mark = mark_of(attributes)
    if mark is None or mark.study_id == study_id:
        return None if mark is None else mark.identity
    bearers = [head.study_id for head in heads(storage) if mark_of(head.attributes) == mark]
    return mark.identity if bearers == [study_id] else None


def name_now(storage: BaseStorage, study_id: int, identity: str) -> tuple[int, str]:
    """Return Optuna's id and the name that the study with `identity` has now.

    study_id: the id that it had. Raises StudyGone where the study was deleted, or deleted and created again.
    """
    try:
        name = storage.get_study_name_from_id(study_id)
        attributes = storage.get_study_user_attrs(study_id)
    except KeyError:
        pass
    else:
        mark = mark_of(attributes)
        if (name if IDENTITY not in attributes else mark and mark.identity) == identity:
            return study_id, name
    for head in heads(storage):
        if SPEC in head.attributes and identity_of(storage, head.study_id, head.name, head.attributes) == identity:
            return head.study_id, head.name
    raise StudyGone(f"study {identity} was deleted")


def names_by_identity(storage: BaseStorage) -> dict[str, str]:
    """Return identity -> present name of all studies in the database."""
    found = {}
    for head in heads(storage):
        identity = identity_of(storage, head.study_id, head.name, head.attributes)
        if identity is not None:
            found[identity] = head.name
    return found


def orphaned_rows(storage: BaseStorage, engine: Engine) -> frozenset[str]:
    """Return the identities in our tables that no Optuna study carries: those studies were deleted."""
    with engine.connect() as connection:
        stored = {*connection.execute(select(STUDIES.c.study)).scalars()}
        stored |= {*connection.execute(select(SLOTS.c.study).distinct()).scalars()}
    marks = {head.name: mark_of(head.attributes) for head in heads(storage)}
    return frozenset(stored) - {name if mark is None else mark.identity for name, mark in marks.items()}


def remove_orphaned_rows(storage: BaseStorage, engine: Engine) -> frozenset[str]:
    """Remove the rows of deleted studies from our tables, and return their identities.

    Needs the lock "create", which search.study.study.create holds while a study has rows and no identity.
    """
    orphaned = orphaned_rows(storage, engine)
    for identity in orphaned:
        remove_rows(engine, identity)
    return orphaned


def forget_deleted(storage: BaseStorage, engine: Engine) -> frozenset[str]:
    """Remove the rows of deleted studies, as remove_orphaned_rows does, under its lock."""
    if not orphaned_rows(storage, engine):
        return frozenset()
    with exclusive(engine, "create"):
        return remove_orphaned_rows(storage, engine)


def remove_rows(engine: Engine, identity: str) -> None:
    """Remove the budget and the slots of a study."""
    with engine.begin() as connection:
        for table in (SLOTS, STUDIES):
            connection.execute(delete(table).where(table.c.study == identity))
