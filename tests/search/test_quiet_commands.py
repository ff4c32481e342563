"""train, evaluate, apply and data synth for scripts: one JSON document, or the result alone; no bar when piped."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.config import DataConfig
from models.autoencoder import AutoencoderConfig
from objectives.losses import NegSiSdrConfig
from training.config import FitConfig, RunConfig, read_run, write_run
from training.decode import decode


@pytest.fixture
def run_file(data_section: dict[str, Any], tmp_path: Path) -> Path:
    fit = FitConfig(epochs=2, batch_size=4, steps_per_epoch=2, threads=1)
    data = decode(DataConfig, data_section, "data")
    path = tmp_path / "run.yaml"
    write_run(RunConfig(data=data, model=AutoencoderConfig(levels=2, width=4), loss=NegSiSdrConfig(), fit=fit), path)
    return path


def strict(text: str) -> Any:
    """The one document that `text` is; NaN and Infinity are not JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_each_command_gives_one_json_document(
    run_file: Path, recordings: Path, drivebeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STDOUT_LOGGING", "1")  # its lines give way to the document
    trained = strict(drivebeat("train", "run.yaml", "-o", "runs/a", "--json").out)
    assert (trained["folder"], trained["metric"], trained["epoch"], trained["n_epochs"]) == (
        "runs/a",
        "si_sdr_db",
        1,
        2,
    )
    evaluated = strict(drivebeat("evaluate", "runs/a", "--json").out)
    assert {"zeros", "autoencoder"} <= {row["method"] for row in evaluated["rows"]}
    assert "inf" in {row["snr_db"] for row in evaluated["rows"]}, "the clean windows, which JSON has no number for"
    parts = strict(drivebeat("evaluate", "runs/a", "--by", "recording", "--json").out)
    assert "inf" in {line["snr_db"] for line in parts["lines"]}
    compared = strict(drivebeat("compare", "runs/a", "--classical", "--resamples", "100", "--json").out)
    assert compared["snrs_db"][-1] == "inf"
    (noise,) = recordings.rglob("60km.wav")
    applied = strict(drivebeat("apply", "runs/a", str(noise), "-o", "e.wav", "--json").out)
    assert applied["samples"] == round(applied["rate_hz"] * applied["seconds"])
    made = strict(drivebeat("data", "synth", "--out", "x", "--minutes", "0.2", "--speeds", "60", "--json").out)
    assert all(Path(file).is_file() for file in made["files"])


def test_quiet_says_the_result_and_piped_output_has_no_bar(run_file: Path, drivebeat: Any) -> None:
    said = drivebeat("train", "run.yaml", "-o", "runs/a", "--quiet")
    assert said.out.startswith("runs/a: si_sdr_db ")
    assert said.out.count("\n") == 1
    loud = drivebeat("train", "run.yaml", "-o", "runs/b")
    assert "epoch 2/2 loss " in loud.out
    assert "━" not in loud.out + loud.err
    assert drivebeat("evaluate", "runs/a", "-q").out == "runs/a/evaluation: table.csv\n"


def test_the_switches_of_dotenv_do_what_they_say(run_file: Path, drivebeat: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STDOUT_LOGGING=1\nONLY_FIRST_BATCH=1\n")
    said = drivebeat("train", "run.yaml", "-o", "runs/a")
    assert [line.split(" loss ")[0] for line in said.out.splitlines()[:2]] == ["a: epoch 1/2", "a: epoch 2/2"]
    assert said.err.startswith("warning: ONLY_FIRST_BATCH is on")
    assert read_run(tmp_path / "runs" / "a" / "run.yaml").fit.steps_per_epoch == 1
    (tmp_path / ".env").write_text("STDOUT_LOGGING=0\n")
    assert drivebeat("train", "run.yaml", "-o", "runs/b").out.count("\n") == 1
