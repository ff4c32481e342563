"""Upgrade the tables of an older database to this Drivebeat and Optuna, after a backup."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from optuna.storages import RDBStorage
from sqlalchemy import URL, Engine, func, insert, inspect, make_url, select, text
from sqlalchemy.schema import CreateColumn

from data.files import atomic
from search.errors import StorageError
from search.storage.locks import exclusive
from search.storage.open import driver_url, engine_options, explained, explained_on_open, masked, open_engine
from search.storage.tables import METADATA, SCHEMA, SCHEMA_VERSION, create_tables

DUMP_TIMEOUT_S = 3600


def upgrade(url: str, backup: Path | None, log: Callable[[str], None]) -> Path | None:
    """Upgrade Optuna's tables and ours to the versions that this program needs. No worker may run meanwhile.

    backup: folder for a copy of the database, made first; None: make no copy. log: takes a line. Tables that are up to
    date are neither changed nor copied.

    Returns the path of the copy. Raises StorageError for a database without studies, for tables that are newer than
    this program, and where no copy can be made.
    """
    with explained(url), explained_on_open(url):
        engine = open_engine(url)
        with exclusive(engine, "schema"):
            _refuse_other_databases(url, engine)
            optunas = RDBStorage(
                driver_url(url),
                engine_kwargs=engine_options(url),
                skip_compatibility_check=True,
                skip_table_creation=True,
            )
            stale = optunas.get_current_version() != optunas.get_head_version()
            if not stale and _version(engine) == SCHEMA_VERSION:
                log(f"storage {masked(url)} is up to date")
                return None
            if stale and optunas.get_current_version() not in optunas.get_all_versions():
                raise StorageError(f"storage {masked(url)}: its tables are of a newer optuna; pip install -U optuna")
            copy = None if backup is None else back_up(url, backup)
            if copy is not None:
                log(f"copy: {copy}")
            if stale:
                optunas.upgrade()
            upgrade_tables(engine)
            optunas.remove_session()
            optunas.engine.dispose()
        engine.dispose()
    log(f"storage {masked(url)} is upgraded")
    return copy


def upgrade_tables(engine: Engine) -> None:
    """Upgrade our tables to SCHEMA_VERSION.

    A new version adds tables, nullable columns or indexes only, so that what is missing can be added to any older one.
    """
    METADATA.create_all(engine, checkfirst=True)
    with engine.begin() as connection:
        inspector = inspect(connection)  # not of the engine: a second connection would wait for this one
        for table in METADATA.sorted_tables:
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            for column in table.columns:
                if column.name not in columns:
                    assert column.nullable, f"{table.name}.{column.name} is of a later version and must be nullable"
                    name = engine.dialect.identifier_preparer.format_table(table)
                    definition = CreateColumn(column).compile(dialect=engine.dialect)
                    connection.execute(text(f"ALTER TABLE {name} ADD COLUMN {definition}"))
            indexes = {index["name"] for index in inspector.get_indexes(table.name)}
            for index in table.indexes:
                if index.name not in indexes:
                    index.create(connection)
        connection.execute(SCHEMA.delete())
        connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))
    create_tables(engine)


def back_up(url: str, folder: Path) -> Path:
    """Copy the database into `folder`, a SQLite file or the output of pg_dump; return its path. Raises StorageError."""
    parsed = make_url(driver_url(url))
    name = Path(parsed.database or "studies").stem + time.strftime("-%Y%m%d-%H%M%S")
    if parsed.get_backend_name() == "sqlite":
        copy = folder / f"{name}.db"
        with (
            atomic(copy) as temporary,
            closing(sqlite3.connect(str(parsed.database))) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)  # consistent while others write, and includes the write-ahead log
        return copy
    dump = shutil.which("pg_dump") if parsed.get_backend_name() == "postgresql" else None
    if dump is None:
        raise StorageError(
            f"storage {masked(url)}: no copy can be made: "
            + ("pg_dump is not on PATH" if parsed.get_backend_name() == "postgresql" else "it is no PostgreSQL")
            + "; make one yourself, then add --no-backup"
        )
    copy = folder / f"{name}.sql"
    with atomic(copy) as temporary:
        _dump(dump, parsed, temporary, url)
    return copy


def _dump(program: str, url: URL, file: Path, shown: str) -> None:
    # the password goes into the environment, for all users of the machine can list command lines
    secret = {"PGPASSWORD": str(url.password)} if url.password else {}
    plain = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    done = subprocess.run(
        [program, "--dbname", plain, "--file", str(file)],
        env=os.environ | secret,
        capture_output=True,
        text=True,
        timeout=DUMP_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        message = " ".join(done.stderr.split())[:300]
        raise StorageError(f"storage {masked(shown)}: no copy could be made: {message}; make one, then add --no-backup")


def _version(engine: Engine) -> int | None:
    """Return the version of our tables; None where there are none."""
    if not inspect(engine).has_table(SCHEMA.name):
        return None
    with engine.begin() as connection:
        version: int | None = connection.execute(select(func.max(SCHEMA.c.version))).scalar_one()
        return version


def _refuse_other_databases(url: str, engine: Engine) -> None:
    """Raise StorageError for a database without Optuna's tables, or with tables of a newer Drivebeat."""
    if not inspect(engine).has_table("version_info"):
        raise StorageError(f"storage {masked(url)} holds no studies to upgrade; make its tables: drivebeat init")
    version = _version(engine)
    if version is not None and version > SCHEMA_VERSION:
        raise StorageError(
            f"storage {masked(url)}: its Drivebeat tables have version {version}, this Drivebeat knows "
            f"{SCHEMA_VERSION}; use a newer Drivebeat"
        )
