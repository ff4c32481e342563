"""Ctrl-C typed at a terminal on which `drivebeat launch` runs: exit code 130, no traceback, nothing left at work."""

import contextlib
import errno
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.queue.workers import workers
from tests.support.program import environment
from tests.support.waiting import wait_for

GOES_ON = "stopped by SIGINT; the same command continues the search: drivebeat launch tiny --workers 2"


class Terminal:
    """A command on a terminal of its own, in the foreground, as a shell starts it."""

    def __init__(self, command: list[str], folder: Path, there: dict[str, str]) -> None:
        self.keys, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", FOREGROUND, *command],
            cwd=folder,
            env=there,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._heard: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.keys, 65536)
            except OSError as error:  # the last one to hold the terminal has closed it
                assert error.errno == errno.EIO
                return
            self._heard.append(data)

    @property
    def shown(self) -> str:
        """All that came so far, without colours and movements of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(self._heard).decode(errors="replace"))

    def type(self, keys: bytes) -> None:
        os.write(self.keys, keys)

    def end(self, limit_s: float) -> int:
        code = self.process.wait(limit_s)
        self._reader.join(10)
        return code


# The terminal becomes the session's own, so that its Ctrl-C reaches the command and whatever is in its group. Where the
# tests themselves run in a shell's background they have SIGINT ignored, and would hand that on.
FOREGROUND = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def typed_at(bench: Any, tmp_path: Path) -> Iterator[Callable[[], Terminal]]:
    """Launch the study "tiny" on a terminal."""
    started: list[Terminal] = []

    def launch() -> Terminal:
        there = environment(DRIVEBEAT_STORAGE=bench.url, OMP_NUM_THREADS="1", TERM="xterm", COLUMNS="100")
        command = [sys.executable, "-c", "from drivebeat import main; main()", "launch", "tiny", "--workers", "2"]
        started.append(Terminal(command, tmp_path, there))
        return started[-1]

    yield launch
    for terminal in started:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.keys)


def wait_at(terminal: Terminal, condition: Callable[[], bool]) -> None:
    """Wait for `condition` while the command on the terminal is alive."""

    def met() -> bool:
        if condition():
            return True
        assert terminal.process.poll() is None, terminal.shown
        return False

    wait_for(met, 90.0, what=lambda: terminal.shown)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("presses", [1, 3])
def test_it_stops_the_workers_and_gives_their_trials_back_however_often_it_is_pressed(
    presses: int, typed_at: Callable[[], Terminal], bench: Any, make_spec: Any
) -> None:
    study = bench.create(make_spec(epochs=2000, pruner={"name": "none"}, budget={"trials": 4})).optuna
    terminal = typed_at()
    wait_at(terminal, lambda: sum(bool(trial.intermediate_values) for trial in study.get_trials()) == 2)
    at_work = [row.process.pid for row in workers(bench.engine)]
    assert len(at_work) == 2
    for _ in range(presses):
        terminal.type(b"\x03")
        time.sleep(0.3)
    assert terminal.end(60) == 130, terminal.shown
    assert (
        "stopped by SIGINT; the same command continues the search: drivebeat launch tiny --workers 2" in terminal.shown
    )
    assert "Traceback" not in terminal.shown
    assert not any(map(is_alive, at_work))
    state = bench.progress()
    assert (state.open, state.claimed, state.finished, state.failed) == (2, 0, 0, 0)
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING] * 2
    assert {row.status.state for row in workers(bench.engine)} == {"stopped"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_before_there_are_workers_it_ends_with_the_command_alone(
    typed_at: Callable[[], Terminal], bench: Any, make_spec: Any
) -> None:
    """While the libraries are read, which takes seconds."""
    bench.create(make_spec())
    terminal = typed_at()
    mapped = Path(f"/proc/{terminal.process.pid}/maps")
    if not mapped.exists():
        pytest.skip("no /proc here, by which to see how far it is")
    wait_at(terminal, lambda: "numpy" in mapped.read_text())
    terminal.type(b"\x03")
    assert terminal.end(60) == 130, terminal.shown
    assert terminal.shown.splitlines()[-1].endswith(GOES_ON)
    assert "Traceback" not in terminal.shown
    assert bench.progress().claimed == 0
