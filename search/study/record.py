"""Stored studies as plain values, not decoded, for commands that only show them.

Decoding a study imports the model families and so torch, which takes seconds.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna import Study as OptunaStudy
from optuna.storages import BaseStorage

from data.errors import near
from search.errors import NoBudget, StudyError
from search.study.identity import identity_of, name_now, names_by_identity
from search.trials import FAMILY, FINGERPRINT, SPEC


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

    identity: see search.study.identity. document: its study file as plain values. fingerprint: of its recordings.
    """

    optuna: OptunaStudy
    identity: str
    document: Mapping[str, Any]
    family: str
    fingerprint: str

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
        name = names_by_identity(storage).get(name, name)  # a launch passes identities to its workers
    if name not in names:
        known = (
            f"known: {', '.join(sorted(names))}"
            if names
            else "there is none yet; make one: drivebeat create STUDY.toml"
        )
        raise StudyError(f"no study {name!r}{near(name, names)}; {known}")
    study = optuna.load_study(study_name=name, storage=storage)
    attributes = study.user_attrs
    if SPEC not in attributes:
        raise StudyError(f"study {name!r} was not created by Drivebeat: it has no study file; run: drivebeat create")
    identity = identity_of(storage, study._study_id, name, attributes)
    if identity is None:
        raise NoBudget(
            f"study {name!r} is a copy that another program made, and has no budget of its own; run: "
            f"drivebeat adopt {shlex.quote(name)}"
        )
    document = stored_document(name, attributes)
    return StudyRecord(study, identity, document, attributes[FAMILY], attributes[FINGERPRINT])


def stored_document(name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study file in a study's attributes. Raises StudyError where another program has changed them."""
    wrong = f"study {name!r}: its attribute"
    try:
        document = json.loads(attributes[SPEC])
        well_formed = isinstance(document["name"], str) and isinstance(document["metric"], str)
        hours = document["budget"]["hours"]
        well_formed = well_formed and isinstance(document["epochs"], int)
        well_formed = well_formed and (hours is None or isinstance(hours, int | float))
    except (TypeError, ValueError, KeyError, RecursionError):
        well_formed = False
    if not well_formed:
        raise StudyError(f"{wrong} {SPEC} is no study file; it was changed, or made by a newer Drivebeat")
    for key in (FAMILY, FINGERPRINT):
        if not isinstance(attributes.get(key), str):
            raise StudyError(f"{wrong} {key} is {attributes.get(key)!r}; it was changed, or made by a newer Drivebeat")
    found: dict[str, Any] = document
    return found


def current_record(record: StudyRecord) -> StudyRecord:
    """Return the record of the study as it is called now. Raises StudyGone where it was deleted."""
    storage, study_id = record.optuna._storage, record.optuna._study_id
    now = name_now(storage, study_id, record.identity)
    return record if now == (study_id, record.name) else load_record(now[1], storage)


def load_records(storage: BaseStorage, name: str | None = None) -> list[StudyRecord]:
    """Load the records of a study, or of all families of a study file.

    name: of a study or of a study file; None: all studies that Drivebeat created. Raises StudyError where there is
    neither a study nor a study file of that name, and for a study that cannot be read.
    """
    if name is None:
        return [load_record(study, storage) for study, _ in _ours(storage)]
    if name not in optuna.get_all_study_names(storage):
        families = [study for study, file_name in _ours(storage) if file_name == name]
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
