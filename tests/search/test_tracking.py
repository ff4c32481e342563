"""Trials have trackers too, by name and by switch; and what cannot be had costs no trial."""

import json
from pathlib import Path
from typing import Any

import pytest

from search.artifacts.open import open_artifacts
from search.worker.worker import work
from training.errors import ConfigError
from training.switches import Switches
from training.trackers.base import Tracker
from training.trackers.build import TRACKERS, tracking_of


def test_a_worker_s_trials_are_told_to_its_trackers(
    bench: Any, make_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports to the last one, the kept files, and the score; a tracker that fails costs no trial."""
    heard: list[tuple[str, Any]] = []

    class Ear(Tracker):
        def files(self, paths: Any) -> None:
            heard.append(("files", sorted(path.name for path in paths)))

        def finish(self, summary: Any) -> None:
            heard.append(("finish", dict(summary)))

    class Broken(Tracker):
        def start(self, run: Any, name: str) -> None:
            raise OSError("no server")

    monkeypatch.setitem(TRACKERS, "ear", lambda _: Ear())
    monkeypatch.setitem(TRACKERS, "broken", lambda _: Broken())
    study = bench.create(make_spec(budget={"trials": 1}))
    switches = Switches(trackers=("jsonl", "ear", "broken"), trial_logs=tmp_path / "trials", only_first_batch=True)
    tracking = tracking_of(switches, bench.url)
    assert (
        work([study.name], bench.url, open_artifacts(tmp_path / "artifacts"), tracking=tracking, log=lambda line: None)
        == 1
    )
    (trial,) = study.optuna.get_trials()
    lines = (tmp_path / "trials" / "tiny" / "0" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["score"] for line in lines] == list(trial.intermediate_values.values())
    assert heard == [
        ("files", ["clean.wav", "estimate.wav", "noisy.wav", "run.yaml", "weights.safetensors", "window.png"]),
        ("finish", {"si_sdr_db": trial.value, "end": "finished"}),
    ]
    assert json.loads(trial.user_attrs["run"])["fit"]["steps_per_epoch"] == 1, "ONLY_FIRST_BATCH"


def test_mlflow_on_the_studies_own_database_is_refused_however_it_is_written(tmp_path: Path) -> None:
    for tracking_uri, storage in (
        ("postgresql+psycopg2://a:b@localhost/lab", "postgresql://c@127.0.0.1:5432/lab"),
        (f"sqlite:///{tmp_path}/x/../studies.db", f"sqlite:///{tmp_path}/studies.db"),
        ("mysql+pymysql://a@db/lab", "mariadb://b@db:3306/lab"),
    ):
        switches = Switches(trackers=("mlflow",), mlflow={"MLFLOW_TRACKING_URI": tracking_uri})
        with pytest.raises(ConfigError, match="the studies' own database"):
            tracking_of(switches, storage, missing=lambda line: None)


def test_what_cannot_be_had_is_told_and_left_out_of_trials_but_refused_where_it_was_asked_for() -> None:
    said: list[str] = []
    switches = Switches(trackers=("jsonl", "mlflow"))  # no address, or no package
    assert tracking_of(switches, "sqlite:///studies.db", missing=said.append).names == ("jsonl",)
    assert len(said) == 1
    assert "mlflow" in said[0]
    with pytest.raises(ConfigError, match="mlflow"):
        tracking_of(switches, "sqlite:///studies.db")
    with pytest.raises(ConfigError, match="unknown tracker 'mlfow'"):
        tracking_of(Switches(), "sqlite:///studies.db", ["mlfow"], missing=said.append)
