"""The benchmarks run; what they measure is for docs/measurements/, not for a test."""

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import drivebeat
from benchmarks.quality import OURS, QUICK, table
from benchmarks.unseen import ablation, amounts
from benchmarks.unseen.judge import judged, mean, mixtures
from benchmarks.unseen.judge import main as judge_runs
from data.synthetic.recordings import SynthConfig, synthesise
from models.live import LiveConfig
from models.parts.streaming import Carry, CausalDenoiser
from tests.support.program import ROOT, environment
from training.config import RunConfig, read_run
from training.denoising.denoise import Denoiser


def test_the_data_path_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/data_path.py", "--quick", "--threads", "1"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rates = re.findall(r"^(.+?)\s+[\d,]+ windows/s\s+([\d.]+) x$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rates] == [
        "per-item DataLoader",
        "ours, randomised per window",
        "ours, one surrogate per epoch",
    ]
    assert rates[0][1] == "1.0"


def test_the_memory_of_a_mixture_is_at_most_three_times_its_signals() -> None:
    """The signals themselves are one of the three; ten hours of a mono recording are few beside the libraries."""
    words = ["--hours", "20", "--channels", "2", "--window", "1280", "--rate-hz", "250", "--batch", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.mixture_memory", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    times = re.search(r"adds [\d,]+ MB, ([\d.]+) times the signals", done.stdout)
    assert times is not None
    assert float(times[1]) < 3


def test_the_benchmark_of_beats_is_sure_of_clean_hearts_and_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rhythm", "--real", str(tmp_path), "--generated", "1", "--seeds", "1"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    clean = re.search(r"\| clean \| ([\d.]+) \| ([\d.]+) \| (\d+) % \| ([\d.]+) % \|", done.stdout)
    assert clean is not None
    assert (float(clean[1]), int(clean[3]), float(clean[4])) == (1, 100, 0)
    assert float(clean[2]) >= 0.95
    assert re.search(r"vehicles alone: \d+ of 30 spans are sure", done.stdout)


@pytest.mark.slow
def test_the_quality_benchmark_scores_ours_the_labs_and_the_classical_on_the_same_windows(tmp_path: Path) -> None:
    synthesise(SynthConfig(seed=3, minutes=0.5, speeds_kmh=(80,), sessions=4), tmp_path)
    few = {"n_windows": 4, "snrs_db": [-5.0, 0.0]}
    document = {
        "schema_version": 1,
        "data": {
            "rate_hz": 250.0,
            "window_samples": 1280,
            "stride_samples": 8,
            "clean": [{"files": [f"{tmp_path}/s0*/stop.wav"], "channels": ["ch1"]}],
            "noise": [{"files": [f"{tmp_path}/s0*/80km.wav"], "channels": ["ch1", "ch2"]}],
            "validation": few,
            "test": few,
        },
        "model": {"name": "autoencoder", "levels": 2, "width": 4},
        "loss": {"name": "si_sdr"},
        "fit": {"batch_size": 4},
    }
    run = tmp_path / "run.yaml"
    run.write_text(yaml.safe_dump(document))
    options = ["--quick", "--run", str(run), "--processes", "1", "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    methods = [OURS, QUICK.name, "zeros", "identity", "bandpass", "wavelet", "wiener", "nlms", "oracle"]
    assert lines == 2 * ["method", *methods]


def test_the_quality_table_refuses_methods_scored_on_other_windows() -> None:
    def scored(recording: list[int]) -> dict[str, np.ndarray]:
        values = {f"test/{name}": np.zeros((1, 3)) for name in ("si_sdr_db", "event_f1", "hr_within_5_bpm")}
        return values | {"test/recording": np.array(recording), "test/snr_db": np.array([-5.0])}

    same = {"a": scored([0, 0, 1]), "b": scored([0, 0, 1])}
    assert table(same, "test").count("0.0 (0.0 ... 0.0)") == 2
    with pytest.raises(ValueError, match="b: other windows than those of a"):
        table(same | {"b": scored([0, 1, 1])}, "test")


@pytest.fixture
def little_run(tmp_path: Path) -> tuple[Path, Path]:
    """A run of one step on generated recordings, and the hearts and vehicles that it is judged by."""
    synthesise(SynthConfig(seed=1, minutes=0.5, speeds_kmh=(80,), sessions=4), tmp_path / "data")
    channels = ["ch1", "ch2"]
    data = {
        "rate_hz": 250.0,
        "window_samples": 1280,
        "clean": [{"files": ["data/s*/stop.wav"], "channels": ["ch1"], "group": "s*"}],
        "noise": [{"files": ["data/s*/80km.wav"], "channels": channels, "group": "s*"}],
        "base": str(tmp_path),
    }
    run = {
        "schema_version": 1,
        "data": data,
        "model": {"name": "autoencoder", "levels": 2, "width": 8},
        "loss": {"name": "l1"},
        "fit": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "threads": 1},
    }
    judge = {
        "hearts": {"generated": {"files": [str(tmp_path / "data/s0[12]/stop.wav")], "channels": ["ch1"]}},
        "vehicles": {"car": {"files": [str(tmp_path / "data/s03/80km.wav")], "channels": channels}},
    }
    for name, document in (("run.yaml", run), ("unseen.yaml", judge)):
        (tmp_path / name).write_text(yaml.safe_dump(document))
    return tmp_path / "run.yaml", tmp_path / "unseen.yaml"


def test_a_run_is_judged_on_whole_recordings(
    little_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clean recording stands beside the SNRs, and the input has the SNR that it was mixed at."""
    run, judge = little_run
    folder = tmp_path / "trained"
    drivebeat.train(run, folder, quiet=True)
    judge_runs([str(folder), "--data", str(judge), "-o", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "By kind of heart" in said and "By vehicle" in said
    assert said.count(f"| {folder} | car |") == 1 and "Beats: usable_share / wrong_share" in said
    values = pd.read_csv(tmp_path / "out" / "unseen.csv")
    assert set(values.snr_db) == {-10.0, -5.0, 0.0, 5.0, np.inf}
    own = values[(values.method == "identity") & (values.score == "si_sdr_db") & np.isfinite(values.snr_db)]
    assert own.groupby("snr_db").value.mean().diff().dropna().between(3, 7).all()
    assert len(values[(values.method == str(folder)) & (values.snr_db == np.inf)]) > 0


class Unchanged(torch.nn.Module):
    """A causal core that gives channel 0 back."""

    block, delay = 1, 0

    def run_blocks(self, noisy: torch.Tensor, carry: Carry) -> torch.Tensor:
        return noisy[:, :1]


def test_the_phase_of_its_band_pass_costs_a_causal_run_nothing(little_run: tuple[Path, Path]) -> None:
    """A causal run that changes nothing gives a clean recording back, and a noisy one at the SNR of the mixture."""
    run, judge = little_run
    late = replace(read_run(run), live=LiveConfig(causal=True))
    late = replace(late, data=replace(late.data, band_phase="minimum"))
    denoiser = Denoiser(late, CausalDenoiser(Unchanged()), "cpu")
    values = [value for mixed in mixtures(judge, 1, 0) for value in judged(mixed, {"late": denoiser}, None)]

    def si_sdr_db(method: str, snr_db: float) -> float:
        return mean([v for v in values if v.method == method and v.snr_db == snr_db], "si_sdr_db")

    assert si_sdr_db("late", math.inf) > 50
    assert abs(si_sdr_db("late", 0.0) - si_sdr_db("identity", 0.0)) < 1


def test_amounts_of_recordings_are_compared(
    little_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in the folder is not trained again."""
    run, judge = little_run
    words = [str(run), "-o", str(tmp_path / "out"), "--unseen", str(judge), "--hearts", "1,all", "--vehicles", "1"]
    words += ["--seeds", "1", "--steps", "1", "--sensors", "microphone"]
    amounts.main(words)
    said = capsys.readouterr().out
    assert "| 1 hearts | generated |" in said and "| microphone hearts alone | all |" in said
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("weights.safetensors")}
    assert len(written) == 4
    amounts.main(words)
    assert capsys.readouterr().out == said
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_parts_of_a_run_are_taken_away_and_tried_alone(little_run: tuple[Path, Path]) -> None:
    """A second pass alone has the network for beats, and beats alone have no second pass."""
    found = ablation.variants(with_parts(little_run[0]), "s01/")
    has = {
        name: (
            len(own.data.noise) == 2,
            own.data.n_channels == 2 and own.front.filter_taps > 0,
            own.beats.beats_passes == 2,
            own.beats.beats_weight > 0,
        )
        for name, own in found.items()
    }
    assert has == {
        "all parts": (True, True, True, True),
        "without recordings": (False, True, True, True),
        "without references": (True, False, True, True),
        "without second pass": (True, True, False, True),
        "without beats": (True, True, False, False),
        "recordings alone": (True, False, False, False),
        "references alone": (False, True, False, False),
        "second pass alone": (False, False, True, True),
        "beats alone": (False, False, False, True),
        "no part": (False, False, False, False),
    }


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_trainings_with_and_without_parts_are_compared(
    little_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole run and the bare one are adapted too; what is in the folder is not trained again."""
    run, judge = little_run
    with_parts(run)
    words = [str(run), "-o", str(tmp_path / "out"), "--more", "s01/", "--unseen", str(judge)]
    words += ["--steps", "1", "--adapt", "1", "--recordings", "1"]
    ablation.main(words)
    said = capsys.readouterr().out
    rows = [line.split(" | ")[0].removeprefix("| ") for line in said.splitlines()[2:]]
    assert rows[:3] == ["all parts", "all parts, adapted by 1 steps", "without recordings"]
    assert rows[-2:] == ["no part", "no part, adapted by 1 steps"] and len(rows) == 12
    assert len(list((tmp_path / "out").glob("*/weights.safetensors"))) == 10
    ablation.main(words)
    assert capsys.readouterr().out == said


def with_parts(run: Path) -> RunConfig:
    """Give the run in a file recordings of its own kind, filters, beats and a second pass."""
    document = yaml.safe_load(run.read_text())
    document["data"]["noise"][0]["files"] = ["data/s0[!1]/80km.wav"]
    more = {"files": ["data/s01/80km.wav"], "channels": ["ch1", "ch2"], "use": "train"}
    document["data"]["noise"].append(more)
    document["front"] = {"filter_taps": 9}
    document["beats"] = {"beats_weight": 1.0, "beats_passes": 2, "beats_width": 32, "beats_layers": 1}
    run.write_text(yaml.safe_dump(document))
    return read_run(run)
