"""From a study file to a cleaned recording, as a user types it: real workers, real training, tiny everything."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta
from optuna.trial import TrialState

from search.queue.slots import progress
from search.storage.open import open_engine, open_storage
from search.study.study import load_study
from search.trials import best_trial
from tests.support.program import command, environment
from tests.support.waiting import wait_for
from training.config import as_trial, read_run


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_create_launch_export_train_evaluate_apply(
    cli_in: Callable[..., subprocess.CompletedProcess[str]],
    drivebeat: Any,
    study_file: Callable[..., Path],
    recordings: Path,
    tmp_path: Path,
) -> None:
    """`train best.yaml --as-trial` repeats the best trial to the last bit; launching a spent study adds nothing."""
    file = study_file(pruner={"name": "median", "startup_trials": 1, "warmup_epochs": 0}, budget={"trials": 6})
    assert "next: drivebeat launch tiny" in drivebeat("create", str(file)).out
    done = cli_in("launch", "tiny", "--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny: 6/6 finished" in done.stdout

    url = "sqlite:///studies.db"
    study = load_study("tiny", open_storage(url))
    trials = study.optuna.get_trials()
    assert len(trials) == 6
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    store = FileSystemArtifactStore(str(tmp_path / "artifacts"))
    for trial in trials:
        names = {m.filename: m.artifact_id for m in get_all_artifact_meta(trial, storage=study.optuna._storage)}
        assert set(names) == {"window.png", "noisy.wav", "clean.wav", "estimate.wav", "run.yaml"}
        download_artifact(artifact_store=store, artifact_id=names["run.yaml"], file_path=str(tmp_path / "trial.yaml"))
        assert read_run(tmp_path / "trial.yaml").optimiser.learning_rate == trial.params["learning_rate"]
        (tmp_path / "trial.yaml").unlink()

    again = cli_in("launch", "tiny", "--workers", "2")
    assert again.returncode == 0
    assert "its budget of 6 trials is spent" in again.stdout
    assert len(load_study("tiny", open_storage(url)).optuna.get_trials()) == 6

    best = best_trial(study.optuna)
    assert best is not None
    assert f"trial {best.number} of tiny" in drivebeat("export", "tiny", "-o", "best.yaml").out
    assert drivebeat("train", "best.yaml", "-o", "runs/best", "--as-trial").code == 0
    history = [json.loads(line) for line in (tmp_path / "runs/best/history.jsonl").read_text().splitlines()]
    assert {row["epoch"]: row["score"] for row in history} == best.intermediate_values
    assert history[-1]["best_score"] == best.value
    assert read_run(tmp_path / "runs/best/run.yaml") == as_trial(read_run(tmp_path / "best.yaml"))
    provenance = yaml.safe_load((tmp_path / "runs/best/run.yaml").read_text())["provenance"]
    assert (provenance["study"], provenance["trial"]) == ("tiny", best.number)

    evaluated = drivebeat("evaluate", "runs/best")
    assert evaluated.code == 0
    assert {"zeros", "identity", "autoencoder"} <= set(evaluated.out.split())
    assert (tmp_path / "runs/best/evaluation/table.csv").exists()
    (drive,) = recordings.rglob("60km.wav")
    assert drivebeat("apply", "runs/best", str(drive), "--channels", "ch1", "-o", "estimate.wav").code == 0
    assert soundfile.info(tmp_path / "estimate.wav").frames == soundfile.info(drive).frames


@pytest.fixture
def cli_in(cli: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The console script in the same fresh folder as `drivebeat`, given time for workers to start."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = cli(*arguments, timeout_s=170)
        return done

    return run


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_worker_is_started_again_and_ctrl_c_stops_a_launch_in_order(
    drivebeat: Any, study_file: Callable[..., Path], tmp_path: Path
) -> None:
    """kill -9 of one worker, then SIGINT to the launcher: exit code 130, no process left, all slots given back;
    the same command then meets the budget exactly."""
    fixed = {"levels": 2, "kernel": 3, "batch_size": 8, "steps_per_epoch": 12, "gain_ramp": "none"}
    assert drivebeat("create", str(study_file(fixed=fixed, budget={"trials": 2}, epochs=6))).code == 0
    url = f"sqlite:///{tmp_path}/studies.db"
    engine, stored = open_engine(url), load_study("tiny", open_storage(url))
    study = stored.optuna

    def launch() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command("launch", "tiny", "--workers", "1", "--lease", "5"),
            cwd=tmp_path,
            env=environment(DRIVEBEAT_STORAGE=url, OMP_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def worker_of_a_running_trial(other_than: int = 0) -> int:
        def found() -> int:
            for trial in study.get_trials(states=(TrialState.RUNNING,)):
                pid = int(trial.user_attrs.get("worker", "x:0").split(":")[1])
                if pid not in (0, other_than) and trial.intermediate_values:
                    return pid
            assert launcher.poll() is None, launcher.communicate()
            return 0

        return wait_for(found, 200.0)

    launcher = launch()
    try:
        killed = worker_of_a_running_trial()
        os.kill(killed, signal.SIGKILL)
        second = worker_of_a_running_trial(other_than=killed)
        launcher.send_signal(signal.SIGINT)
        out, err = launcher.communicate(timeout=90)
    finally:
        launcher.kill()
    assert launcher.returncode == 130, (out, err)
    assert "the same command continues the search" in err
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
    state = progress(engine, stored.identity)
    assert state.claimed == 0

    launcher = launch()
    out, err = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, (out, err)
    assert "tiny: 2/2 finished" in out
    assert progress(engine, stored.identity).spent
    trials = study.get_trials()
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) == 2
    assert not any(trial.state == TrialState.RUNNING for trial in trials)
