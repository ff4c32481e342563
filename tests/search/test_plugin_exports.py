"""A study with a plug-in leaves one document that trains, evaluates and cleans where the plug-in is trusted."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.artifacts.open import open_artifacts
from search.worker.worker import work
from tests.support.plugins import (
    FAST,
    HASH,
    forget,
    in_another_process,
    install,
    model_plugin,
    model_source,
    not_trusted,
)
from tests.support.program import command, environment
from tests.support.study import url_of
from training.plugins.trust import remember


def test_the_export_is_one_document_that_trains_where_it_is_trusted(
    searched: Path, drivebeat: Any, plugins: Path, tmp_path: Path
) -> None:
    assert drivebeat("export", "tiny").code == 0
    assert yaml.safe_load((searched / "best.yaml").read_text())["plugins"] == [
        {"name": "one_layer.py", "sha256": HASH, "source": model_source()}
    ]
    said = drivebeat("train", "best.yaml", "-o", "runs/best", "--quiet")
    assert said.code == 0, said.err
    assert yaml.safe_load((searched / "runs/best/run.yaml").read_text())["plugins"][0]["sha256"] == HASH
    forget(plugins)
    with in_another_process("one_layer"):
        for words in (
            ("train", "best.yaml", "-o", "runs/again"),
            ("evaluate", "runs/best"),
            ("apply", "runs/best", "x.wav", "-o", "y.wav"),
            ("compare", "runs/best", "--classical"),
            ("show", "--model", "one_layer", "--plugin", "best.yaml"),
        ):
            said = drivebeat(*words)
            assert said.code == 2 and "is not trusted on this machine" in said.err and said.err.count("\n") == 1, words
        remember([model_plugin()])
        assert drivebeat("evaluate", "runs/best", "--quiet").code == 0
        shown = drivebeat("show", "--model", "one_layer", "--plugin", "best.yaml")
        assert shown.code == 0 and "one_layer" in shown.out


def test_confirmed_exports_hold_the_plugin(searched: Path, drivebeat: Any) -> None:
    said = drivebeat("export", "tiny", "--confirm", "1", "-o", "confirmed.yaml")
    assert said.code == 0, said.err
    assert yaml.safe_load((searched / "confirmed.yaml").read_text())["plugins"][0]["source"] == model_source()


def test_a_new_study_starts_from_an_export_with_a_plugin(searched: Path, drivebeat: Any, own_study: Any) -> None:
    assert drivebeat("export", "tiny").code == 0
    own_study(name="next")
    said = drivebeat("create", "tiny.toml", "--warm-start", "best.yaml")
    assert said.code == 0 and "1 known point enqueued" in said.out, said


def test_the_export_of_an_installed_model_names_its_package(
    site: Path, study_file: Any, drivebeat: Any, tmp_path: Path
) -> None:
    install(
        site, "lab-tools", "1.2", {"lab_models": model_source("lab_model")}, {"drivebeat.models": "it = lab_models"}
    )
    study_file(
        models=["lab_model"],
        fixed=FAST,
        epochs=1,
        budget={"trials": 1},
    )
    assert drivebeat("create", "tiny.toml").code == 0
    work(["tiny"], url_of(tmp_path), open_artifacts(tmp_path / "artifacts"), threads=1, log=lambda line: None)
    assert drivebeat("export", "tiny").code == 0
    document = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert document["provenance"]["entry_points"] == {"model": {"distribution": "lab-tools", "version": "1.2"}}
    assert "plugins" not in document


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "options",
    [(), ("--launcher", "ray"), ("--launcher", "slurm", "--slurm", "cluster=local")],
    ids=["local", "ray", "slurm"],
)
def test_from_a_file_to_a_cleaned_recording_without_the_file(
    options: tuple[str, ...], own_study: Any, recordings: Path, tmp_path: Path
) -> None:
    """Workers in a folder without the file search it; another machine refuses, trusts, trains, evaluates, applies."""
    own_study(budget={"trials": 2})
    search, elsewhere = tmp_path / "search", tmp_path / "elsewhere"
    for folder in (search, elsewhere):
        folder.mkdir()

    def run(folder: Path, state: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        more = environment(XDG_STATE_HOME=str(tmp_path / state), DRIVEBEAT_STORAGE=url_of(search), COLUMNS="200")
        done = subprocess.run(
            command(*words), cwd=folder, env=more, capture_output=True, text=True, timeout=170, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    run(search, "state", "create", "../tiny.toml")
    (tmp_path / "one_layer.py").unlink()
    assert "2/2 finished (2 complete" in run(search, "state", "launch", "tiny", "--workers", "2", *options).stdout
    run(search, "state", "export", "tiny", "-o", "best.yaml")
    (search / "best.yaml").rename(elsewhere / "best.yaml")
    said = run(elsewhere, "other", "train", "best.yaml", "-o", "run", code=2)
    assert said.stderr == f"drivebeat: {not_trusted('best.yaml', 'best.yaml')}\n"
    assert "class Net(nn.Module):" in run(elsewhere, "other", "trust", "best.yaml", "--show").stdout
    run(elsewhere, "other", "trust", "best.yaml")
    run(elsewhere, "other", "train", "best.yaml", "-o", "run", "--quiet")
    run(elsewhere, "other", "evaluate", "run", "--quiet")
    (noise,) = recordings.rglob("60km.wav")
    run(tmp_path, "other", "apply", "elsewhere/run", str(noise), "-o", "estimate.wav")
    assert (tmp_path / "estimate.wav").stat().st_size > 10_000
