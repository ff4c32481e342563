"""MLflow: one parent run a study, one child a trial; parameters, curves, artifacts. Extra `mlflow`."""

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from training.config import RunConfig, to_document
from training.errors import ConfigError
from training.report import EpochReport
from training.trackers.base import Place, Tracker, curves

EXPERIMENT = "drivebeat"
KEY, STUDY = "drivebeat.key", "drivebeat.study"
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
LONGEST_PARAMETER, PARAMETERS_AT_ONCE = 500, 100  # what MLflow's stores allow
MANNERS = {
    # its own: 7 tries of 120 s each, for which a run would stand still
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MlflowTracker(Tracker):
    """Speaks to the server at MLFLOW_TRACKING_URI, in the experiment MLFLOW_EXPERIMENT_NAME or "drivebeat".

    A run that is gone on with, by whoever, is found again by its key. Raises ImportError, and ConfigError where no
    server is named.
    """

    def __init__(self, place: Place) -> None:
        if find_spec("mlflow") is None:
            raise ImportError("no module mlflow")
        self._place = place
        self._uri = place.switches.mlflow.get("MLFLOW_TRACKING_URI", "")
        if not self._uri:
            raise ConfigError(
                "tracker 'mlflow': MLFLOW_TRACKING_URI is not set; start a server (mlflow server --port 5000) and set "
                "it to http://127.0.0.1:5000, in the environment or .env"
            )
        self._client: Any = None
        self._id = ""
        self._known_epoch = -1

    def start(self, run: RunConfig, name: str) -> None:
        for variable, value in {**MANNERS, **self._place.switches.mlflow}.items():
            os.environ.setdefault(variable, value)  # mlflow reads user, password and patience nowhere else
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what mlflow's own imports use
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self._uri)
            self._begin(run, name)

    def _begin(self, run: RunConfig, name: str) -> None:
        client, study = self._client, self._place.study
        experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        key = self._place.key
        earlier = _oldest(client, experiment, key) if key else None
        if earlier is not None:
            self._id = earlier
            client.update_run(self._id, status="RUNNING")
            history = client.get_metric_history(self._id, "validation/score")
            self._known_epoch = max((metric.step for metric in history), default=-1)
            return
        tags = {NAME: name, KEY: key}
        if study:
            tags |= {STUDY: study, PARENT: _parent(client, experiment, study)}
        self._id = client.create_run(experiment, tags=tags).info.run_id
        self._log_parameters(to_document(run))

    def _log_parameters(self, document: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = _flat(document)
        found = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in flat.items()]
        for first in range(0, len(found), PARAMETERS_AT_ONCE):
            self._client.log_batch(self._id, params=found[first : first + PARAMETERS_AT_ONCE])

    def report(self, report: EpochReport) -> None:
        if report.epoch <= self._known_epoch:
            return  # told by whoever had the run before
        from mlflow.entities import Metric

        now_ms = _now_ms()
        metrics = [Metric(_allowed(name), value, now_ms, report.epoch) for name, value in curves(report).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._client.log_artifact(self._id, str(path))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        scores = {name: value for name, value in summary.items() if isinstance(value, float)}
        for name, value in scores.items():
            self._client.log_metric(self._id, f"final/{_allowed(name)}", value)
        self._client.set_tag(self._id, "drivebeat.end", str(summary.get("end", "")))
        self._client.set_terminated(self._id, status="FINISHED" if scores else "FAILED")


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except Exception:
        found = client.get_experiment_by_name(name)  # another worker was first
        if found is None:
            raise
        return str(found.experiment_id)


def _parent(client: Any, experiment: str, study: str) -> str:
    """The run of the study: the oldest, where several workers made one at the same time; the younger ones go."""
    key = f"study {study}"
    found = _oldest(client, experiment, key)
    if found is not None:
        return found
    tags = {NAME: study, KEY: key, STUDY: study}
    made = client.create_run(experiment, tags=tags).info.run_id
    oldest = _oldest(client, experiment, key) or made
    if oldest != made:
        client.delete_run(made)
    return str(oldest)


def _oldest(client: Any, experiment: str, key: str) -> str | None:
    quoted = key.replace("'", "")
    found = client.search_runs(
        [experiment],
        filter_string=f"tags.`{KEY}` = '{quoted}'",
        max_results=1,
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
    )
    return str(found[0].info.run_id) if found else None


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, Mapping):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _allowed(name: str) -> str:
    """A name as MLflow takes it: it has no +."""
    return name.replace("+", "plus")


def _now_ms() -> int:
    return round(time.time() * 1000)


def refuse_shared(tracking_uri: str, storage_url: str) -> None:
    """Raise ConfigError where MLflow would write into the studies' own database.

    Both keep the state of their tables in one called alembic_version, so that each takes the other's for a broken one.
    """
    if tracking_uri and _database(tracking_uri) is not None and _database(tracking_uri) == _database(storage_url):
        raise ConfigError(
            "MLFLOW_TRACKING_URI names the studies' own database, whose tables MLflow would break (alembic_version); "
            "give MLflow another database, or the address of its server, http://HOST:5000"
        )


def _database(url: str) -> tuple[str, str, str] | None:
    """(kind, server, name) of a database URL, whatever its driver and user; None for another URL."""
    parts = urlsplit(url)
    kind = {"postgres": "postgresql", "mariadb": "mysql"}.get(kind := parts.scheme.partition("+")[0], kind)
    if kind == "sqlite":
        return kind, "", str(Path(url.partition(":///")[2].partition("?")[0]).resolve())
    if kind not in ("postgresql", "mysql"):
        return None
    port = 5432 if kind == "postgresql" else 3306
    host = {"localhost": "127.0.0.1", None: "127.0.0.1"}.get(parts.hostname, parts.hostname or "")
    return kind, f"{host}:{parts.port or port}", parts.path.strip("/")
