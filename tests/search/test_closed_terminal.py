"""A launch whose terminal is closed, or that is killed, leaves no worker that nobody watches; its logs stay."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.launch.base import last_line_of, open_log
from search.queue.workers import workers
from tests.support.program import command, environment
from tests.support.study import Bench
from tests.support.waiting import wait_for

# The tests themselves may run under nohup, which makes SIGHUP ignored here and in all children.
HEARS_SIGHUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(bench: Bench, make_spec: Any, tmp_path: Path) -> Iterator[Start]:
    """Launch a search that lasts, and wait until a worker trains."""
    study = bench.create(make_spec(epochs=2000, pruner={"name": "none"}, budget={"trials": 4}))
    started: list[subprocess.Popen[str]] = []

    def launch(*before: str) -> subprocess.Popen[str]:
        words = ("launch", "tiny", "--workers", "1", "--lease", "3")
        process = subprocess.Popen(
            [sys.executable, "-c", HEARS_SIGHUP, *before, *command(*words)],
            cwd=tmp_path,
            env=environment(DRIVEBEAT_STORAGE=bench.url, OMP_NUM_THREADS="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        wait_for(lambda: any(trial.intermediate_values for trial in study.optuna.get_trials()), 90.0)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()
    for row in workers(bench.engine):
        if is_alive(row.process.pid):
            os.kill(row.process.pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_closed_terminal_stops_a_launch_and_its_workers_in_order(start: Start, bench: Bench) -> None:
    process = start()
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP, out
    assert "stopped by SIGHUP; the same command continues the search" in out
    assert not any(is_alive(row.process.pid) for row in workers(bench.engine))
    assert (bench.progress().claimed, bench.progress().open) == (0, 1)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_under_nohup_the_launch_goes_on(start: Start, bench: Bench) -> None:
    process = start("nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(2)
    assert process.poll() is None
    assert bench.progress().claimed == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_workers_of_a_killed_launch_stop_in_order_and_their_log_stays(
    start: Start, bench: Bench, tmp_path: Path
) -> None:
    process = start()
    at_work = [row.process.pid for row in workers(bench.engine)]
    process.kill()
    wait_for(lambda: not any(map(is_alive, at_work)), 60.0)
    assert (bench.progress().claimed, bench.progress().open) == (0, 1)
    assert {row.status.state for row in workers(bench.engine)} == {"stopped"}
    log = tmp_path / "runs" / "logs" / "worker-0.log"
    before = log.read_text()
    assert "the launch that started this worker has died; the worker stops" in before
    wait_for(lambda: [t.state for t in bench.storage.get_all_trials(1)] == [TrialState.RUNNING])
    start()
    assert log.read_text().startswith(before), "the next launch keeps the log"


def test_a_log_has_a_line_for_each_launch_which_is_no_last_line(tmp_path: Path) -> None:
    log = open_log(tmp_path, 0)
    assert last_line_of(log) == ""
    with log.open("a") as file:
        file.write("worker done: 3 trials\n")
    assert last_line_of(log) == "worker done: 3 trials"
    assert open_log(tmp_path, 0) == log
    assert last_line_of(log) == ""
    assert log.read_text().count("=== launched") == 2
