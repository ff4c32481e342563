"""MLflow against a real server of this machine: parameters, curves, artifacts, a parent run for every study."""

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import free_port, wait_for
from training.config import RunConfig
from training.report import EpochReport
from training.switches import Switches
from training.trackers.base import TrackerTarget
from training.trackers.build import build_trackers

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
# What mlflow's dependencies warn of when they are imported and called.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with a database and a folder of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    address = f"http://127.0.0.1:{port}"

    def said() -> str:
        return (folder / "log").read_text(errors="replace")

    def healthy() -> bool:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
        except OSError:
            assert process.poll() is None, said()
            return False
        return True

    try:
        wait_for(healthy, 200.0, 0.5, said)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(20)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def report(epoch: int) -> EpochReport:
    return EpochReport(
        epoch=epoch, n_epochs=3, loss=2.0 - epoch, score=float(epoch), by_snr={"-5": -1.0, "+0": 0.0}, best_score=None,
        best_epoch=None, learning_rate=1e-3, gain=1.0, peak_share=1.0, snr_db=-3.0, n_windows=8, seconds=0.1,
    )  # fmt: skip


def trial(run: RunConfig, folder: Path, server: str, number: int, epochs: range, *, ends: bool = True) -> None:
    switches = Switches(mlflow={"MLFLOW_TRACKING_URI": server})
    tracker = build_trackers(["mlflow"], TrackerTarget(folder, switches, "demo", f"trial demo/{number}"))
    tracker.start(run, f"demo {number}")
    for epoch in epochs:
        tracker.report(report(epoch))
    if ends:
        (folder / "run.yaml").write_text("fit: {}\n")
        tracker.files([folder / "run.yaml"])
        tracker.finish({"si_sdr_db": 2.0, "end": "finished"})


def test_trials_are_children_of_their_study_with_parameters_curves_and_artifacts(
    run: RunConfig, tmp_path: Path, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    trial(run, tmp_path, server, 0, range(3))
    trial(run, tmp_path, server, 1, range(2), ends=False)
    trial(run, tmp_path, server, 1, range(3))  # taken on by another worker, who is told all epochs again
    assert not [record for record in caplog.records if record.name == "drivebeat.trackers"]
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("drivebeat")
    assert experiment is not None
    runs: list[Any] = client.search_runs([experiment.experiment_id])
    (parent,) = [found for found in runs if "mlflow.parentRunId" not in found.data.tags]
    children = {found.info.run_name: found for found in runs if found is not parent}
    assert parent.info.run_name == "demo"
    assert set(children) == {"demo 0", "demo 1"}
    for child in children.values():
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
        assert child.data.params["model.name"] == run.model.name
        assert float(child.data.params["optimiser.learning_rate"]) == run.optimiser.learning_rate
        curve = client.get_metric_history(child.info.run_id, "validation/score")
        assert sorted((point.step, point.value) for point in curve) == [(0, 0.0), (1, 1.0), (2, 2.0)]
        assert child.data.metrics["validation/score_at_plus0_db"] == 0.0
        assert child.data.metrics["final/si_sdr_db"] == 2.0
        assert [entry.path for entry in client.list_artifacts(child.info.run_id)] == ["run.yaml"]


def test_a_server_that_does_not_answer_costs_a_warning_and_no_run(
    run: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trial(run, tmp_path, "http://me:hush-hush@127.0.0.1:9", 0, range(3))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "drivebeat.trackers"]
    assert line.startswith("MlflowTracker stopped: ")
    assert "hush-hush" not in line
