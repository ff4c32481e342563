"""Stored studies: their identity, their record as plain values, and why they are finished.

The identity of a study stays the same when it is renamed, and differs when it is created again. It is stored on both
sides: as an attribute of the Optuna study, and as the key of our rows (search.storage.tables). The attribute also holds
Optuna's id of the study, for optuna.copy_study copies attributes. A study of an older version has no attribute, and its
identity is its name.

A record is not decoded, for decoding a study imports the model families and so torch, which takes seconds.
"""

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna import Study as OptunaStudy
from optuna.storages import BaseStorage
from sqlalchemy import Engine, and_, delete, select

from data.errors import near, shell_command
from search.errors import NoBudget, StudyError, StudyGone, UserError
from search.storage.fast.tables import STUDIES as OPTUNA_STUDIES
from search.storage.fast.tables import STUDY_USER
from search.storage.locks import exclusive
from search.storage.tables import SLOTS, STUDIES
from search.trials import COPIED, FAMILY, FINGERPRINT, IDENTITY, PLUGIN, SPEC

READABLE = 40  # characters of the name at the start of an identity


@dataclass(frozen=True, slots=True)
class StoredIdentity:
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


def stored_identity(attributes: Mapping[str, Any]) -> StoredIdentity | None:
    """Return the identity among a study's user attributes; None where there is none, or others have changed it."""
    match attributes.get(IDENTITY):
        case {"id": str(identity), "study_id": int(study_id)} if identity:
            return StoredIdentity(identity, study_id)
    return None


def store_identity(storage: BaseStorage, study_id: int, identity: str) -> None:
    """Store `identity` with the Optuna study."""
    storage.set_study_user_attr(study_id, IDENTITY, StoredIdentity(identity, study_id).document())


@dataclass(frozen=True, slots=True)
class StudyHead:
    """An Optuna study, with the attributes that its identity follows from."""

    study_id: int
    name: str
    attributes: Mapping[str, Any]


def engine_of(storage: BaseStorage) -> Engine:
    """Return the engine of a storage that open_storage or open_readable has opened."""
    engine: Engine = storage.engine if hasattr(storage, "engine") else storage._backend.engine  # type: ignore[attr-defined]
    return engine


def study_heads(engine: Engine, study_id: int | None = None) -> list[StudyHead]:
    """Return the Optuna studies, all or that with the id `study_id`.

    Other attributes are not read, for the notes of trials may be many megabytes.
    """
    studies, user = OPTUNA_STUDIES.c, STUDY_USER.c
    join = and_(user.study_id == studies.study_id, user.key.in_((IDENTITY, SPEC)))
    query = select(studies.study_id, studies.study_name, user.key, user.value_json).select_from(
        OPTUNA_STUDIES.outerjoin(STUDY_USER, join)
    )
    if study_id is not None:
        query = query.where(studies.study_id == study_id)
    names: dict[int, str] = {}
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for row_id, name, key, text in connection.execute(query.order_by(studies.study_id)):
            names[row_id] = name
            if key is not None:
                attributes[row_id][key] = _decoded(text)
    return [StudyHead(row_id, name, attributes[row_id]) for row_id, name in names.items()]


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # another program has changed it
        return None


def identity_of(engine: Engine, study_id: int, name: str, attributes: Mapping[str, Any]) -> str | None:
    """Return the identity of a study, with its user attributes; None for a copy that another program made.

    optuna-dashboard renames a study by a copy, whose original it deletes: such a copy keeps the identity.
    """
    if IDENTITY not in attributes:  # of an older version, unless one that was renamed since has this name as identity
        carried = (stored_identity(head.attributes) for head in study_heads(engine))
        return None if any(found is not None and found.identity == name for found in carried) else name
    stored = stored_identity(attributes)
    if stored is None or stored.study_id == study_id:
        return None if stored is None else stored.identity
    bearers = [head.study_id for head in study_heads(engine) if stored_identity(head.attributes) == stored]
    return stored.identity if bearers == [study_id] else None


def name_now(engine: Engine, study_id: int, identity: str) -> tuple[int, str]:
    """Return Optuna's id and the name that the study with `identity` has now.

    study_id: the id that it had. Raises StudyGone where the study was deleted, or deleted and created again.
    """
    for head in study_heads(engine, study_id):
        stored = stored_identity(head.attributes)
        if (head.name if IDENTITY not in head.attributes else stored and stored.identity) == identity:
            return study_id, head.name
    for head in study_heads(engine):
        if SPEC in head.attributes and identity_of(engine, head.study_id, head.name, head.attributes) == identity:
            return head.study_id, head.name
    raise StudyGone(f"study {identity} was deleted")


def names_by_identity(engine: Engine) -> dict[str, str]:
    """Return identity -> present name of all studies in the database."""
    found = {}
    for head in study_heads(engine):
        identity = identity_of(engine, head.study_id, head.name, head.attributes)
        if identity is not None:
            found[identity] = head.name
    return found


def orphaned_rows(engine: Engine) -> frozenset[str]:
    """Return the identities in our tables that no Optuna study carries: those studies were deleted."""
    with engine.connect() as connection:
        stored = {*connection.execute(select(STUDIES.c.study)).scalars()}
        stored |= {*connection.execute(select(SLOTS.c.study).distinct()).scalars()}
    carried = {head.name: stored_identity(head.attributes) for head in study_heads(engine)}
    return frozenset(stored) - {name if found is None else found.identity for name, found in carried.items()}


def remove_orphaned_rows(engine: Engine) -> frozenset[str]:
    """Remove the rows of deleted studies from our tables, and return their identities.

    Needs the lock "create", which search.study.study.create holds while a study has rows and no identity.
    """
    orphaned = orphaned_rows(engine)
    for identity in orphaned:
        remove_rows(engine, identity)
    return orphaned


def forget_deleted(engine: Engine) -> frozenset[str]:
    """Remove the rows of deleted studies, as remove_orphaned_rows does, under its lock."""
    if not orphaned_rows(engine):
        return frozenset()
    with exclusive(engine, "create"):
        return remove_orphaned_rows(engine)


def remove_rows(engine: Engine, identity: str) -> None:
    """Remove the budget and the slots of a study."""
    with engine.begin() as connection:
        for table in (SLOTS, STUDIES):
            connection.execute(delete(table).where(table.c.study == identity))


class StudyLike(Protocol):
    """What search.study.study.Study and StudyRecord have in common. hours: limit of the budget; None: no limit."""

    @property
    def optuna(self) -> OptunaStudy: ...

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def epochs(self) -> int: ...

    @property
    def hours(self) -> float | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class StudyRecord:
    """A stored study of one family.

    identity: see search.study.record. document: its study file as plain values. fingerprint: of its recordings.
    n_copied: see COPIED.
    """

    optuna: OptunaStudy
    identity: str
    document: Mapping[str, Any]
    family: str
    fingerprint: str
    n_copied: int = 0

    @property
    def name(self) -> str:
        return self.optuna.study_name

    @property
    def metric(self) -> str:
        return str(self.document["metric"])

    @property
    def epochs(self) -> int:
        return int(self.document["epochs"])

    @property
    def hours(self) -> float | None:
        hours = self.document["budget"]["hours"]
        return None if hours is None else float(hours)


def load_record(name: str, storage: BaseStorage) -> StudyRecord:
    """Load the record of the study `name`. Raises StudyError, with the nearest name, where there is none."""
    names = optuna.get_all_study_names(storage)
    if name not in names:
        name = names_by_identity(engine_of(storage)).get(name, name)  # a launch passes identities to its workers
    if name not in names:
        raise missing(name, names)
    study = optuna.load_study(study_name=name, storage=storage)
    attributes = study.user_attrs
    if SPEC not in attributes:
        raise not_created(name)
    identity = identity_of(engine_of(storage), study._study_id, name, attributes)
    if identity is None:
        raise NoBudget(
            f"study {name!r} is a copy that another program made, and has no budget of its own; run: "
            f"{shell_command('adopt', name)}"
        )
    document = stored_document(name, attributes)
    n_copied = attributes.get(COPIED)
    return StudyRecord(
        study,
        identity,
        document,
        attributes[FAMILY],
        attributes[FINGERPRINT],
        n_copied if isinstance(n_copied, int) else 0,
    )


def missing(name: str, names: Collection[str]) -> StudyError:
    """Return the error about a study that is none of the stored ones, `names`."""
    known = (
        f"known: {', '.join(sorted(names))}" if names else "there is none yet; make one: drivebeat create STUDY.toml"
    )
    return StudyError(f"no study {name!r}{near(name, names)}; {known}")


def not_created(name: str) -> StudyError:
    """Return the error about a study of another program."""
    return StudyError(
        f"study {name!r} was not created by Drivebeat: it has no study file; list those that were: drivebeat show"
    )


def _changed(name: str, problem: str) -> StudyError:
    return StudyError(
        f"study {name!r}: its attribute {problem}; it was changed, or made by a newer Drivebeat; use the Drivebeat "
        f"that made it, or delete it: {shell_command('delete', name)}"
    )


def stored_document(name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study file in a study's attributes. Raises StudyError where another program has changed them."""
    try:
        document = json.loads(attributes[SPEC])
        well_formed = isinstance(document["name"], str) and isinstance(document["metric"], str)
        hours = document["budget"]["hours"]
        well_formed = well_formed and isinstance(document["epochs"], int)
        well_formed = well_formed and (hours is None or isinstance(hours, int | float))
    except (TypeError, ValueError, KeyError, RecursionError):
        well_formed = False
    if not well_formed:
        raise _changed(name, f"{SPEC} is no study file")
    for key in (FAMILY, FINGERPRINT):
        if not isinstance(attributes.get(key), str):
            raise _changed(name, f"{key} is {attributes.get(key)!r}")
    found: dict[str, Any] = _with_sources(document, name, attributes)
    return found


def _with_sources(document: dict[str, Any], name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored study file with the sources of its plug-ins. Raises StudyError where one is missing."""
    entries = document.get("plugins", [])
    if not entries:
        return document
    try:
        tables = [{**entry, "source": attributes[f"{PLUGIN}{entry['sha256']}"]} for entry in entries]
    except (TypeError, KeyError) as error:
        raise _changed(name, f"{PLUGIN}..., the source of a plug-in, is missing") from error
    return {**document, "plugins": tables}


def plugin_problem(study: StudyLike) -> str:
    """Return why the plug-ins of a stored study cannot be executed on this machine; "" where nothing is known of it.

    They are not executed for it. A decoded study has none, for its plug-ins were executed.
    """
    if not isinstance(study, StudyRecord) or not study.document.get("plugins"):
        return ""
    # imported only where needed, like the families
    from training.plugins.plugin import decode_plugins
    from training.plugins.trust import refusal, untrusted

    where = f"study {study.name}"
    try:
        found = untrusted(decode_plugins(study.document["plugins"], where))
    except UserError as error:
        return str(error)
    return str(refusal(found[0], where, study.name)) if found else ""


def current_record(record: StudyRecord) -> StudyRecord:
    """Return the record of the study as it is called now. Raises StudyGone where it was deleted."""
    storage, study_id = record.optuna._storage, record.optuna._study_id
    now = name_now(engine_of(storage), study_id, record.identity)
    return record if now == (study_id, record.name) else load_record(now[1], storage)


def load_records(storage: BaseStorage, name: str | None = None) -> list[StudyRecord]:
    """Load the records of a study, or of all families of a study file.

    name: of a study or of a study file, whose studies are called NAME-FAMILY; None: all studies that Drivebeat created.
    Raises StudyError where there is neither a study nor a study file of that name, and for a study that cannot be read.
    """
    if name is None:
        return [load_record(study, storage) for study, _ in _ours(storage)]
    if name not in optuna.get_all_study_names(storage):
        families = [study for study, file_name in _ours(storage) if file_name == name and study.startswith(f"{name}-")]
        if families:
            return [load_record(family, storage) for family in families]
    return [load_record(name, storage)]


def _ours(storage: BaseStorage) -> list[tuple[str, str]]:
    """Return (study, name in its study file) of each study that Drivebeat created, sorted by name."""
    studies = [s for s in storage.get_all_studies() if SPEC in s.user_attrs]
    return sorted((study.study_name, _file_name(study.user_attrs[SPEC])) for study in studies)


def _file_name(text: Any) -> str:
    """Return the name in a stored study file; "" where it cannot be read."""
    try:
        return str(json.loads(text)["name"])
    except (TypeError, ValueError, KeyError, RecursionError):
        return ""


def readable_records(storage: BaseStorage) -> tuple[list[StudyRecord], dict[str, str]]:
    """Load the records of all studies that Drivebeat created, and name -> reason for those that cannot be read."""
    records, problems = [], {}
    for name, _ in _ours(storage):
        try:
            records.append(load_record(name, storage))
        except StudyError as error:
            problems[name] = str(error)
    return records, problems
