"""Read a recording from a file of any known format. READERS holds the formats by suffix; `register_reader` adds one."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.entry_points import load_installed
from data.errors import DataError
from data.files import recording_file
from data.readers import edf, sound, tdms, wfdb
from data.readers.arrays import hdf5, npy, npz
from data.readers.arrays.variables import RATE_NAMES
from data.readers.clock import agree
from data.readers.contents import Contents, Variable, Wanted, is_ecg, reading, usable_ecg
from data.readers.gaps import without_gaps
from data.readers.matlab import mat
from data.readers.names import is_clock_name
from data.readers.tables import table
from data.readers.tables.text import is_text
from data.recording import Recording, Signal, check_varying


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    read: reads a file. The errors of libraries become DataError in a block of data.readers.contents.reading.
    variables: lists what is in it.
    named: whether its files hold named arrays, among which `variable` and `variables` choose.
    example: writes a small valid file, on which `drivebeat check` tries the reader; None if there is none.
    parts: returns all files that `read` reads for a path, the path among them; the cache of prepared recordings is
        valid as long as none of them changes. None: the path and all files beside it that differ in the suffix only.
    """

    read: Callable[[Path, Wanted], Contents]
    variables: Callable[[Path], tuple[Variable, ...]]
    named: bool = False
    example: Callable[[Path], object] | None = None
    parts: Callable[[Path], Sequence[Path]] | None = None


READERS: dict[str, Format] = {}


def register_reader(format: Format, *suffixes: str) -> None:
    """Add a format to READERS for files with one of `suffixes`: lower case, with the dot.

    Raises ValueError for a suffix that is registered already, or that is none, and for a `read` that is no function.
    """
    if not inspect.isfunction(format.read):  # the cache of prepared recordings looks for its source
        raise ValueError(f"reader {', '.join(suffixes)}: read is {format.read!r}; a function is needed")
    for suffix in suffixes:
        if suffix in READERS:
            raise ValueError(
                f"reader {suffix!r} is registered already, by {READERS[suffix].read.__module__}; use another"
            )
        if not (suffix.startswith(".") and suffix == suffix.lower() and len(suffix) > 1):
            raise ValueError(f"reader {suffix!r}: a suffix in lower case with its dot is needed, like '.xyz'")
    READERS.update(dict.fromkeys(suffixes, format))


# Allowed difference in duration of a recording and its ECG: two clocks drift, and one device is stopped later. A larger
# difference means another measurement or a wrong rate.
ECG_SPAN_TOLERANCE = 0.05
ECG_SPAN_TOLERANCE_S = 1.0


def read(
    path: Path,
    *,
    variable: str | None = None,
    variables: tuple[str, ...] = (),
    rate_hz: float | None = None,
    layout: str = "auto",
    channels: tuple[str, ...] | Callable[[tuple[str, ...]], tuple[str, ...]] | None = None,
    n_channels: int | None = None,
    ecg: Path | None = None,
    gaps: str = "cut",
) -> Recording:
    """Read a recording. The suffix decides the format, see READERS; a WFDB record needs none.

    variable: the array of a .mat, .npz or .h5 file that is the signal. If several match a glob ("New_N_*"), they are
        joined in the order of their names, as pieces of one channel.
    variables: of such a file, those that are one channel each, in this order; the channels are named after them.
    rate_hz: samples per second; required if the file does not state it.
    layout: of a .mat file: "auto" (from its variables), "240219", "240517", "240826" or "generic".
    channels: the channels to read, in this order: names, or indices from 0 as text. A function is called with the names
        of all signal channels and returns those to read.
    n_channels: how many channels to keep, from the first, where `channels` names none; None keeps all.
    ecg: another file with the ECG of this recording: its only channel, or its channel named ECG. If that file does not
        state its rate, it is the recording's.

    gaps: what to do with samples that are NaN or infinite, at most a tenth of all: "cut" them out, "fill" them by
        straight lines, or "refuse" the file.

    A channel named ECG (ecg, EKG ...) becomes `Recording.ecg` unless it is the only channel or `channels` names it. A
    constant ECG, from a lead that was not connected, is left out.

    Raises DataError that names the file, what is wrong and what to do.
    """
    path = recording_file(Path(path))
    named = None if callable(channels) else channels
    contents = _contents(path, Wanted(variable, layout, named, variables, rate_hz))
    if callable(channels):
        contents = _only(contents, channels(contents.channels))
    rate = _rate(path, contents, rate_hz)
    if ecg is not None:
        samples, samples_rate_hz = _ecg_of(recording_file(Path(ecg)))
        contents = replace(contents, ecg=samples, ecg_rate_hz=samples_rate_hz)
    _check_span(contents, rate, path, ecg)
    if channels is None and n_channels is not None:
        contents = replace(contents, signals=contents.signals[:n_channels], channels=contents.channels[:n_channels])
    contents = _within(contents, rate)
    contents = without_gaps(contents, rate, gaps, asked=channels is not None, where=path)
    recording = Recording(
        signals=contents.signals,
        rate_hz=rate,
        channels=contents.channels,
        source=path,
        ecg=contents.ecg,
        ecg_rate_hz=None if contents.ecg is None else contents.ecg_rate_hz or rate,
        r_peaks_s=contents.r_peaks_s,
        lowest_rate_hz=contents.lowest_rate_hz,
        notes=contents.notes,
    )
    if channels is not None:
        check_varying(recording)
    return recording


def variables(path: Path) -> tuple[Variable, ...]:
    """Return the variables in a file: arrays of a .mat, .npz or .h5 file, channels of other formats.

    Raises DataError if the file is missing, of an unknown format or broken.
    """
    path = recording_file(Path(path))
    return _format(path).variables(path)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that `read(path)` reads: `path` alone, or with others as its format says.

    Raises OSError or DataError if they cannot be found.
    """
    path = recording_file(Path(path))
    found = format_of(path.suffix.lower())
    if found is None:
        return (path,)
    if found.parts is not None:
        with reading(path, f"a {path.suffix.lower()} recording"):
            return tuple(found.parts(path))
    beside = (each for each in path.parent.iterdir() if each.stem == path.stem and each.is_file())
    return (path, *sorted(each for each in beside if each.name != path.name))


def format_of(suffix: str) -> Format | None:
    """Return the format of files with a suffix, also of an installed package; None if there is none."""
    if suffix not in READERS:
        load_installed("reader")
    return READERS.get(suffix)


def _contents(path: Path, wanted: Wanted) -> Contents:
    """Read a file by its format's reader. Raises DataError, also for arguments that the format does not have."""
    format, suffix = _format(path), path.suffix.lower()
    if not format.named and (wanted.variable is not None or wanted.variables):
        given = f"variable={wanted.variable!r}" if wanted.variable is not None else f"variables={[*wanted.variables]}"
        raise DataError(f"{path}: {suffix} files have no variables; leave out {given}, see channels=")
    if wanted.variable is not None and wanted.variables:
        raise DataError(f"{path}: variable={wanted.variable!r} and variables={[*wanted.variables]}; give one of them")
    if wanted.layout not in mat.LAYOUTS:
        raise DataError(f"{path}: layout {wanted.layout!r} is unknown; allowed are {', '.join(mat.LAYOUTS)}")
    if wanted.layout not in ("auto", "generic") and suffix != ".mat":
        raise DataError(f"{path}: layout {wanted.layout!r} is one of .mat files; leave it out for {suffix}")
    return format.read(path, wanted)


def _format(path: Path) -> Format:
    """Return the format of a file. Raises DataError if it is unknown or the file cannot be opened."""
    found = format_of(path.suffix.lower())
    if found is None and path.is_dir():
        raise DataError(f"{path}: is a folder, not a recording; name the files in it: {path}/*.wav")
    if found is None:
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
    return found


def _rate(path: Path, contents: Contents, stated_hz: float | None) -> float:
    """Return the rate that file and caller agree on. Raises DataError if there is none, or if they differ."""
    if stated_hz is not None and not 0 < stated_hz < float("inf"):
        raise DataError(f"{path}: rate_hz={stated_hz}; a positive number of samples per second is needed")
    in_file_hz = contents.rate_hz
    if in_file_hz is None:
        if stated_hz is None:
            looked = ", ".join(RATE_NAMES)
            found = "".join(f"; {note}" for note in contents.notes[:3])
            raise DataError(
                f"{path}: no sampling rate in the file (as {looked} or a time column){found}; give rate_hz="
            )
        return float(stated_hz)
    if stated_hz is None or contents.rate_is_default:
        return float(in_file_hz if stated_hz is None else stated_hz)
    if not agree(stated_hz, in_file_hz):
        said = f"column {contents.clock!r} holds times of" if contents.clock else "the file says"
        is_doubtful = contents.clock and not is_clock_name(contents.clock)
        other = ", or name that column in channels= if it is a signal" if is_doubtful else ""
        raise DataError(f"{path}: rate_hz={stated_hz:g}, but {said} {in_file_hz:g} Hz; leave rate_hz out{other}")
    return float(stated_hz)


def _only(contents: Contents, channels: Sequence[str]) -> Contents:
    """Return the contents with these channels only, in this order."""
    rows = [contents.channels.index(name) for name in channels]
    return replace(contents, signals=np.ascontiguousarray(contents.signals[rows]), channels=tuple(channels))


def _within(contents: Contents, rate_hz: float) -> Contents:
    """Return the contents with the annotated R peaks within the recording, ascending, and a note of the others.

    Annotations often continue beyond the end. If all of them are outside, they are left out.
    """
    if contents.r_peaks_s is None or contents.r_peaks_s.size == 0:
        return contents
    peaks_s, duration_s = contents.r_peaks_s, contents.signals.shape[1] / rate_hz
    inside = (peaks_s >= 0) & (peaks_s < duration_s)
    kept = None if not inside.any() else np.sort(peaks_s[inside])
    if inside.all():
        return replace(contents, r_peaks_s=kept)
    note = f"{np.count_nonzero(~inside)} of {inside.size} R peaks are outside of the recording's {duration_s:g} s"
    units = {"sample numbers": rate_hz, "ms": 1000.0}
    fitting = [unit for unit, per_s in units.items() if peaks_s.min() >= 0 and peaks_s.max() < duration_s * per_s]
    if 2 * np.count_nonzero(inside) < inside.size and fitting:
        note += f"; they look like {' or '.join(fitting)}, but are read as seconds"
    return replace(contents, r_peaks_s=kept, notes=(*contents.notes, f"{note}; those are left out"))


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


def _check_span(contents: Contents, rate_hz: float, path: Path, ecg_path: Path | None) -> None:
    """Raise DataError if recording and ECG differ in duration. ecg_path: of the ECG, if it is in a file of its own."""
    if contents.ecg is None:
        return
    span_s = contents.signals.shape[1] / rate_hz
    ecg_span_s = contents.ecg.size / (contents.ecg_rate_hz or rate_hz)
    if abs(span_s - ecg_span_s) <= max(ECG_SPAN_TOLERANCE * span_s, ECG_SPAN_TOLERANCE_S):
        return
    if ecg_path is not None:
        raise DataError(
            f"{ecg_path}: this ECG lasts {ecg_span_s:.1f} s, {path.name} {span_s:.1f} s; "
            "are they of the same measurement?"
        )
    raise DataError(
        f"{path}: its ECG lasts {ecg_span_s:.1f} s, its signals {span_s:.1f} s; correct the rate of the wrong one, or "
        "save the recording without the ECG if it is of another measurement"
    )


def _read_dat(path: Path, wanted: Wanted) -> Contents:
    """Read a .dat file: a signal file of a WFDB record, or a text table if it is text without a header beside it."""
    return table.read_table(path, wanted) if _is_table(path) else wfdb.read_wfdb(path, wanted)


def _dat_variables(path: Path) -> tuple[Variable, ...]:
    return table.table_variables(path) if _is_table(path) else wfdb.wfdb_variables(path)


def _is_table(path: Path) -> bool:
    return not path.with_suffix(".hea").is_file() and is_text(path)


def _alone(path: Path) -> tuple[Path, ...]:
    return (path,)


register_reader(Format(mat.read_mat, mat.mat_variables, named=True, parts=_alone), ".mat")
register_reader(Format(sound.read_sound, sound.sound_variables, parts=_alone), *sound.SUFFIXES)
register_reader(Format(npz.read_npz, npz.npz_variables, named=True, parts=_alone), ".npz")
register_reader(Format(table.read_table, table.table_variables, parts=_alone), ".csv", ".tsv", ".txt", ".asc", ".lvm")
register_reader(Format(npy.read_npy, npy.npy_variables, parts=_alone), ".npy")
register_reader(Format(hdf5.read_hdf5, hdf5.hdf5_variables, named=True, parts=_alone), ".h5", ".hdf5")
register_reader(Format(edf.read_edf, edf.edf_variables, parts=_alone), ".edf", ".bdf")
register_reader(Format(tdms.read_tdms, tdms.tdms_variables, parts=_alone), ".tdms")
register_reader(Format(wfdb.read_wfdb, wfdb.wfdb_variables, parts=wfdb.wfdb_parts), ".hea")
register_reader(Format(_read_dat, _dat_variables, parts=wfdb.wfdb_parts), ".dat")
