"""Ctrl-C while a command imports its libraries."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from search.signals import recorded_interrupts

CTRL_C = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
IMPORTS = {
    "it is swallowed": f"try:\n    {CTRL_C}\nexcept BaseException:\n    pass\n",
    "the import fails with another error": f"{CTRL_C}\nraise AttributeError('half imported')\n",
    "it ends": f"{CTRL_C}\n",
}


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """SIGINT as an interactive shell hands it on, also where the tests run in a shell's background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("default_sigint")
@pytest.mark.parametrize("body", IMPORTS.values(), ids=IMPORTS)
def test_ctrl_c_during_an_import_raises_keyboard_interrupt_after_it(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted_import.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "interrupted_import", raising=False)
    with recorded_interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        with contextlib.suppress(AttributeError):
            import_module("interrupted_import")
        threading.Event().wait(20)
    assert interrupts


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_ends_a_block_that_runs_within_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that calls the command line when it is imported."""
    (tmp_path / "runs_a_command.py").write_text(
        "import threading\nfrom search.signals import recorded_interrupts\n"
        f"with recorded_interrupts():\n    {CTRL_C}\n    threading.Event().wait(20)\n    raise LookupError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import_module("runs_a_command")


@pytest.mark.usefixtures("default_sigint")
def test_ctrl_c_outside_an_import_is_delivered_at_once_and_once() -> None:
    with recorded_interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(20)
        time.sleep(0.2)
        assert interrupts == [signal.SIGINT]


def test_a_library_that_logs_ctrl_c_prints_no_traceback() -> None:
    """SQLAlchemy logs what ends the closing of a connection; its other errors are still printed."""
    program = """
import logging, sys
from search.cli import app as cli

def command(**settings):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        logging.getLogger("sqlalchemy.pool").error("closing", exc_info=True)
    logging.getLogger("sqlalchemy.pool").error("no file")

cli.app, sys.argv = command, ["drivebeat", "show"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "no file\n")
