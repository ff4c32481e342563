"""Handle SIGINT, SIGTERM and SIGHUP, so that a command can end in an orderly way."""

import _thread
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

# A SIGINT that arrives during an import is sent again after so long, until the import has ended.
REDELIVERY_S = 0.05

# A terminal that is closed sends SIGHUP, which Windows does not have.
STOPPING = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


def _handled() -> list[int]:
    """Return the numbers of the signals to handle: SIGHUP only if it is not ignored, as nohup makes it."""
    return [number for number in STOPPING if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN]


class Interrupted(Exception):
    """A command was stopped by a signal and has ended in an orderly way.

    number: of the signal.
    renamed: old name -> new name of the command's studies that were renamed meanwhile.
    """

    def __init__(self, number: int, renamed: Mapping[str, str] | None = None) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.renamed = number, renamed or {}
        self.exit_code = 128 + number


def stop_event() -> tuple[threading.Event, list[int]]:
    """Return an event that the first SIGINT, SIGTERM or SIGHUP sets, and a list of the signals received.

    A second signal of the same kind ends the process. Outside the main thread, where handlers cannot be set, the event
    is never set.
    """
    stop, received = threading.Event(), list[int]()

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        for number in _handled():
            signal.signal(number, handle)
    return stop, received


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

    A SIGINT during an import is delivered again after it, since an import may swallow KeyboardInterrupt (numpy's C code
    clears it) or fail with another error because of it. A block that itself runs in an import gets it at once.

    A library may also catch KeyboardInterrupt and go on: the list tells that the user has pressed Ctrl-C all the same.
    SIGINT that is ignored (a job in the background of a shell) or handled by the caller stays so.
    """
    interrupts: list[int] = []
    pending: list[threading.Timer] = []
    within_import = _in_import(sys._getframe())

    def handle(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        for timer in pending:
            timer.cancel()
        pending.clear()
        if within_import or not _in_import(frame):
            raise KeyboardInterrupt
        pending.append(threading.Timer(REDELIVERY_S, _interrupt_main_thread))
        pending[0].daemon = True
        pending[0].start()

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
        for timer in pending:
            timer.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _in_import(frame: FrameType | None) -> bool:
    """Return whether `frame` is executed by an import statement."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _interrupt_main_thread() -> None:
    """Send SIGINT to the main thread, so that it also ends a system call."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        _thread.interrupt_main()
