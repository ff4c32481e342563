"""SIGINT and SIGTERM as something to look at, for whoever wants to end in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


def stop_event() -> threading.Event:
    """Set by the first of the two; the second one does what it does by default."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, ask)
    return stop


@contextmanager
def stop_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that both set, and the numbers of those that came; the old handlers come back after."""
    told, arrived = threading.Event(), list[int]()

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        told.set()

    if threading.current_thread() is not threading.main_thread():
        yield told, arrived
        return
    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield told, arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
