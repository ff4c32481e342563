"""MariaDB: schema, turns, leases and a killed worker, on a private server where its programs are installed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState

from search.queue.slots import progress
from search.queue.workers import workers
from search.storage.locks import alone
from search.storage.open import open_engine, open_storage
from search.study.study import SearchStudy, create

pytestmark = pytest.mark.slow
NOBODY = 65534
CROWD, HOLDER = (Path(__file__).with_name(name) for name in ("crowd.py", "holder.py"))
SBIN = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"


def wait_for(happens: Callable[[], bool], limit_s: float = 40.0) -> None:
    deadline = time.monotonic() + limit_s
    while not happens():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL, without a database, of a server on a socket in a folder of its own."""
    pytest.importorskip("pymysql")
    install, program = (shutil.which(name, path=SBIN) for name in ("mariadb-install-db", "mariadbd"))
    if not (install and program and shutil.which("my_print_defaults", path=SBIN)):
        pytest.skip("no MariaDB server: make mariadb")
    folder = Path(tempfile.mkdtemp(prefix="drivebeat-my-"))  # short, for a socket's path has 107 characters at most
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        os.chown(folder, NOBODY, NOBODY)
    data, quiet = f"--datadir={folder}/data", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    made = [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run([*made, "--skip-name-resolve"], check=True, cwd=folder, timeout=50, **quiet, **user)
    options = [
        "--skip-networking",
        f"--socket={folder}/s",
        f"--pid-file={folder}/pid",
        "--character-set-server=utf8mb4",
    ]
    small = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M"]
    process = subprocess.Popen([program, "--no-defaults", data, *options, *small], cwd=folder, **quiet, **user)
    try:
        wait_for(lambda: process.poll() is not None or (folder / "s").exists())
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
def make(url: str, make_spec: Callable[..., Any]) -> Iterator[Callable[..., SearchStudy]]:
    """Make the tiny study there."""
    storage, engine = open_storage(url), open_engine(url)
    yield lambda **changes: create(make_spec(**changes), storage, engine)[0]
    engine.dispose()


def crowd(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CROWD), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=55,
        check=False,
    )


def test_processes_on_an_empty_database_make_one_schema_and_none_crashes(url: str) -> None:
    done = crowd("open", "4", url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]"] * 4


def test_processes_taking_turns_run_the_budget_and_no_point_twice(url: str, make: Callable[..., SearchStudy]) -> None:
    points = [{"width": 8, "learning_rate": 1e-4 * (i + 1)} for i in range(5)]
    study = make(enqueue=points, budget={"trials": 7})
    done = crowd("turns", "2", url, "tiny")
    assert done.returncode == 0, done.stderr
    trials = study.study.get_trials()
    assert len(trials) == 7
    assert all(trial.state.is_finished() for trial in trials)
    assert len({(trial.params["width"], trial.params["learning_rate"]) for trial in trials}) == 7


def test_the_lock_of_a_stopped_process_is_taken_by_those_who_wait(url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    holder = subprocess.Popen([sys.executable, str(HOLDER), url, str(tmp_path)], env=environment)
    engine = open_engine(url)
    try:
        wait_for((tmp_path / "held").exists)
        holder.send_signal(signal.SIGSTOP)
        with alone(engine, "turn", expires_s=2.0):
            (tmp_path / "go").touch()
            holder.send_signal(signal.SIGCONT)
            assert holder.wait(30) == 0, "it ends in order, though its lock was gone"
    finally:
        holder.kill()
        holder.wait()
        engine.dispose()


@pytest.mark.timeout(180)  # processes that import torch beside others
def test_a_killed_workers_trial_goes_on_at_another_and_the_budget_is_met(
    url: str, make: Callable[..., SearchStudy], tmp_path: Path
) -> None:
    study = make(epochs=40, budget={"trials": 3})
    engine = open_engine(url)
    command = [sys.executable, "-m", "search", "work", "tiny", "--threads", "1", "--lease", "3"]
    environment = {**os.environ, "DRIVEBEAT_STORAGE": url, "PYTHONPATH": str(Path(__file__).parents[2])}
    pair = [subprocess.Popen(command, cwd=tmp_path, env=environment) for _ in range(2)]
    try:
        wait_for(lambda: any(len(t.intermediate_values) > 1 for t in study.study.get_trials()), 100)
        running = next(t for t in study.study.get_trials() if t.intermediate_values)
        victim = next(row.process.pid for row in workers(engine) if row.process.name == running.user_attrs["worker"])
        os.kill(victim, signal.SIGKILL)
        codes = sorted(process.wait(120) for process in pair)
    finally:
        for process in pair:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
    assert codes == [-9, 0]
    trials = study.study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert trials[running.number].user_attrs["resumed"] == 1
    assert sorted(trials[running.number].intermediate_values) == list(range(40))
    assert progress(engine, "tiny").spent
