"""File layouts that the readers know, each with a writer by the format's own library."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import soundfile
from numpy.typing import NDArray

from tests.support.mat73 import save_mat73

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


def _columns(signals: Floats, ecg: Floats, start_s: float = 0.0) -> Floats:
    return np.column_stack([start_s + np.arange(ecg.size) / 32000.0, ecg, signals.T])


def _table(path: Path, columns: Floats, header: str, delimiter: str) -> None:
    np.savetxt(path, columns, fmt="%.9g", delimiter=delimiter, header=header, comments="")


def _foreign_table(path: Path, columns: Floats, header: str, encoding: str) -> None:
    """A table with semicolons and decimal commas."""
    rows = (";".join(f"{value:.9g}".replace(".", ",") for value in row) for row in columns.tolist())
    path.write_text("\n".join([header, *rows, ""]), encoding=encoding)


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


def save_edf(path: Path, signals: dict[str, Floats], rates_hz: float | tuple[float, ...] = 1024.0) -> None:
    """EDF+ or BDF+, by the suffix, in mV from -1 to 1, with data records of 1 s."""
    import pyedflib

    is_bdf = path.suffix.lower() == ".bdf"
    largest = 2 ** (23 if is_bdf else 15)
    rates = (rates_hz,) * len(signals) if isinstance(rates_hz, float) else rates_hz
    kind = pyedflib.FILETYPE_BDFPLUS if is_bdf else pyedflib.FILETYPE_EDFPLUS
    with pyedflib.EdfWriter(str(path), len(signals), file_type=kind) as file:
        for i, (name, rate_hz) in enumerate(zip(signals, rates, strict=True)):
            file.setSignalHeader(
                i,
                {
                    "label": name,
                    "dimension": "mV",
                    "sample_frequency": rate_hz,
                    "physical_min": -1,
                    "physical_max": 1,
                    "digital_min": -largest,
                    "digital_max": largest - 1,
                    "transducer": "",
                    "prefilter": "",
                },
            )
        file.writeSamples([np.ascontiguousarray(row) for row in signals.values()])


def save_tdms(path: Path, signals: dict[str, Floats], rate_hz: float) -> None:
    """One group with a waveform per channel."""
    from nptdms import ChannelObject, TdmsWriter

    with TdmsWriter(path) as file:
        file.write_segment(
            [ChannelObject("drive", name, row, {"wf_increment": 1 / rate_hz}) for name, row in signals.items()]
        )


def _hdf5(path: Path, signals: Floats, ecg: Floats) -> None:
    with h5py.File(path, "w") as file:
        file["drive/acc"] = signals.T
        file["drive/acc"].attrs["channel_names"] = ["seat", "belt"]
        file["drive"].attrs["Sampling Rate"] = 2000
        file["drive/ecg"] = ecg


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
    Layout("240826_v73", ".mat", ("ch1z",), 1000.0, lambda path, x, _: save_mat73(path, {"data": x.reshape(32, -1)})),
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
    Layout(
        "lossless",
        ".flac",
        ("ch1", "ch2"),
        4000.0,
        lambda path, x, _: soundfile.write(path, x.T, 4000, "PCM_24"),
        step=1.01 / 2**23,
        holds_nan=False,
    ),
    Layout(
        "biosignals",
        ".edf",
        ("PCG", "chest"),
        1024.0,
        lambda path, x, ecg: save_edf(path, {"PCG": x[0], "ECG II": ecg, "chest": x[1]}),
        has_ecg=True,
        step=1.01 / 2**15,
        holds_nan=False,
    ),
    Layout(
        "biosemi",
        ".bdf",
        ("PCG", "chest"),
        1024.0,
        lambda path, x, ecg: save_edf(path, {"PCG": x[0], "EKG": ecg, "chest": x[1]}),
        has_ecg=True,
        step=1.01 / 2**23 + 1e-7,
        holds_nan=False,
    ),
    Layout(
        "labview",
        ".tdms",
        ("ai0", "ai1"),
        25600.0,
        lambda path, x, ecg: save_tdms(path, {"ai0": x[0], "ai1": x[1], "ECG": ecg}, 25600.0),
        has_ecg=True,
    ),
    Layout("group", ".h5", ("seat", "belt"), 2000.0, _hdf5, has_ecg=True, options={"variable": "drive/acc"}),
    Layout(
        "array",
        ".npy",
        ("ch1", "ch2"),
        1000.0,
        lambda path, x, _: np.save(path, x.T),
        options={"rate_hz": 1000.0},
    ),
    Layout(
        "named_vectors",
        ".mat",
        ("acc", "belt"),
        1000.0,
        lambda path, x, _: scipy.io.savemat(path, {"acc": x[0], "belt": x[1]}),
        options={"variables": ("acc", "belt"), "rate_hz": 1000.0},
    ),
    Layout(
        "struct",
        ".mat",
        ("ch1", "ch2"),
        2000.0,
        lambda path, x, ecg: scipy.io.savemat(
            path, {"acc": {"sig": x.T, "Fs": 2000, "ecg": ecg}, "fs": 100}, do_compression=True
        ),
        has_ecg=True,
        options={"variable": "acc.sig"},
    ),
    Layout(
        "struct_v73",
        ".mat",
        ("ch1", "ch2"),
        2000.0,
        lambda path, x, ecg: save_mat73(
            path, {"acc": {"sig": x.T, "SampleRate": np.array([[2000.0]]), "ecg": ecg[:, None]}}
        ),
        has_ecg=True,
        options={"variable": "acc.sig"},
    ),
    Layout(
        "decimal_comma",
        ".csv",
        ("seat", "belt"),
        500.0,
        lambda path, x, ecg: _foreign_table(
            path, np.column_stack([np.arange(ecg.size) / 500, x[0], ecg, x[1]]), "Zeit [s];seat;ECG;belt", "utf-8"
        ),
        has_ecg=True,
    ),
    Layout(
        "utf16",
        ".txt",
        ("Größe (längs)", "seat"),
        250.0,
        lambda path, x, _: _foreign_table(
            path, np.column_stack([np.arange(x.shape[1]) * 4, *x]), "Zeit [ms];Größe (längs);seat", "utf-16"
        ),
    ),
    Layout(
        "time_last",
        ".csv",
        ("seat", "belt"),
        1000.0,
        lambda path, x, ecg: _table(
            path, np.column_stack([*x, ecg, np.arange(ecg.size) / 1000]), "seat,belt,EKG,Time (s)", ","
        ),
        has_ecg=True,
    ),
    Layout("record", ".hea", ("PCG", "chest"), 1000.0, _wfdb, has_ecg=True, step=1.01 / 30000),
)
