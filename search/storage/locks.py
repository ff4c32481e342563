"""One process at a time, over all workers of a database: for making the schema, a study, and a trial's point."""

import contextlib
import hashlib
import math
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, TextClause

FILE_RETRY_S = 1.0
MARK_SIZE = 16


@contextlib.contextmanager
def file_lock(path: str, patience_s: float, expires_s: float | None) -> Iterator[None]:
    """Hold the lock file at `path` (flock: it is free as soon as its holder is dead).

    expires_s: a holder that gave one, and has held it for longer than that (or than what the one that waits gave),
    loses it: the file is removed, which that holder goes on to hold in vain, and a new one locked. Raises OSError where
    it cannot be had within patience_s.
    """
    lock = FileLock(path)
    deadline = time.monotonic() + patience_s
    overdue = ""
    while True:
        try:
            lock.acquire(timeout=FILE_RETRY_S)
            break
        except Timeout:
            if time.monotonic() > deadline:
                raise
            # twice the same: a holder that has just come may not have written its own term yet
            seen, overdue = overdue, _overdue(path, math.inf if expires_s is None else expires_s)
            if seen and seen == overdue:
                _take_away(path, overdue)
    term = _Term(Path(f"{path}.term"), expires_s)
    try:
        term.write()
        yield
    finally:
        term.remove()
        lock.release()


class _Term:
    """The sidecar that says since when the lock is held, by the clock that all processes of a machine share, and for
    how long at most; there is none for a lock that does not expire.
    """

    def __init__(self, path: Path, expires_s: float | None) -> None:
        self._path = path
        mark = secrets.token_hex(MARK_SIZE // 2)
        self._text = "" if expires_s is None else f"{time.monotonic()} {expires_s} {mark}"

    def write(self) -> None:
        """Without a term nobody takes the lock away, so that a disk that is full costs no more than that."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)  # of a holder that was killed
            if self._text:
                self._path.write_text(self._text, encoding="ascii")

    def remove(self) -> None:
        """Unless the lock was taken away, and the term is another's."""
        if self._text and _text_of(self._path) == self._text:
            self._path.unlink(missing_ok=True)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _overdue(path: str, expires_s: float) -> str:
    """The term of a holder that is late; "" where none is."""
    text = _text_of(Path(f"{path}.term"))
    match text.split(" "):
        case [since_s, term_s, mark] if len(mark) == MARK_SIZE:
            return text if time.monotonic() - float(since_s) > min(float(term_s), expires_s) else ""
    return ""  # none, or not written to its end yet


def _take_away(path: str, overdue: str) -> None:
    """Remove the lock file that was held under that term; one at a time, so that nobody removes the next one."""
    with FileLock(f"{path}.taking", timeout=10):
        if _text_of(Path(f"{path}.term")) == overdue:
            Path(f"{path}.term").unlink(missing_ok=True)
            Path(path).unlink(missing_ok=True)


PATIENCE_S = 600.0
LOOK_EVERY_S = 5.0

# The session that holds the lock says nothing else, so that it has held it since its state changed.
_END_HOLDER_POSTGRES = """
SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
AND l.database = a.datid AND l.classid = CAST(:high AS bigint)::oid AND l.objid = CAST(:low AS bigint)::oid
AND a.state = 'idle' AND clock_timestamp() - a.state_change > make_interval(secs => :s)
"""
_HOLDER_MYSQL = """
SELECT id FROM information_schema.processlist
WHERE id = IS_USED_LOCK(:name) AND command = 'Sleep' AND time > :s
"""


@contextlib.contextmanager
def exclusive(engine: Engine, what: str, *, expires_s: float | None = None) -> Iterator[None]:
    """Hold the database's lock called `what`; it ends with the block, or with the process. Not to be nested.

    SQLite: a lock file beside the database, one for every `what`. PostgreSQL: a session's advisory lock. MySQL: a
    session's named lock, one over all databases of the server but for the name, which holds the database's.
    expires_s: who has held it for longer, as a process does that was stopped in the block, loses it to those that
    wait, without being told; what the block does must then be refused by other means (a slot's token).
    Raises OSError (SQLite) or a SQLAlchemyError (the others) when it cannot be had within ten minutes.
    """
    if engine.dialect.name == "sqlite":
        with file_lock(f"{engine.url.database}.lock", PATIENCE_S, expires_s):
            yield
        return
    session = {"postgresql": _advisory, "mysql": _named}[engine.dialect.name]
    # autocommit: the lock is the session's, and no transaction stays open while it is held
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        session(connection, engine, what, expires_s),
    ):
        yield


@contextlib.contextmanager
def _advisory(connection: Connection, engine: Engine, what: str, expires_s: float | None) -> Iterator[None]:
    digest = hashlib.sha256(f"drivebeat {what}".encode()).digest()[:8]
    key = int.from_bytes(digest, signed=True)
    high, low = int.from_bytes(digest[:4]), int.from_bytes(digest[4:])  # as pg_locks shows it
    connection.execute(sqlalchemy.text(f"SET lock_timeout = '{_look_s(expires_s) * 1000:.0f}ms'"))

    def had() -> bool:
        try:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
        except sqlalchemy.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", "") != "55P03":  # lock_not_available
                raise
            return False
        return True

    def end_holder(after_s: float) -> None:
        connection.execute(sqlalchemy.text(_END_HOLDER_POSTGRES), {"high": high, "low": low, "s": after_s})

    _wait(what, had, end_holder, expires_s)
    with _given_back(connection, sqlalchemy.text("SELECT pg_advisory_unlock(:key)").bindparams(key=key)):
        yield


@contextlib.contextmanager
def _named(connection: Connection, engine: Engine, what: str, expires_s: float | None) -> Iterator[None]:
    """MySQL's GET_LOCK: names have 64 characters at most; 1 is had, 0 is timed out, NULL is an error."""
    name = "drivebeat " + hashlib.sha256(f"{engine.url.database} {what}".encode()).hexdigest()[:48]

    def had() -> bool:
        row = {"name": name, "s": _look_s(expires_s)}
        return bool(connection.execute(sqlalchemy.text("SELECT GET_LOCK(:name, :s)"), row).scalar_one() == 1)

    def end_holder(after_s: float) -> None:
        holder = connection.execute(sqlalchemy.text(_HOLDER_MYSQL), {"name": name, "s": after_s}).scalar()
        if holder is not None:
            with contextlib.suppress(sqlalchemy.exc.DBAPIError):  # it ended of itself, or is another user's
                connection.execute(sqlalchemy.text(f"KILL {int(holder)}"))

    _wait(what, had, end_holder, expires_s)
    with _given_back(connection, sqlalchemy.text("SELECT RELEASE_LOCK(:name)").bindparams(name=name)):
        yield


@contextlib.contextmanager
def _given_back(connection: Connection, statement: TextClause) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(sqlalchemy.exc.DBAPIError):  # the session has ended, and the lock with it
            connection.execute(statement)


def _look_s(expires_s: float | None) -> float:
    return LOOK_EVERY_S if expires_s is None else min(LOOK_EVERY_S, expires_s)


def _wait(what: str, had: Callable[[], bool], end_holder: Callable[[float], None], expires_s: float | None) -> None:
    """Until `had`, which waits a little itself; between two tries a holder of before expires_s is ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not had():
        if expires_s is not None:
            end_holder(expires_s)
        if time.monotonic() > deadline:
            raise sqlalchemy.exc.TimeoutError(f"the lock {what!r} could not be had within {PATIENCE_S:.0f} s")
