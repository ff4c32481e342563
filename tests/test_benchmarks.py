"""The benchmarks run; what they measure is for docs/measurements/, not for a test."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.quality import OURS, QUICK, table
from data.synthetic.recordings import SynthConfig, synthesise
from tests.support.program import ROOT, environment


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


def test_the_benchmark_of_beats_finds_those_of_clean_hearts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.beats", "--real", str(tmp_path), "--generated", "2"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    clean = re.search(r"\| clean \| (\d+) of 12 \| (\d+) \| ([\d.]+) \|", done.stdout)
    assert clean is not None
    assert int(clean[1]) == int(clean[2]) >= 10
    assert float(clean[3]) >= 0.95
    assert "| vehicle alone | " in done.stdout


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
