"""Rename and delete studies in the dashboard as the commands do.

optuna-dashboard renames a study by a copy, whose original it deletes: trials that run meanwhile are lost to the copy.
It deletes all artifacts with a study, those that another study refers to as well. Its two functions are replaced by a
plugin of Bottle, behind the checks of search.dashboard.requests.
"""

import json
from collections.abc import Callable
from typing import Any

from bottle import Bottle, Route, request, response  # type: ignore[import-untyped]

from search.dashboard.bodies import STUDY
from search.dashboard.private import serialize_frozen_study
from search.dashboard.storage import PageStorage
from search.errors import UserError
from search.storage.optuna_private import ArtifactStore, FrozenStudy
from search.study.lifecycle import remove_all_artifacts, rename


def install_study_changes(application: Bottle, storage: PageStorage, artifacts: ArtifactStore) -> None:
    """Have optuna-dashboard's `application` rename and delete studies as the commands do. Call it after its checks."""
    application.install(StudyChanges(storage, artifacts))


class StudyChanges:
    """A plugin of Bottle that replaces the functions of two routes."""

    name, api = "drivebeat-studies", 2

    def __init__(self, storage: PageStorage, artifacts: ArtifactStore) -> None:
        self._storage, self._artifacts = storage, artifacts

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Return our function for the route, or `callback` for another route."""
        replaced = {("POST", f"{STUDY}/rename"): self._rename, ("DELETE", STUDY): self._delete}
        return replaced.get((route.method, route.rule), callback)

    def _rename(self, study_id: int) -> str:
        new = request.json.get("study_name")
        if new is None:
            return _answer(400, {"reason": "You need to set study_name"})
        study = self._study(study_id)
        if study is None:
            return _missing(study_id)
        try:
            rename(study.study_name, new, self._storage, self._storage.engine)
        except UserError as error:
            return _answer(400, {"reason": str(error)})
        self._storage.forget(study_id)
        renamed = self._study(study_id)
        if renamed is None:
            return _missing(study_id)
        return _answer(201, serialize_frozen_study(renamed))

    def _delete(self, study_id: int) -> str:
        study = self._study(study_id)
        try:
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
            self._storage.delete_study(study_id)
        except KeyError:
            return _missing(study_id)
        if study is not None and (request.json or {}).get("remove_associated_artifacts", True):
            remove_all_artifacts(study, trials, self._storage, self._artifacts, lambda line: None)
        response.status = 204
        return ""

    def _study(self, study_id: int) -> FrozenStudy | None:
        return next((study for study in self._storage.get_all_studies() if study._study_id == study_id), None)


def _answer(status: int, document: Any) -> str:
    response.status, response.content_type = status, "application/json"
    return json.dumps(document)


def _missing(study_id: int) -> str:
    """Answer for a study that was deleted after the checks of the request."""
    return _answer(404, {"reason": f"study_id={study_id} is not found"})
