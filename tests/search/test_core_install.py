"""An installation without the extra `train` shows studies, and names the extra where a command needs it.

Each command runs in a Python of its own in which the packages of the extra cannot be imported. It stands for an
installation without them, which would take minutes and a network to make: an import fails there with the same error.
"""

import json
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from search.trials import BY_SNR
from tests.support.program import ROOT, command, environment
from training.evaluation.names import OWN_SCORE_NAMES
from training.extras import TRAIN, absent_packages, is_installed, missing_package

BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(TRAIN.values())}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""
ALL_HELP = """
from typer.main import get_command
from search.cli.app import app

def show(found, name):
    found.main(["--help"], prog_name=name, standalone_mode=False)
    for child, command in getattr(found, "commands", {}).items():
        show(command, f"{name} {child}")

show(get_command(app), "drivebeat")
"""
PYTHON = """
import drivebeat
try:
    drivebeat.load("runs/best")
except ImportError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python without the packages of the extra `train`."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    found = environment()
    return {**found, "PYTHONPATH": f"{folder}:{found['PYTHONPATH']}"}


@pytest.fixture
def run(core: dict[str, str], bench: Any, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the program on the database of `bench`."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*words),
            cwd=tmp_path,
            env={**core, "DRIVEBEAT_STORAGE": bench.url},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def study(bench: Any, make_spec: Any) -> Any:
    """A study with one finished trial and one waiting."""
    created = bench.create(make_spec(budget={"trials": 9}))
    trial = created.optuna.ask(fixed_distributions=dict(created.space.sampled))
    trial.set_user_attr("si_sdr_db", 1.5)
    trial.set_user_attr(BY_SNR, {"-5": {"si_sdr_db": 1.5, "of_a_plugin": 0.25}})
    trial.set_user_attr("of_a_plugin", 0.25)
    created.optuna.tell(trial, 1.5)
    created.optuna.enqueue_trial({})
    return created


def python(core: dict[str, str], program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=core, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    "words",
    [
        "show",
        pytest.param("show --json", marks=pytest.mark.slow),
        "show tiny",
        "show tiny --json",
        "show tiny --csv",
        "watch tiny --once",
        pytest.param("watch tiny --once --json", marks=pytest.mark.slow),
        "workers",
        pytest.param("workers --json", marks=pytest.mark.slow),
        pytest.param("init", marks=pytest.mark.slow),
        pytest.param("schema", marks=pytest.mark.slow),
        pytest.param("schema trials", marks=pytest.mark.slow),
        "doctor",
        "doctor tiny",
        pytest.param("doctor --json", marks=pytest.mark.slow),
        pytest.param("doctor --fix", marks=pytest.mark.slow),
        pytest.param("storage upgrade", marks=pytest.mark.slow),
        pytest.param("cancel tiny 1 --yes", marks=pytest.mark.slow),
        pytest.param("rename tiny other", marks=pytest.mark.slow),
        pytest.param("copy tiny --to sqlite:///copy.db", marks=pytest.mark.slow),
        "delete tiny --yes",
        pytest.param("new model mine.py", marks=pytest.mark.slow),
    ],
)
def test_commands_that_only_look_and_those_of_stored_studies_need_no_training(
    words: str, run: Callable[..., Any], study: Any
) -> None:
    done = run(*words.split())
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_help_of_every_command_needs_no_training(core: dict[str, str]) -> None:
    shown = python(core, ALL_HELP)
    assert shown.count("Usage:") > 25
    assert "drivebeat data info" in shown


def test_show_prints_range_and_best_value_of_each_parameter_and_how_to_see_the_rest(
    run: Callable[..., Any], study: Any
) -> None:
    shown = run("show", "tiny").stdout
    best = study.optuna.best_trial
    for name in study.space.sampled:
        assert re.search(rf"^ ?{name} .*{re.escape(f'{best.params[name]:.3g}'[:3])}", shown, re.MULTILINE), shown
    for name in study.space.fixed:
        assert re.search(rf"^ ?{name} +fixed ", shown, re.MULTILINE), shown
    assert "pip install 'drivebeat[train]'" in shown


def test_show_has_the_scores_of_a_trial_those_of_a_plugin_too(run: Callable[..., Any], study: Any) -> None:
    (document,) = json.loads(run("show", "tiny", "--json").stdout)["studies"]
    assert document["trials"][0]["scores"] == {"si_sdr_db": 1.5, "of_a_plugin": 0.25}
    assert ",of_a_plugin,si_sdr_db,started," in run("show", "tiny", "--csv").stdout.splitlines()[0]


def test_doctor_says_that_training_is_not_installed_and_calls_nothing_broken(
    run: Callable[..., Any], study: Any
) -> None:
    checks = {check["name"]: check for check in json.loads(run("doctor", "tiny", "--json").stdout)["checks"]}
    assert {check["state"] for check in checks.values()} <= {"ok", "warning"}
    assert checks["train"]["state"] == "ok"
    assert checks["train"]["found"].startswith("not installed")
    assert checks["train"]["fix"].endswith("pip install 'drivebeat[train]'")
    assert "not read" in checks["recordings"]["found"]
    assert "torch" not in checks["packages"]["found"]
    assert "device" not in checks


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("train best.yaml -o runs/best", "train"),
        ("create tiny.toml", "create"),
        pytest.param("launch tiny", "launch", marks=pytest.mark.slow),
        pytest.param("work tiny", "work", marks=pytest.mark.slow),
        pytest.param("show --models", "show", marks=pytest.mark.slow),
        ("data info drive.wav", "data info"),
        pytest.param("evaluate runs/best", "evaluate", marks=pytest.mark.slow),
        pytest.param("apply runs/best drive.wav -o estimate.wav", "apply", marks=pytest.mark.slow),
    ],
)
def test_a_command_that_needs_training_says_so_in_one_line(
    words: str, name: str, run: Callable[..., Any], study: Any, tmp_path: Path
) -> None:
    before = {*tmp_path.iterdir()}
    done = run(*words.split())
    line = rf"drivebeat: `{name}` needs \w+, which is not installed: pip install 'drivebeat\[train\]'\n"
    assert done.returncode == 2
    assert re.fullmatch(line, done.stderr), done.stderr
    assert {*tmp_path.iterdir()} == before


def test_python_raises_an_import_error_with_the_same_text(core: dict[str, str]) -> None:
    line = r"drivebeat: `drivebeat\.load` needs \w+, which is not installed: pip install 'drivebeat\[train\]'\n"
    assert re.fullmatch(line, python(core, PYTHON))


def test_the_dashboard_serves_studies_with_their_artifacts(
    core: dict[str, str], bench: Any, study: Any, tmp_path: Path
) -> None:
    from optuna.artifacts import FileSystemArtifactStore, upload_artifact

    (tmp_path / "artifacts").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    artifact = upload_artifact(
        artifact_store=FileSystemArtifactStore(str(tmp_path / "artifacts")),
        file_path=str(tmp_path / "weights.safetensors"),
        study_or_trial=study.optuna.ask(),
    )
    server = subprocess.Popen(
        command("dashboard", "--port", "0", "--storage", bench.url),
        cwd=tmp_path,
        env=core,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+(?=/dashboard/)", server.stdout.readline())
        assert found is not None

        def get(path: str) -> bytes:
            content: bytes = urllib.request.urlopen(found[0] + path).read()
            return content

        (summary,) = json.loads(get("/api/studies"))["study_summaries"]
        assert summary["study_name"] == "tiny"
        number = summary["study_id"]
        trials = json.loads(get(f"/api/studies/{number}?after=0"))["trials"]
        assert trials[1]["artifacts"][0]["artifact_id"] == artifact
        assert get(f"/artifacts/{number}/{trials[1]['trial_id']}/{artifact}") == b"weights"
    finally:
        server.terminate()
        server.communicate()


def closure(requirements: list[str]) -> set[str]:
    """Return the canonical names of all packages that `requirements` install, as the installed ones state theirs."""
    found, waiting = set[tuple[str, frozenset[str]]](), [Requirement(text) for text in requirements]
    while waiting:
        needed = waiting.pop()
        key = (canonicalize_name(needed.name), frozenset(needed.extras))
        if key in found:
            continue
        found.add(key)
        try:
            lines = requires(needed.name) or []
        except PackageNotFoundError:  # for another platform
            continue
        for child in map(Requirement, lines):
            extras = needed.extras or {""}
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(child)
    return {name for name, _ in found}


def test_no_package_of_the_extra_train_is_a_core_dependency_or_needed_by_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core, train = project["dependencies"], project["optional-dependencies"]["train"]
    assert {Requirement(text).name for text in train} == TRAIN.keys()
    assert closure(core) & {canonicalize_name(name) for name in TRAIN} == set()
    assert {"optuna", "optuna-dashboard", "sqlalchemy", "numpy"} <= closure(core)
    assert "drivebeat[train]" in project["optional-dependencies"]["test"]


def test_every_package_of_the_extra_is_found_by_the_name_it_is_imported_by() -> None:
    assert absent_packages() == []
    assert not is_installed("no_such_module")
    assert missing_package(ModuleNotFoundError("", name="pywt.data")) == "PyWavelets"
    assert missing_package(ModuleNotFoundError("", name="mine")) == ""
    assert missing_package(ImportError("", name="torch")) == ""


def test_the_scores_that_come_with_drivebeat_are_known_without_what_computes_them() -> None:
    program = "from training.evaluation.scores import SCORES; print(*SCORES)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == set(OWN_SCORE_NAMES)
