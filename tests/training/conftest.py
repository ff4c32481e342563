"""A tiny corpus of generated recordings and tiny runs, quick enough to train in a test."""

import dataclasses
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from safetensors.torch import load_file

from data.config import DataConfig, HeldOutConfig, Source
from data.corpus import Corpus, load
from data.filters import bandpass
from data.readers.arrays.npz import write_npz
from data.recording import Recording
from models import DENOISERS
from models.autoencoder import AutoencoderConfig
from objectives.losses import NegSiSdrConfig
from training.config import FitConfig, RunConfig
from training.report import EpochReport
from training.schedule import OptimiserConfig, ScheduleConfig
from training.trainer import WEIGHTS, train

RATE_HZ = 250.0
Clean = Callable[..., Recording]


def heart_sound(seed: int, path: Path, seconds: float = 30.0, rate_hz: float = RATE_HZ, bpm: float = 75.0) -> Recording:
    """S1 and S2 as bursts of 38 and 45 Hz after each R peak."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    r_peaks_s = np.arange(0.2, seconds - 0.5, 60.0 / bpm)
    signal = 0.01 * rng.standard_normal(time_s.size)
    for r in r_peaks_s:
        for delay_s, frequency_hz, height in ((0.05, 38.0, 1.0), (0.34, 45.0, 0.7)):
            since_s = time_s - r - delay_s
            signal += height * np.exp(-0.5 * (since_s / 0.022) ** 2) * np.cos(2 * np.pi * frequency_hz * since_s)
    return Recording(signal.astype(np.float32)[None], rate_hz, ("z",), path, r_peaks_s=r_peaks_s)


def road_noise(seed: int, path: Path, seconds: float = 30.0, channels: tuple[str, ...] = ("z",)) -> Recording:
    """Noise in and about the band, partly shared by the channels."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * RATE_HZ)
    shared = rng.standard_normal(n_samples)
    own = rng.standard_normal((len(channels), n_samples))
    return Recording(bandpass(shared + 0.5 * own, RATE_HZ, 15.0, 80.0), RATE_HZ, channels, path)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clean_0..3.npz (R peaks known) and noise_0..3.npz (channels z, x)."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(4):
        clean, noise = folder / f"clean_{i}.npz", folder / f"noise_{i}.npz"
        write_npz(heart_sound(i, clean, bpm=60.0 + 10 * i), clean)
        write_npz(road_noise(10 + i, noise, channels=("z", "x")), noise)
    return folder


@pytest.fixture(scope="session")
def data(recordings: Path) -> DataConfig:
    """DataConfig of the tiny corpus: 250 Hz, windows of 4.1 s."""
    return DataConfig(
        clean=(Source((str(recordings / "clean_*.npz"),)),),
        noise=(Source((str(recordings / "noise_*.npz"),)),),
        rate_hz=RATE_HZ,
        window_samples=1024,
        stride_samples=64,
        validation=HeldOutConfig(n_windows=4, snrs_db=(-5.0, 0.0)),
        test=HeldOutConfig(n_windows=4, snrs_db=(-5.0, 0.0), seed=1),
    )


@pytest.fixture(scope="session")
def corpus(data: DataConfig) -> Corpus:
    """The tiny corpus, loaded."""
    return load(data)


@pytest.fixture
def make_run(data: DataConfig) -> Callable[..., RunConfig]:
    """Makes a tiny run; keywords go to FitConfig, sections may be given whole."""

    def make(**options: Any) -> RunConfig:
        sections: dict[str, Any] = {
            "data": data,
            "model": AutoencoderConfig(levels=2, width=4, kernel=5, norm="batch"),
            "loss": NegSiSdrConfig(),
            "optimiser": OptimiserConfig(learning_rate=3e-3),
            "schedule": ScheduleConfig(gain=1.5),
        }
        given = {name: options.pop(name) for name in list(options) if name in sections}
        fit = FitConfig(**({"epochs": 3, "batch_size": 4, "steps_per_epoch": 3, "threads": 1} | options))
        return RunConfig(**(sections | given), fit=fit)

    return make


@pytest.fixture
def run(make_run: Callable[..., RunConfig]) -> RunConfig:
    """The tiny run."""
    return make_run()


@pytest.fixture
def identity() -> torch.nn.Module:
    """The model that changes nothing."""
    return DENOISERS["identity"]().build(1)


@pytest.fixture
def heart() -> Clean:
    """Makes a recording of heart sounds: (seed, path, seconds=, rate_hz=, bpm=)."""
    return heart_sound


@pytest.fixture(scope="session")
def reports() -> Callable[[RunConfig, Corpus, Path], list[EpochReport]]:
    """Trains a run in a folder and gives its reports without the seconds, which no two runs share."""

    def of(run: RunConfig, corpus: Corpus, folder: Path) -> list[EpochReport]:
        return [dataclasses.replace(report, seconds=0.0) for report in train(run, corpus, folder)]

    return of


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, torch.Tensor]]:
    """The best weights in a run's folder."""
    return lambda folder: load_file(folder / WEIGHTS)


@pytest.fixture(scope="session")
def equal() -> Callable[[dict[str, torch.Tensor], dict[str, torch.Tensor]], bool]:
    """Whether two sets of weights have the same names and bits."""
    return lambda a, b: a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="session")
def quiet() -> Callable[[], Console]:
    """Makes a console that shows nobody what it is told."""
    return lambda: Console(file=StringIO(), width=100)


@pytest.fixture(scope="session")
def said() -> Callable[[Console], str]:
    """All that a console of `quiet` was told."""

    def of(console: Console) -> str:
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()

    return of


@pytest.fixture(scope="session")
def make_report() -> Callable[[int], EpochReport]:
    """Makes the report of an epoch of two."""

    def report(epoch: int) -> EpochReport:
        return EpochReport(
            epoch=epoch,
            n_epochs=2,
            loss=1.5,
            score=-0.5,
            by_snr={"-5": -1.0, "+0": 0.0},
            best_score=None if epoch == 0 else -0.5,
            best_epoch=None if epoch == 0 else epoch,
            learning_rate=1e-3,
            gain=1.0,
            peak_share=1.0,
            snr_db=-3.0,
            n_windows=8,
            seconds=0.1,
        )

    return report


@pytest.fixture
def kept_files(tmp_path: Path) -> list[Path]:
    """A figure, a sound and weights, as a run leaves them."""
    kept = tmp_path / "kept"
    kept.mkdir()
    matplotlib.image.imsave(kept / "window.png", np.zeros((4, 6, 3)))
    soundfile.write(kept / "noisy.wav", np.zeros(100, np.float32), 1000)
    (kept / "weights.safetensors").write_bytes(b"weights")
    return sorted(kept.iterdir())
