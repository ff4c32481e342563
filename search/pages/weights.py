"""The weights of a study's best trials and the export of the best, as artifacts of the study.

They are artifacts of the study, not of the trials, because Optuna's finished trials cannot lose an artifact.
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from optuna.artifacts import upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from data.errors import UserError
from data.files import atomic, file_errors, make_folder
from search.artifacts.base import remove_artifact
from search.errors import ArtifactError, ConfigError, StudyError
from search.storage.fast.reads import system_attributes
from search.storage.locks import exclusive
from search.storage.optuna_private import ArtifactStore
from search.study.export import export, export_digest
from search.study.study import Study
from search.trials import ARTIFACT, BEST_CONFIG, SPEC, WEIGHTS_OF, best_of_trials, ranked, sign_of
from training.config import RUN_FILE, FinalConfig, RunConfig, write_run
from training.decode import decode
from training.trainer import WEIGHTS

Log = Callable[[str], None]
CONFIG = "best.yaml"


def bundle_name(number: int) -> str:
    """Return the file name of the weights of trial `number`: a zip of a run's folder."""
    return f"trial-{number}.zip"


def store_weights(
    study: Study, number: int, run: RunConfig, score: float, folder: Path, engine: Engine, artifacts: ArtifactStore
) -> None:
    """Store the best weights in `folder` and the run of trial `number` as a zip, if few enough trials are better.

    score: of the trial, which has not ended. Raises OSError where the store does not take them.
    """
    keep = study.spec.artifacts.weights
    sign = sign_of(study.optuna.direction)
    complete = study.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    n_better = sum(sign * (t.value or 0.0) >= sign * score for t in ranked(complete, study.optuna.direction))
    if n_better >= keep:
        return
    document = {"study": study.name, "trial": number, "metric": study.metric, "score": score}
    path = folder / bundle_name(number)
    write_run(run, folder / RUN_FILE, document)
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (RUN_FILE, WEIGHTS):
            archive.write(folder / name, f"trial-{number}/{name}")
    _replace(study, f"{WEIGHTS_OF}{number}", path, _stored(study, engine).weights.get(number, ""), artifacts)


def update_weights(
    study: Study, trials: Sequence[FrozenTrial], engine: Engine, artifacts: ArtifactStore, log: Log
) -> None:
    """Remove the weights of trials that are no longer among the best, and store best.yaml where the export has changed.

    trials: all trials of the study. Another worker may do the same at the same time. An error of the store is logged,
    and the rest is done in the next call.
    """
    stored = _stored(study, engine)
    kept = retained_weights(trials, study.spec.artifacts.weights, study.optuna.direction)
    for number, identifier in stored.weights.items():
        if number in kept or number < study.n_copied or not identifier:  # the original has those of copied trials
            continue
        try:
            remove_artifact(artifacts, identifier)
        except OSError as error:
            log(f"the weights of trial {number} are not removed yet: {error}")
            break
        _forget(study, f"{WEIGHTS_OF}{number}", identifier)
    _update_best(study, trials, stored, engine, artifacts, log)


def retained_weights(trials: Sequence[FrozenTrial], keep: int, direction: StudyDirection) -> frozenset[int]:
    """Return the numbers of the trials whose weights are kept: the `keep` best, and those that have not ended."""
    best = [trial.number for trial in ranked(trials, direction)[:keep]]
    return frozenset([*best, *(trial.number for trial in trials if not trial.state.is_finished())])


def _update_best(
    study: Study, trials: Sequence[FrozenTrial], stored: "_Stored", engine: Engine, artifacts: ArtifactStore, log: Log
) -> None:
    """Store the export of the best trial, best.yaml, where another trial has become the best or the export has changed.

    stored: as it was read last.
    """
    best = best_of_trials(trials, study.optuna.direction)
    if best is None:
        return
    try:
        now = _with_stored_final(study)
        if (stored.best, stored.digest) == (best.number, export_digest(now, best)):
            return
        with exclusive(engine, f"best {study.identity}"), TemporaryDirectory() as scratch:
            path = Path(scratch) / CONFIG
            _, exported = export([now], path)
            digest = export_digest(now, exported)
            stored = _stored(study, engine)
            if (stored.best, stored.digest) != (exported.number, digest):
                more = {"trial": exported.number, "digest": digest}
                _replace(study, BEST_CONFIG, path, stored.config, artifacts, more)
    except (OSError, UserError) as error:  # another program may have changed the run that the trial stored
        log(f"{CONFIG} of study {study.name} is not stored: {error}")


def _with_stored_final(study: Study) -> Study:
    """Return the study with the section `final` that is stored now: `create` may change it while workers run."""
    attributes = study.optuna._storage.get_study_user_attrs(study.optuna._study_id)
    try:
        values = json.loads(attributes[SPEC]).get("final", {})
    except (KeyError, TypeError, ValueError, AttributeError):  # another program has changed it
        return study
    final = decode(FinalConfig, values, f"study {study.name}: final")
    return study if final == study.spec.final else replace(study, spec=replace(study.spec, final=final))


def stored_files(study: Study, engine: Engine) -> dict[str, str]:
    """Return file name -> id of the stored weights and of best.yaml."""
    stored = _stored(study, engine)
    files = {bundle_name(number): identifier for number, identifier in sorted(stored.weights.items()) if identifier}
    return files | ({CONFIG: stored.config} if stored.config else {})


def extract_weights(study: Study, number: int, engine: Engine, artifacts: ArtifactStore, folder: Path) -> None:
    """Write run.yaml and weights of trial `number` into `folder`, which is a run's folder then.

    Raises ConfigError where `folder` holds a run already, StudyError where the weights were not kept, and ArtifactError
    where the store does not have them.
    """
    with file_errors(folder, "read"):
        is_run = (folder / RUN_FILE).exists()
    if is_run:
        raise ConfigError(f"{folder}: holds a run already; name another folder for the weights")
    identifier = _stored(study, engine).weights.get(number)
    if not identifier:
        raise StudyError(
            f"study {study.name}: the weights of trial {number} were not kept; train it: drivebeat train (weights are "
            f"kept for the best {study.spec.artifacts.weights}, `weights` of [artifacts])"
        )
    make_folder(folder)
    try:
        with artifacts.open_reader(identifier) as source, TemporaryDirectory() as scratch:
            path = Path(scratch) / bundle_name(number)
            path.write_bytes(source.read())
            with zipfile.ZipFile(path) as archive:
                for name in (WEIGHTS, RUN_FILE):  # run.yaml last: a folder with it is a run's
                    content = archive.read(f"trial-{number}/{name}")
                    with atomic(folder / name) as temporary:
                        temporary.write_bytes(content)
    except (ArtifactNotFound, FileNotFoundError) as error:
        raise ArtifactError(
            f"the weights of trial {number} of study {study.name} are not in this store; name that of its workers with "
            "--artifacts"
        ) from error
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise ArtifactError(f"the weights of trial {number} of study {study.name} cannot be read: {error}") from error


def _replace(
    study: Study, key: str, path: Path, old: str, artifacts: ArtifactStore, more: Mapping[str, Any] | None = None
) -> None:
    """Upload a file as an artifact of the study, store its id under `key`, and remove the artifact `old`.

    more: what to store beside the id.
    """
    identifier = upload_artifact(artifact_store=artifacts, file_path=str(path), study_or_trial=study.optuna)
    value: Any = identifier if more is None else {**more, "artifact": identifier}
    study.optuna._storage.set_study_system_attr(study.optuna._study_id, key, value)
    if old:
        remove_artifact(artifacts, old)
        study.optuna._storage.set_study_system_attr(study.optuna._study_id, f"{ARTIFACT}{old}", json.dumps(None))


def _forget(study: Study, key: str, identifier: str) -> None:
    """Remove an artifact from the study's attributes, as optuna-dashboard does."""
    storage, study_id = study.optuna._storage, study.optuna._study_id
    storage.set_study_system_attr(study_id, f"{ARTIFACT}{identifier}", json.dumps(None))
    storage.set_study_system_attr(study_id, key, "")


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is stored for a study: trial number -> id of the artifact with its weights, "" where they were removed; the
    trial whose export is stored, and the id of that artifact; the digest of the export, "" in an older database.
    """

    weights: Mapping[int, str]
    best: int | None
    config: str
    digest: str = ""


def _stored(study: Study, engine: Engine) -> _Stored:
    """Read the study's attributes. Those that another program has changed are left out."""
    found = system_attributes(engine, study.optuna._study_id, f"{WEIGHTS_OF}%", BEST_CONFIG)
    numbers = {key.removeprefix(WEIGHTS_OF): value for key, value in found.items() if key != BEST_CONFIG}
    weights = {int(n): value for n, value in numbers.items() if n.isdecimal() and isinstance(value, str)}
    best = found.get(BEST_CONFIG)
    if not isinstance(best, dict) or not isinstance(best.get("artifact"), str):
        return _Stored(weights, None, "")
    return _Stored(weights, best.get("trial"), best["artifact"], str(best.get("digest", "")))
