"""The one function that opens any storage URL the right way, and the schema behind it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from search.ledger import create_tables
from training.decode import ConfigError

DEFAULT_URL = "sqlite:///studies.db"
BUSY_S = 60
SCHEMA_LOCK = 0x0D21BEA7


class StorageError(ConfigError):
    """A database that cannot be used; the message never holds a password."""


def storage_url(option: str | None) -> str:
    """The URL to use: the option, else DRIVEBEAT_STORAGE, else studies.db in the working directory."""
    return option or os.environ.get("DRIVEBEAT_STORAGE") or DEFAULT_URL


def masked(url: str) -> str:
    """`url` with *** for its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not a database URL)"


def open_storage(url: str) -> BaseStorage:
    """Optuna's storage on `url`, its schema and ours made if need be, behind Optuna's cache of finished trials.

    SQLite: WAL, a busy timeout and immediate transactions, without which parallel workers run trials twice.
    Raises StorageError in one line for a URL that is none or a database that does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own lines say what Optuna's would
    with explained(url):
        engine = open_engine(url)
        with _schema_lock(engine):
            create_tables(engine)
            RDBStorage(_driver_url(url), engine_kwargs=_engine_options(url)).remove_session()
        storage = RDBStorage(_driver_url(url), engine_kwargs=_engine_options(url), skip_table_creation=True)
        _tune(storage.engine)
        engine.dispose()
        return get_storage(storage)


def open_engine(url: str) -> Engine:
    """A SQLAlchemy engine for our own tables, tuned like the storage's."""
    with explained(url):
        engine = sqlalchemy.create_engine(_driver_url(url), **_engine_options(url))
        _tune(engine)
        return engine


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn SQLAlchemy's errors about `url` into one line that says what to do."""
    try:
        yield
    except ArgumentError as error:
        raise StorageError(
            f"storage {masked(url)}: write it like sqlite:///studies.db or postgresql+psycopg://user@host/name"
        ) from error
    except (SQLAlchemyError, ImportError) as error:
        cause = getattr(error, "orig", None) or error
        reason = " ".join(str(cause).split())[:200]
        hint = "pip install 'drivebeat[postgres]'" if isinstance(error, ImportError) else "is it running and reachable?"
        raise StorageError(f"storage {masked(url)} cannot be opened: {reason}; {hint}") from error


def _driver_url(url: str) -> str:
    """postgresql:// means psycopg 3 here; SQLAlchemy's own default would be psycopg2."""
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def _engine_options(url: str) -> dict[str, object]:
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    # many workers, few statements each: hold no idle connection, notice a restarted server
    return {"poolclass": NullPool, "pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}


def _tune(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _on_connect(connection: object, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # sqlite3 must not begin on its own
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_S * 1000}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before the listeners stood do not count


@contextlib.contextmanager
def _schema_lock(engine: Engine) -> Iterator[None]:
    """One process at a time, so that the tables are made once however many workers start together."""
    if engine.dialect.name == "sqlite":
        database = engine.url.database
        if not database or database == ":memory:":
            raise StorageError("storage sqlite:// without a file cannot be shared; write sqlite:///studies.db")
        path = Path(database)
        if not path.parent.is_dir():
            raise StorageError(f"storage {engine.url}: the folder {path.parent} does not exist")
        with FileLock(f"{path}.lock", timeout=BUSY_S):
            yield
        return
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": SCHEMA_LOCK})
            try:
                yield
            finally:
                connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": SCHEMA_LOCK})
        return
    yield
