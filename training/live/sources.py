"""Where samples come from: a recording, standard input, a named pipe, or a socket on this machine.

A source yields bytes, or None when nothing has come for IDLE_S. It looks at `stopped` at least that often.
"""

import os
import re
import select
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from data.errors import FileError
from training.errors import ConfigError
from training.live.rows import Notes

Kind = Literal["recording", "stdin", "pipe", "socket"]

IDLE_S = 0.2
QUIET_S = 2.0  # without a sample from a sensor until it is said
AT_ONCE = 1 << 16
STDIN = "-"
_SOCKET = re.compile(r"tcp:(\d{1,5})")

Stopped = Callable[[], bool]


def kind_of(source: str) -> Kind:
    """Return what `source` names: "-", "tcp:PORT", a named pipe, or else a recording.

    Raises ConfigError for a port that cannot be.
    """
    if source in (STDIN, "stdin"):
        return "stdin"
    found = _SOCKET.fullmatch(source)
    if found is not None:
        if not 0 < int(found[1]) < 65536:
            raise ConfigError(f"--source {source}: port {found[1]}; 1 to 65535 is needed")
        return "socket"
    if source.startswith("tcp:"):
        raise ConfigError(f"--source {source}: tcp:PORT is needed, tcp:9000 say; it listens on 127.0.0.1")
    try:
        return "pipe" if stat.S_ISFIFO(Path(source).stat().st_mode) else "recording"
    except OSError:  # said by the reader of recordings
        return "recording"


def open_file_of(source: str, kind: Kind) -> Path | int | None:
    """Return the file that samples come from: its path, or the number of standard input; None for a socket."""
    if kind == "stdin":
        return None if sys.stdin is None else sys.stdin.fileno()
    return None if kind == "socket" else Path(source)


def arriving(source: str, kind: Kind, notes: Notes, stopped: Stopped) -> Iterator[bytes | None]:
    """Yield what arrives from a source that is no recording, until it ends or `stopped`.

    Standard input ends. A pipe and a socket wait for the next writer, which is said.

    Raises FileError for a pipe that cannot be read, ConfigError for a port that is taken.
    """
    if kind == "stdin":
        if sys.stdin is None:
            raise ConfigError("--source -: standard input is closed; pipe samples into it, or name another source")
        yield from _read(sys.stdin.fileno(), notes, stopped)
        return
    if kind == "pipe":
        while not stopped():
            try:
                # Without waiting for a writer, so that a signal is heeded.
                number = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                raise FileError.of(Path(source), error, "read") from error
            try:
                yield from _read(number, notes, stopped, waits=True)
            finally:
                os.close(number)
            if not stopped():
                notes.say("the writer of the pipe has gone; waiting for the next")
        return
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", int(source.removeprefix("tcp:"))))
        except OSError as error:
            raise ConfigError(
                f"--source {source}: 127.0.0.1 cannot be listened on ({error.strerror}); take another port"
            ) from error
        listening.listen(1)
        while not stopped():
            if not select.select([listening], [], [], IDLE_S)[0]:
                yield None
                continue
            sender, _ = listening.accept()
            with sender:
                yield from _read(sender.fileno(), notes, stopped)
            if not stopped():
                notes.say("the sender has gone; waiting for the next")


def _read(number: int, notes: Notes, stopped: Stopped, waits: bool = False) -> Iterator[bytes | None]:
    """Yield what a file descriptor gives, until its end. waits: an end before the first byte is none."""
    last_s, is_quiet, begun = time.monotonic(), False, False
    while not stopped():
        ready = select.select([number], [], [], IDLE_S)[0]
        try:
            content = os.read(number, AT_ONCE) if ready else None
        except BlockingIOError:
            content = None
        except ConnectionError:  # of a sender that broke off
            return
        except OSError as error:  # of a folder as standard input
            raise FileError(f"--source: cannot be read ({error.strerror}); name another source") from error
        if content == b"":
            if begun or not waits:
                return
            time.sleep(IDLE_S)
            content = None
        if content:
            begun = True
            if is_quiet:
                notes.say("samples come again")
            last_s, is_quiet = time.monotonic(), False
        elif begun and not is_quiet and time.monotonic() - last_s > QUIET_S:
            is_quiet = True
            notes.say(f"no samples for {QUIET_S:g} s; is the sensor connected?")
        yield content
