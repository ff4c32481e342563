"""A worker that is started while its database is away waits for it; one with a wrong URL says so at once."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from search.artifacts.open import open_artifacts
from search.errors import StorageError
from search.queue.workers import this_process
from search.signals import stop_event
from search.storage.open import open_engine, open_storage
from search.storage.retry import is_starting, retry
from search.study.study import create
from search.worker.worker import connect, work
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for


def test_a_worker_started_while_the_server_is_down_runs_when_it_is_up(
    postgres_server: Postgres, make_spec: Callable[..., Any], tmp_path: Path
) -> None:
    url = postgres_server.new_database()
    engine = open_engine(url)
    study = create(make_spec(epochs=1, budget={"trials": 1}), open_storage(url), engine)[0]
    said: list[str] = []
    postgres_server.stop()

    def start_when_it_waits() -> None:
        wait_for(lambda: said)
        postgres_server.start()

    starter = threading.Thread(target=start_when_it_waits)
    starter.start()
    try:
        assert work(["tiny"], url, open_artifacts(tmp_path / "artifacts"), threads=1, log=said.append) == 1
    finally:
        said.append("")
        starter.join()
        engine.dispose()
    assert "cannot be used" in said[0]
    assert "trying again for 900 s" in said[0]
    assert said[1] == "the database answers again"
    assert [trial.state for trial in study.optuna.get_trials()] == [TrialState.COMPLETE]
    postgres_server.drop(url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"database": "no_such_database"}, "does not exist"),
        ({"username": "no_such_user"}, "does not exist"),
    ],
)
def test_a_wrong_name_in_the_url_is_told_at_once(change: dict[str, str], words: str, postgres: str) -> None:
    changed = sqlalchemy.make_url(postgres).set(username=change.get("username"), database=change.get("database"))
    url = changed.render_as_string(hide_password=False)
    said: list[str] = []
    with pytest.raises(StorageError, match=words) as told:
        connect(["tiny"], url, "artifacts", this_process(), 30.0, said.append, lambda: None)
    assert said == []
    assert "\n" not in str(told.value)


def error_of(words: str) -> Exception:
    class Driver(Exception):
        pass

    Driver.__name__ = "OperationalError"
    return OperationalError("SELECT 1", {}, Driver(words))


@pytest.mark.parametrize(
    "words",
    [
        "connection failed: connection to server at '10.0.0.1', port 5432 failed: Connection refused",
        "connection to server on socket '/run/.s.PGSQL.5432' failed: No such file or directory",
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is not yet accepting connections",
        "FATAL:  the database system is shutting down",
        "FATAL:  sorry, too many clients already",
        "server closed the connection unexpectedly",
        "(2003, \"Can't connect to MySQL server on 'db' ([Errno 111] Connection refused)\")",
        "(1040, 'Too many connections')",
    ],
)
def test_what_passes_is_waited_for_also_as_the_cause_of_another_error(words: str) -> None:
    assert is_starting(error_of(words))
    wrapped = StorageError("in other words")
    wrapped.__cause__ = error_of(words)
    assert is_starting(wrapped)


@pytest.mark.parametrize(
    "words",
    [
        'FATAL:  password authentication failed for user "me"',
        'FATAL:  database "studies" does not exist',
        "could not translate host name 'dbb' to address: Name or service not known",
        "failed to resolve host 'dbb': [Errno -2] Name or service not known",
        'FATAL:  no pg_hba.conf entry for host "10.0.0.2"',
        "(1045, \"Access denied for user 'me'@'host' (using password: YES)\")",
        "(1049, \"Unknown database 'studies'\")",
        'FATAL:  database "studies" is not currently accepting connections',
        "(2003, \"Can't connect to MySQL server on 'dbb' ([Errno -2] Name or service not known)\")",
    ],
)
def test_what_a_wrong_url_comes_to_is_not_waited_for(words: str) -> None:
    assert not is_starting(error_of(words))
    assert not is_starting(StorageError("no cause"))


def test_waiting_to_be_let_in_ends_with_its_deadline_and_the_servers_own_words() -> None:
    said: list[str] = []
    with pytest.raises(StorageError, match=r"refused.*is it running and reachable"):
        retry(
            lambda: open_storage("postgresql://me:hush@127.0.0.1:1/studies"),
            said.append,
            transient=is_starting,
            deadline_s=0.1,
        )
    assert len(said) == 1
    assert "hush" not in said[0]


def test_a_signal_ends_the_waiting_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM to a worker that waits to be let in: exit code 0, no trial."""
    monkeypatch.setattr("search.storage.retry.LONGEST_PAUSE_S", 0.2)
    said: list[str] = []

    def log(line: str) -> None:
        said.append(line)
        os.kill(os.getpid(), signal.SIGTERM)

    url = "postgresql://me@127.0.0.1:1/studies"
    assert work(["tiny"], url, open_artifacts(tmp_path), log=log, stop=stop_event()[0]) == 0
    assert len(said) == 1


def test_a_database_in_sql_ascii_is_told_in_one_line_with_what_to_do(postgres_server: Postgres) -> None:
    engine = sqlalchemy.create_engine(
        sqlalchemy.make_url(postgres_server.url).set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        poolclass=sqlalchemy.NullPool,
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "CREATE DATABASE plain ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
    url = sqlalchemy.make_url(postgres_server.url).set(database="plain").render_as_string(hide_password=False)
    try:
        for opened in (open_storage, lambda url: open_engine(url).connect()):
            with pytest.raises(
                StorageError, match=r"encoding is SQL_ASCII, UTF8 is needed.*createdb .*plain_utf8"
            ) as t:
                opened(url)
            assert "\n" not in str(t.value)
    finally:
        postgres_server.drop(url)
        engine.dispose()


def test_the_command_tells_a_study_that_is_not_there_in_one_line(drivebeat: Callable[..., Any]) -> None:
    assert drivebeat("init").code == 0
    said = drivebeat("work", "tiny")
    assert (said.code, said.out) == (2, "")
    assert said.err == "drivebeat: no study 'tiny'; there is none yet; make one: drivebeat create STUDY.toml\n"
