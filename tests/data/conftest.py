"""Sample files, one for each layout that the readers know, written by the formats' own libraries; small corpora."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import soundfile
from numpy.typing import NDArray

from data.config import DataConfig, Source
from data.corpus import Segment, Split
from data.filters import bandpass

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """A file layout: `write(path, signals[channel, time], ecg[time])` makes a file of it.

    step: the largest rounding of a sample; 0 where float32 is kept exactly.
    holds_nan: False where the format has integers only.
    options: the arguments that `read` needs.
    """

    name: str
    suffix: str
    channels: tuple[str, ...]
    rate_hz: float
    write: Callable[[Path, Floats, Floats], object]
    has_ecg: bool = False
    step: float = 0.0
    holds_nan: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def signals(self, n_samples: int = 4096) -> Floats:
        """Float32 numbers of which no two channels are alike, within (-1, 1)."""
        noise = np.random.default_rng(5).uniform(-0.9, 0.9, (len(self.channels), n_samples))
        return noise.astype(np.float32).astype(np.float64)

    def ecg(self, n_samples: int = 4096) -> Floats:
        return np.random.default_rng(6).uniform(-0.9, 0.9, n_samples).astype(np.float32).astype(np.float64)

    def make(self, folder: Path, signals: Floats | None = None, ecg: Floats | None = None) -> Path:
        path = folder / f"{self.name}{self.suffix}"
        signals = self.signals() if signals is None else signals
        self.write(path, signals, self.ecg(signals.shape[1]) if ecg is None else ecg)
        return path


def save_mat73(path: Path, held: dict[str, NDArray[Any]]) -> None:
    """As MATLAB's save -v7.3: HDF5 after a 512-byte header, axes reversed, the class in an attribute."""
    classes = {"float64": b"double", "float32": b"single"}
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in held.items():
            stored = file.create_dataset(name, data=value.T)
            stored.attrs["MATLAB_class"] = np.bytes_(classes.get(value.dtype.name, value.dtype.name.encode()))
        file.create_group("#refs#")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _columns(signals: Floats, ecg: Floats, start_s: float = 0.0) -> Floats:
    return np.column_stack([start_s + np.arange(ecg.size) / 32000.0, ecg, signals.T])


def _table(path: Path, columns: Floats, header: str, delimiter: str) -> None:
    np.savetxt(path, columns, fmt="%.9g", delimiter=delimiter, header=header, comments="")


def _wfdb(path: Path, signals: Floats, ecg: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        wfdb.wrsamp(
            path.stem,
            fs=1000,
            units=["mV"] * 3,
            sig_name=["PCG", "ECG", "chest"],
            p_signal=np.column_stack([signals[0], ecg, signals[1]]),
            fmt=["16"] * 3,
            # Stated, or constant channels would have a gain of their own.
            adc_gain=[30000.0] * 3,
            baseline=[0] * 3,
            write_dir=str(path.parent),
        )


SIX = tuple(f"ch{i}z" for i in range(1, 7))

LAYOUTS = (
    Layout(
        "240219_v5",
        ".mat",
        SIX,
        32000.0,
        lambda path, x, ecg: scipy.io.savemat(path, {"data": _columns(x, ecg)}, do_compression=True),
        has_ecg=True,
    ),
    Layout(
        "240219_single",  # Time in float32 is coarse: 180 s in, a step is two of its roundings
        ".mat",
        SIX,
        32000.0,
        lambda path, x, ecg: scipy.io.savemat(path, {"data": _columns(x, ecg, start_s=180.0).astype(np.float32)}),
        has_ecg=True,
    ),
    Layout(
        "240219_v73",
        ".mat",
        SIX,
        32000.0,
        lambda path, x, ecg: save_mat73(path, {"data": _columns(x, ecg)}),
        has_ecg=True,
    ),
    Layout("240517_column", ".mat", ("ch1z",), 1000.0, lambda path, x, _: scipy.io.savemat(path, {"HS_data": x.T})),
    Layout("240517_row", ".mat", ("ch1z",), 1000.0, lambda path, x, _: scipy.io.savemat(path, {"Noise_data": x})),
    Layout("240517_v73", ".mat", ("ch1z",), 1000.0, lambda path, x, _: save_mat73(path, {"Noise_data": x.T})),
    Layout(
        "240826_v5",
        ".mat",
        ("ch1z",),
        1000.0,
        lambda path, x, _: scipy.io.savemat(path, {"HS_data": x.reshape(16, -1)}),
    ),
    Layout("240826_v73", ".mat", ("ch1z",), 1000.0, lambda path, x, _: save_mat73(path, {"data": x.reshape(16, -1)})),
    Layout(
        "240826_with_ecg",
        ".mat",
        ("ch1z",),
        1000.0,
        lambda path, x, ecg: scipy.io.savemat(path, {"HS_data": x.reshape(16, -1), "ECG_data": ecg.reshape(16, -1)}),
        has_ecg=True,
    ),
    Layout(
        "generic_columns",
        ".mat",
        ("ch1", "ch2", "ch3"),
        2000.0,
        lambda path, x, ecg: scipy.io.savemat(path, {"acc": x.T, "Fs": 2000, "ecg": ecg, "note": "a drive"}),
        has_ecg=True,
    ),
    Layout(
        "generic_rows",
        ".mat",
        ("ch1", "ch2"),
        800.0,
        lambda path, x, _: save_mat73(path, {"acc": x, "other": np.ones((3, 3))}),
        options={"variable": "acc", "rate_hz": 800.0},
    ),
    Layout(
        "pcm16",
        ".wav",
        ("ch1", "ch2", "ch3"),
        1000.0,
        lambda path, x, _: soundfile.write(path, x.T, 1000, "PCM_16"),
        step=1.01 / 2**15,
        holds_nan=False,
    ),
    Layout(
        "pcm24",
        ".wav",
        ("ch1",),
        4000.0,
        lambda path, x, _: soundfile.write(path, x.T, 4000, "PCM_24"),
        step=1.01 / 2**23,
        holds_nan=False,
    ),
    Layout(
        "float",
        ".wav",
        tuple(f"ch{i}" for i in range(1, 7)),
        500.0,
        lambda path, x, _: soundfile.write(path, x.T, 500, "FLOAT"),
    ),
    Layout(
        "ours",
        ".npz",
        ("ch1z", "seat"),
        1000.0,
        lambda path, x, ecg: np.savez(
            path, signals=x, rate_hz=1000.0, channels=["ch1z", "seat"], ecg=ecg, ecg_rate_hz=1000.0
        ),
        has_ecg=True,
    ),
    Layout(
        "foreign_axes",
        ".npz",
        ("x", "y", "z"),
        500.0,
        lambda path, x, _: np.savez(path, acc=x.T, fs=500, unit="m/s^2", axes="x,y,z (z is up, with gravity)"),
    ),
    Layout(
        "foreign_vector",
        ".npz",
        ("ch1",),
        1000.0,
        lambda path, x, _: np.savez(path, hs=x[0], fs=1000, r_peak_s=[0.5, 1.4], t_end_s=[0.9, 1.8]),
    ),
    Layout(
        "time_column",
        ".csv",
        ("ch1z", "ch2z"),
        2000.0,
        lambda path, x, ecg: _table(
            path,
            np.column_stack([np.arange(ecg.size) / 2000, x[0], ecg, x[1]]),
            "Time (s),ch1z,ECG,ch2z",
            ",",
        ),
        has_ecg=True,
    ),
    Layout(
        "no_header",
        ".csv",
        ("ch1", "ch2"),
        1000.0,
        lambda path, x, _: np.savetxt(path, x.T, fmt="%.9g", delimiter=";"),
        options={"rate_hz": 1000.0},
    ),
    Layout(
        "milliseconds",
        ".tsv",
        ("seat",),
        1000.0,
        lambda path, x, _: _table(path, np.column_stack([np.arange(x.shape[1]), x[0]]), "t_ms\tseat", "\t"),
    ),
    Layout("record", ".hea", ("PCG", "chest"), 1000.0, _wfdb, has_ecg=True, step=1.01 / 30000),
)


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"{layout.name}{layout.suffix}")
def layout(request: pytest.FixtureRequest) -> Layout:
    """Each file layout in turn."""
    chosen: Layout = request.param
    return chosen


@pytest.fixture
def mat73() -> Callable[[Path, dict[str, NDArray[Any]]], None]:
    """Writes a MATLAB v7.3 file."""
    return save_mat73


def swelling(
    seed: int, *, n_samples: int = 4000, n_channels: int = 1, banded: bool = True, level: float = 1.0
) -> Segment:
    """Noise with a swelling level and a strong slow drift, which the band-pass takes away."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(n_samples) / 500.0
    swell = 0.1 + np.abs(np.sin(time_s))
    wide = rng.standard_normal((n_channels, n_samples)) * swell + 20 * np.sin(2 * np.pi * 0.9 * time_s)
    in_band = bandpass(wide, 500.0, 25.0, 55.0)
    signals = (in_band if banded else wide.astype(np.float32)) * np.float32(level)
    heard = in_band[0] * np.float32(level)
    for array in (signals, heard):
        array.setflags(write=False)
    return Segment(signals, heard, Path(f"{seed}.npz"), np.arange(0.3, n_samples / 500.0, 0.4))


@pytest.fixture(scope="session")
def make_config() -> Callable[..., DataConfig]:
    """Makes the DataConfig of swelling recordings: 500 Hz, 25-55 Hz, windows of 512 samples, stride 32."""

    def make(**options: Any) -> DataConfig:
        chosen: dict[str, Any] = {"rate_hz": 500.0, "window_samples": 512, "stride_samples": 32} | options
        return DataConfig(clean=(Source(("c",)),), noise=(Source(("n",)),), **chosen)

    return make


@pytest.fixture(scope="session")
def make_segment() -> Callable[..., Segment]:
    """Makes a swelling recording at 500 Hz: (seed, n_samples=, n_channels=, banded=, level=)."""
    return swelling


@pytest.fixture(scope="session")
def make_split() -> Callable[..., Split]:
    """Makes two swelling recordings of either kind: (banded=True, n_channels=1)."""

    def make(banded: bool = True, n_channels: int = 1) -> Split:
        made = [
            swelling(seed, n_samples=n, banded=banded, n_channels=n_channels)
            for seed, n in ((1, 4000), (2, 3000), (3, 4000), (4, 2500))
        ]
        return Split(tuple(made[:2]), tuple(made[2:]))

    return make
