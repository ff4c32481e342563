"""A study as its attributes tell of it, nothing of it decoded: what commands that only look on need, without torch.

Model families, losses and whole runs are torch's; reading them takes seconds, which a list of studies does not need.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.storages import BaseStorage

from training.decode import ConfigError, near

SPEC = "drivebeat:spec"
FAMILY = "drivebeat:family"
SPACE = "drivebeat:space"
FINGERPRINT = "drivebeat:data_fingerprint"
RUN, REASON = "run", "reason"  # a trial's attributes
COLLAPSED = "collapsed"  # the first word of the reason why such a trial was pruned


class StudyError(ConfigError):
    """A study that is not there, or not what it should be."""


class AnyStudy(Protocol):
    """What a search.study.study.SearchStudy and a ToldStudy both tell."""

    @property
    def study(self) -> optuna.Study: ...

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
class ToldStudy:
    """One family's study: Optuna's handle and its study file as plain values."""

    study: optuna.Study
    document: Mapping[str, Any]
    family: str
    fingerprint: str

    @property
    def name(self) -> str:
        return self.study.study_name

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


def told(name: str, storage: BaseStorage) -> ToldStudy:
    """The study `name` as it was created. Raises StudyError, naming the near one, where there is none."""
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
        raise StudyError(f"study {name!r} was not made by Drivebeat: it has no study file; make it: drivebeat create")
    return ToldStudy(study, json.loads(attributes[SPEC]), attributes[FAMILY], attributes[FINGERPRINT])


def all_told(storage: BaseStorage, name: str | None = None) -> list[ToldStudy]:
    """The study `name`, or all families of the study file of that name; None: every study that Drivebeat made.

    Raises StudyError where there is neither.
    """
    if name is None:
        return [told(study, storage) for study, _ in _ours(storage)]
    if name not in optuna.get_all_study_names(storage):
        families = [study for study, file_name in _ours(storage) if file_name == name]
        if families:
            return [told(family, storage) for family in families]
    return [told(name, storage)]


def _ours(storage: BaseStorage) -> list[tuple[str, str]]:
    """(study, name in its study file) of every study that Drivebeat made, by name."""
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    return sorted((s.study_name, json.loads(s.user_attrs[SPEC])["name"]) for s in summaries if SPEC in s.user_attrs)
