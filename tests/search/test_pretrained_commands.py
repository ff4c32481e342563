"""The pretrained model in commands: listed, applied to the sample, warm start."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import drivebeat as package
from scripts.sample import NAME, SAMPLE
from training.pretrained import pretrained

BPM_OF_SAMPLE = 63.2


def test_the_models_are_listed(drivebeat: Any) -> None:
    said = drivebeat("pretrained")
    assert said.out.splitlines()[0] == f"pretrained: {pretrained()[0].summary}"
    rows = json.loads(drivebeat("pretrained", "--json").out)["models"]
    assert [row["name"] for row in rows] == [model.reference for model in pretrained()]
    assert all(Path(row["card"]).is_file() for row in rows)


@pytest.mark.parametrize("name", [model.reference for model in pretrained()])
def test_a_model_finds_the_heart_of_the_sample(drivebeat: Any, tmp_path: Path, name: str) -> None:
    """The estimate's sure heart rates are those of the generated heart, and most of the drive is sure."""
    said = drivebeat("apply", name, str(SAMPLE / NAME), "-o", "estimate.wav")
    assert said.code == 0, said.err
    with (tmp_path / "estimate.heart_rate.csv").open() as file:
        rates = [float(row["heart_rate_bpm"]) for row in csv.DictReader(file) if row["heart_rate_bpm"]]
    assert len(rates) >= 2
    assert rates == pytest.approx([BPM_OF_SAMPLE] * len(rates), abs=5)


def test_python_loads_it_by_name() -> None:
    assert package.Denoiser is type(package.load("pretrained"))


def test_an_unknown_name_is_one_line(refused: Any) -> None:
    assert "pretrained/none: no folder, and no pretrained model" in refused("evaluate", "pretrained/none")
    assert "pretrained/none: no folder, and no pretrained model" in refused(
        "apply", "pretrained/none", str(SAMPLE / NAME), "-o", "estimate.wav"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "pretrained"),
        ("evaluate", "pretrained", "--by", "vehicle"),
        ("compare", "pretrained", "--classical"),
        ("export-model", "pretrained", "-o", "model.onnx", "--int8"),
    ],
    ids=" ".join,
)
def test_missing_recordings_of_the_model_are_no_mistake_in_a_path(refused: Any, words: tuple[str, ...]) -> None:
    """They are not at hand where the model is used; the line says where they are named, and of --data."""
    said = refused(*words)
    assert "the recordings of a pretrained model do not come with it" in said
    assert "README.md" in said and "--data" in said
