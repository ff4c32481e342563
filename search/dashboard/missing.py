"""Find studies whose artifacts are in another store than the dashboard's, before it serves."""

import json
from collections.abc import Sequence

from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import Connection, Engine, select

from search.storage.fast.reads import system_attributes
from search.storage.fast.tables import STUDIES, SYSTEM, TRIALS
from search.storage.optuna_private import ArtifactStore
from search.trials import ARTIFACT, PLACE, REMOVED, artifacts_of

N_STUDIES = 20  # the newest; each costs a request to the store
N_ROWS = 200  # of artifacts, among which are those of a trial that has not lost them to the limits of retention


def missing_artifacts(engine: Engine, artifacts: ArtifactStore, place: str) -> list[str]:
    """Return a note for each study whose latest artifacts are not in the store at `place`."""
    notes = []
    with engine.connect() as connection:
        columns = STUDIES.c.study_id, STUDIES.c.study_name
        studies = connection.execute(select(*columns).order_by(STUDIES.c.study_id.desc()).limit(N_STUDIES)).all()
        for study_id, name in studies:
            attributes = system_attributes(engine, study_id, f"{REMOVED}%", PLACE)
            removed = {key.removeprefix(REMOVED) for key in attributes if key.startswith(REMOVED)}
            identifier = _latest(_rows(connection, study_id), removed)
            if identifier and not _has(artifacts, identifier):
                notes.append(_note(name, attributes.get(PLACE), place))
    return notes


def _rows(connection: Connection, study_id: int) -> Sequence[tuple[int, str, str]]:
    """Return trial_id, key and JSON of the artifacts of a study's trials, the latest first."""
    c = SYSTEM.c
    rows = connection.execute(
        select(c.trial_id, c.key, c.value_json)
        .join(TRIALS, TRIALS.c.trial_id == c.trial_id)
        .where(TRIALS.c.study_id == study_id, c.key.like(f"{ARTIFACT}%"))
        .order_by(c.trial_system_attribute_id.desc())
        .limit(N_ROWS)
    )
    return [(trial_id, key, text) for trial_id, key, text in rows]


def _latest(rows: Sequence[tuple[int, str, str]], removed: set[str]) -> str:
    """Return the id of the latest artifact of a trial that is not in `removed`; "" where there is none."""
    for trial_id, key, text in rows:
        if str(trial_id) in removed:
            continue
        try:
            found = artifacts_of({key: json.loads(text)})
        except ValueError:  # another program's
            continue
        if found:
            return next(iter(found.values()))
    return ""


def _has(artifacts: ArtifactStore, identifier: str) -> bool:
    """Return whether the store has an artifact; True where the store does not answer."""
    try:
        artifacts.open_reader(identifier).close()
    except (ArtifactNotFound, FileNotFoundError):
        return False
    except OSError:
        return True
    return True


def _note(name: str, stored: object, place: str) -> str:
    where = f"; a worker stored them in {stored}" if isinstance(stored, str) else ""
    return f"the artifacts of study {name} are not in {place}{where}; start with --artifacts and their place"
