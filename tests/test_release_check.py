"""`make release-check`: versions agree, a wheel holds what it needs, and a failed step ends it with one line."""

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import release_check as check
from scripts.release_versions import (
    CHANGELOG,
    CITATION,
    PROJECT,
    VersionMismatch,
    agreed_version,
    build_requirements,
    project_version,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the three files that state the version."""
    for name in (PROJECT, CHANGELOG, CITATION):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def places(tmp_path: Path) -> check.Places:
    found = check.Places(tmp_path / "dist", tmp_path / "scratch")
    found.dist.mkdir()
    found.empty.mkdir(parents=True)
    return found


def test_the_versions_of_this_checkout_agree() -> None:
    assert agreed_version(ROOT) == project_version(ROOT)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (PROJECT, '\nversion = "{}"', '\nversion = "9.8.7"', "pyproject.toml has version 9.8.7, CHANGELOG.md {}"),
        (CHANGELOG, "## {}", "## 9.8.7", "pyproject.toml has version {}, CHANGELOG.md 9.8.7"),
        (CHANGELOG, "## {} (unreleased)", "## Unreleased", "its first section is 'Unreleased'"),
        (CHANGELOG, "## ", "### ", "CHANGELOG.md has no section; begin it with '## {}'"),
        (CITATION, "\nversion: {}", "\nversion: 9.8.7", "pyproject.toml has version {}, CITATION.cff 9.8.7"),
        (CITATION, "\nversion: {}", "", "CITATION.cff has no version; add 'version: {}'"),
    ],
)
def test_other_versions_are_refused(checkout: Path, name: str, old: str, new: str, said: str) -> None:
    """The line names the file and both versions. It is one line."""
    version = project_version(ROOT)
    text = (checkout / name).read_text(encoding="utf-8")
    assert old.format(version) in text
    (checkout / name).write_text(text.replace(old.format(version), new), encoding="utf-8")
    with pytest.raises(VersionMismatch) as refused:
        agreed_version(checkout)
    assert said.format(version) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_released_and_an_unreleased_section_both_count(checkout: Path) -> None:
    version = project_version(ROOT)
    for heading in (version, f"{version} (unreleased)", f"{version}, 2026-12-01"):
        (checkout / CHANGELOG).write_text(f"# Changelog\n\n## {heading}\n\n- text\n\n## 0.0.1\n", encoding="utf-8")
        assert agreed_version(checkout) == version


def test_a_wheel_without_weights_or_with_tests_is_refused() -> None:
    whole = [*check.NEEDED, "search/errors.py"]
    check.check_names(whole)
    with pytest.raises(check.StepFailed, match=r"lacks models/pretrained/drive/weights\.safetensors"):
        check.check_names(whole[1:])
    with pytest.raises(check.StepFailed, match=r"holds tests/test_a\.py"):
        check.check_names([*whole, "tests/test_a.py"])


def test_the_needed_files_are_in_the_checkout() -> None:
    assert [name for name in check.NEEDED if not (ROOT / name).is_file()] == []


def test_the_quick_study_is_the_demos_with_a_small_budget() -> None:
    text = (ROOT / "search" / "studies" / "demo.toml").read_text(encoding="utf-8")
    lines = check.quick(text).splitlines()
    assert {line for line in lines if line not in text.splitlines()} == {
        *check.QUICK.values(),
        *filter(None, check.FEWER_WINDOWS.splitlines()),
    }
    with pytest.raises(check.StepFailed, match="has no line 'trials = 22'"):
        check.quick(text.replace("trials = 22", "trials = 23"))


def test_a_failed_command_is_one_line_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    code = "import sys; print('first'); print('cause\\nlast line', file=sys.stderr); sys.exit(3)"
    with pytest.raises(check.StepFailed) as failed:
        check.call([sys.executable, "-c", code], log)
    assert "ended with 3: last line; all of its output is in" in str(failed.value)
    assert "first\ncause\nlast line\n" in log.read_text(encoding="utf-8")
    with pytest.raises(check.StepFailed, match="nowhere does not start: No such file"):
        check.call([tmp_path / "nowhere"], log)


def test_a_command_sees_neither_the_checkout_nor_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DRIVEBEAT_STORAGE", "sqlite:///other.db")
    code = "import os; print(sorted(key for key in os.environ if key == 'PYTHONPATH' or key.startswith('DRIVEBEAT')))"
    assert check.call([sys.executable, "-c", code], tmp_path / "step.log") == "[]\n"


def failing() -> str:
    raise check.StepFailed("it broke")


@pytest.mark.parametrize(
    ("last", "code", "out", "err"),
    [
        (lambda: "done", 0, "release check: 2 steps passed, 1 skipped (image); built files and logs in dist\n", ""),
        (failing, 2, "", "release check: last: it broke\n"),
    ],
)
def test_steps_have_a_line_each_and_the_first_failure_ends_them(
    capsys: pytest.CaptureFixture[str], last: Callable[[], str], code: int, out: str, err: str
) -> None:
    steps = {"first": lambda: "remark", "image": lambda: f"{check.SKIPPED}no docker", "last": last}
    assert check.run_steps(steps, Path("dist")) == code
    said = capsys.readouterr()
    assert "first" in said.out and "remark" in said.out and "skipped: no docker" in said.out
    assert said.out.endswith(out)
    assert said.err == err


def test_steps_after_a_failure_are_not_run() -> None:
    ran: list[str] = []

    def following() -> str:
        ran.append("following")
        return "done"

    assert check.run_steps({"broken": failing, "following": following}, Path("dist")) == 2
    assert ran == []


def test_without_docker_the_image_is_skipped(places: check.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(places.empty))
    assert check.image(places) == "skipped: no docker on the PATH"


def test_a_shared_environment_has_the_packages_but_not_the_editable_checkout(places: check.Places) -> None:
    """The present environment's packages are found, its .pth files are not read."""
    venv.create(places.python.parents[1], with_pip=False)
    code = "import numpy, sys; print(sys.path)"
    with pytest.raises(check.StepFailed, match="No module named 'numpy'"):
        check.call([places.python, "-c", code], places.dist / "a.log", places.empty)
    check.share_packages(places.python)
    assert f"'{ROOT}'" not in check.call([places.python, "-c", code], places.dist / "a.log", places.empty)
    with pytest.raises(check.StepFailed, match="No module named 'search'"):
        check.call([places.python, "-c", "import search"], places.dist / "a.log", places.empty)


def test_a_file_that_was_not_written_is_named(places: check.Places) -> None:
    (places.empty / "empty.wav").touch()
    for name in ("empty.wav", "missing.wav"):
        with pytest.raises(check.StepFailed, match=f"has not written {name}"):
            check.expect(places, name)


def test_several_wheels_are_refused(places: check.Places) -> None:
    with pytest.raises(check.StepFailed, match="0 wheels"):
        check.built_wheel(places.dist)


def test_make_runs_it_and_contributing_describes_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "\nrelease-check: env ##" in makefile and "-m scripts.release_check" in makefile
    assert "make release-check" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert build_requirements(ROOT) == ["hatchling>=1.27"]


def test_a_mismatch_is_exit_code_2_without_a_traceback(checkout: Path) -> None:
    """The check itself, run in a checkout whose files disagree, stops before it builds anything."""
    shutil.copytree(ROOT / "scripts", checkout / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    text = (checkout / CITATION).read_text(encoding="utf-8")
    (checkout / CITATION).write_text(text.replace("\nversion: ", "\nversion: 9"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.release_check"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("release check: versions: pyproject.toml has version")
    assert len(done.stderr.splitlines()) == 1
    assert list((checkout / "dist").iterdir()) == []
