"""Export the best trial as one config file, from which the same model is built and trained."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from data.errors import shell_command
from search.errors import StudyError
from search.study.study import Study
from search.trials import RUN, Fate, best_trial, count_fates
from training.config import RunConfig, from_document, write_run
from training.decode import encode
from training.errors import ConfigError
from training.evaluation.scores import SCORES, better
from training.plugins.kinds import installed_origins
from training.plugins.plugin import Plugin

ENDINGS = (".yaml", ".yml", ".json")
PACKAGES = ("drivebeat", "torch", "optuna", "numpy", "scipy")


def best_of(studies: Sequence[Study]) -> tuple[Study, FrozenTrial]:
    """Return the best complete, feasible trial of all `studies`. Raises StudyError where there is none."""
    found = [(study, trial) for study in studies if (trial := best_trial(study.optuna)) is not None]
    if not found:
        names = ", ".join(study.name for study in studies)
        counts = count_fates(trial for study in studies for trial in study.optuna.get_trials(deepcopy=False))
        n_infeasible = counts[Fate.INFEASIBLE]
        again = shell_command("launch", studies[0].spec.name)
        if n_infeasible and not counts[Fate.COMPLETE]:
            raise StudyError(
                f"study {names}: no complete, feasible trial to export, {n_infeasible} infeasible; loosen "
                f"[constraints] in a study of another name, or go on: {again}"
            )
        raise StudyError(f"study {names}: no complete, feasible trial to export yet; run: {again}")
    score = SCORES[found[0][0].spec.metric]  # families of one study file share it
    best = found[0]
    for candidate in found[1:]:
        assert candidate[1].value is not None and best[1].value is not None
        if better(score, candidate[1].value, best[1].value):
            best = candidate
    return best


def run_of_trial(trial: FrozenTrial, where: str, plugins: Sequence[Plugin] = ()) -> RunConfig:
    """Return the run that the trial stored before it trained. where: the study's name, for errors.

    plugins: the study's, whose sources the trial does not store. Raises StudyError where another program has changed
    the run, ConfigError where it cannot be decoded.
    """
    where = f"{where}, trial {trial.number}"
    try:
        document = json.loads(trial.user_attrs[RUN])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise StudyError(f"{where}: its attribute {RUN!r} is no run; another program has changed it") from error
    return from_document(document, where, plugins)


def check_ending(path: Path) -> None:
    """Raise ConfigError for a file name without one of the ENDINGS."""
    if path.suffix not in ENDINGS:
        raise ConfigError(f"-o {path}: a config is written as {' or '.join(ENDINGS)}")


def export(studies: Sequence[Study], path: Path) -> tuple[Study, FrozenTrial]:
    """Write the best trial's run with its provenance to `path` (.yaml or .json), atomically.

    Returns the study and the trial. Raises StudyError where there is no trial to export.
    """
    study, trial = best_of(studies)
    export_trial(study, trial, path)
    return study, trial


def export_trial(study: Study, trial: FrozenTrial, path: Path) -> None:
    """Write a trial's run with its provenance to `path` (.yaml or .json), atomically. Raises StudyError."""
    check_ending(path)
    write_run(final_run(study, trial), path, provenance(study, trial))


def final_run(study: Study, trial: FrozenTrial) -> RunConfig:
    """Return the run of a trial with the study's section `final`. Raises StudyError as run_of_trial does."""
    run = run_of_trial(trial, study.name, study.spec.plugins)
    return replace(run, final=study.spec.final.resolved(run.fit))


def export_digest(study: Study, trial: FrozenTrial) -> str:
    """Return a digest of a trial's export, of all in it that does not depend on the machine or the time."""
    parts = (study.name, trial.number, trial.value, trial.user_attrs.get(RUN), encode(study.spec.final))
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def provenance(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    """Return the provenance of an exported config: study, trial, scores, data and code."""
    known = frozenset(SCORES)
    scores = {k: v for k, v in trial.user_attrs.items() if k in known or k.split("@")[0] in known}
    document: dict[str, Any] = {
        "study": study.name,
        "trial": trial.number,
        "metric": study.spec.metric,
        "score": trial.value,
        "scores": dict(sorted(scores.items())),
        "params": dict(sorted(trial.params.items())),
        "seed": study.spec.seed,
        "data_fingerprint": study.fingerprint,
        "git_commit": git_commit(),
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }
    if origins := installed_origins(study.space.model, study.space.loss):
        document["entry_points"] = origins
    if not study.spec.deterministic:  # a deterministic study's export is always the same file
        document["finished_at"] = _in_utc(trial.datetime_complete) if trial.datetime_complete else None
        document["exported_at"] = _in_utc(datetime.now(UTC))
    return document


def _in_utc(time: datetime) -> str:
    """Return `time` in UTC in ISO format. A naive time is local, as Optuna's are."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """Return the commit of this code: DRIVEBEAT_COMMIT, as an image sets it, else git's; "unknown" without either.

    A "+" follows where tracked files differ from the commit. A repository that does not contain this file is ignored:
    the package may be installed in a folder of another project's repository.
    """
    if built_from := os.environ.get("DRIVEBEAT_COMMIT"):
        return built_from
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        commit = _git(here.parent, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(here.parent, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
