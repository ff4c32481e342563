"""All trials of studies for programs: JSON and CSV."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

from search.study.record import StudyLike
from search.study.trial_table import PARAM, STUDY, columns_of, is_score, trial_row
from search.trials import best_trial


def trials_document(studies: Sequence[StudyLike]) -> dict[str, Any]:
    """Return studies with all their trials as plain values for JSON."""
    return {"studies": [_study_document(study) for study in studies]}


def _study_document(study: StudyLike) -> dict[str, Any]:
    best = best_trial(study.optuna)
    return {
        "name": study.name,
        "identity": study.identity,
        "family": study.family,
        "metric": study.metric,
        "direction": study.optuna.direction.name.lower(),
        "best_trial": None if best is None else best.number,
        "trials": [_trial_document(trial) for trial in study.optuna.get_trials(deepcopy=False)],
    }


def _trial_document(trial: FrozenTrial) -> dict[str, Any]:
    row = _with_times(trial_row(trial))
    scores = {name: value for name, value in row.items() if is_score(name)}
    reports = [{"epoch": step + 1, "score": value} for step, value in sorted(trial.intermediate_values.items())]
    kept = {name: value for name, value in row.items() if name not in scores and not name.startswith(PARAM)}
    return {**kept, "params": dict(trial.params), "scores": scores, "reports": reports}


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its times as text, with the offset of this machine's time zone: Optuna stores local times."""
    return {
        name: value.astimezone().isoformat() if isinstance(value, datetime) else value for name, value in row.items()
    }


def trials_csv(studies: Sequence[StudyLike]) -> str:
    """Return all trials of studies as a CSV table: its columns are `study`, and those of Study.trials in Python."""
    rows = [
        {STUDY: study.name, **_with_times(trial_row(trial))}
        for study in studies
        for trial in study.optuna.get_trials(deepcopy=False)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, [STUDY, *columns_of(rows)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
