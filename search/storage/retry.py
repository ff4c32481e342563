"""A database that goes away for a while: try again, keep what is to be told, give up only after a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, PendingRollbackError, TimeoutError

T = TypeVar("T")

DEADLINE_S = 900.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# What PostgreSQL's and MySQL's clients log of a server that is not up yet, is going down, or has no room just now. Not
# what a wrong URL comes to: an unknown host, user, password or database.
PASSING = (
    "connection refused",
    "no such file or directory",  # of a server's socket
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
    """Whether the error says that the database does not answer now, rather than that a statement is wrong."""
    if isinstance(error, StorageInternalError):
        return error.__cause__ is None or is_transient(error.__cause__)
    if isinstance(error, TimeoutError):
        return True
    if isinstance(error, PendingRollbackError):  # what a session says that lost its connection
        return True
    if not isinstance(error, DBAPIError):
        return False
    kinds = {kind.__name__ for kind in type(error.orig).__mro__}  # psycopg: AdminShutdown is an OperationalError
    missing = "no such" in str(error.orig)  # SQLite's word for a table or column that is not there
    return error.connection_invalidated or (bool(kinds & {"OperationalError", "InterfaceError"}) and not missing)


def is_starting(error: BaseException) -> bool:
    """Whether the error, or what it was made from, is of a database that may answer soon, and not of a wrong URL.

    For whoever opens a database: there an unknown host or a wrong password must not be waited out.
    """
    if isinstance(error, DBAPIError):
        return is_transient(error) and any(words in str(error.orig).lower() for words in PASSING)
    return error.__cause__ is not None and is_starting(error.__cause__)


def retry(
    call: Callable[[], T],
    log: Callable[[str], None],
    *,
    transient: Callable[[BaseException], bool] = is_transient,
    deadline_s: float = DEADLINE_S,
    check: Callable[[], None] = lambda: None,
) -> T:
    """What `call` returns, tried again with growing pauses while the database is away, as `transient` says of its
    error.

    Raises the database's error after deadline_s, and whatever `check`, asked before every new try, ends the waiting
    with. `call` must bear being done twice.
    """
    deadline, pause, told = time.monotonic() + deadline_s, FIRST_PAUSE_S, False
    while True:
        try:
            result = call()
        except Exception as error:
            if not transient(error) or time.monotonic() > deadline:
                raise
            check()
            if not told:
                words = f"the database does not answer ({type(error).__name__})" if is_transient(error) else str(error)
                log(f"{words}; trying again for {deadline_s:.0f} s")
                told = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            if told:
                log("the database answers again")
            return result
