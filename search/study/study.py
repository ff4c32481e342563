"""Create studies from a study file, and load them from the database."""

import contextlib
import json
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna import Study as OptunaStudy
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from data.corpus import load
from data.errors import shell_command
from search.errors import ConfigError, StudyError, StudyGone
from search.sampling.points import Accept, any_left, key_of, taken
from search.sampling.pruners import build_pruner
from search.storage.locks import exclusive
from search.storage.tables import set_budget
from search.study.adopt import settle_identity
from search.study.record import (
    StoredIdentity,
    StudyLike,
    StudyRecord,
    load_record,
    load_records,
    name_now,
    remove_orphaned_rows,
    store_identity,
    stored_document,
    stored_identity,
)
from search.study.space import Space, describe, fixed_params, why_refused
from search.study.spec import StudySpec, part_of, run_of, space_of, spec_document, study_names
from search.trials import CANCELLED, FAMILY, FINGERPRINT, PLUGIN, REASON, SPACE, SPEC
from training.decode import decode
from training.documents import flat
from training.evaluation.scores import SCORES
from training.plugins.load import load_plugins
from training.plugins.plugin import PLUGINS, decode_plugins, referenced

CHANGEABLE = {"budget", "enqueue", "artifacts", "final"}
# They say where the recordings are; the fingerprint says which.
PLACES = {"schema_version", "data.base"}
COLUMN_BYTES = {"mysql": 65_535, "mariadb": 65_535}  # of Optuna's columns of text; other databases have no limit


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """The study of one family.

    optuna: its Optuna study. identity: see search.study.record. spec: its study file. fingerprint: of its recordings.
    n_copied: see search.trials.COPIED.
    """

    optuna: OptunaStudy
    identity: str
    spec: StudySpec
    space: Space
    fingerprint: str
    n_copied: int = 0

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

    An existing study with the same settings is kept; its budget, `artifacts`, `final`, schema_version and the base of
    its recordings change, and new points are enqueued. All families are checked before the first study is created.

    fingerprint: of the recordings; None: load them, which fails for recordings that cannot be read.

    Raises StudyError, with the differences, where a study of that name has other settings or recordings.
    """
    fingerprint = fingerprint or load(spec.data).fingerprint
    spaces = {name: space_of(spec, family) for family, name in study_names(spec).items()}
    _check_room(spec, engine)
    with exclusive(engine, "create"):
        remove_orphaned_rows(engine)
        existing = set(optuna.get_all_study_names(storage))
        for name in existing & spaces.keys():
            _refuse_differences(name, spec, spaces[name], fingerprint, storage)
        return [_make(name, spec, space, fingerprint, storage, engine) for name, space in spaces.items()]


def _check_room(spec: StudySpec, engine: Engine) -> None:
    """Raise StudyError for a plug-in that a column of the database cannot hold."""
    room = COLUMN_BYTES.get(engine.dialect.name)
    for plugin in spec.plugins:
        if room is not None and (size := len(json.dumps(plugin.source))) > room:
            raise StudyError(
                f"plug-in {plugin.name}: {size:,} bytes, and a column of this database holds {room:,}; use PostgreSQL, "
                "or install it as a package"
            )


def _make(name: str, spec: StudySpec, space: Space, fingerprint: str, storage: BaseStorage, engine: Engine) -> Study:
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction=SCORES[spec.metric].direction,
        load_if_exists=True,
        pruner=build_pruner(spec.pruner, spec.epochs),
    )
    identity = settle_identity(study, engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.metric])
    study.set_user_attr(FAMILY, space.model.name)
    study.set_user_attr(SPACE, _space_lines(space))
    study.set_user_attr(FINGERPRINT, fingerprint)
    enqueue(study, [part_of(point, space) for point in spec.enqueue])
    set_budget(engine, identity, spec.budget.trials, spec.budget.hours)
    for plugin in spec.plugins:
        study.set_user_attr(f"{PLUGIN}{plugin.sha256}", plugin.source)
    # Last: only a study with SPEC is complete, and one without it is created again after an interruption.
    study.set_user_attr(SPEC, json.dumps(referenced(spec_document(spec))))
    return Study(study, identity, spec, space, fingerprint)


def confirm_identity(study: StudyLike) -> None:
    """Store the study's identity with it, where an older version or optuna-dashboard's renaming has not."""
    storage, study_id = study.optuna._storage, study.optuna._study_id
    if stored_identity(study.optuna.user_attrs) != StoredIdentity(study.identity, study_id):
        store_identity(storage, study_id, study.identity)


def current(study: Study, engine: Engine) -> Study:
    """Return the study as it is called now; `study` itself where it was not renamed. Raises StudyGone."""
    storage, study_id = study.optuna._storage, study.optuna._study_id
    now = name_now(engine, study_id, study.identity)
    if now == (study_id, study.name):
        return study
    renamed = load_study(now[1], storage)
    confirm_identity(renamed)
    return renamed


def has_changed(study: Study, engine: Engine) -> bool:
    """Return whether the study was deleted or renamed since it was loaded."""
    try:
        return current(study, engine) is not study
    except StudyGone:
        return True


def enqueue(study: optuna.Study, points: Sequence[Mapping[str, bool | int | float | str]]) -> int:
    """Enqueue each point for which the study has no trial yet; return their number. Cancelled trials do not count."""
    # Optuna's skip_if_exists takes numbers within 1e-5 of each other as equal, which skips points of a fine series,
    # and it reads all trials again for every point.
    trials = study.get_trials(deepcopy=False)
    n_new = 0
    existing = {_point_of(trial) for trial in trials if trial.user_attrs.get(REASON) != CANCELLED}
    for point in points:
        if point and frozenset(point.items()) not in existing:
            study.enqueue_trial(dict(point))
            existing.add(frozenset(point.items()))
            n_new += 1
    return n_new


def _point_of(trial: FrozenTrial) -> frozenset[tuple[str, Any]]:
    point = fixed_params(trial) or trial.params
    items = point.items() if isinstance(point, Mapping) else ()
    return frozenset((name, value) for name, value in items if isinstance(value, Hashable))


def parse_point(values: Sequence[str], study: Study) -> dict[str, bool | int | float | str]:
    """Return the point that `values`, each NAME=VALUE, give for the study's sampled parameters. Raises ConfigError."""
    point: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or name in point:
            raise ConfigError(f"{value!r}: " + ("given twice" if equals else "not NAME=VALUE; write it like width=16"))
        point[name] = _parsed(text, study.space.sampled.get(name))
    if reason := why_refused(point, study.space):
        raise ConfigError(f"study {study.name}: {reason}")
    return {name: value for name, value in point.items() if name in study.space.sampled}


def _parsed(text: str, distribution: BaseDistribution | None) -> bool | int | float | str:
    """Return the value that `text` stands for, of the type that `distribution` needs where it can be that."""
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if str(choice) == text), text)  # type: ignore[return-value]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def decode_study(record: StudyLike) -> Study:
    """Decode the spec and the space of a stored study; return a Study as it is.

    Its plug-ins are executed. Raises ConfigError, and PluginError where they are not trusted or cannot be loaded.
    """
    if isinstance(record, Study):
        return record
    assert isinstance(record, StudyRecord)
    where = f"study {record.name}"
    if PLUGINS in record.document:
        decode_plugins(record.document[PLUGINS], where)  # first: a changed source is a PluginError
    spec = decode(StudySpec, record.document, where)
    load_plugins(spec.plugins, where, record.name)
    record.optuna.pruner = build_pruner(spec.pruner, spec.epochs)
    # the space was checked when the study was created
    return Study(
        record.optuna,
        record.identity,
        spec,
        space_of(spec, record.family, check=False),
        record.fingerprint,
        record.n_copied,
    )


def load_study(name: str, storage: BaseStorage) -> Study:
    """Load the study `name`. Raises StudyError, with the nearest name, where there is none."""
    return decode_study(load_record(name, storage))


def load_studies(name: str, storage: BaseStorage) -> list[Study]:
    """Load the study `name`, or all families of the study file `name`. Raises StudyError where there is neither."""
    return [decode_study(record) for record in load_records(storage, name)]


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
    wanted, stored = SCORES[spec.metric].direction, [direction.name.lower() for direction in study.directions]
    if stored != [wanted]:
        raise StudyError(
            f"study {name!r} exists with the direction{'s' if len(stored) > 1 else ''} {', '.join(stored)}, and "
            f"{spec.metric} needs {wanted}; choose another name, or delete it: {shell_command('delete', name)}"
        )
    if SPEC not in attributes:
        if all(trial.state == TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
            return  # its creation was interrupted, or another program has created it without a trial
        raise StudyError(f"study {name!r} exists and was not created by Drivebeat; choose another name")
    document = stored_document(name, attributes)
    differences = _differences(attributes[SPACE], _space_lines(space))
    if attributes[FAMILY] != space.model.name:
        differences.insert(0, f"model ({attributes[FAMILY]}, now {space.model.name})")
    if attributes[FINGERPRINT] != fingerprint:
        differences.append(f"the recordings (fingerprint {attributes[FINGERPRINT]}, now {fingerprint})")
    # decoded, so that keys which were added to StudySpec later have their defaults
    before = decode(StudySpec, document, f"study {name}")
    old, new = flat(spec_document(before)), flat(spec_document(spec))
    old["plugins"], new["plugins"] = _labels(before), _labels(spec)
    compared = {"fixed", "ranges", "search", "models"}  # in SPACE and FAMILY
    for key in sorted(old.keys() | new.keys()):
        if key.split(".")[0] not in CHANGEABLE | compared and key not in PLACES and old.get(key) != new.get(key):
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


def _labels(spec: StudySpec) -> str:
    """Return the names of a spec's plug-ins with the first digits of their SHA-256s."""
    return ", ".join(sorted(plugin.label for plugin in spec.plugins))
