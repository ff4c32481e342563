"""The command line: help without a manual or heavy imports, and one line, exit code 2, for every bad input."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import soundfile

from models import DENOISERS
from search.cli.app import app
from tests.support.program import ROOT, environment
from training.checkpoint import save_weights
from training.config import read_run

COMMANDS = [
    "enqueue",
    "cancel",
    "rename",
    "copy",
    "adopt",
    "delete",
    "create",
    "launch",
    "work",
    "workers",
    "watch",
    "doctor",
    "schema",
    "show",
    "export",
    "report",
    "dashboard",
    "init",
    "train",
    "evaluate",
    "compare",
    "apply",
    "live",
    "export-model",
    "pretrained",
    "new",
    "check",
    "trust",
    "data info",
    "data synth",
    "data get",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_within_80_columns(command: str, drivebeat: Any) -> None:
    said = drivebeat(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert f"drivebeat {command}" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_the_list_of_commands_is_whole(drivebeat: Any) -> None:
    said = drivebeat("--help")
    for command in app.registered_commands:
        assert f" {command.name} " in said.out
        assert f"{command.name}" in COMMANDS
    assert drivebeat().out.strip() == said.out.strip()


def test_help_imports_neither_torch_nor_optuna() -> None:
    """In a process of its own, as pytest's has both: a second of waiting for each --help is saved."""
    program = (
        "import sys; sys.argv = ['drivebeat', 'launch', '--help']\n"
        "from search.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print([name for name in ('torch', 'optuna', 'scipy', 'matplotlib', 'neptune') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_console_script_refuses_as_its_function_does(cli: Any) -> None:
    done = cli("show", "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("drivebeat: storage sqlite:///studies.db: there is no file ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lunch"], "Did you mean 'launch'"),
        (["launch"], "Missing argument"),
        (["launch", "tiny", "--workers", "none"], "--workers"),
        (["launch", "tiny", "--worker", "2"], "No such option"),
        (["create", "gone.toml"], "gone.toml: no such file"),
        (["train", "gone.yaml", "-o", "run"], "gone.yaml: no such file"),
        (["evaluate", "gone"], "gone: not a run's folder"),
        (["apply", "gone", "gone.wav", "-o", "estimate.wav"], "gone"),
        (["data", "info", "gone.wav"], "gone.wav"),
        (["data", "info", "x.wav", "--layout", "lab"], ""),
        (["data", "synth", "--out", "x", "--speeds", "fast"], "--speeds is 'fast'; whole numbers"),
        (
            ["launch", "gone"],
            "/studies.db; start in the folder of your database, name it with --storage, or create a study: drivebeat "
            "create STUDY.toml",
        ),
        (["work", "gone"], "/studies.db; start in"),
        (["show", "gone"], "/studies.db; start in"),
        (["export", "gone"], "/studies.db; start in"),
        (["export", "gone", "-o", "best.txt"], "best.txt: a config is written as .yaml"),
        (["show", "--storage", "postgresql://me:hush@127.0.0.1:1/x"], "is it running and reachable?"),
        (["init", "--storage", "sqlite:///no/such/folder/studies.db"], "does not exist"),
        (["init", "--storage", "studies.db"], "not a database URL"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(arguments: list[str], words: str, refused: Callable[..., str]) -> None:
    line = refused(*arguments)
    assert words in line
    assert "hush" not in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ["autoencodr"]}, "did you mean 'autoencoder'?"),
        ({"fixed": {"levls": 2}}, "did you mean 'levels'?"),
        ({"budgets": {"trials": 2}}, "did you mean 'budget'?"),
        (
            {"data": {"clean": [{"files": ["gone/*.wav"]}], "noise": [{"files": ["gone/*.wav"]}]}},
            "no recording matches",
        ),
    ],
)
def test_a_wrong_study_file_is_told_in_one_line(
    changes: dict[str, Any], words: str, study_file: Callable[..., Path], refused: Callable[..., str]
) -> None:
    assert words in refused("create", str(study_file(**changes)))


def write_wav(path: Path, samples: Any, rate_hz: int = 1000) -> str:
    soundfile.write(path, np.asarray(samples, np.float32), rate_hz, subtype="FLOAT")
    return str(path)


def recording(seconds: float, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(int(1000 * seconds)) / 10


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "empty"),
        (np.zeros(60_000), "constant"),
        (np.where(np.arange(60_000) < 6_007, np.nan, 0.1 * np.sin(np.arange(60_000))), "NaN|not a number|not finite"),
        (recording(1.0), "shorter than one window"),
        (recording(5.0), "too few windows"),
    ],
    ids=["empty", "constant", "nan", "short", "few"],
)
def test_a_recording_that_cannot_be_used_is_told_in_one_line(
    samples: Any,
    words: str,
    study_file: Callable[..., Path],
    data_section: dict[str, Any],
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    clean = write_wav(tmp_path / "clean.wav", samples)
    file = study_file(data={**data_section, "clean": [{"files": [clean]}]})
    line = refused("create", str(file))
    assert "clean.wav" in line
    assert any(word in line for word in words.split("|")), line
    assert not list(tmp_path.rglob("*.db*")), "nothing is left behind"


def test_a_mat_file_without_the_variable_says_which_there_are(refused: Callable[..., str], tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "drive.mat", {"HS_data": recording(10.0), "remark": 1.0})
    line = refused("data", "info", "drive.mat", "--variable", "Noise_data", "--rate-hz", "1000")
    assert "Noise_data" in line
    assert "HS_data" in line


def test_a_picture_that_cannot_be_written_leaves_the_document(
    drivebeat: Any, refused: Callable[..., str], tmp_path: Path
) -> None:
    """A name of another kind is refused before anything is read."""
    scipy.io.savemat(tmp_path / "drive.mat", {"HS_data": recording(10.0)})
    assert "pictures are written as .png" in refused("data", "info", "gone.mat", "--json", "--png", "x.jpg")
    (tmp_path / "file").write_text("no folder")
    said = drivebeat("data", "info", "drive.mat", "--json", "--png", "file/x.png")
    assert said.code == 2
    document = json.loads(said.out)
    assert [entry["path"] for entry in document["recordings"]] == ["drive.mat"]
    assert "file" in document["problems"][0]


def test_a_file_of_another_kind_is_told_in_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not a sound")
    assert "notes.wav" in refused("data", "info", "notes.wav")
    (tmp_path / "broken.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    assert "broken.mat" in refused("data", "info", "broken.mat")


def test_a_study_that_exists_with_another_space_or_other_data_says_what_differs(
    study_file: Callable[..., Path], drivebeat: Any, refused: Callable[..., str], data_section: dict[str, Any]
) -> None:
    assert drivebeat("create", str(study_file())).code == 0
    assert "width (one of 8, 16, now one of 8, 24)" in refused(
        "create", str(study_file(ranges={"width": {"choices": [8, 24]}}))
    )
    (noise,) = data_section["noise"]
    other = {**data_section, "noise": [{"files": [noise["files"][0].replace("60km", "idle")]}]}
    assert "the recordings (fingerprint" in refused("create", str(study_file(data=other)))
    assert "no complete, feasible trial to export yet" in refused("export", "tiny")
    assert "no study 'tniy' (did you mean 'tiny'?)" in refused("launch", "tniy")


def test_a_run_file_with_a_mistake_is_named(drivebeat: Any, refused: Callable[..., str], tmp_path: Path) -> None:
    golden = (ROOT / "tests" / "training" / "golden_run_v1.yaml").read_text()
    (tmp_path / "run.yaml").write_text(golden.replace("learning_rate", "learnin_rate"))
    assert "did you mean 'learning_rate'?" in refused("train", "run.yaml", "-o", "run")
    (tmp_path / "run.yaml").write_text(golden.replace("schema_version: 1", "schema_version: 99"))
    assert "schema_version is 99" in refused("train", "run.yaml", "-o", "run")
    (tmp_path / "run.yaml").write_text("[:")
    assert "run.yaml" in refused("train", "run.yaml", "-o", "run")


def test_weights_that_do_not_fit_the_config_are_named(refused: Callable[..., str], tmp_path: Path) -> None:
    golden = ROOT / "tests" / "training" / "golden_run_v1.yaml"
    run = read_run(golden)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text(golden.read_text())
    other = next(cls for name, cls in DENOISERS.items() if name not in (run.model.name, "identity"))
    save_weights(other().build(1), tmp_path / "run" / "weights.safetensors")
    write_wav(tmp_path / "drive.wav", np.stack([recording(20.0, seed) for seed in range(3)], axis=1))
    assert "does not fit the config" in refused("apply", "run", "drive.wav", "-o", "estimate.wav")
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"junk")
    assert "weights" in refused("apply", "run", "drive.wav", "-o", "estimate.wav")


def test_with_debugging_on_even_a_users_mistake_has_its_traceback(
    drivebeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIVEBEAT_DEBUG", "1")
    with pytest.raises(ValueError, match="no such file"):
        drivebeat("create", "gone.toml")


def test_the_storage_is_made_and_named_without_its_password(drivebeat: Any, tmp_path: Path) -> None:
    assert drivebeat("init").out == "storage sqlite:///studies.db is ready\n"
    assert (tmp_path / "studies.db").exists()


def test_workers_can_be_read_by_a_program(drivebeat: Any) -> None:
    drivebeat("init")
    assert json.loads(drivebeat("workers", "--json").out)["workers"] == []
