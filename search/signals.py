"""SIGINT and SIGTERM as something to look at, for whoever wants to end in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Remembered:
    """What Ctrl-C does until a command listens by itself: a KeyboardInterrupt, and a note that it came.

    An exception raised within a library's import may be swallowed there, and the key would have to be pressed again.
    """

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt


def remember() -> None:
    """Have Ctrl-C remembered from now on; where it is ignored, as in the background of a shell, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, Remembered())


def _heed_the_past() -> None:
    """Raise KeyboardInterrupt for a Ctrl-C that came and was swallowed."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Remembered) and handler.came:
        raise KeyboardInterrupt


def stop_event() -> threading.Event:
    """Set by the first of the two; the second one does what it does by default. Raises KeyboardInterrupt where Ctrl-C
    came before and was lost."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        _heed_the_past()
        for number in STOPPING:
            signal.signal(number, ask)
    return stop


@contextmanager
def stop_signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that both set, and the numbers of those that came; the old handlers come back after. Raises
    KeyboardInterrupt where Ctrl-C came before and was lost."""
    told, arrived = threading.Event(), list[int]()

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        told.set()

    if threading.current_thread() is not threading.main_thread():
        yield told, arrived
        return
    _heed_the_past()
    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield told, arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
