"""A worker alone: failures give their slot back and do not go on for ever; other data or a stop end it in order."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.artifacts.open import open_artifacts
from search.errors import WorkerError
from search.study.study import load_study
from search.worker.build import BuiltTrial, build
from search.worker.context import Assignment, WorkerContext
from search.worker.worker import work
from tests.support.program import command, environment
from tests.support.waiting import wait_for

# a learning rate at which the very first steps overflow
DIVERGING = {
    "loss": "mse",
    "search": ["width", "weight_decay"],
    "fixed": {
        "learning_rate": 1e30,
        "clip_norm": 0.0,
        "warmup_share": 0.0,
        "output": "linear",
        "batch_size": 4,
        "steps_per_epoch": 4,
    },
}


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def work_here(bench: Any, tmp_path: Path, lines: list[str]) -> Callable[..., int]:
    return lambda *names: work(names, bench.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=lines.append)


def test_a_worker_runs_the_budget_and_then_nothing_more(
    bench: Any, make_spec: Any, work_here: Callable[..., int], lines: list[str]
) -> None:
    study = bench.create(make_spec(epochs=1, budget={"trials": 2}))
    assert work_here("tiny") == 2
    assert work_here("tiny") == 0
    assert [trial.state for trial in study.optuna.get_trials()] == [TrialState.COMPLETE] * 2
    assert [line for line in lines if line.startswith("trial 0 complete ")]
    assert "study tiny: its budget of 2 trials is spent" in lines


def test_three_failures_in_a_row_for_one_reason_end_the_worker(
    bench: Any, make_spec: Any, work_here: Callable[..., int]
) -> None:
    """Each failed trial gives its slot back, so without an end the worker would fail for ever."""
    study = bench.create(make_spec(**DIVERGING))
    with pytest.raises(
        WorkerError, match=r"worker stops: 3 trials in a row failed: TrainingFailed: loss is not finite"
    ):
        work_here("tiny")
    trials = study.optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 3
    assert all("loss is not finite" in trial.user_attrs["reason"] for trial in trials)
    state = bench.progress()
    assert (state.failed, state.finished, state.claimed, state.open) == (3, 0, 0, 0)
    assert not state.spent


def test_a_failure_now_and_then_does_not_cost_the_budget(
    bench: Any, make_spec: Any, work_here: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second trial fails, as by memory that another process holds; the budget is met all the same."""
    n = 0

    def flaky(context: WorkerContext, assignment: Assignment) -> BuiltTrial:
        nonlocal n
        n += 1
        if n % 2:
            raise RuntimeError(f"CUDA out of memory, tried to allocate {n} GiB")
        return build(context, assignment)

    monkeypatch.setattr("search.worker.trial.build", flaky)
    bench.create(make_spec(epochs=1, budget={"trials": 2}))
    assert work_here("tiny") == 4
    state = bench.progress()
    assert (state.failed, state.finished, state.spent) == (2, 2, True)


def test_infeasible_trials_count_as_finished(bench: Any, make_spec: Any, work_here: Callable[..., int]) -> None:
    study = bench.create(make_spec(constraints={"max_parameters": 10}, budget={"trials": 3}))
    assert work_here("tiny") == 3
    assert [trial.state for trial in study.optuna.get_trials()] == [TrialState.PRUNED] * 3
    assert all("10 allowed" in trial.user_attrs["reason"] for trial in study.optuna.get_trials())


def test_recordings_that_changed_end_a_worker_before_its_first_trial(
    bench: Any, make_spec: Any, data_section: Any, tmp_path: Path, work_here: Callable[..., int]
) -> None:
    (noise,) = data_section["noise"]
    moved = tmp_path / "noise.wav"
    moved.write_bytes(Path(noise["files"][0]).read_bytes())
    study = bench.create(make_spec(data={**data_section, "noise": [{"files": [str(moved)]}]}))
    moved.write_bytes(Path(noise["files"][0].replace("60km", "idle")).read_bytes())
    with pytest.raises(WorkerError, match=r"was created on other recordings \(fingerprint .*\); put them back or"):
        work_here("tiny")
    assert study.optuna.get_trials() == []


@pytest.mark.slow
@pytest.mark.timeout(180)  # a process that imports torch beside others
def test_a_signal_in_a_long_epoch_ends_a_worker_in_order_and_the_trial_goes_on_elsewhere(
    bench: Any, make_spec: Any, tmp_path: Path
) -> None:
    """The epoch has a million steps: nothing that waits for its end would come back."""
    bench.create(make_spec(fixed={"levels": 2, "batch_size": 4, "steps_per_epoch": 1_000_000}))
    worker = subprocess.Popen(
        command("work", "tiny", "--threads", "1"),
        cwd=tmp_path,
        env=environment(DRIVEBEAT_STORAGE=bench.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    study = load_study("tiny", bench.storage).optuna

    def trains() -> bool:
        assert worker.poll() is None, worker.communicate()
        return any("device" in trial.user_attrs for trial in study.get_trials())

    try:
        wait_for(trains, 150.0, 0.1)
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert (worker.returncode, err) == (0, "")
    assert "trial 0 interrupted" in out
    state = bench.progress()
    assert (state.open, state.claimed, state.finished) == (1, 0, 0)
