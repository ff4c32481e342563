"""The exit codes: those of the guide's table, and no others."""

import ast
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.machines_page import PAGE
from search.exit_codes import ExitCode
from search.signals import Interrupted
from tests.support.program import ROOT, command, environment
from tests.support.study import url_of

ENDING = {"Exit", "exit", "_exit", "_print_error"}  # functions that get an exit code


def codes_of_page() -> list[int]:
    """The codes in the table of docs/guide/machines.md."""
    section = PAGE.read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    return [int(code) for code in re.findall(r"^\| (\d+) \|", section, flags=re.MULTILINE)]


def test_the_page_lists_the_codes_that_exist() -> None:
    assert codes_of_page() == sorted(ExitCode)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_code_of_a_signal_is_128_and_its_number(name: str) -> None:
    assert Interrupted(signal.Signals[name]).exit_code in set(ExitCode)


def numbers_in_calls(path: Path) -> list[int]:
    """The whole numbers that a file gives to functions that end the program."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in ENDING]
    constants = [argument for call in named for argument in call.args if isinstance(argument, ast.Constant)]
    return [constant.value for constant in constants if isinstance(constant.value, int)]


def test_no_file_has_a_code_of_its_own() -> None:
    """drivebeat.py alone has numbers, for it ends where search cannot be imported."""
    files = [path for layer in ("search", "training", "data") for path in (ROOT / layer).rglob("*.py")]
    assert len(files) > 150
    assert {path.name: found for path in files if (found := numbers_in_calls(path))} == {}
    assert set(numbers_in_calls(ROOT / "drivebeat.py")) == {ExitCode.REFUSED, ExitCode.INTERRUPTED}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--version",), ExitCode.DONE),
        (("show",), ExitCode.DONE),
        (("doctor",), ExitCode.DONE),
        (("doctor", "gone"), ExitCode.BROKEN),
        (("show", "gone"), ExitCode.REFUSED),
        (("show", "--gone"), ExitCode.REFUSED),
        (("data", "info", "gone.wav"), ExitCode.REFUSED),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_how_a_command_ends(words: tuple[str, ...], code: int, drivebeat: Any) -> None:
    assert drivebeat("init").code == ExitCode.DONE
    assert drivebeat(*words).code == code


def piped(
    *words: str, path: Path, number: int = signal.SIGINT, stdout: Any = subprocess.PIPE
) -> "subprocess.Popen[str]":
    """Start a command on the database beside a study file.

    number: of a signal that it handles as in a shell, though these tests may run in nohup or in the background.
    """
    return subprocess.Popen(
        command(*words, "--storage", url_of(path.parent)),
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=path.parent,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, ExitCode.INTERRUPTED),
        (signal.SIGTERM, ExitCode.TERMINATED),
        (signal.SIGHUP, ExitCode.HUNG_UP),
    ],
)
def test_a_signal_ends_watch_with_its_code(number: int, code: int, drivebeat: Any, study_file: Any) -> None:
    """The study has not finished, so that nothing else ends the command."""
    path = study_file()
    assert drivebeat("create", str(path)).code == 0
    watching = piped("watch", "tiny", path=path, number=number)
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("tiny: 0/4 finished")
    watching.send_signal(number)
    watching.communicate(timeout=50)
    assert watching.returncode == code


def test_a_reader_that_has_gone_is_no_bug(drivebeat: Any, study_file: Any) -> None:
    path = study_file()
    assert drivebeat("create", str(path)).code == 0
    showing = piped("show", "--json", path=path)
    assert showing.stdout is not None and showing.stderr is not None
    showing.stdout.close()
    said = showing.stderr.read()
    showing.stderr.close()
    assert (showing.wait(timeout=50), said) == (ExitCode.BROKEN, "")


def test_a_command_without_standard_output_ends_as_others_do() -> None:
    words = " ".join(map(shlex.quote, command("show", "--models")))
    done = subprocess.run(f"{words} >&-", shell=True, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("words", [("show",), ("show", "tiny", "--json"), ("watch", "tiny", "--once")], ids=" ".join)
def test_a_full_disk_is_no_bug(words: tuple[str, ...], drivebeat: Any, study_file: Any) -> None:
    path = study_file()
    assert drivebeat("create", str(path)).code == 0
    with Path("/dev/full").open("w") as full:
        showing = piped(*words, path=path, stdout=full)
    assert showing.stderr is not None
    said = showing.stderr.read()
    showing.stderr.close()
    assert showing.wait(timeout=50) == ExitCode.REFUSED
    assert said == "drivebeat: standard output: No space left on device; free some space, or write to another disk\n"
