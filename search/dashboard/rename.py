"""Rename studies in the dashboard as `drivebeat rename` does, so that their workers and their budget go on.

optuna-dashboard renames a study by a copy, whose original it deletes; trials that run meanwhile are lost to the copy.
"""

import json
import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from search.dashboard.private import serialize_frozen_study
from search.dashboard.storage import PageStorage
from search.errors import UserError
from search.study.lifecycle import rename

RENAME_PATH = re.compile(r"/api/studies/([0-9]{1,9})/rename/?")


def renaming(storage: PageStorage, rest: WSGIApplication) -> WSGIApplication:
    """Return `rest` with requests to rename a study answered here, in optuna-dashboard's format."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match = RENAME_PATH.fullmatch(environ.get("PATH_INFO", ""))
        if match is None or environ["REQUEST_METHOD"] != "POST":
            return rest(environ, start_response)
        status, document = _renamed(storage, int(match[1]), _new_name(environ))
        body = json.dumps(document).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _new_name(environ: WSGIEnvironment) -> object:
    """Return study_name in the JSON of the request's body; None where it has none."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        document = json.loads(environ["wsgi.input"].read(length))
    except (ValueError, RecursionError):
        return None
    return document.get("study_name") if isinstance(document, dict) else None


def _renamed(storage: PageStorage, study_id: int, new: object) -> tuple[str, object]:
    """Rename the study and return status and body of the response."""
    if not isinstance(new, str) or not new:
        return "400 Bad Request", {"reason": "You need to set study_name"}
    try:
        name = storage.get_study_name_from_id(study_id)
    except KeyError:
        return "404 Not Found", {"reason": f"study_id={study_id} is not found"}
    try:
        rename(name, new, storage, storage.engine)
    except UserError as error:
        return "400 Bad Request", {"reason": str(error)}
    storage.forget(study_id)
    study = next((study for study in storage.get_all_studies() if study._study_id == study_id), None)
    if study is None:  # deleted in this moment
        return "404 Not Found", {"reason": f"study_id={study_id} is not found"}
    return "201 Created", serialize_frozen_study(study)
