"""The best trial as one document that rebuilds and trains the final model exactly."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from search.study.record import RUN, StudyError
from search.study.study import SearchStudy
from search.trials import best_trial
from training.config import RunConfig, from_document, write_run
from training.decode import ConfigError
from training.evaluation.scores import SCORES, better

ENDINGS = (".yaml", ".yml", ".json")
PACKAGES = ("drivebeat", "torch", "optuna", "numpy", "scipy")


def best_of(searches: Sequence[SearchStudy]) -> tuple[SearchStudy, FrozenTrial]:
    """The best feasible trial over several studies. Raises StudyError where none has one."""
    found = [(search, trial) for search in searches if (trial := best_trial(search)) is not None]
    if not found:
        names = ", ".join(search.name for search in searches)
        raise StudyError(
            f"study {names}: no complete, feasible trial to export yet; run: drivebeat launch {searches[0].spec.name}"
        )
    score = SCORES[found[0][0].spec.metric]  # families of one study file share it
    best = found[0]
    for candidate in found[1:]:
        assert candidate[1].value is not None and best[1].value is not None
        if better(score, candidate[1].value, best[1].value):
            best = candidate
    return best


def run_of_trial(trial: FrozenTrial, where: str) -> RunConfig:
    """The whole run a trial stored before it trained."""
    return from_document(json.loads(trial.user_attrs[RUN]), f"{where}, trial {trial.number}")


def check_ending(path: Path) -> None:
    """Raise ConfigError for a file that an export cannot be written as."""
    if path.suffix not in ENDINGS:
        raise ConfigError(f"-o {path}: a config is written as {' or '.join(ENDINGS)}")


def export(searches: Sequence[SearchStudy], path: Path) -> tuple[SearchStudy, FrozenTrial]:
    """Write the best trial's run with its provenance to `path` (.yaml or .json), whole or not at all.

    Raises StudyError where there is no trial to export.
    """
    check_ending(path)
    search, trial = best_of(searches)
    write_run(run_of_trial(trial, search.name), path, provenance(search, trial))
    return search, trial


def provenance(search: SearchStudy, trial: FrozenTrial) -> dict[str, Any]:
    """Where a config comes from: study, trial, score, data, code."""
    scores = {k: v for k, v in trial.user_attrs.items() if k in SCORES or k.split("@")[0] in SCORES}
    story: dict[str, Any] = {
        "study": search.name,
        "trial": trial.number,
        "metric": search.spec.metric,
        "score": trial.value,
        "scores": dict(sorted(scores.items())),
        "params": dict(sorted(trial.params.items())),
        "seed": search.spec.seed,
        "data_fingerprint": search.fingerprint,
        "git_commit": git_commit(),
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }
    if not search.spec.deterministic:  # whose export is the same to the last byte whenever it was searched
        story["finished_at"] = _moment(trial.datetime_complete) if trial.datetime_complete else None
        story["exported_at"] = _moment(datetime.now(UTC))
    return story


def _moment(time: datetime) -> str:
    """In UTC, whatever zone it came in; Optuna keeps local times that do not say so."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """The checkout's commit, with + where files differ from it; an image's own; else "unknown"."""
    if built_from := os.environ.get("DRIVEBEAT_COMMIT"):
        return built_from
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
