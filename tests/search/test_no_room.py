"""Too little memory or disk: the trial ends with the reason, the worker goes on, and a study may learn from it."""

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from search.artifacts.open import open_artifacts
from search.errors import WorkerError
from search.queue.slots import close
from search.queue.workers import this_process
from search.study.study import Study
from search.trials import Fate, best_trial
from search.worker.build import BuiltTrial, build
from search.worker.context import Assignment, WorkerContext
from search.worker.result import MEMORY, TrialResult, failure, memory_as_constraint, tell
from search.worker.worker import work
from tests.support.worker import next_assignment_of


def host_allocation() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def device_allocation() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def python_allocation() -> None:
    bytearray(2**62)


@pytest.mark.parametrize(
    ("allocate", "place"),
    [(host_allocation, "host"), (python_allocation, "host"), (device_allocation, "device")],
)
def test_memory_that_is_short_is_called_so_whoever_says_it(allocate: Callable[[], None], place: str) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        allocate()
    result = failure(raised.value)
    assert result.reason.startswith(f"out of memory on the {place}")
    assert "\n" not in result.reason
    assert (result.fate, result.out_of_memory, result.fits) == (Fate.FAILED, True, False)


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (RuntimeError("CUDA error: out of memory"), "device"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), "device"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "host"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (OSError(errno.ENOSPC, "No space left on device"), None),
    ],
)
def test_words_of_libraries_below_torch_count_and_others_do_not(error: Exception, place: str | None) -> None:
    result = failure(error)
    assert result.out_of_memory == (place is not None)
    assert result.reason.startswith(f"out of memory on the {place}" if place else type(error).__name__)
    assert TrialResult.decode(result.encode()) == result


@pytest.fixture
def wide_ones_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of width 16 find no memory."""

    def build_narrow(context: WorkerContext, assignment: Assignment) -> BuiltTrial:
        if assignment.params["width"] == 16:
            device_allocation()
        return build(context, assignment)

    monkeypatch.setattr("search.worker.trial.build", build_narrow)


POINTS = [{"width": 16, "learning_rate": 1e-3}, {"width": 8, "learning_rate": 1e-3}]


@pytest.mark.usefixtures("wide_ones_run_out")
def test_a_trial_without_memory_fails_with_the_reason_and_the_next_one_runs(
    bench: Any, make_spec: Callable[..., Any], tmp_path: Path
) -> None:
    study = bench.create(make_spec(epochs=1, enqueue=POINTS, budget={"trials": 1}))
    assert work(["tiny"], bench.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=lambda line: None) == 2
    first, second = study.optuna.get_trials()
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert first.user_attrs["reason"].startswith("out of memory on the device: CUDA out of memory")
    assert not first.constraints
    assert not second.constraints


@pytest.mark.usefixtures("wide_ones_run_out")
def test_a_study_that_learns_memory_has_it_infeasible_and_counts_it(
    bench: Any, make_spec: Callable[..., Any], tmp_path: Path
) -> None:
    spec = make_spec(epochs=1, enqueue=POINTS, budget={"trials": 2}, constraints={"memory": "learn"})
    study = bench.create(spec)
    said: list[str] = []
    assert work(["tiny"], bench.url, open_artifacts(tmp_path / "artifacts"), threads=1, log=said.append) == 2
    first, second = study.optuna.get_trials()
    assert (first.state, second.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert (first.constraints, second.constraints) == ({MEMORY: 1.0}, {MEMORY: -1.0})
    assert first.user_attrs["reason"].startswith("out of memory on the device")
    assert bench.progress().spent
    best = best_trial(study.optuna)
    assert best is not None and best.number == 1
    assert any(line.startswith("trial 0 infeasible (0 epochs): out of memory") for line in said)


def n_wide(study: Study, engine: Any, n_trials: int) -> int:
    """Run the study without training, trials of width 16 out of memory; how many of those the second half has."""
    wide = []
    for _ in range(n_trials):
        assignment = next_assignment_of(study, engine, this_process(), 60.0)
        assert assignment is not None
        wide.append(assignment.params["width"] == 16)
        error = RuntimeError("CUDA out of memory")
        result = memory_as_constraint(study, failure(error)) if wide[-1] else TrialResult(Fate.COMPLETE, 1.0, 1)
        tell(study, assignment.trial, result)
        close(engine, assignment.claim, "failed" if result.fate == Fate.FAILED else "finished")
    return sum(wide[n_trials // 2 :])


def test_tpe_learns_to_leave_out_what_does_not_fit_and_does_not_from_failures(
    bench: Any, make_spec: Callable[..., Any]
) -> None:
    sampler = {"name": "tpe", "startup_trials": 8}
    shared = {"sampler": sampler, "budget": {"trials": 100}, "search": ["width", "learning_rate", "weight_decay"]}
    learns = bench.create(make_spec(name="learns", constraints={"memory": "learn"}, **shared))
    fails = bench.create(make_spec(name="fails", **shared))
    n_learnt, n_not = n_wide(learns, bench.engine, 40), n_wide(fails, bench.engine, 40)
    assert n_learnt <= 5, "of 20"
    assert n_not > n_learnt


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "drivebeat-test", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode != 0:
        pytest.skip("a tmpfs can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_each_trials_reason_and_then_the_workers_and_nothing_is_left_half_written(
    bench: Any, make_spec: Callable[..., Any], tiny_disk: Path
) -> None:
    study = bench.create(make_spec(epochs=1, budget={"trials": 1}))
    with pytest.raises(WorkerError, match=r"3 trials in a row failed: FileError.*No space left on device"):
        work(["tiny"], bench.url, open_artifacts(tiny_disk), threads=1, log=lambda line: None)
    trials = study.optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 3
    assert all("No space left on device" in trial.user_attrs["reason"] for trial in trials)
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == []

    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny_disk)], check=True)
    assert work(["tiny"], bench.url, open_artifacts(tiny_disk), threads=1, log=lambda line: None) == 1
    assert study.optuna.get_trials()[-1].state == TrialState.COMPLETE
