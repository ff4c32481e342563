"""drivebeat apply: one recording, many, folders and globs, with what is printed and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from data.config import DataConfig
from data.readers.read import read
from models import DENOISERS
from objectives.losses import NegSiSdrConfig
from training.checkpoint import save_weights
from training.config import RunConfig, write_run
from training.decode import decode
from training.runs import load_model

SECONDS = 12.0
UNCALIBRATED = (
    "beats by the envelope of the estimate; a heart rate is sure from a probability of 0.90 on "
    "(the default: the weights are not calibrated)"
)


@pytest.fixture(autouse=True)
def run(data_section: dict[str, Any], tmp_path: Path) -> Path:
    """A run in the folder `run` whose model changes nothing."""
    config = RunConfig(
        data=decode(DataConfig, data_section, "data"), model=DENOISERS["identity"](), loss=NegSiSdrConfig()
    )
    write_run(config, tmp_path / "run" / "run.yaml")
    save_weights(config.build_model(1), tmp_path / "run" / "weights.safetensors")
    return tmp_path / "run"


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    """Three recordings of a heart of 80 bpm, in two folders, and a file that is none."""
    time_s = np.arange(round(1000 * SECONDS)) / 1000
    sound = 0.001 * np.random.default_rng(0).standard_normal(time_s.size)
    for at_s in np.arange(0.3, SECONDS - 0.3, 0.75):
        for since_s, height in ((time_s - at_s, 1.0), (time_s - at_s - 0.27, 0.7)):
            sound += height * np.exp(-0.5 * (since_s / 0.025) ** 2) * np.cos(2 * np.pi * 40 * since_s)
    for name in ("a/1.wav", "b/2.wav", "b/3.wav"):
        (tmp_path / "drives" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "drives" / name, sound.astype(np.float32), 1000, subtype="FLOAT")
    (tmp_path / "drives" / "a" / "broken.wav").write_text("no sound")
    return tmp_path / "drives"


def test_a_folder_is_denoised_with_the_model_loaded_once_and_its_failures_named(
    drives: Path, drivebeat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a recording, a line with both numbers at the end, and exit code 2."""
    loaded: list[Path] = []

    def counted(run: RunConfig, folder: Path) -> Any:
        loaded.append(folder)
        return load_model(run, folder)

    monkeypatch.setattr("training.denoising.denoise.load_model", counted)
    said = drivebeat("apply", "run", "drives", "-o", "out", "--format", "csv")
    assert loaded == [Path("run")]
    assert said.code == 2
    assert said.out.splitlines() == [
        UNCALIBRATED,
        "cleaning channel ch1",
        *(
            f"out/{name}.csv: 12000 samples at 1000 Hz (12.0 s); heart rate: 80 bpm (median), 16 beats, "
            "sure in 12 of 12 s"
            for name in ("a/1", "b/2", "b/3")
        ),
        "out: 3 of 4 recordings denoised, 1 failed",
    ]
    (line,) = [line for line in said.err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("drivebeat: drives/a/broken.wav: ")
    estimates = sorted(path for path in Path("out").rglob("?.csv"))
    assert [str(path) for path in estimates] == ["out/a/1.csv", "out/b/2.csv", "out/b/3.csv"]
    assert {read(path).rate_hz for path in estimates} == {1000.0}
    assert len(list(Path("out").rglob("*.*"))) == 9


def test_globs_are_expanded_and_all_good_is_exit_code_0(drives: Path, drivebeat: Any) -> None:
    said = drivebeat("apply", "run", "drives/**/[0-9].wav", "-o", "out", "--no-beats")
    assert (said.code, said.out.splitlines()[-1]) == (0, "out: 3 of 3 recordings denoised")
    assert {str(path) for path in Path("out").rglob("*.*")} == {"out/a/1.wav", "out/b/2.wav", "out/b/3.wav"}
    assert drivebeat("apply", "run", "drives/b", "-o", "out", "-q").out == "out: 2 of 2 recordings denoised\n"


def test_a_single_recording_has_the_document_and_the_lines_of_its_own(drives: Path, drivebeat: Any) -> None:
    said = drivebeat("apply", "run", "drives/a/1.wav", "-o", "e.npz", "--picture", "--audible")
    assert said.code == 0
    assert said.out.splitlines() == [
        UNCALIBRATED,
        "cleaning channel ch1",
        "e.npz: 12000 samples at 1000 Hz (12.0 s)",
        "heart rate: 80 bpm (median), 16 beats, sure in 12 of 12 s",
    ]
    assert {path.name for path in Path().glob("e.*")} == {
        "e.npz", "e.beats.csv", "e.heart_rate.csv", "e.png", "e.audible.wav",
    }  # fmt: skip
    assert drivebeat("apply", "run", "drives/a/1.wav", "-o", "e.mat", "-q").out == (
        "e.mat: 12000 samples at 1000 Hz (12.0 s)\n"
    )
    document = json.loads(drivebeat("apply", "run", "drives/a/1.wav", "-o", "e.wav", "--json").out)
    assert {name: document[name] for name in ("output", "samples", "rate_hz", "seconds", "reference")} == {
        "output": "e.wav", "samples": 12000, "rate_hz": 1000.0, "seconds": 12.0, "reference": None,
    }  # fmt: skip
    assert document["heart_rate"]["n_beats"] == 16
    assert document["heart_rate"]["bpm"] == pytest.approx(80, abs=0.5)
    assert document["beats"] == {
        "evidence": "envelope", "calibrated": False, "threshold": 0.9, "sure_s": 12.0, "sure_share": 1.0,
    }  # fmt: skip
    assert document["files"] == ["e.wav", "e.beats.csv", "e.heart_rate.csv"]


def test_several_recordings_are_one_json_document(drives: Path, drivebeat: Any) -> None:
    said = drivebeat("apply", "run", "drives", "-o", "out", "--json", "--no-beats")
    document = json.loads(said.out)
    assert said.code == 2
    assert (document["run"], document["folder"]) == ("run", "out")
    assert [one["output"] for one in document["recordings"]] == ["out/a/1.wav", "out/b/2.wav", "out/b/3.wav"]
    assert [one["recording"] for one in document["recordings"]] == [
        "drives/a/1.wav", "drives/b/2.wav", "drives/b/3.wav",
    ]  # fmt: skip
    (problem,) = document["problems"]
    assert problem["recording"] == "drives/a/broken.wav"
    assert problem["reason"].startswith("drives/a/broken.wav: ")


def test_a_single_recording_that_fails_is_one_line(drives: Path, refused: Callable[..., str]) -> None:
    assert "drives/a/broken.wav" in refused("apply", "run", "drives/a/broken.wav", "-o", "e.wav")
    assert "e.mp3: an estimate is written as .wav, .csv" in refused("apply", "run", "drives/a/1.wav", "-o", "e.mp3")
    assert "window_s is 0.1; at least" in refused("apply", "run", "drives", "-o", "out", "--window-s", "0.1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["drives", "gone", "-o", "out"], "no recording matches 'gone'"),
        (["drives", "-o", "e.wav"], "e.wav: a file for the estimates of 4 recordings"),
        (["drives", "-o", "drives"], "drives: is the folder of the recordings"),
        (["drives/a/1.wav", "-o", "drives/a/1.wav"], "is the recording itself, which is never written"),
        (["drives/b", "-o", "out", "--format", "flac"], "--format is 'flac'; wav, csv, mat, npz are known"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    arguments: list[str], words: str, drives: Path, refused: Callable[..., str]
) -> None:
    assert words in refused("apply", "run", *arguments)


def test_two_recordings_of_one_name_are_refused_before_anything_is_written(
    drives: Path, refused: Callable[..., str]
) -> None:
    (drives / "b" / "2.csv").write_text("x\n1\n2\n")
    assert "out/2.wav: would be written for drives/b/2.csv and for drives/b/2.wav" in refused(
        "apply", "run", "drives/b", "-o", "out"
    )
