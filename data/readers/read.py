"""Read a recording from a file of any known format. READERS, at the end of the file, holds the formats by suffix."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.readers import arrays, mat, wav, wfdb
from data.readers.contents import Contents, Variable, Wanted, is_ecg, usable_ecg
from data.readers.variables import RATE_NAMES
from data.recording import Recording, Signal

# A function that reads a file, and a function that lists its variables.
Reader = tuple[Callable[[Path, Wanted], Contents], Callable[[Path], tuple[Variable, ...]]]

RATE_TOLERANCE = 1e-3
# Allowed difference in duration of a recording and its ECG: two clocks drift, and one device is stopped later. A larger
# difference means another measurement or a wrong rate.
ECG_SPAN_TOLERANCE = 0.05
ECG_SPAN_TOLERANCE_S = 1.0


def read(
    path: Path,
    *,
    variable: str | None = None,
    rate_hz: float | None = None,
    layout: str = "auto",
    channels: tuple[str, ...] | None = None,
    ecg: Path | None = None,
) -> Recording:
    """Read a recording. The suffix decides the format: .mat, .wav, .npz, .csv, .tsv, .hea or .dat (WFDB).

    variable: the array of a .mat or .npz file that is the signal. If several match a glob ("New_N_*"), they are joined
        in the order of their names, as pieces of one channel.
    rate_hz: samples per second; required if the file does not state it.
    layout: of a .mat file: "auto" (from its variables), "240219", "240517", "240826" or "generic".
    channels: the channels to read, in this order: names, or indices from 0 as text.
    ecg: another file with the ECG of this recording: its only channel, or its channel named ECG. If that file does not
        state its rate, it is the recording's.

    A channel named ECG (ecg, EKG ...) becomes `Recording.ecg` unless it is the only channel or `channels` names it. A
    constant ECG, from a lead that was not connected, is left out.

    Raises DataError that names the file, what is wrong and what to do.
    """
    path = Path(path)
    contents = _contents(path, Wanted(variable, layout, channels))
    rate = _rate(path, contents, rate_hz)
    samples, samples_rate_hz = contents.ecg, contents.ecg_rate_hz
    if ecg is not None:
        samples, samples_rate_hz = _ecg_of(Path(ecg))
    if samples is not None and samples_rate_hz is None:
        samples_rate_hz = rate
    recording = Recording(
        signals=contents.signals,
        rate_hz=rate,
        channels=contents.channels,
        source=path,
        ecg=samples,
        ecg_rate_hz=samples_rate_hz,
        r_peaks_s=_within(contents, rate),
    )
    if ecg is not None:
        _check_span(recording, Path(ecg))
    return recording


def variables(path: Path) -> tuple[Variable, ...]:
    """Return the variables in a file: arrays of a .mat or .npz file, channels of other formats.

    Raises DataError if the file is missing, of an unknown format or broken.
    """
    path = Path(path)
    return _reader(path)[1](path)


def _contents(path: Path, wanted: Wanted) -> Contents:
    """Read a file by its format's reader. Raises DataError, also for arguments that the format does not have."""
    reader = _reader(path)[0]
    suffix = path.suffix.lower()
    if wanted.variable is not None and suffix not in (".mat", ".npz"):
        raise DataError(
            f"{path}: {suffix} files have no variables; leave out variable={wanted.variable!r}, see channels="
        )
    if wanted.layout not in mat.LAYOUTS:
        raise DataError(f"{path}: layout {wanted.layout!r} is unknown; allowed are {', '.join(mat.LAYOUTS)}")
    if wanted.layout not in ("auto", "generic") and suffix != ".mat":
        raise DataError(f"{path}: layout {wanted.layout!r} is one of .mat files; leave it out for {suffix}")
    return reader(path, wanted)


def _reader(path: Path) -> Reader:
    """Return the reader of a file. Raises DataError if the format is unknown or the file cannot be opened."""
    if path.suffix.lower() not in READERS:
        got = f"ends in {path.suffix!r}" if path.suffix else "has no suffix"
        raise DataError(f"{path}: {got}; recordings end in {', '.join(READERS)}")
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file; check the path")
        if not path.is_file():
            raise DataError(f"{path}: is a folder, not a recording; name a file in it")
        with path.open("rb") as file:
            if not file.read(1):
                raise DataError(f"{path}: empty file (0 bytes); copy it again")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error
    return READERS[path.suffix.lower()]


def _rate(path: Path, contents: Contents, stated_hz: float | None) -> float:
    """Return the rate that file and caller agree on. Raises DataError if there is none, or if they differ."""
    if stated_hz is not None and not 0 < stated_hz < float("inf"):
        raise DataError(f"{path}: rate_hz={stated_hz}; a positive number of samples per second is needed")
    in_file_hz = contents.rate_hz
    if in_file_hz is None:
        if stated_hz is None:
            looked = ", ".join(RATE_NAMES)
            raise DataError(f"{path}: no sampling rate in the file (as {looked} or a time column); give rate_hz=")
        return float(stated_hz)
    if stated_hz is None or contents.rate_is_default:
        return float(in_file_hz if stated_hz is None else stated_hz)
    if abs(stated_hz - in_file_hz) > RATE_TOLERANCE * in_file_hz:
        raise DataError(f"{path}: rate_hz={stated_hz:g}, but the file says {in_file_hz:g} Hz; leave rate_hz out")
    return float(stated_hz)


def _within(contents: Contents, rate_hz: float) -> NDArray[np.float64] | None:
    """Return the annotated R peaks within the recording, ascending; annotations often continue beyond its end."""
    if contents.r_peaks_s is None:
        return None
    peaks_s = contents.r_peaks_s
    inside = (peaks_s >= 0) & (peaks_s < contents.signals.shape[1] / rate_hz)
    return np.sort(peaks_s[inside])


def _ecg_of(path: Path) -> tuple[Signal, float | None]:
    """Read the ECG in a file of its own, and its rate if the file states it. Raises DataError."""
    contents = _contents(path, Wanted())
    rate_hz = None if contents.rate_is_default else contents.rate_hz
    if contents.ecg is not None:
        return contents.ecg, contents.ecg_rate_hz if contents.ecg_rate_hz is not None else rate_hz
    rows = [i for i, name in enumerate(contents.channels) if is_ecg(name)] or list(range(len(contents.channels)))
    if len(rows) > 1:
        raise DataError(f"{path}: which is the ECG of {', '.join(contents.channels)}? Call one ECG, or save it alone")
    samples = usable_ecg(contents.signals[rows[0]])
    if samples is None:
        raise DataError(f"{path}: the ECG is constant; was the lead connected? Leave ecg out to do without")
    return samples, rate_hz


def _check_span(recording: Recording, ecg_path: Path) -> None:
    """Raise DataError if recording and ECG differ in duration."""
    if recording.ecg is None or recording.ecg_rate_hz is None:
        return
    span_s, ecg_span_s = recording.duration_s, recording.ecg.size / recording.ecg_rate_hz
    if abs(span_s - ecg_span_s) > max(ECG_SPAN_TOLERANCE * span_s, ECG_SPAN_TOLERANCE_S):
        raise DataError(
            f"{ecg_path}: this ECG lasts {ecg_span_s:.1f} s, {recording.source.name} {span_s:.1f} s; "
            "are they of the same measurement?"
        )


READERS: dict[str, Reader] = {
    ".mat": (mat.read_mat, mat.mat_variables),
    ".wav": (wav.read_wav, wav.wav_variables),
    ".npz": (arrays.read_npz, arrays.npz_variables),
    ".csv": (arrays.read_csv, arrays.csv_variables),
    ".tsv": (arrays.read_csv, arrays.csv_variables),
    ".hea": (wfdb.read_wfdb, wfdb.wfdb_variables),
    ".dat": (wfdb.read_wfdb, wfdb.wfdb_variables),
}
