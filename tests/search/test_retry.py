"""Patience: a database that goes away is waited for, and nothing else is."""

from collections.abc import Callable

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError, ProgrammingError

from search.storage.retry import retry


def away() -> Exception:
    return OperationalError("SELECT 1", {}, type("AdminShutdown", (type("OperationalError", (Exception,), {}),), {})())


def failing(times: int, error: Callable[[], Exception]) -> Callable[[], str]:
    calls = iter(range(1000))

    def call() -> str:
        if next(calls) < times:
            raise error()
        return "answer"

    return call


def test_a_database_that_comes_back_is_waited_for_and_said_once_each_way() -> None:
    said: list[str] = []
    assert retry(failing(3, away), said.append) == "answer"
    assert [line.split(";")[0].split(" (")[0] for line in said] == [
        "the database does not answer",
        "the database answers again",
    ]


def test_optunas_wrapping_of_the_same_error_is_waited_for_too() -> None:
    def wrapped() -> Exception:
        error = StorageInternalError("while committing")
        error.__cause__ = away()
        return error

    assert retry(failing(1, wrapped), lambda line: None) == "answer"


def test_patience_ends_with_its_deadline() -> None:
    with pytest.raises(OperationalError):
        retry(failing(1000, away), lambda line: None, deadline_s=0.3)


def test_a_wrong_statement_is_not_tried_again() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise ProgrammingError("SELEC 1", {}, Exception("syntax error"))

    with pytest.raises(ProgrammingError):
        retry(call, lambda line: None)
    assert len(calls) == 1


def test_patience_ends_when_the_check_says_so() -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    with pytest.raises(Stop):
        retry(failing(1000, away), lambda line: None, check=check)
