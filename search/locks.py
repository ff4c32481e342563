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

    SQLite: a lock file beside the database, one for every `what`. PostgreSQL: a session's advisory lock.
    Raises OSError (SQLite) or a SQLAlchemyError (PostgreSQL) when it cannot be had within ten minutes.
    """
    if engine.dialect.name == "sqlite":
        with FileLock(f"{engine.url.database}.lock", timeout=PATIENCE_S):
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
