"""A database that goes away for a while: try again, keep what is to be told, give up only after a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError, TimeoutError

T = TypeVar("T")

DEADLINE_S = 900.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


def is_away(error: BaseException) -> bool:
    """Whether the error says that the database does not answer now, rather than that a statement is wrong."""
    if isinstance(error, StorageInternalError):
        return error.__cause__ is None or is_away(error.__cause__)
    if isinstance(error, TimeoutError):
        return True
    if isinstance(error, PendingRollbackError):  # what a session says that lost its connection
        return True
    if not isinstance(error, DBAPIError):
        return False
    kinds = {kind.__name__ for kind in type(error.orig).__mro__}  # psycopg: AdminShutdown is an OperationalError
    missing = "no such" in str(error.orig)  # SQLite's word for a table or column that is not there
    return error.connection_invalidated or (bool(kinds & {"OperationalError", "InterfaceError"}) and not missing)


def patiently(
    call: Callable[[], T],
    say: Callable[[str], None],
    *,
    deadline_s: float = DEADLINE_S,
    check: Callable[[], None] = lambda: None,
) -> T:
    """What `call` returns, tried again with growing pauses while the database is away.

    Raises the database's error after deadline_s, and whatever `check`, asked before every new try, ends the waiting
    with. `call` must bear being done twice.
    """
    deadline, pause, told = time.monotonic() + deadline_s, FIRST_PAUSE_S, False
    while True:
        try:
            result = call()
        except (SQLAlchemyError, StorageInternalError) as error:
            if not is_away(error) or time.monotonic() > deadline:
                raise
            check()
            if not told:
                say(f"the database does not answer ({type(error).__name__}); trying again for {deadline_s:.0f} s")
                told = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        else:
            if told:
                say("the database answers again")
            return result
