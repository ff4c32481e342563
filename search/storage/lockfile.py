"""A lock file that those who wait may take from a process that was stopped while it held it."""

import contextlib
import math
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

LOOK_EVERY_S = 1.0
MARK_SIZE = 16


@contextlib.contextmanager
def file_lock(path: str, patience_s: float, expires_s: float | None) -> Iterator[None]:
    """Hold the lock file at `path` (flock: it is free as soon as its holder is dead).

    expires_s: a holder that gave one, and has held it for longer than that (or than what the one that waits gave),
    loses it: the file is removed, which that holder goes on to hold in vain, and a new one locked. Raises OSError where
    it cannot be had within patience_s.
    """
    lock = FileLock(path)
    deadline = time.monotonic() + patience_s
    overdue = ""
    while True:
        try:
            lock.acquire(timeout=LOOK_EVERY_S)
            break
        except Timeout:
            if time.monotonic() > deadline:
                raise
            # twice the same: a holder that has just come may not have written its own term yet
            seen, overdue = overdue, _overdue(path, math.inf if expires_s is None else expires_s)
            if seen and seen == overdue:
                _take_away(path, overdue)
    term = _Term(Path(f"{path}.term"), expires_s)
    try:
        term.write()
        yield
    finally:
        term.remove()
        lock.release()


class _Term:
    """The sidecar that says since when the lock is held, by the clock that all processes of a machine share, and for
    how long at most; there is none for a lock that does not expire.
    """

    def __init__(self, path: Path, expires_s: float | None) -> None:
        self._path = path
        mark = secrets.token_hex(MARK_SIZE // 2)
        self._text = "" if expires_s is None else f"{time.monotonic()} {expires_s} {mark}"

    def write(self) -> None:
        """Without a term nobody takes the lock away, so that a disk that is full costs no more than that."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)  # of a holder that was killed
            if self._text:
                self._path.write_text(self._text, encoding="ascii")

    def remove(self) -> None:
        """Unless the lock was taken away, and the term is another's."""
        if self._text and _text_of(self._path) == self._text:
            self._path.unlink(missing_ok=True)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _overdue(path: str, expires_s: float) -> str:
    """The term of a holder that is late; "" where none is."""
    text = _text_of(Path(f"{path}.term"))
    match text.split(" "):
        case [since_s, term_s, mark] if len(mark) == MARK_SIZE:
            return text if time.monotonic() - float(since_s) > min(float(term_s), expires_s) else ""
    return ""  # none, or not written to its end yet


def _take_away(path: str, overdue: str) -> None:
    """Remove the lock file that was held under that term; one at a time, so that nobody removes the next one."""
    with FileLock(f"{path}.taking", timeout=10):
        if _text_of(Path(f"{path}.term")) == overdue:
            Path(f"{path}.term").unlink(missing_ok=True)
            Path(path).unlink(missing_ok=True)
