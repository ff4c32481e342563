"""Ctrl-C in a command that searches or trains: exit code 130 and, last, the command that goes on."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from search.cli.interrupted import next_line
from search.storage.open import masked
from search.study.spec import run_of
from search.trials import RUN
from tests.support.program import command, environment
from tests.support.waiting import wait_for
from training.config import to_document, write_run

# A shell's background has SIGINT ignored, and would hand that on to the command.
FOREGROUND = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("launch demo --workers 4", "stopped by SIGINT; the same command continues the search: drivebeat {}"),
        ("launch demo --storage sqlite:///a.db --artifacts s3://b/c", "the search: drivebeat {}"),
        ("work demo other", "starts the worker again: drivebeat {}"),
        ("watch demo", "the workers go on; the same command watches them again: drivebeat {}"),
        ("train best.yaml -o runs/best", "after its last finished epoch: drivebeat {}"),
        ("dashboard --port 0", "serves the dashboard again: drivebeat {}"),
        ("export demo --confirm=3", "continues: drivebeat {}"),
    ],
)
def test_the_line_has_the_command_as_it_was_given(words: str, line: str) -> None:
    assert next_line(words.split()).endswith(line.format(words))


@pytest.mark.parametrize("words", ["", "--help", "show demo", "export demo -o best.yaml", "data info a.wav"])
def test_a_command_with_nothing_to_continue_has_no_line(words: str) -> None:
    assert next_line(words.split()) == ""


def test_words_are_quoted_for_a_shell_and_the_signal_is_named() -> None:
    assert next_line(["launch", "a study; rm -rf"], signal.SIGTERM) == (
        "stopped by SIGTERM; the same command continues the search: drivebeat launch 'a study; rm -rf'"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hu%3Fsh@host:5432/studies",
        "postgresql://me@host/studies?password=hush&sslmode=require",
        "sqlite:////tmp/a:b/studies.db",
        "postgresql://me@host:5432/studies",
    ],
)
def test_no_password_of_a_url_is_printed(url: str) -> None:
    (shown,) = shlex.split(next_line(["watch", "demo", "--storage", url]).rpartition("--storage ")[2])
    assert make_url(shown) == make_url(masked(url))
    assert "hush" not in next_line(["watch", "demo", f"--storage={url}"])


@pytest.mark.parametrize("words", [[], ["launch", "demo"]])
def test_ctrl_c_while_the_libraries_are_imported_ends_with_the_line_too(words: list[str]) -> None:
    """A command with nothing to continue ends without a word."""
    interrupted = """
import importlib.abc, sys

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "search.cli.studies":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from drivebeat import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", interrupted, *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    line = next_line(words)
    assert bool(line) == bool(words)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{line}\n" if line else "")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Start a command in the fresh folder; its output goes to the files out and err."""
    started = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", FOREGROUND, *command(*arguments)],
                cwd=tmp_path,
                env=environment(OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1"),
                stdout=out,
                stderr=err,
                text=True,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def interrupted(process: "subprocess.Popen[str]", is_at_work: Callable[[], object], folder: Path) -> tuple[int, str]:
    """Send SIGINT once the command is at work; return its exit code and what it wrote to standard error."""

    def ready() -> object:
        assert process.poll() is None, (folder / "err").read_text()
        return is_at_work()

    wait_for(ready, 120.0, what=lambda: (folder / "out").read_text())
    process.send_signal(signal.SIGINT)
    code = process.wait(60)
    return code, (folder / "err").read_text()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["launch", "work"])
def test_a_search_says_how_to_go_on_and_the_command_does(
    name: str, start: Start, bench: Any, make_spec: Any, tmp_path: Path
) -> None:
    study = bench.create(make_spec(epochs=2000, pruner={"name": "none"}, budget={"trials": 1})).optuna
    options = ("--workers", "1") if name == "launch" else ()
    words = (name, "tiny", "--storage", bench.url, "--artifacts", "kept here", *options)

    def n_reports() -> int:
        return sum(len(trial.intermediate_values) for trial in study.get_trials())

    for _ in range(2):  # the second time with the command that the first has printed
        more = n_reports() + 1
        code, err = interrupted(start(*words), partial(lambda n: n_reports() >= n, more), tmp_path)
        assert (code, err) == (130, f"{next_line(words)}\n")
    assert f"drivebeat {name} tiny --storage {bench.url} --artifacts 'kept here'" in err
    state = bench.progress()
    assert (state.open, state.claimed) == (1, 0)
    assert len(study.get_trials()) == 1, "it has continued its trial"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_watch_says_that_the_workers_go_on(start: Start, bench: Any, make_spec: Any, tmp_path: Path) -> None:
    bench.create(make_spec())
    words = ("watch", "tiny", "--storage", bench.url)
    code, err = interrupted(start(*words), lambda: "tiny: 0/" in (tmp_path / "out").read_text(), tmp_path)
    assert (code, err) == (130, f"{next_line(words)}\n")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_train_says_how_to_go_on(start: Start, bench: Any, make_spec: Any, tmp_path: Path) -> None:
    study = bench.create(make_spec(epochs=2000))
    trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
    write_run(run_of(study.spec, study.space, trial.params, "trial 0"), tmp_path / "run.yaml")
    words = ("train", "run.yaml", "-o", "runs/a run")
    history = tmp_path / "runs" / "a run" / "history.jsonl"
    code, err = interrupted(start(*words), lambda: history.exists() and history.read_text(), tmp_path)
    assert (code, err) == (130, f"{next_line(words)}\n")
    assert err.endswith("drivebeat train run.yaml -o 'runs/a run'\n")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_confirmation_says_how_to_go_on(start: Start, bench: Any, make_spec: Any, tmp_path: Path) -> None:
    study = bench.create(make_spec(epochs=2000))
    trial = study.optuna.ask(fixed_distributions=dict(study.space.sampled))
    trial.set_user_attr(RUN, json.dumps(to_document(run_of(study.spec, study.space, trial.params))))
    study.optuna.tell(trial, 1.0)
    words = ("export", "tiny", "--confirm", "1", "--storage", bench.url)
    code, err = interrupted(start(*words), lambda: list((tmp_path / "runs").rglob("checkpoint.pt")), tmp_path)
    assert (code, err) == (130, f"{next_line(words)}\n")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_dashboard_says_how_it_is_served_again(start: Start, bench: Any, make_spec: Any, tmp_path: Path) -> None:
    bench.create(make_spec())
    words = ("dashboard", "--port", "0", "--storage", bench.url)
    code, err = interrupted(start(*words), lambda: "/dashboard/" in (tmp_path / "out").read_text(), tmp_path)
    assert (code, err) == (130, f"{next_line(words)}\n")
