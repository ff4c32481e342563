"""Open a database to read it only: nothing is created or changed, not even a file beside it.

For commands that show studies, on a database that may be on a read-only disk or belong to somebody else.
"""

import sqlite3
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, get_storage
from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.pool import NullPool

from search.errors import StorageError
from search.storage.fast.storage import FastStorage
from search.storage.open import (
    BUSY_S,
    check_optuna_version,
    checked_url,
    engine_options,
    explained,
    explained_on_open,
    fast_engine,
    masked,
    open_engine,
    require_file,
    sqlite_file,
)
from search.storage.tables import METADATA, SCHEMA, check_version

WAL_VERSION = 2  # bytes 18 and 19 of a SQLite file whose journal is a write-ahead log (sqlite.org/fileformat2.html)


@dataclass(frozen=True, slots=True, eq=False)
class Readable:
    """A database that is open for reading. storage: for Optuna. engine: for our own tables."""

    storage: BaseStorage
    engine: Engine

    def close(self) -> None:
        """Close all connections."""
        self.storage.remove_session()
        self.engine.dispose()


def open_readable(url: str) -> Readable:
    """Open the database at `url` to read it.

    Raises StorageError for an invalid URL, a file that does not exist, an unavailable database, and tables that are
    missing or of another version.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own log has what Optuna's would
    with explained(url), explained_on_open(url):
        path = sqlite_file(checked_url(url))
        if path is not None:
            require_file(url)
            options: dict[str, object] = {"creator": partial(connect_readable, path), "poolclass": NullPool}
            engine = sqlalchemy.create_engine("sqlite://", **options)
        else:
            options = engine_options(url)
            engine = open_engine(url)
        missing = sorted({*METADATA.tables, "studies", "trials"} - set(inspect(engine).get_table_names()))
        if missing:
            raise StorageError(
                f"storage {masked(url)} has no table {missing[0]}, so no study of Drivebeat is in it; make the tables: "
                "drivebeat init, or name another database: --storage URL"
            )
        with engine.connect() as connection:
            check_version(connection.execute(select(func.max(SCHEMA.c.version))).scalar_one())
        checked = check_optuna_version(url, options, create=False)
        if path is None and engine.dialect.name != "postgresql":
            return Readable(get_storage(checked), engine)
        checked.remove_session()
        checked.engine.dispose()
        return Readable(
            FastStorage(partial(_reading_engine, options) if path is not None else partial(fast_engine, url)), engine
        )


def _reading_engine(options: dict[str, object]) -> Engine:
    return sqlalchemy.create_engine("sqlite://", isolation_level="AUTOCOMMIT", **options)


def connect_readable(path: Path) -> sqlite3.Connection:
    """Connect to a SQLite file without a write to its folder.

    A reader of a file with a write-ahead log creates the log's files where no writer has done so. Without them nobody
    has the file open, and it can be read as one that does not change; so each connection is for one command or less.
    """
    log = path.with_name(f"{path.name}-wal")
    alone = _has_log(path) and not log.exists()
    address = f"file:{quote(str(path.resolve()))}?" + ("immutable=1" if alone else "mode=ro")
    return sqlite3.connect(address, uri=True, timeout=BUSY_S, check_same_thread=False)


def _has_log(path: Path) -> bool:
    """Return whether the file's journal is a write-ahead log."""
    with path.open("rb") as file:
        return file.read(20)[18:] == bytes([WAL_VERSION, WAL_VERSION])
