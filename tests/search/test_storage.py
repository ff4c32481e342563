"""Storage: one schema however many start together, the tuning that SQLite needs, and one line for what is wrong."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy

from search.errors import StorageError
from search.storage.locks import exclusive
from search.storage.open import engine_of, masked, open_engine, open_storage, storage_url
from tests.support.crowd import run_crowd
from tests.support.program import environment


def test_eight_processes_on_an_empty_database_make_one_schema_and_none_crashes(empty_url: str) -> None:
    done = run_crowd("open", 8, empty_url)

    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[]] * 8
    tables = sqlalchemy.inspect(open_engine(empty_url)).get_table_names()
    assert {"studies", "trials", "drivebeat_studies", "drivebeat_slots", "alembic_version"} <= set(tables)
    with open_engine(empty_url).connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM alembic_version")).scalar_one() == 1


def test_the_lock_lets_one_process_in_at_a_time(empty_url: str, tmp_path: Path) -> None:
    engine = open_engine(empty_url)
    taken = tmp_path / "taken"
    program = (
        "import sys, pathlib\n"
        "from search.storage.locks import exclusive\n"
        "from search.storage.open import open_engine\n"
        f"with exclusive(open_engine({empty_url!r}), 'test'):\n"
        f"    pathlib.Path({str(taken)!r}).touch()\n"
    )
    with exclusive(engine, "test"):
        other = subprocess.Popen([sys.executable, "-c", program], env=environment())
        time.sleep(3.0)
        assert not taken.exists()
    assert other.wait(30) == 0
    assert taken.exists()


def test_sqlite_is_tuned_for_many_writers(tmp_path: Path) -> None:
    """WAL, a busy timeout, and transactions that take the write lock when they begin."""
    url = f"sqlite:///{tmp_path}/studies.db"
    for engine in (engine_of(open_storage(url)), open_engine(url)):
        began: list[str] = []
        sqlalchemy.event.listen(engine, "before_cursor_execute", lambda *a, began=began: began.append(a[2]))
        with engine.begin() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 60_000
        assert began[0] == "BEGIN IMMEDIATE"
        engine.dispose()


def test_postgresql_means_psycopg_3_and_keeps_no_idle_connection(postgres: str) -> None:
    engine = open_engine(postgres)
    assert engine.dialect.driver == "psycopg"
    assert isinstance(engine.pool, sqlalchemy.NullPool)


def test_the_option_comes_before_the_environment_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIVEBEAT_STORAGE", raising=False)
    assert storage_url(None) == "sqlite:///studies.db"
    monkeypatch.setenv("DRIVEBEAT_STORAGE", "sqlite:///from_environment.db")
    assert storage_url(None) == "sqlite:///from_environment.db"
    assert storage_url("sqlite:///option.db") == "sqlite:///option.db"


@pytest.mark.parametrize(
    "url", ["postgresql://me:hush@127.0.0.1:1/studies", "postgresql://me@127.0.0.1:1/studies?password=hush"]
)
def test_a_password_is_never_said(url: str) -> None:
    assert "hush" not in masked(url)
    with pytest.raises(StorageError, match=r"\*\*\*") as told:
        open_storage(url)
    assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hush@127.0.0.1:1/studies", "cannot be used: .*refused.*; is it running and reachable"),
        ("postgresql+psycopg2://me:hush@host/studies", "psycopg2.*pip install 'drivebeat\\[postgres\\]'"),
        ("studies.db", "not a database URL; write it like sqlite:///studies.db"),
        ("postgresql://host:port/studies", "not a database URL"),
        ("oracle://host/studies", "oracle is not supported"),
        ("mongodb://host/studies", "mongodb is not supported"),
        ("sqlite://", "without a file cannot be shared"),
        ("sqlite:///:memory:", "without a file cannot be shared"),
        ("sqlite:///{folder}/missing/studies.db", "folder .*missing does not exist; make it"),
        ("sqlite:///{folder}", "is a folder; name a file in it"),
        ("sqlite:///{folder}/notes.txt", "file is not a database; is it a database file"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_one_line(url: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, just a text that is longer than a header\n" * 20)
    with pytest.raises(StorageError, match=words) as told:
        open_storage(url.format(folder=tmp_path))
    assert "\n" not in str(told.value)
    assert "hush" not in str(told.value)


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    """Root writes everywhere, so that root tries it as nobody."""
    url = f"sqlite:///{tmp_path}/studies.db"
    open_storage(url).remove_session()
    for path in tmp_path.iterdir():
        path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    tmp_path.chmod(0o555)
    program = (
        "import os, sys\n"
        "from search.storage.open import StorageError, open_storage\n"
        "if os.geteuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        f"    open_storage({url!r})\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    for folder in tmp_path.parents:  # nobody must be able to get here
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=False
    )
    tmp_path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "cannot be used" in done.stdout
    assert done.stdout.count("\n") == 1
