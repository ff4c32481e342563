"""Create studies from a study file, and load them from the database."""

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
    """The study of one family. optuna: its Optuna study. spec: its study file. fingerprint: of its recordings."""

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
    """Create the studies of `spec`, one for each family.

    An existing study with the same settings is kept; only its budget, enqueued points and retention change. All
    families are checked before the first study is created.

    fingerprint: of the recordings; None: load them, which fails for recordings that cannot be read.

    Raises StudyError, with the differences, where a study of that name has other settings or recordings.
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
    # Last: only a study with SPEC is complete, and one without it is created again after an interruption.
    study.set_user_attr(SPEC, json.dumps(spec_document(spec)))
    return study


def enqueue(study: optuna.Study, points: Sequence[Mapping[str, bool | int | float | str]]) -> int:
    """Enqueue each point for which the study has no trial yet; return their number."""
    # Optuna's skip_if_exists takes numbers within 1e-5 of each other as equal, which skips points of a fine series,
    # and it reads all trials again for every point.
    trials = study.get_trials(deepcopy=False)
    n_new = 0
    existing = {frozenset(trial.system_attrs.get("fixed_params", trial.params).items()) for trial in trials}
    for point in points:
        if point and frozenset(point.items()) not in existing:
            study.enqueue_trial(dict(point))
            existing.add(frozenset(point.items()))
            n_new += 1
    return n_new


def decode_study(record: StudyLike) -> Study:
    """Decode the spec and the space of a stored study; return a Study as it is. Raises ConfigError."""
    if isinstance(record, Study):
        return record
    assert isinstance(record, StudyRecord)
    spec = decode(StudySpec, record.document, f"study {record.name}")
    record.optuna.pruner = build_pruner(spec.pruner, spec.epochs)
    # the space was checked when the study was created
    return Study(record.optuna, spec, space_of(spec, record.family, check=False), record.fingerprint)


def load_study(name: str, storage: BaseStorage) -> Study:
    """Load the study `name`. Raises StudyError, with the nearest name, where there is none."""
    return decode_study(load_record(name, storage))


def load_studies(name: str, storage: BaseStorage) -> list[Study]:
    """Load the study `name`, or all families of the study file `name`. Raises StudyError where there is neither."""
    return [decode_study(record) for record in load_records(storage, name)]


def all_studies(storage: BaseStorage) -> list[Study]:
    """Load all studies that Drivebeat created, sorted by name."""
    return [decode_study(record) for record in load_records(storage)]


def untried(study: Study, trials: Sequence[FrozenTrial]) -> Accept:
    """Return the test of a new point: none of `trials` has it, and a run exists for it.

    trials: all trials of the study.
    """
    tried = taken(trials, study.space.sampled)

    def accept(point: Mapping[str, Any]) -> bool:
        if key_of(point, study.space.sampled) in tried:
            return False
        try:
            run_of(study.spec, study.space, point)
        except ConfigError:  # each value is in its range, but the combination is not allowed
            return False
        return True

    return accept


def is_exhausted(study: Study, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether no untried point is left in the study's space. trials: all trials of the study."""
    return not any_left(study.space.sampled, untried(study, trials))


def _space_lines(space: Space) -> dict[str, str]:
    """Return name -> range or value as text, which is stored with the study and compared later."""
    lines = {name: describe(distribution) for name, distribution in space.sampled.items()}
    return lines | {
        name: f"= {float(value) if isinstance(value, int) and not isinstance(value, bool) else value}"
        for name, value in space.fixed.items()
    }


def _refuse_differences(name: str, spec: StudySpec, space: Space, fingerprint: str, storage: BaseStorage) -> None:
    """Raise StudyError where the stored study `name` has other settings or recordings."""
    study = optuna.load_study(study_name=name, storage=storage)
    attributes = study.user_attrs
    if SPEC not in attributes:
        if all(trial.state == TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
            return  # its creation was interrupted
        raise StudyError(f"study {name!r} exists and was not created by Drivebeat; choose another name")
    differences = _differences(attributes[SPACE], _space_lines(space))
    if attributes[FAMILY] != space.model.name:
        differences.insert(0, f"model ({attributes[FAMILY]}, now {space.model.name})")
    if attributes[FINGERPRINT] != fingerprint:
        differences.append(f"the recordings (fingerprint {attributes[FINGERPRINT]}, now {fingerprint})")
    # decoded, so that keys which were added to StudySpec later have their defaults
    old = _flat(spec_document(decode(StudySpec, json.loads(attributes[SPEC]), f"study {name}")))
    new = _flat(spec_document(spec))
    compared = {"fixed", "ranges", "search", "models"}  # in SPACE and FAMILY
    for key in sorted(old.keys() | new.keys()):
        if key.split(".")[0] not in CHANGEABLE | compared and old.get(key) != new.get(key):
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
    """Return nested mappings as one, with keys such as "budget.trials"."""
    if not isinstance(values, Mapping):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat
