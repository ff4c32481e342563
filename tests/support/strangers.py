"""Files as strangers write them, and what independent libraries read of them."""

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pyedflib
import scipy.io
import scipy.io.wavfile
import soundfile
from numpy.typing import NDArray

Floats = NDArray[np.float64]
N = 6000
X = np.round(np.random.default_rng(0).standard_normal((3, N)) * 0.1, 4)
TIME_S = np.arange(N) / 1000.0


@dataclass(frozen=True)
class Case:
    """A file of some kind.

    make: writes it into a folder.
    truth: returns (rate_hz, channel -> samples) as an independent library or the writer knows them; None if the file is
        to be refused.
    library: that knows the truth.
    refused: words of the error, where it is refused.
    options: of `read`.
    step: the largest rounding of a sample.
    used: whether the recording is also conditioned for the band 25-55 Hz, as every command does.
    ecg_hz: rate of the ECG, where there must be one.
    bpm: heart rate of its annotated beats.
    """

    kind: str
    shown: str
    make: Callable[[Path], Path]
    truth: Callable[[Path], tuple[float, dict[str, Floats]]] | None = None
    library: str = ""
    refused: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    step: float = 1e-6
    used: bool = False
    ecg_hz: float | None = None
    bpm: float | None = None


def text(name: str, content: str, encoding: str = "utf-8") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content, encoding=encoding)
        return folder / name

    return make


def rows(*columns: Any, delimiter: str = ",", end: str = "", comma: bool = False) -> str:
    lines = (delimiter.join(str(cell) for cell in row) + end for row in zip(*columns, strict=True))
    joined = "\n".join(lines) + "\n"
    return joined.replace(".", ",") if comma else joined


def frame(rate_hz: float, names: dict[str, str], **options: Any) -> Callable[[Path], tuple[float, dict[str, Floats]]]:
    """The truth by pandas. names: our channel -> pandas' column."""

    def truth(path: Path) -> tuple[float, dict[str, Floats]]:
        table = pandas.read_csv(path, **options)
        table.columns = [str(column) for column in table.columns]
        return rate_hz, {ours: table[theirs].to_numpy(np.float64) for ours, theirs in names.items()}

    return truth


def known(rate_hz: float, **channels: Floats) -> Callable[[Path], tuple[float, dict[str, Floats]]]:
    return lambda path: (rate_hz, channels)


def wav(
    name: str, rate_hz: int, samples: Floats, patch: Callable[[bytes], bytes] = lambda raw: raw
) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        soundfile.write(folder / name, samples, rate_hz, "PCM_16" if name.endswith("flac") else "FLOAT")
        (folder / name).write_bytes(patch((folder / name).read_bytes()))
        return folder / name

    return make


def data_size(stated: int) -> Callable[[bytes], bytes]:
    """Write a wrong size into the header of a WAV file."""

    def patch(raw: bytes) -> bytes:
        at = raw.index(b"data") + 4
        return raw[:at] + struct.pack("<I", stated) + raw[at + 4 :]

    return patch


def mat(held: dict[str, Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        scipy.io.savemat(folder / "drive.mat", held)
        return folder / "drive.mat"

    return make


def from_mat(
    rate_hz: float, **paths: Callable[[dict[str, Any]], Floats]
) -> Callable[[Path], tuple[float, dict[str, Floats]]]:
    def truth(path: Path) -> tuple[float, dict[str, Floats]]:
        held = scipy.io.loadmat(path, simplify_cells=True)
        return rate_hz, {name: np.asarray(pick(held), np.float64) for name, pick in paths.items()}

    return truth


def record(
    folder: Path,
    *,
    fs: float = 1000,
    names: tuple[str, ...] = ("PCG",),
    rows_: Any = X[:1],
    header: str = "",
    **extra: Any,
) -> Path:
    """A WFDB record of 16 bits, its header written by hand so that it can say anything."""
    import wfdb

    values = np.round(np.asarray(rows_) * 30000).astype(np.int16)
    values.T.tofile(folder / "rec.dat")
    lines = [f"rec {len(names)} {fs:g} {values.shape[1]}"]
    lines += [f"rec.dat 16{header} 30000/mV 16 0 0 0 0 {name}" for name in names]
    (folder / "rec.hea").write_text("\n".join(lines) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, (samples, symbols, rate_hz) in extra.items():
            wfdb.wrann("rec", kind, np.asarray(samples), symbols, fs=rate_hz, write_dir=str(folder))
    return folder / "rec.hea"


def frames(folder: Path) -> Path:
    """PCG at 2000 Hz and ECG at 500 Hz in frames of 1/50 s."""
    pcg = np.round(X[0] * 30000).astype(np.int16).reshape(-1, 40)
    ecg = np.round(X[1, : N // 4] * 30000).astype(np.int16).reshape(-1, 10)
    np.concatenate([pcg, ecg], axis=1).tofile(folder / "rec.dat")
    (folder / "rec.hea").write_text(
        f"rec 2 50 {len(pcg)}\nrec.dat 16x40 30000/mV 16 0 0 0 0 PCG\nrec.dat 16x10 30000/mV 16 0 0 0 0 ECG\n"
    )
    return folder / "rec.hea"


def by_wfdb(*channels: str) -> Callable[[Path], tuple[float, dict[str, Floats]]]:
    def truth(path: Path) -> tuple[float, dict[str, Floats]]:
        import wfdb

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
        rows_ = dict(zip(found.sig_name, found.e_p_signal, strict=True))
        rate_hz = found.fs * found.samps_per_frame[found.sig_name.index(channels[0])]
        return rate_hz, {name: np.asarray(rows_[name], np.float64) for name in channels}

    return truth


def edf(name: str, digits: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        kind = pyedflib.FILETYPE_EDFPLUS if name.endswith("edf") else pyedflib.FILETYPE_BDFPLUS
        limit = 2**digits
        with pyedflib.EdfWriter(str(folder / name), 2, file_type=kind) as writer:
            for i, (label, rate_hz) in enumerate((("seat", 1000), ("ECG", 250))):
                writer.setSignalHeader(
                    i,
                    {
                        "label": label,
                        "dimension": "mV",
                        "sample_frequency": rate_hz,
                        "physical_min": -1.0,
                        "physical_max": 1.0,
                        "digital_min": -limit // 2,
                        "digital_max": limit // 2 - 1,
                        "transducer": "",
                        "prefilter": "",
                    },
                )
            writer.writeSamples([X[0], X[1, : N // 4]])
        return folder / name

    return make


def by_pyedflib(path: Path) -> tuple[float, dict[str, Floats]]:
    with pyedflib.EdfReader(str(path)) as reader:
        return float(reader.getSampleFrequency(0)), {"seat": reader.readSignal(0)}


def by_soundfile(path: Path) -> tuple[float, dict[str, Floats]]:
    samples, rate_hz = soundfile.read(path, always_2d=True)
    return float(rate_hz), {f"ch{i + 1}": row for i, row in enumerate(samples.T)}


def saved(name: str, write: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("drive/acc", data=X[0]).attrs["sampling rate"] = 1000.0
        file.create_dataset("drive/speed", data=np.ones(60))


def by_h5py(path: Path) -> tuple[float, dict[str, Floats]]:
    with h5py.File(path) as file:
        return float(file["drive/acc"].attrs["sampling rate"]), {"ch1": file["drive/acc"][()]}
