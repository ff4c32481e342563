"""Exclusive locks among all processes that use a database: for the schema, a new study, and an assignment."""

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
LOCK_TIMEOUT_S = 600.0
POLL_S = 5.0

# The holder's session executes no other statements, so its state has not changed since it acquired the lock.
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
def file_lock(path: str, timeout_s: float, expires_s: float | None) -> Iterator[None]:
    """Hold the lock file at `path` (flock, which the system releases when its holder dies).

    expires_s: a holder with this argument loses the lock after that time, or after a waiting process's expires_s if
    that is shorter: the waiting process removes the file and locks a new one. None: the lock does not expire.

    Raises OSError where the lock is not acquired within timeout_s seconds.
    """
    lock = FileLock(path)
    deadline = time.monotonic() + timeout_s
    overdue = ""
    while True:
        try:
            lock.acquire(timeout=FILE_RETRY_S)
            break
        except Timeout:
            if time.monotonic() > deadline:
                raise
            # the same term twice in a row: a new holder may not have written its own term yet
            previous, overdue = overdue, _overdue(path, math.inf if expires_s is None else expires_s)
            if previous and previous == overdue:
                _remove_lock(path, overdue)
    term = _Term(Path(f"{path}.term"), expires_s)
    try:
        term.write()
        yield
    finally:
        term.remove()
        lock.release()


class _Term:
    """A file beside a lock file: when it was locked (monotonic clock of the machine), for how long, and a random mark.

    A lock that does not expire has no such file.
    """

    def __init__(self, path: Path, expires_s: float | None) -> None:
        self._path = path
        mark = secrets.token_hex(MARK_SIZE // 2)
        self._text = "" if expires_s is None else f"{time.monotonic()} {expires_s} {mark}"

    def write(self) -> None:
        """Write the file. An error, such as a full disk, is ignored: the lock then does not expire."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)  # left by a holder that was killed
            if self._text:
                self._path.write_text(self._text, encoding="ascii")

    def remove(self) -> None:
        """Remove the file, unless another process has taken over the lock and written its own."""
        if self._text and _text_of(self._path) == self._text:
            self._path.unlink(missing_ok=True)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _overdue(path: str, expires_s: float) -> str:
    """Return the text of the term of a holder whose lock has expired; "" where it has not."""
    text = _text_of(Path(f"{path}.term"))
    match text.split(" "):
        case [since_s, term_s, mark] if len(mark) == MARK_SIZE:
            return text if time.monotonic() - float(since_s) > min(float(term_s), expires_s) else ""
    return ""  # no file, or an incomplete one


def _remove_lock(path: str, overdue: str) -> None:
    """Remove the lock file with the term `overdue`. A second lock ensures that no later holder's file is removed."""
    with FileLock(f"{path}.taking", timeout=10):
        if _text_of(Path(f"{path}.term")) == overdue:
            Path(f"{path}.term").unlink(missing_ok=True)
            Path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(engine: Engine, what: str, *, expires_s: float | None = None) -> Iterator[None]:
    """Hold the lock `what` of the database until the block, or the process, ends. Locks must not be nested.

    SQLite: one lock file beside the database for all values of `what`. PostgreSQL: an advisory lock of a session.
    MySQL: a named lock of a session, with the database's name in it, for such locks belong to the whole server.

    expires_s: a holder, such as a suspended process, loses the lock to a waiting process after this time and gets no
    error, so its later writes must be refused by other means (a slot's token). None: the lock does not expire.

    Raises OSError (SQLite) or a SQLAlchemyError (others) where the lock is not acquired within LOCK_TIMEOUT_S seconds.
    """
    if engine.dialect.name == "sqlite":
        with file_lock(f"{engine.url.database}.lock", LOCK_TIMEOUT_S, expires_s):
            yield
        return
    session = {"postgresql": _advisory, "mysql": _named}[engine.dialect.name]
    # autocommit: the lock belongs to the session, and no transaction may stay open while it is held
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        session(connection, engine, what, expires_s),
    ):
        yield


@contextlib.contextmanager
def _advisory(connection: Connection, engine: Engine, what: str, expires_s: float | None) -> Iterator[None]:
    """Hold PostgreSQL's advisory lock."""
    digest = hashlib.sha256(f"drivebeat {what}".encode()).digest()[:8]
    key = int.from_bytes(digest, signed=True)
    high, low = int.from_bytes(digest[:4]), int.from_bytes(digest[4:])  # as pg_locks has it
    connection.execute(sqlalchemy.text(f"SET lock_timeout = '{_poll_s(expires_s) * 1000:.0f}ms'"))

    def acquire() -> bool:
        try:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": key})
        except sqlalchemy.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", "") != "55P03":  # lock_not_available
                raise
            return False
        return True

    def end_holder(after_s: float) -> None:
        connection.execute(sqlalchemy.text(_END_HOLDER_POSTGRES), {"high": high, "low": low, "s": after_s})

    _wait(what, acquire, end_holder, expires_s)
    with _released(connection, sqlalchemy.text("SELECT pg_advisory_unlock(:key)").bindparams(key=key)):
        yield


@contextlib.contextmanager
def _named(connection: Connection, engine: Engine, what: str, expires_s: float | None) -> Iterator[None]:
    """Hold MySQL's named lock. GET_LOCK takes 64 characters and returns 1: acquired, 0: timed out, NULL: error."""
    name = "drivebeat " + hashlib.sha256(f"{engine.url.database} {what}".encode()).hexdigest()[:48]

    def acquire() -> bool:
        row = {"name": name, "s": _poll_s(expires_s)}
        return bool(connection.execute(sqlalchemy.text("SELECT GET_LOCK(:name, :s)"), row).scalar_one() == 1)

    def end_holder(after_s: float) -> None:
        holder = connection.execute(sqlalchemy.text(_HOLDER_MYSQL), {"name": name, "s": after_s}).scalar()
        if holder is not None:
            with contextlib.suppress(sqlalchemy.exc.DBAPIError):  # it has ended, or belongs to another user
                connection.execute(sqlalchemy.text(f"KILL {int(holder)}"))

    _wait(what, acquire, end_holder, expires_s)
    with _released(connection, sqlalchemy.text("SELECT RELEASE_LOCK(:name)").bindparams(name=name)):
        yield


@contextlib.contextmanager
def _released(connection: Connection, statement: TextClause) -> Iterator[None]:
    """Execute `statement`, which releases the lock, at the end of the block."""
    try:
        yield
    finally:
        with contextlib.suppress(sqlalchemy.exc.DBAPIError):  # the session has ended, which releases its locks
            connection.execute(statement)


def _poll_s(expires_s: float | None) -> float:
    """Return how long one attempt to acquire a lock waits, in seconds."""
    return POLL_S if expires_s is None else min(POLL_S, expires_s)


def _wait(what: str, acquire: Callable[[], bool], end_holder: Callable[[float], None], expires_s: float | None) -> None:
    """Call `acquire`, which waits _poll_s seconds, until it returns True, and end a holder that exceeds expires_s."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while not acquire():
        if expires_s is not None:
            end_holder(expires_s)
        if time.monotonic() > deadline:
            raise sqlalchemy.exc.TimeoutError(f"the lock {what!r} could not be acquired within {LOCK_TIMEOUT_S:.0f} s")
