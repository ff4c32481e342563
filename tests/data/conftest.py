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


def save_mat73(path: Path, held: dict[str, Any]) -> None:
    """As MATLAB's save -v7.3: HDF5 after a 512-byte header, axes reversed, the class in an attribute.

    A dict is a struct, a list of dicts an array of structs, a list of others a cell, a str a char array.
    """
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        for name, value in held.items():
            _store73(file, file, name, value)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _store73(file: h5py.File, group: h5py.Group, name: str, value: Any) -> None:
    classes = {"float64": "double", "float32": "single", "bool": "logical"}
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        made = group.create_group(name)
        made.attrs["MATLAB_class"] = np.bytes_("struct")
        for key in value if isinstance(value, dict) else value[0]:
            if isinstance(value, dict):
                _store73(file, made, key, value[key])
            else:
                made.create_dataset(key, data=_references73(file, [one[key] for one in value]), dtype=h5py.ref_dtype)
        return
    kind = "cell"
    if isinstance(value, list):
        stored = group.create_dataset(name, data=_references73(file, value), dtype=h5py.ref_dtype)
    elif isinstance(value, str):
        stored, kind = group.create_dataset(name, data=np.array([[ord(letter)] for letter in value], "u2")), "char"
    else:
        as_bytes = value.astype("u1") if value.dtype == bool else value
        stored, kind = group.create_dataset(name, data=as_bytes.T), classes.get(value.dtype.name, value.dtype.name)
    stored.attrs["MATLAB_class"] = np.bytes_(kind)


def _references73(file: h5py.File, values: list[Any]) -> NDArray[Any]:
    """Return the references to values, stored as a row in MATLAB."""
    held = file["#refs#"]
    references = np.empty((len(values), 1), h5py.ref_dtype)
    for i, value in enumerate(values):
        name = f"v{len(held)}"
        _store73(file, held, name, value)
        references[i, 0] = held[name].ref
    return references


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


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"{layout.name}{layout.suffix}")
def layout(request: pytest.FixtureRequest) -> Layout:
    """Each file layout in turn."""
    chosen: Layout = request.param
    return chosen


@pytest.fixture(name="save_edf")
def edf_writer() -> Callable[..., None]:
    """Writes an EDF+ or BDF+ file: (path, {label: samples}, rates_hz)."""
    return save_edf


@pytest.fixture
def mat73() -> Callable[[Path, dict[str, Any]], None]:
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
