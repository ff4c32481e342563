"""Checks of the requests that reach optuna-dashboard, so that a wrong one gets 4xx and changes nothing.

optuna-dashboard answers 500 to many of them, to some after it has stored a part, and stores attributes of trials and
artifacts that do not exist. The checks are a plugin of Bottle, its web framework: it is called with the route and the
ids in the path, before the route's function.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from bottle import Bottle, HTTPError, Route, request, response  # type: ignore[import-untyped]
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, func, select

from search.dashboard.bodies import BODIES, STUDY, problem_of
from search.dashboard.private import ARTIFACTS_ATTR_PREFIX, DASHBOARD_ARTIFACTS_ATTR_PREFIX, PREFERENTIAL_STUDY
from search.storage.fast.reads import system_attributes
from search.storage.fast.tables import DIRECTIONS, STUDIES, STUDY_USER, SYSTEM, TRIALS, VALUES
from search.trials import SPEC

LAST_ID = 2**31 - 1  # the largest INTEGER
AFTER = re.compile(r"-?[0-9]{1,18}")
NO_HEADER = re.compile(r"[\0\r\n]")
ERRORS = (400, 403, 404, 405, 413, 416, 500)
N_PARETO_OBJECTIVES = (2, 3)


class Problem(NamedTuple):
    """Why a request is refused. status: of the response."""

    status: int
    reason: str


def install_checks(application: Bottle, engine: Engine) -> None:
    """Check all requests to optuna-dashboard's `application`, and make its pages about errors one line.

    engine: of the database that it shows.
    """
    application.install(RequestChecks(engine))
    for status in ERRORS:
        application.error(status, _one_line)


def _one_line(error: HTTPError) -> str:
    response.content_type = "text/plain; charset=utf-8"
    return f"{error.status_line}: {str(error.body).partition(chr(10))[0]}\n"


class RequestChecks:
    """A plugin of Bottle that refuses requests with an unknown id or a wrong body, and changes that cannot be made."""

    name, api = "drivebeat", 2

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Return `callback` behind the checks of its route."""

        def checked(**ids: Any) -> Any:
            problem = next(self._problems(route, ids), None)
            if problem is None:
                try:
                    return callback(**ids)
                except ArtifactNotFound:
                    problem = Problem(404, f"artifact_id={ids['artifact_id']} is not found")
                except OSError as error:
                    problem = Problem(503, f"the artifact store does not answer: {error}")
            response.status, response.content_type = problem.status, "application/json"
            return json.dumps({"reason": problem.reason})

        return checked

    def _problems(self, route: Route, ids: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield why the request is refused."""
        if (route.method, route.rule) == ("GET", STUDY) and not AFTER.fullmatch(request.params.get("after", "0")):
            yield Problem(400, "`after` should be a whole number, 0 or more")
        if "study_id" in ids or "trial_id" in ids:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                yield from _unknown_ids(connection, ids)
                yield from _finished_trials(connection, route, ids)
                yield from _unusable_names(connection, route, ids)
                yield from self._unknown_artifacts(connection, ids)
                yield from _impossible_plots(connection, route, ids)
        yield from _wrong_bodies(route)
        if "/preference" in route.rule:
            yield from self._wrong_preferences(ids["study_id"])
        if route.rule.endswith("/tell"):
            yield from self._wrong_values(ids["trial_id"])

    def _unknown_artifacts(self, connection: Connection, ids: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a problem if the study or the trial in the path has no such artifact."""
        if "artifact_id" not in ids:
            return
        trial_id, own = ids.get("trial_id"), ARTIFACTS_ATTR_PREFIX + ids["artifact_id"]
        # optuna-dashboard once stored a trial's artifacts in the attributes of its study
        of_study = own if trial_id is None else f"{DASHBOARD_ARTIFACTS_ATTR_PREFIX}{trial_id}:{ids['artifact_id']}"
        found = [system_attributes(self._engine, ids["study_id"], of_study).get(of_study)]
        if trial_id is not None:
            c = SYSTEM.c
            rows = connection.execute(select(c.key, c.value_json).where(c.trial_id == trial_id, c.key == own))
            found += [json.loads(value) for key, value in rows if key == own]  # some databases ignore case
        if not any(text is not None and json.loads(text) is not None for text in found):
            yield Problem(404, "Artifact is not found.")

    def _wrong_preferences(self, study_id: int) -> Iterator[Problem]:
        """Yield a problem if the study has no preferences, which would end its trials, or no such trials."""
        if not system_attributes(self._engine, study_id, PREFERENTIAL_STUDY).get(PREFERENTIAL_STUDY):
            yield Problem(400, "The study is not preferential.")
        body = request.json
        if isinstance(body, dict):
            numbers = [*body.get("candidates", ()), *([body["clicked"]] if "clicked" in body else [])]
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                count = select(func.count()).select_from(TRIALS).where(TRIALS.c.study_id == study_id)
                n_trials = connection.execute(count).scalar_one()
            if not all(0 <= number < n_trials for number in numbers):
                yield Problem(400, f"the numbers of trials go from 0 to {n_trials - 1}")

    def _wrong_values(self, trial_id: int) -> Iterator[Problem]:
        """Yield a problem if a trial would be complete with too few values, or with too many in a study of ours."""
        values = request.json.get("values")
        if not isinstance(values, list):
            return
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            study_id = connection.execute(select(TRIALS.c.study_id).where(TRIALS.c.trial_id == trial_id)).scalar_one()
            n_objectives = _n_objectives(connection, study_id)
            c = STUDY_USER.c
            is_ours = connection.execute(select(c.key).where(c.study_id == study_id, c.key == SPEC)).first() is not None
        if len(values) < n_objectives or (is_ours and len(values) > n_objectives):
            yield Problem(400, f"the study has {n_objectives} objectives, and values is of length {len(values)}")


def _impossible_plots(connection: Connection, route: Route, ids: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if Optuna cannot draw the plot of this study, or not compute its importances."""
    plot_type = ids.get("plot_type")
    if (plot_type is None and not route.rule.endswith("/param_importances")) or plot_type == "timeline":
        return
    if plot_type is not None and find_spec("plotly") is None:
        yield Problem(404, "plotly, which draws these plots, is not installed")
    n_objectives = _n_objectives(connection, ids["study_id"])
    if plot_type == "pareto_front" and n_objectives not in N_PARETO_OBJECTIVES:
        yield Problem(400, "a Pareto front needs a study of 2 or 3 objectives")
    c, n_values = TRIALS.c, func.count(VALUES.c.trial_value_id)
    others = (
        select(c.number, n_values)
        .select_from(TRIALS.outerjoin(VALUES, VALUES.c.trial_id == c.trial_id))
        .where(c.study_id == ids["study_id"], c.state == TrialState.COMPLETE)
        .group_by(c.trial_id, c.number)
        .having(n_values != n_objectives)
    )
    other = connection.execute(others.limit(1)).first()
    if other is not None:
        yield Problem(409, f"trial {other[0]} has {other[1]} values, and the study {n_objectives} objectives")


def _n_objectives(connection: Connection, study_id: int) -> int:
    count = select(func.count()).select_from(DIRECTIONS).where(DIRECTIONS.c.study_id == study_id)
    return connection.execute(count).scalar_one()


def _unknown_ids(connection: Connection, ids: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if the database has no such study, or the study no such trial."""
    study_id, trial_id = ids.get("study_id"), ids.get("trial_id")
    for name, number in (("study_id", study_id), ("trial_id", trial_id)):
        if number is not None and not 0 <= number <= LAST_ID:
            yield Problem(404, f"{name}={number} is not found")
    if study_id is not None:
        c = STUDIES.c
        if connection.execute(select(c.study_id).where(c.study_id == study_id)).first() is None:
            yield Problem(404, f"study_id={study_id} is not found")
    if trial_id is not None:
        study_of_trial = connection.execute(select(TRIALS.c.study_id).where(TRIALS.c.trial_id == trial_id)).scalar()
        if study_of_trial is None or study_id not in (None, study_of_trial):
            yield Problem(404, f"trial_id={trial_id} is not found")


def _finished_trials(connection: Connection, route: Route, ids: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if a finished trial is to be changed, whose values and artifacts Optuna keeps as they are."""
    if route.rule.startswith("/api/trials/") or (route.method == "DELETE" and "trial_id" in ids):
        state = connection.execute(select(TRIALS.c.state).where(TRIALS.c.trial_id == ids["trial_id"])).scalar_one()
        if TrialState(state).is_finished():
            yield Problem(409, "the trial is finished and cannot be changed")


def _unusable_names(connection: Connection, route: Route, ids: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem if the study's name cannot be the name of a file, which is a part of a header."""
    if route.rule.startswith("/csv/"):
        c = STUDIES.c
        name: str = connection.execute(select(c.study_name).where(c.study_id == ids["study_id"])).scalar_one()
        if NO_HEADER.search(name):
            yield Problem(400, "the study's name has a line break, which a file name cannot have; rename the study")


def _wrong_bodies(route: Route) -> Iterator[Problem]:
    """Yield a problem if the route takes a JSON object, and the request has none, or one of wrong types."""
    model = BODIES.get((route.method, route.rule))
    if model is None:
        return
    try:
        reason = problem_of(model, request.json)
    except HTTPError as error:
        yield Problem(error.status_code, str(error.body))
    except RecursionError:
        yield Problem(400, "Invalid JSON: too many brackets")
    else:
        if reason is not None:
            yield Problem(400, reason)
