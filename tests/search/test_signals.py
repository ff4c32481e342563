"""Ctrl-C before a command listens for it."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from search.signals import Remembered, remember, stop_event, stop_signals


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The handlers of the tests' own process come back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_it_interrupts_as_ever() -> None:
    remember()
    with pytest.raises(KeyboardInterrupt):
        press()


def test_one_that_a_library_swallowed_is_heeded_as_soon_as_a_command_listens() -> None:
    remember()
    with pytest.raises(KeyboardInterrupt):  # in the place of an import that takes any exception for its own
        press()
    with pytest.raises(KeyboardInterrupt), stop_signals():
        pytest.fail("it began all the same")
    with pytest.raises(KeyboardInterrupt):
        stop_event()


def test_without_one_a_command_listens() -> None:
    remember()
    with stop_signals() as (told, arrived):
        press()
        assert told.wait(5) and arrived == [signal.SIGINT]
    assert isinstance(signal.getsignal(signal.SIGINT), Remembered)
    stop = stop_event()
    press()
    assert isinstance(stop, threading.Event) and stop.wait(5)


def test_where_it_is_ignored_it_stays_so() -> None:
    """A shell's background job is not to be ended by a Ctrl-C meant for another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    remember()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
