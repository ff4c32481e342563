"""One process at a time, over all workers of a database: for making the schema, a study, and a trial's point."""

import contextlib
import hashlib
from collections.abc import Iterator

import sqlalchemy
from filelock import FileLock
from sqlalchemy import Engine

PATIENCE_S = 600


@contextlib.contextmanager
def alone(engine: Engine, what: str) -> Iterator[None]:
    """Hold the database's lock called `what`; it ends with the block, or with the process. Not to be nested.

    SQLite: a lock file beside the database, one for every `what`. PostgreSQL: a session's advisory lock. MySQL: a
    session's named lock, one over all databases of the server but for the name, which holds the database's.
    Raises OSError (SQLite) or a SQLAlchemyError (the others) when it cannot be had within ten minutes.
    """
    if engine.dialect.name == "sqlite":
        with FileLock(f"{engine.url.database}.lock", timeout=PATIENCE_S):
            yield
        return
    if engine.dialect.name == "mysql":
        with _named(engine, what):
            yield
        return
    assert engine.dialect.name == "postgresql", engine.dialect.name
    key = int.from_bytes(hashlib.sha256(f"drivebeat {what}".encode()).digest()[:8], signed=True)
    # autocommit: the lock is the session's, and no transaction stays open while it is held
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sqlalchemy.text(f"SET lock_timeout = '{PATIENCE_S}s'"))
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": key})


@contextlib.contextmanager
def _named(engine: Engine, what: str) -> Iterator[None]:
    """MySQL's GET_LOCK: names have 64 characters at most; 1 is had, 0 is timed out, NULL is an error."""
    name = "drivebeat " + hashlib.sha256(f"{engine.url.database} {what}".encode()).hexdigest()[:48]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        had = connection.execute(sqlalchemy.text("SELECT GET_LOCK(:name, :s)"), {"name": name, "s": PATIENCE_S})
        if had.scalar_one() != 1:
            raise sqlalchemy.exc.TimeoutError(f"the lock {what!r} could not be had within {PATIENCE_S} s")
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text("SELECT RELEASE_LOCK(:name)"), {"name": name})
