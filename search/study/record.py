"""Stored studies as plain values, not decoded, for commands that only show them.

Decoding a study imports the model families and so torch, which takes seconds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna import Study as OptunaStudy
from optuna.storages import BaseStorage

from data.errors import near
from search.errors import StudyError
from search.trials import FAMILY, FINGERPRINT, SPEC


class StudyLike(Protocol):
    """What search.study.study.Study and StudyRecord have in common. hours: limit of the budget; None: no limit."""

    @property
    def optuna(self) -> OptunaStudy: ...

    @property
    def name(self) -> str: ...

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
    """A stored study of one family. document: its study file as plain values. fingerprint: of its recordings."""

    optuna: OptunaStudy
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
    return StudyRecord(study, json.loads(attributes[SPEC]), attributes[FAMILY], attributes[FINGERPRINT])


def load_records(storage: BaseStorage, name: str | None = None) -> list[StudyRecord]:
    """Load the records of a study, or of all families of a study file.

    name: of a study or of a study file; None: all studies that Drivebeat created. Raises StudyError where there is
    neither a study nor a study file of that name.
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
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    return sorted((s.study_name, json.loads(s.user_attrs[SPEC])["name"]) for s in summaries if SPEC in s.user_attrs)
