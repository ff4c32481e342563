"""A whole recording through a model: as long as it came, and as its windows would be estimated."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from data.conditioning import condition
from data.config import DataConfig
from data.errors import DataError, FileError
from data.readers.read import read
from data.recording import Recording
from models import DENOISERS
from training.apply import FORMATS, apply, check_output, write_estimate
from training.errors import ConfigError
from training.evaluation.estimate import estimate_windows
from training.overlap import overlap_add, window_starts, window_weights

CPU = torch.device("cpu")
Heartbeat = Callable[..., Recording]


class Blur(nn.Module):
    """A model whose estimate depends on the whole window, so that seams would show."""

    def forward(self, noisy: Tensor) -> Tensor:
        window = noisy[:, :1]
        return window * 0.5 + 0.3 * window.roll(7, -1) + 0.1 * window.mean(-1, keepdim=True)


@settings(max_examples=200)
@given(window=st.integers(16, 300), n_samples=st.integers(1, 3000))
def test_weights_sum_to_one_and_windows_cover_all(window: int, n_samples: int) -> None:
    starts, fade = window_starts(n_samples, window)
    n_padded = max(n_samples, window)
    total = np.zeros(n_padded, np.float32)
    for i, start in enumerate(starts):
        assert 0 <= start <= n_padded - window
        weights = window_weights(i, starts, window, fade)
        assert weights.min() >= 0
        total[start : start + window] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_overlap_add_equals_the_windowed_estimate_away_from_seams() -> None:
    signals = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    window = 512
    starts, fade = window_starts(5000, window)
    whole = overlap_add(Blur(), signals, window, CPU, batch_size=3)
    n_equal = 0
    for i, start in enumerate(starts):
        alone = estimate_windows(Blur(), signals[None, :, start : start + window], CPU, 1)[0]
        own = window_weights(i, starts, window, fade) == 1
        np.testing.assert_allclose(whole[start : start + window][own], alone[own], atol=1e-6)
        n_equal += int(own.sum())
    assert n_equal > 0.6 * 5000


@pytest.mark.parametrize("n_samples", [1, 100, 511])
def test_a_recording_shorter_than_a_window_is_a_window_of_its_own(n_samples: int) -> None:
    """Nothing is added to it: its estimate is the model's own of those samples."""
    signals = np.random.default_rng(0).standard_normal((2, n_samples)).astype(np.float32)
    alone = estimate_windows(Blur(), signals[None], CPU, 1)[0]
    np.testing.assert_array_equal(overlap_add(Blur(), signals, 512, CPU, batch_size=4), alone)


def test_the_batch_size_decides_nothing() -> None:
    signals = np.random.default_rng(0).standard_normal((1, 3000)).astype(np.float32)
    one, many = (overlap_add(Blur(), signals, 512, CPU, batch_size) for batch_size in (1, 16))
    np.testing.assert_allclose(one, many, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [250.0, 400.0, 1000.0, 333.25, 4000.0, 22050.0])
@pytest.mark.parametrize("seconds", [0.7, 4.096, 13.37])
def test_output_has_the_length_of_the_input_and_identity_gives_the_conditioned_signal(
    rate_hz: float, seconds: float, data: DataConfig, identity: nn.Module, heart: Heartbeat
) -> None:
    """Any length, a fraction of a window too, and any rate. Compared by correlation: two resamplings lie between."""
    recording = heart(0, Path("a.npz"), seconds=seconds, rate_hz=rate_hz)
    estimate = apply(identity, recording, data, CPU)
    assert estimate.shape == recording.signals.shape[1:]
    assert estimate.dtype == np.float32
    in_band = condition(recording, data)[0]
    shown = np.interp(np.arange(in_band.size) / data.rate_hz, np.arange(estimate.size) / rate_hz, estimate)
    if seconds > 1:
        assert np.corrcoef(shown, in_band)[0, 1] > (0.999 if rate_hz >= 1000 else 0.97)
        assert np.std(shown) == pytest.approx(np.std(in_band), rel=0.08)


def test_at_the_model_s_own_rate_identity_gives_the_conditioned_signal_exactly(
    data: DataConfig, identity: nn.Module, heart: Heartbeat
) -> None:
    recording = heart(0, Path("a.npz"), seconds=20.0)
    estimate = apply(identity, recording, data, CPU)
    np.testing.assert_allclose(estimate, condition(recording, data)[0], atol=1e-6)


def test_longer_windows_are_taken_and_shorter_ones_than_in_training_refused(data: DataConfig, heart: Heartbeat) -> None:
    """A model sees as much at once as window_s says."""
    seen: list[int] = []

    class Looking(nn.Module):
        def forward(self, noisy: Tensor) -> Tensor:
            seen.append(noisy.shape[-1])
            return noisy[:, :1]

    recording = heart(0, Path("a.npz"), seconds=12.0)
    trained_s = data.window_samples / data.rate_hz
    for window_s in (None, trained_s, 2 * trained_s):
        apply(Looking(), recording, data, CPU, window_s=window_s)
    assert sorted(set(seen)) == [data.window_samples, 2 * data.window_samples]
    with pytest.raises(ConfigError, match=r"window_s is .*; at least the .* s of training"):
        apply(Looking(), recording, data, CPU, window_s=0.5 * trained_s)


@pytest.mark.parametrize("window_s", [0.0, -3.0, float("nan"), float("inf"), -float("inf"), 1e308])
def test_windows_of_no_length_are_refused(
    data: DataConfig, identity: nn.Module, heart: Heartbeat, window_s: float
) -> None:
    with pytest.raises(ConfigError, match=r"window_s is .*; at least the .* s of training"):
        apply(identity, heart(0, Path("a.npz"), seconds=12.0), data, CPU, window_s=window_s)


def test_amplitude_in_is_amplitude_out(data: DataConfig, heart: Heartbeat) -> None:
    """A model sees windows scaled to its own range; what leaves is in the recording's unit."""
    recording = heart(0, Path("a.npz"), seconds=10.0)
    loud = Recording(recording.signals * np.float32(1e4), recording.rate_hz, recording.channels, recording.source)
    model = DENOISERS["autoencoder"](levels=2, width=4).build(1)  # type: ignore[call-arg]
    one, other = (apply(model, r, data, CPU) for r in (recording, loud))
    np.testing.assert_allclose(other, one * 1e4, rtol=1e-3, atol=1e4 * 1e-5)


def test_silence_stays_silence(identity: nn.Module) -> None:
    assert not overlap_add(identity, np.zeros((1, 900), np.float32), 512, CPU, 4).any()


def test_a_recording_too_short_to_filter_is_refused(data: DataConfig, identity: nn.Module, heart: Heartbeat) -> None:
    with pytest.raises(DataError, match=r"a.npz: 0.0400 s cannot be conditioned"):
        apply(identity, heart(0, Path("a.npz"), seconds=0.04), data, CPU)


@pytest.mark.parametrize("rate_hz", [250.0, 500.0, 333.25, 999.7, 1024.0, 22050.0])
@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_written_is_read_back_the_same(ending: str, rate_hz: float, heart: Heartbeat, tmp_path: Path) -> None:
    """The contract of every format: samples to the last bit, rate, length and one channel, by our own reader."""
    recording = heart(0, tmp_path / "in.npz", seconds=3.0, rate_hz=rate_hz)
    estimate = (3e-4 * recording.signals[0]).astype(np.float32)
    path = tmp_path / "new" / f"estimate{ending}"
    if ending == ".wav" and rate_hz != round(rate_hz):
        with pytest.raises(ConfigError, match=r"a \.wav holds whole rates"):
            write_estimate(estimate, recording, path)
        return
    write_estimate(estimate, recording, path)
    back = read(path)
    np.testing.assert_array_equal(back.signals, estimate[None])
    assert back.rate_hz == pytest.approx(rate_hz, rel=1e-8)
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("ending", [".wav", ".csv", ".mat", ".npz"])
def test_a_folder_that_takes_no_file_is_an_error_for_the_user(ending: str, heart: Heartbeat, tmp_path: Path) -> None:
    """Whatever the library of the format says of it: /proc takes no file of anybody, root included."""
    recording = heart(0, tmp_path / "in.npz", seconds=3.0)
    with pytest.raises(FileError, match=rf"/proc/x\{ending}: cannot be written \((?!Reader)"):
        write_estimate(recording.signals[0], recording, Path(f"/proc/x{ending}"))


def test_a_table_has_times_and_the_estimate_under_their_names(heart: Heartbeat, tmp_path: Path) -> None:
    recording = heart(0, tmp_path / "in.npz", seconds=0.6, rate_hz=250.0)
    write_estimate(recording.signals[0], recording, tmp_path / "e.csv")
    table = pandas.read_csv(tmp_path / "e.csv")
    assert list(table) == ["time_s", "estimate"]
    np.testing.assert_allclose(table["time_s"], np.arange(150) / 250.0, atol=1e-9)


@pytest.mark.parametrize("estimate", [np.zeros(500), np.r_[np.zeros(499), 0.125], np.round(np.sin(np.arange(500)), 3)])
def test_a_table_of_round_numbers_is_read_back_too(estimate: Any, heart: Heartbeat, tmp_path: Path) -> None:
    """Silence, and numbers with three digits after the mark, which a reader may take for thousands."""
    recording = heart(0, tmp_path / "in.npz", seconds=2.0, rate_hz=250.0)
    write_estimate(estimate.astype(np.float32), recording, tmp_path / "e.csv")
    np.testing.assert_array_equal(read(tmp_path / "e.csv").signals[0], estimate.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "rate_hz", "said"),
    [
        ("a.mp3", 500.0, r"written as .wav, .csv, .mat, .npz, not '.mp3'"),
        ("a", 500.0, "not 'without ending'"),
        ("a.wav", 333.25, r"a .wav holds whole rates, the recording has 333.25 Hz; write .csv, .mat or .npz"),
        ("in.npz", 500.0, "is the recording itself"),
    ],
)
def test_an_output_that_cannot_be_is_refused(
    name: str, rate_hz: float, said: str, heart: Heartbeat, tmp_path: Path
) -> None:
    recording = heart(0, tmp_path / "in.npz", rate_hz=rate_hz)
    with pytest.raises(ConfigError, match=said):
        check_output(tmp_path / name, recording)
    with pytest.raises(ConfigError, match=said):
        write_estimate(recording.signals[0], recording, tmp_path / name)
    assert not list(tmp_path.iterdir())


TEN_MINUTES = """
import json, resource, sys
from pathlib import Path
import numpy as np, torch
from data.config import DataConfig, Source
from data.recording import Recording
from models import DENOISERS
from training.apply import apply, write_estimate
torch.set_num_threads(1)
n_samples = 600 * 4000
signals = np.random.default_rng(0).standard_normal((1, n_samples), dtype=np.float32)
recording = Recording(signals, 4000.0, ("z",), Path("in.wav"))
config = DataConfig((Source(("a",)),), (Source(("b",)),))
model = DENOISERS["autoencoder"](levels=3, width=4).build(1)
estimate = apply(model, recording, config, torch.device("cpu"))
write_estimate(estimate, recording, Path(sys.argv[1]))
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"n_samples": len(estimate), "peak_kib": peak_kib}))
"""


@pytest.mark.slow
def test_ten_minutes_at_4_khz_stay_under_1_gib(tmp_path: Path) -> None:
    """Must show 3: equal length, bounded memory; in a process of its own, whose peak is its alone."""
    done = subprocess.run(
        [sys.executable, "-c", TEN_MINUTES, str(tmp_path / "out.wav")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    got: dict[str, Any] = json.loads(done.stdout)
    assert got["n_samples"] == 2_400_000
    assert got["peak_kib"] < 1024 * 1024
    assert read(tmp_path / "out.wav").signals.shape == (1, 2_400_000)
