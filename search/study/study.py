"""A study file becomes studies in the database, and a study in the database gives its file back."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna import Study as OptunaStudy
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from data.corpus import load
from search.errors import ConfigError, StudyError
from search.sampling.points import Accept, any_left, key_of, taken
from search.sampling.pruners import build_pruner
from search.storage.locks import exclusive
from search.storage.tables import set_budget
from search.study.record import StudyLike, StudyRecord, load_record, load_records
from search.study.space import Space, describe
from search.study.spec import StudySpec, part_of, run_of, space_of, spec_document, study_names
from search.trials import FAMILY, FINGERPRINT, SPACE, SPEC
from training.decode import decode
from training.evaluation.scores import SCORES

CHANGEABLE = {"budget", "enqueue", "artifacts"}


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One family's study: Optuna's handle and what the study file says of it."""

    optuna: OptunaStudy
    spec: StudySpec
    space: Space
    fingerprint: str

    @property
    def name(self) -> str:
        return self.optuna.study_name

    @property
    def family(self) -> str:
        return self.space.model.name

    @property
    def metric(self) -> str:
        return self.spec.metric

    @property
    def epochs(self) -> int:
        return self.spec.epochs

    @property
    def hours(self) -> float | None:
        return self.spec.budget.hours


def create(spec: StudySpec, storage: BaseStorage, engine: Engine, fingerprint: str | None = None) -> list[Study]:
    """The studies of `spec`, one per family, made where they are missing; an equal one is left as it is, but for
    its budget, its enqueued points and how many artifacts it keeps, which may change.

    The data are read once, here or by who knows their fingerprint, so that a study cannot be made on recordings that do
    not work. All families are checked before the first one is made. Raises StudyError where a study of that name has
    another space or other data, saying what differs.
    """
    fingerprint = fingerprint or load(spec.data).fingerprint
    spaces = {name: space_of(spec, family) for family, name in study_names(spec).items()}
    with exclusive(engine, "create"):
        existing = set(optuna.get_all_study_names(storage))
        for name in existing & spaces.keys():
            _refuse_differences(name, spec, spaces[name], fingerprint, storage)
        return [
            Study(_make(name, spec, space, fingerprint, storage, engine), spec, space, fingerprint)
            for name, space in spaces.items()
        ]


def _make(
    name: str, spec: StudySpec, space: Space, fingerprint: str, storage: BaseStorage, engine: Engine
) -> optuna.Study:
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction=SCORES[spec.metric].direction,
        load_if_exists=True,
        pruner=build_pruner(spec.pruner, spec.epochs),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.metric])
    study.set_user_attr(FAMILY, space.model.name)
    study.set_user_attr(SPACE, _space_lines(space))
    study.set_user_attr(FINGERPRINT, fingerprint)
    enqueue(study, [part_of(point, space) for point in spec.enqueue])
    set_budget(engine, name, spec.budget.trials, spec.budget.hours)
    # last, for it makes the study one of ours: one that was broken off before this line is made again
    study.set_user_attr(SPEC, json.dumps(spec_document(spec)))
    return study


def enqueue(study: optuna.Study, points: Sequence[Mapping[str, bool | int | float | str]]) -> int:
    """Enqueue each point that the study does not hold yet, whether it ran or waits; how many these were."""
    # Optuna's own skip_if_exists takes numbers within 1e-5 of each other for equal, and loses points of a fine series;
    # and it reads all trials again for every point.
    trials = study.get_trials(deepcopy=False)
    n_new = 0
    held = {frozenset(trial.system_attrs.get("fixed_params", trial.params).items()) for trial in trials}
    for point in points:
        if point and frozenset(point.items()) not in held:
            study.enqueue_trial(dict(point))
            held.add(frozenset(point.items()))
            n_new += 1
    return n_new


def decode_study(record: StudyLike) -> Study:
    """`record` with its spec and its space, itself where it has them. Raises ConfigError for a spec that is not one."""
    if isinstance(record, Study):
        return record
    assert isinstance(record, StudyRecord)
    spec = decode(StudySpec, record.document, f"study {record.name}")
    record.optuna.pruner = build_pruner(spec.pruner, spec.epochs)
    # checked when the study was made
    return Study(record.optuna, spec, space_of(spec, record.family, check=False), record.fingerprint)


def load_study(name: str, storage: BaseStorage) -> Study:
    """The study `name` as it was created. Raises StudyError, naming the near one, where there is none."""
    return decode_study(load_record(name, storage))


def load_studies(name: str, storage: BaseStorage) -> list[Study]:
    """The study `name`, or all families of the study file of that name. Raises StudyError where there is neither."""
    return [decode_study(record) for record in load_records(storage, name)]


def all_studies(storage: BaseStorage) -> list[Study]:
    """Every study in the database that Drivebeat made, by name."""
    return [decode_study(record) for record in load_records(storage)]


def untried(study: Study, trials: Sequence[FrozenTrial]) -> Accept:
    """The test that a new point must pass: none of `trials` has it, and a model exists for it."""
    used = taken(trials, study.space.sampled)

    def accept(point: Mapping[str, Any]) -> bool:
        if key_of(point, study.space.sampled) in used:
            return False
        try:
            run_of(study.spec, study.space, point)
        except ConfigError:  # values in range that do not go together
            return False
        return True

    return accept


def is_exhausted(study: Study, trials: Sequence[FrozenTrial]) -> bool:
    """Whether every point of the study's space was tried by one of `trials`, its own."""
    return not any_left(study.space.sampled, untried(study, trials))


def _space_lines(space: Space) -> dict[str, str]:
    """name -> range or value, in words: what a difference is told by."""
    lines = {name: describe(distribution) for name, distribution in space.sampled.items()}
    return lines | {
        name: f"= {float(value) if isinstance(value, int) and not isinstance(value, bool) else value}"
        for name, value in space.fixed.items()
    }


def _refuse_differences(name: str, spec: StudySpec, space: Space, fingerprint: str, storage: BaseStorage) -> None:
    study = optuna.load_study(study_name=name, storage=storage)
    attributes = study.user_attrs
    if SPEC not in attributes:
        if all(trial.state == TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
            return  # empty: somebody's making of it was broken off
        raise StudyError(f"study {name!r} exists and was not made by Drivebeat; choose another name")
    differences = _differences(attributes[SPACE], _space_lines(space))
    if attributes[FAMILY] != space.model.name:
        differences.insert(0, f"model ({attributes[FAMILY]}, now {space.model.name})")
    if attributes[FINGERPRINT] != fingerprint:
        differences.append(f"the recordings (fingerprint {attributes[FINGERPRINT]}, now {fingerprint})")
    # decoded: a key that came after the study was made has its default there
    old = _flat(spec_document(decode(StudySpec, json.loads(attributes[SPEC]), f"study {name}")))
    new = _flat(spec_document(spec))
    told = {"fixed", "ranges", "search", "models"}  # the space's own lines have said these
    for key in sorted(old.keys() | new.keys()):
        if key.split(".")[0] not in CHANGEABLE | told and old.get(key) != new.get(key):
            differences.append(f"{key} ({old.get(key)!r}, now {new.get(key)!r})")
    if differences:
        raise StudyError(
            f"study {name!r} exists with other settings: {'; '.join(differences[:5])}; choose another name, "
            "or put the settings back"
        )


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        f"{name} ({old.get(name, 'not in it')}, now {new.get(name, 'not in it')})"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, Mapping):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat
