"""Retry calls while the database is unavailable, until a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, PendingRollbackError, TimeoutError

T = TypeVar("T")

DEADLINE_S = 900.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# Parts of the messages of PostgreSQL's and MySQL's clients for a server that is starting, is shutting down, or has no
# free connection. Messages for a wrong URL (an unknown host, user, password or database) are not among them.
TRANSIENT_MESSAGES = (
    "connection refused",
    "no such file or directory",  # the server's socket
    "starting up",
    "not yet accepting connections",
    "shutting down",
    "shutdown in progress",
    "recovery mode",
    "closed the connection",
    "lost connection",
    "terminating connection",
    "reset by peer",
    "timeout expired",
    "timed out",
    "no route to host",
    "network is unreachable",
    "too many clients",
    "too many connections",
    "connection slots are reserved",
    "database is locked",
)


def is_transient(error: BaseException) -> bool:
    """Return whether the error is transient: the database is unavailable, and the statement is not at fault."""
    if isinstance(error, StorageInternalError):
        return error.__cause__ is None or is_transient(error.__cause__)
    if isinstance(error, TimeoutError):
        return True
    if isinstance(error, PendingRollbackError):  # raised by a session after it lost its connection
        return True
    if not isinstance(error, DBAPIError):
        return False
    kinds = {kind.__name__ for kind in type(error.orig).__mro__}  # psycopg: AdminShutdown is an OperationalError
    missing = "no such" in str(error.orig)  # SQLite: a table or column is missing
    return error.connection_invalidated or (bool(kinds & {"OperationalError", "InterfaceError"}) and not missing)


def is_starting(error: BaseException) -> bool:
    """Return whether the error, or its cause, comes from a database that may be available soon.

    For calls that open a database: an unknown host or a wrong password must be reported at once.
    """
    if isinstance(error, DBAPIError):
        return is_transient(error) and any(part in str(error.orig).lower() for part in TRANSIENT_MESSAGES)
    return error.__cause__ is not None and is_starting(error.__cause__)


def retry(
    call: Callable[[], T],
    log: Callable[[str], None],
    *,
    transient: Callable[[BaseException], bool] = is_transient,
    deadline_s: float = DEADLINE_S,
    check: Callable[[], None] = lambda: None,
) -> T:
    """Call `call` again, after growing pauses, while it raises a transient error; return its result.

    call: must have the same effect if it is called twice. log: takes a line when the first attempt fails and when a
    later one succeeds. transient: whether an error is transient. check: called before each new attempt; may raise.

    Raises the last error after deadline_s seconds, other errors at once, and what `check` raises.
    """
    deadline, pause, logged = time.monotonic() + deadline_s, FIRST_PAUSE_S, False
    while True:
        try:
            result = call()
        except Exception as error:
            if not transient(error) or time.monotonic() > deadline:
                raise
            check()
            if not logged:
                problem = str(error)
                if is_transient(error):
                    problem = f"the database does not answer ({type(error).__name__})"
                log(f"{problem}; trying again for {deadline_s:.0f} s")
                logged = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            if logged:
                log("the database answers again")
            return result
