"""A user's mistake is one line and exit code 2; anything else is a bug: a traceback and exit code 1."""

import contextlib
import inspect
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import search.errors
from data.errors import FileError, UserError, near
from data.files import atomic
from search.study.export import git_commit
from tests.support.program import ROOT, command, environment

ERRORS = [error for _, error in inspect.getmembers(search.errors, inspect.isclass)]


def test_the_tree_of_errors_is_drawn_whole() -> None:
    """Every error of search.errors derives from UserError and stands in the docstring's tree."""
    assert len(ERRORS) >= 12
    for error in ERRORS:
        assert issubclass(error, UserError)
        assert error.__name__ in (search.errors.__doc__ or "")


@pytest.mark.parametrize("error", ERRORS)
def test_each_of_them_is_one_line_and_exit_code_2(
    error: type[UserError], drivebeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(option: str | None) -> str:
        raise error("this is wrong; do that")

    monkeypatch.setattr("search.storage.open.storage_url", fail)
    said = drivebeat("show")
    assert (said.code, said.err) == (2, "drivebeat: this is wrong; do that\n")


@pytest.mark.parametrize("error", [ValueError, KeyError, OSError, RuntimeError, AssertionError])
def test_a_bug_of_ours_shows_its_traceback_and_where_to_report_it(
    error: type[Exception], drivebeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(option: str | None) -> str:
        raise error("deep inside")

    monkeypatch.setattr("search.storage.open.storage_url", fail)
    said = drivebeat("show")
    assert said.code == 1
    assert "Traceback (most recent call last)" in said.err and "deep inside" in said.err
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("drivebeat: this is a bug in Drivebeat ") and "please report" in last and "https://" in last


def test_an_error_that_follows_a_swallowed_ctrl_c_is_no_bug_of_ours(
    drivebeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As numpy fails when its import is interrupted."""

    def fail(option: str | None) -> str:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("half imported")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr("search.storage.open.storage_url", fail)
        said = drivebeat("show")
        assert (said.code, said.err) == (130, "")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_file_that_cannot_be_written_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(FileError, match=r"file: cannot be made \(.*\); check the path") as caught,
        atomic(tmp_path / "file" / "best.yaml"),
    ):
        raise AssertionError("the block is not entered")
    assert isinstance(caught.value, OSError) and caught.value.errno is not None


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("Wave_Unet", " (did you mean 'wave_unet'?)"), ("zebra", ""), ("ch1Z", " (did you mean 'ch1z'?)")],
)
def test_a_near_miss_is_suggested_whatever_its_case(name: str, suggestion: str) -> None:
    assert near(name, ["wave_unet", "ch1z"]) == suggestion


def test_an_installed_package_names_no_foreign_repositorys_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel's files lie in somebody else's repository, which does not track them."""
    monkeypatch.delenv("DRIVEBEAT_COMMIT", raising=False)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    installed = tmp_path / "site-packages" / "export.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr("search.study.export.__file__", str(installed))
    assert git_commit() == "unknown"


def foreign_folder(folder: Path) -> None:
    """Fill `folder` with a project of somebody's own, whose modules have the names of our packages."""
    for name in ("models.py", "data.py", "objectives.py"):
        (folder / name).write_text("raise RuntimeError('not yours')\n")
    for name in ("training", "search"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not yours')\n")


def run_beside(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` with its modules before ours on the path."""
    there = {**environment(), "PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.run(words, cwd=folder, env=there, capture_output=True, text=True, timeout=50, check=False)


def test_a_module_before_ours_on_the_path_does_not_hide_ours(tmp_path: Path) -> None:
    foreign_folder(tmp_path)
    done = run_beside(tmp_path, command("show"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no file" in done.stderr


NOTEBOOK = """
import drivebeat
print(drivebeat.read)
import models
print(models.DENOISERS)
"""


def test_import_drivebeat_works_beside_a_models_py_and_warns_that_the_name_is_taken(tmp_path: Path) -> None:
    foreign_folder(tmp_path)
    done = run_beside(tmp_path, [sys.executable, "-c", NOTEBOOK])
    assert done.returncode == 0, done.stderr
    assert "identity" in done.stdout
    warned = f"`import models` imports Drivebeat's package from here on, not {tmp_path}/models.py; rename yours"
    assert warned in done.stderr


def test_a_models_py_that_was_imported_before_is_named(tmp_path: Path) -> None:
    """Its name is taken, and Drivebeat would get a module that is not its own."""
    (tmp_path / "models.py").write_text("MINE = True\n")
    done = run_beside(tmp_path, [sys.executable, "-c", "import models, drivebeat; drivebeat.read"])
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {tmp_path}/models.py was imported before Drivebeat's package models;")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_folder_with_modules_of_our_packages_names_breaks_nothing(
    tmp_path: Path, study_file: Callable[..., Path]
) -> None:
    """A whole launch with two workers from a project that has its own models.py, data.py, training/ and search/."""
    foreign_folder(tmp_path)
    path = study_file(budget={"trials": 2}, epochs=1)
    for arguments in (("create", str(path)), ("launch", "tiny", "--workers", "2"), ("export", "tiny")):
        done = subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "best.yaml").is_file()
