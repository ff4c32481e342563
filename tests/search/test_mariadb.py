"""MariaDB: schema, turns, leases and a killed worker, on a private server where its programs are installed."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState

from search.queue.slots import progress
from search.queue.workers import workers
from search.storage.locks import exclusive
from search.storage.open import open_engine, open_storage
from search.study.study import Study, create
from tests.support.crowd import run_crowd
from tests.support.holder import start_holder
from tests.support.program import NOBODY, command, environment, unprivileged
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow
SBIN = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL, without a database, of a server on a socket in a folder of its own."""
    pytest.importorskip("pymysql")
    install, program = (shutil.which(name, path=SBIN) for name in ("mariadb-install-db", "mariadbd"))
    if not (install and program and shutil.which("my_print_defaults", path=SBIN)):
        pytest.skip("no MariaDB server: make mariadb")
    folder = Path(tempfile.mkdtemp(prefix="drivebeat-my-"))  # short, for a socket's path has 107 characters at most
    user = unprivileged()
    if user:
        os.chown(folder, NOBODY, NOBODY)
    data, null = f"--datadir={folder}/data", subprocess.DEVNULL
    made = [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run([*made, "--skip-name-resolve"], check=True, cwd=folder, timeout=50, stdout=null, stderr=null, **user)
    options = [
        "--skip-networking",
        f"--socket={folder}/s",
        f"--pid-file={folder}/pid",
        "--character-set-server=utf8mb4",
    ]
    small = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"]
    process = subprocess.Popen(
        [program, "--no-defaults", data, *options, *small], cwd=folder, stdout=null, stderr=null, **user
    )
    try:
        wait_for(lambda: process.poll() is not None or (folder / "s").exists(), 40.0)
        assert process.poll() is None, "the server ended"
        yield f"mysql+pymysql://root@/?unix_socket={folder}/s"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """The URL of a new, empty database."""
    name = f"drivebeat_{abs(hash(request.node.name))}"
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sqlalchemy.make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def make(url: str, make_spec: Callable[..., Any]) -> Iterator[Callable[..., Study]]:
    """Make the tiny study there."""
    storage, engine = open_storage(url), open_engine(url)
    yield lambda **changes: create(make_spec(**changes), storage, engine)[0]
    engine.dispose()


def test_processes_on_an_empty_database_make_one_schema_and_none_crashes(url: str) -> None:
    done = run_crowd("open", 4, url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]"] * 4


def test_processes_taking_turns_run_the_budget_and_no_point_twice(url: str, make: Callable[..., Study]) -> None:
    points = [{"width": 8, "learning_rate": 1e-4 * (i + 1)} for i in range(5)]
    study = make(enqueue=points, budget={"trials": 7})
    done = run_crowd("turns", 2, url, "tiny")
    assert done.returncode == 0, done.stderr
    trials = study.optuna.get_trials()
    assert len(trials) == 7
    assert all(trial.state.is_finished() for trial in trials)
    assert len({(trial.params["width"], trial.params["learning_rate"]) for trial in trials}) == 7


def test_the_lock_of_a_stopped_process_is_taken_by_those_who_wait(url: str, tmp_path: Path) -> None:
    holder = start_holder(url, tmp_path)
    engine = open_engine(url)
    try:
        wait_for((tmp_path / "held").exists, 40.0)
        holder.send_signal(signal.SIGSTOP)
        with exclusive(engine, "turn", expires_s=2.0):
            (tmp_path / "go").touch()
            holder.send_signal(signal.SIGCONT)
            assert holder.wait(30) == 0, "it ends in order, though its lock was gone"
    finally:
        holder.kill()
        holder.wait()
        engine.dispose()


@pytest.mark.timeout(180)  # processes that import torch beside others
def test_a_killed_workers_trial_goes_on_at_another_and_the_budget_is_met(
    url: str, make: Callable[..., Study], tmp_path: Path
) -> None:
    study = make(epochs=40, budget={"trials": 3})
    engine = open_engine(url)
    worker, there = command("work", "tiny", "--threads", "1", "--lease", "3"), environment(DRIVEBEAT_STORAGE=url)
    pair = [subprocess.Popen(worker, cwd=tmp_path, env=there) for _ in range(2)]
    try:
        wait_for(lambda: any(len(t.intermediate_values) > 1 for t in study.optuna.get_trials()), 100)
        running = next(t for t in study.optuna.get_trials() if t.intermediate_values)
        victim = next(row.process.pid for row in workers(engine) if row.process.name == running.user_attrs["worker"])
        os.kill(victim, signal.SIGKILL)
        codes = sorted(process.wait(120) for process in pair)
    finally:
        for process in pair:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
    assert codes == [-9, 0]
    trials = study.optuna.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert trials[running.number].user_attrs["resumed"] == 1
    assert sorted(trials[running.number].intermediate_values) == list(range(40))
    assert progress(engine, study.identity).spent
