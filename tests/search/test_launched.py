"""What launchers start: local processes, Ray, SLURM and Kubernetes run the same search, and stop in order."""

import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

import search.launch.base
from search.cli.studies import work_command
from search.launch.base import Launch
from search.launch.local import LocalWorker, local_workers
from search.launch.slurm import slurm_workers
from search.queue.workers import workers
from search.study.study import Study
from tests.support.program import command, environment
from tests.support.waiting import wait_for


def a_launch(folder: Path, **changes: Any) -> Launch:
    wanted: dict[str, Any] = {"n_workers": 2, "url": f"sqlite:///{folder}/studies.db", **changes}
    return Launch(("tiny",), artifacts=str(folder / "artifacts"), logs=folder / "logs", **wanted)


def test_local_workers_are_stopped_in_order_on_leaving_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))\n"
        "print('up', flush=True)\n"
        "time.sleep(50)"
    )
    monkeypatch.setattr(search.launch.base, "work_command", lambda launch, threads: [sys.executable, "-c", program])
    workers: list[LocalWorker] = []
    with pytest.raises(KeyboardInterrupt), local_workers(a_launch(tmp_path)) as started:
        workers.extend(started)
        wait_for(lambda: all(worker.last_line() == "up" for worker in workers))
        assert [worker.exit_code() for worker in workers] == [None, None]
        raise KeyboardInterrupt
    assert [worker.exit_code() for worker in workers] == [0, 0]


# --- the same search by each ----------------------------------------------------------------------------------------


def launch_by(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = ("--workers", "2", "--artifacts", "artifacts", "--storage", f"sqlite:///{folder}/studies.db")
    return subprocess.run(
        command("launch", "tiny", *words, *options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def finished(study: Study) -> list[tuple[float, float]]:
    trials = study.optuna.get_trials()
    assert all(trial.state == TrialState.COMPLETE for trial in trials)
    return sorted((trial.params["learning_rate"], trial.value) for trial in trials if trial.value is not None)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("options", [("--launcher", "ray"), ("--launcher", "slurm", "--slurm", "cluster=local")])
def test_ray_and_slurm_run_a_search_to_its_end_like_local_processes(
    options: tuple[str, ...], bench: Any, make_spec: Any, tmp_path: Path
) -> None:
    study = bench.create(make_spec(budget={"trials": 2}))
    done = launch_by(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "its budget of 2 trials is spent" in done.stdout
    assert len(finished(study)) == 2
    assert {row.status.state for row in workers(bench.engine)} == {"stopped"}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_preempted_slurm_job_gives_its_trial_back_and_is_requeued(
    bench: Any, make_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGUSR2 to the job becomes the worker's SIGTERM; a new worker in the same job goes on from the checkpoint."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    study = bench.create(make_spec(epochs=150, budget={"trials": 1}))
    wanted = a_launch(tmp_path, url=bench.url, n_workers=1, slurm={"cluster": "local"})
    with slurm_workers(wanted) as (worker,):
        wait_for(lambda: any(trial.intermediate_values for trial in study.optuna.get_trials()))
        controller = worker.job._process.pid
        (task,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
        os.kill(int(task), signal.SIGUSR2)
        wait_for(lambda: worker.exit_code() is not None, 120)
        assert worker.exit_code() == 0, worker.last_line()
    (trial,) = study.optuna.get_trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["resumed"] == 1
    assert sorted(trial.intermediate_values) == list(range(150))
    states = sorted(row.status.state for row in workers(bench.engine))
    assert states == ["stopped", "stopped"]


# --- Kubernetes -----------------------------------------------------------------------------------------------------


def test_the_kubernetes_manifest_runs_workers_in_parallel_with_the_url_from_a_secret_and_a_shared_volume() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guide" / "deploying.md").read_text(encoding="utf-8")
    claim, job = yaml.safe_load_all(text.partition("```yaml\n")[2].partition("```")[0])
    assert (claim["kind"], claim["spec"]["accessModes"]) == ("PersistentVolumeClaim", ["ReadWriteMany"])
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["spec"]["parallelism"] > 1
    assert "completions" not in job["spec"], "a work queue: each pod ends when the budget is spent"
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")
    assert pod["terminationGracePeriodSeconds"] >= search.launch.base.STOP_TIMEOUT_S
    (worker,) = pod["containers"]
    environment = {entry["name"]: entry for entry in worker["env"]}
    assert environment["DRIVEBEAT_STORAGE"]["valueFrom"]["secretKeyRef"] == {"name": "drivebeat", "key": "storage"}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in worker["volumeMounts"]}
    assert worker["args"][0] == "work"
    artifacts = worker["args"][worker["args"].index("--artifacts") + 1]
    assert volumes[mounts[artifacts]]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    threads = worker["args"][worker["args"].index("--threads") + 1]
    assert threads == environment["OMP_NUM_THREADS"]["value"] == worker["resources"]["limits"]["cpu"]
    options = {f"--{name}" for name in inspect.signature(work_command).parameters}
    assert {argument for argument in worker["args"] if argument.startswith("--")} <= options
