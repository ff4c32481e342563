"""Rename and delete studies in the dashboard as the commands do.

optuna-dashboard renames a study by a copy, whose original it deletes: trials that run meanwhile are lost to the copy.
It deletes all artifacts with a study, those that another study refers to as well.
"""

import json
import re
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from search.dashboard.private import serialize_frozen_study
from search.dashboard.storage import PageStorage
from search.errors import UserError
from search.storage.optuna_private import ArtifactStore
from search.study.lifecycle import remove_artifacts, rename

STUDY_PATH = re.compile(r"/api/studies/([0-9]{1,9})(/rename)?/?")
Response = tuple[str, Any]  # status, and what its JSON holds


def changing(storage: PageStorage, artifacts: ArtifactStore, rest: WSGIApplication) -> WSGIApplication:
    """Return `rest` with requests to rename or delete a study answered here, in optuna-dashboard's format."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match = STUDY_PATH.fullmatch(environ.get("PATH_INFO", ""))
        action = (environ["REQUEST_METHOD"], bool(match and match[2]))
        if match is None or action not in (("POST", True), ("DELETE", False)):
            return rest(environ, start_response)
        values, study_id = _values(environ), int(match[1])
        if values is None:
            status, document = "400 Bad Request", {"reason": "The body must be a JSON object"}
        elif match[2]:
            status, document = _rename(storage, study_id, values.get("study_name"))
        else:
            status, document = _delete(storage, study_id, artifacts, values.get("remove_associated_artifacts", True))
        if status.startswith("204"):
            start_response(status, [])
            return []
        body = json.dumps(document).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _values(environ: WSGIEnvironment) -> dict[str, Any] | None:
    """Return the JSON object in the request's body, an empty one without a body; None where it holds anything else."""
    try:
        text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _rename(storage: PageStorage, study_id: int, new: object) -> Response:
    if not isinstance(new, str) or not new:
        return "400 Bad Request", {"reason": "You need to set study_name"}
    try:
        name = storage.get_study_name_from_id(study_id)
    except KeyError:
        return _missing(study_id)
    try:
        rename(name, new, storage, storage.engine)
    except UserError as error:
        return "400 Bad Request", {"reason": str(error)}
    storage.forget(study_id)
    study = next((study for study in storage.get_all_studies() if study._study_id == study_id), None)
    if study is None:  # deleted in this moment
        return _missing(study_id)
    return "201 Created", serialize_frozen_study(study)


def _delete(storage: PageStorage, study_id: int, artifacts: ArtifactStore, remove: object) -> Response:
    if not isinstance(remove, bool):
        return "400 Bad Request", {"reason": "remove_associated_artifacts must be true or false"}
    study = next((study for study in storage.get_all_studies() if study._study_id == study_id), None)
    if study is None:
        return _missing(study_id)
    trials = storage.get_all_trials(study_id, deepcopy=False)
    try:
        storage.delete_study(study_id)
    except KeyError:  # deleted in this moment
        return _missing(study_id)
    if remove:
        remove_artifacts(study, trials, storage, artifacts, lambda line: None)
    return "204 No Content", None


def _missing(study_id: int) -> Response:
    return "404 Not Found", {"reason": f"study_id={study_id} is not found"}
