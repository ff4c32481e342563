"""Track runs with MLflow: parameters, curves and artifacts. Each study is a parent run, each trial a child run.

Needs the extra `mlflow`.
"""

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
from training.plugins.plugin import referenced
from training.report import EpochReport
from training.trackers.base import Tracker, TrackerTarget, curves

EXPERIMENT = "drivebeat"
# Tags of ours, then tags that MLflow defines.
KEY_TAG, STUDY_TAG = "drivebeat.key", "drivebeat.study"
PARENT_TAG, NAME_TAG = "mlflow.parentRunId", "mlflow.runName"
# Limits of MLflow's stores.
MAX_PARAMETER_CHARACTERS = 500
MAX_PARAMETERS_PER_CALL = 100
CLIENT_DEFAULTS = {
    # MLflow's defaults are 7 attempts of 120 s each, during which the run would wait.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MlflowTracker(Tracker):
    """Log to the server at MLFLOW_TRACKING_URI, in the experiment MLFLOW_EXPERIMENT_NAME or "drivebeat".

    A resumed run is found again by the key of its target, also if another worker resumes it.

    Raises ImportError if mlflow is not installed, and ConfigError if no server is named.
    """

    def __init__(self, target: TrackerTarget) -> None:
        if find_spec("mlflow") is None:
            raise ImportError("no module mlflow")
        self._target = target
        self._uri = target.switches.mlflow.get("MLFLOW_TRACKING_URI", "")
        if not self._uri:
            raise ConfigError(
                "tracker 'mlflow': MLFLOW_TRACKING_URI is not set; start a server (mlflow server --port 5000) and set "
                "it to http://127.0.0.1:5000, in the environment or .env"
            )
        self._client: Any = None
        self._id = ""
        self._known_epoch = -1

    def start(self, run: RunConfig, name: str) -> None:
        # MLflow reads user, password and timeouts from the environment only.
        for variable, value in {**CLIENT_DEFAULTS, **self._target.switches.mlflow}.items():
            os.environ.setdefault(variable, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # raised by the packages that mlflow imports
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self._uri)
            self._find_or_create(run, name)

    def _find_or_create(self, run: RunConfig, name: str) -> None:
        client, study = self._client, self._target.study
        experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        key = self._target.key
        earlier = _oldest(client, experiment, key) if key else None
        if earlier is not None:
            self._id = earlier
            client.update_run(self._id, status="RUNNING")
            history = client.get_metric_history(self._id, "validation/score")
            self._known_epoch = max((metric.step for metric in history), default=-1)
            return
        tags = {NAME_TAG: name, KEY_TAG: key}
        if study:
            tags |= {STUDY_TAG: study, PARENT_TAG: _parent(client, experiment, study)}
        self._id = client.create_run(experiment, tags=tags).info.run_id
        self._log_parameters(referenced(to_document(run)))

    def _log_parameters(self, document: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = _flat(document)
        parameters = [Param(name, str(value)[:MAX_PARAMETER_CHARACTERS]) for name, value in flat.items()]
        for first in range(0, len(parameters), MAX_PARAMETERS_PER_CALL):
            self._client.log_batch(self._id, params=parameters[first : first + MAX_PARAMETERS_PER_CALL])

    def report(self, report: EpochReport) -> None:
        if report.epoch <= self._known_epoch:
            return  # logged before the run was resumed
        from mlflow.entities import Metric

        now_ms = _now_ms()
        metrics = [Metric(_mlflow_name(name), value, now_ms, report.epoch) for name, value in curves(report).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._client.log_artifact(self._id, str(path))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        scores = {name: value for name, value in summary.items() if isinstance(value, float)}
        for name, value in scores.items():
            self._client.log_metric(self._id, f"final/{_mlflow_name(name)}", value)
        self._client.set_tag(self._id, "drivebeat.end", str(summary.get("end", "")))
        self._client.set_terminated(self._id, status="FINISHED" if scores else "FAILED")


def refuse_shared(tracking_uri: str, storage_url: str) -> None:
    """Raise ConfigError if MLflow would write into the studies' own database.

    Both MLflow and Optuna store the version of their tables in a table called alembic_version, and each takes the
    other's entry for a damaged one.
    """
    if tracking_uri and _database(tracking_uri) is not None and _database(tracking_uri) == _database(storage_url):
        raise ConfigError(
            "MLFLOW_TRACKING_URI names the studies' own database, whose tables MLflow would break (alembic_version); "
            "give MLflow another database, or the address of its server, http://HOST:5000"
        )


def _experiment(client: Any, name: str) -> str:
    """Return the id of the experiment `name`, which is created if it is missing."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except Exception:
        found = client.get_experiment_by_name(name)  # another worker may have created it first
        if found is None:
            raise
        return str(found.experiment_id)


def _parent(client: Any, experiment: str, study: str) -> str:
    """Return the id of the study's parent run, which is created if it is missing.

    If several workers create it at the same time, all use the oldest and delete their own.
    """
    key = f"study {study}"
    found = _oldest(client, experiment, key)
    if found is not None:
        return found
    tags = {NAME_TAG: study, KEY_TAG: key, STUDY_TAG: study}
    created = client.create_run(experiment, tags=tags).info.run_id
    oldest = _oldest(client, experiment, key) or created
    if oldest != created:
        client.delete_run(created)
    return str(oldest)


def _oldest(client: Any, experiment: str, key: str) -> str | None:
    """Return the id of the oldest run with the tag `key`; None if there is none."""
    quoted = key.replace("'", "")
    found = client.search_runs(
        [experiment],
        filter_string=f"tags.`{KEY_TAG}` = '{quoted}'",
        max_results=1,
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
    )
    return str(found[0].info.run_id) if found else None


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested tables by their dotted names."""
    if not isinstance(values, Mapping):
        return {prefix: values}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _mlflow_name(name: str) -> str:
    """Return `name` in characters that MLflow allows in a metric's name: no +."""
    return name.replace("+", "plus")


def _now_ms() -> int:
    return round(time.time() * 1000)


def _database(url: str) -> tuple[str, str, str] | None:
    """Return (kind, server, name) of a database URL, without driver and user; None for any other URL."""
    parts = urlsplit(url)
    kind = {"postgres": "postgresql", "mariadb": "mysql"}.get(kind := parts.scheme.partition("+")[0], kind)
    if kind == "sqlite":
        return kind, "", str(Path(url.partition(":///")[2].partition("?")[0]).resolve())
    if kind not in ("postgresql", "mysql"):
        return None
    port = 5432 if kind == "postgresql" else 3306
    host = {"localhost": "127.0.0.1", None: "127.0.0.1"}.get(parts.hostname, parts.hostname or "")
    return kind, f"{host}:{parts.port or port}", parts.path.strip("/")
