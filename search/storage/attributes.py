"""Some of a study's system attributes, read without the rest: optuna-dashboard keeps the notes of all trials there."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Engine, select

from search.storage.optuna_private import models
from search.trials import REMOVED

NOTE_OF_A_TRIAL = "dashboard:%:note_%"
NOTE_VERSION = "dashboard:%:note_ver"
NOTE_TEXT = "dashboard:%:note_str:%"

_KEY, _VALUE = models.StudySystemAttributeModel.key, models.StudySystemAttributeModel.value_json
_STUDY = models.StudySystemAttributeModel.study_id


def system_attributes(engine: Engine, study_id: int, *patterns: str) -> dict[str, Any]:
    """A study's system attributes whose key is like one of `patterns` (SQL's LIKE), and no others are read."""
    wanted: ColumnElement[bool] = _KEY.like(patterns[0])
    for pattern in patterns[1:]:
        wanted = wanted | _KEY.like(pattern)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        rows = connection.execute(select(_KEY, _VALUE).where(_STUDY.in_((study_id,)), wanted)).all()
    return {key: json.loads(value) for key, value in rows}


def trial_of_key(key: str) -> int:
    """The trial's id in the key of a trial's note, or of its removed artifacts."""
    return int(key.removeprefix(REMOVED)) if key.startswith(REMOVED) else int(key.split(":")[1])


def notes_by_trial(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Trial's id -> the attributes that make up its note."""
    notes: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, value in attributes.items():
        notes[trial_of_key(key)][key] = value
    return notes
