"""Handle SIGINT, SIGTERM and SIGHUP, so that a command can end in an orderly way."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A terminal that is closed sends SIGHUP, which Windows does not have.
STOPPING = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


def _handled() -> list[int]:
    """Return the numbers of the signals to handle: SIGHUP only if it is not ignored, as nohup makes it."""
    return [number for number in STOPPING if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN]


def stop_event() -> threading.Event:
    """Return an event that the first SIGINT, SIGTERM or SIGHUP sets. A second one of the same kind ends the process.

    Outside the main thread, where handlers cannot be set, the event is never set.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        for number in _handled():
            signal.signal(number, handle)
    return stop


@contextmanager
def stop_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """Yield an event that SIGINT, SIGTERM and SIGHUP set, and a list of the signals received.

    The previous handlers are restored at the end of the block. Outside the main thread the event is never set.
    """
    stop, received = threading.Event(), list[int]()

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop, received
        return
    previous = {number: signal.signal(number, handle) for number in _handled()}
    try:
        yield stop, received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def recorded_interrupts() -> Iterator[list[int]]:
    """Yield a list of the SIGINTs received in the block. Each raises KeyboardInterrupt, as is Python's default.

    A library may catch KeyboardInterrupt and go on: the list tells that the user has pressed Ctrl-C all the same.
    SIGINT that is ignored (a job in the background of a shell) or handled by the caller stays so.
    """
    interrupts: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield interrupts
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
