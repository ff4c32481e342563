"""Read WFDB records (PhysioNet): a header (.hea), signals (.dat) and beat annotations (.qrs, .atr)."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.readers.contents import (
    Contents,
    Variable,
    Wanted,
    check_memory,
    gather,
    pick_channels,
    reading,
)

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")  # annotation codes of QRS complexes (wfdb's ann_label_table)
BEAT_FILES = ("qrs", "atr")


def read_wfdb(path: Path, wanted: Wanted) -> Contents:
    """Read a WFDB record, named by its .hea or .dat file, in physical units (float32).

    R peaks are taken from RECORD.qrs, else from the beats in RECORD.atr, if one of them exists.

    Raises DataError if the header or a signal file is missing or broken.
    """
    wfdb, header = _library(), _header(path)
    names = _names(header)
    rows, ecg_row = pick_channels(names, wanted.channels, path)
    asked = sorted({*rows, *([] if ecg_row is None else [ecg_row])})
    with reading(path, "a WFDB record"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = wfdb.rdrecord(str(path.with_suffix("")), channels=asked, return_res=32)
        samples = record.p_signal
    if header.sig_len is not None and samples.shape[0] != header.sig_len:
        raise DataError(f"{path}: cut off: {samples.shape[0]} of {header.sig_len} samples are there; copy it again")
    signals, kept, ecg = gather(
        names,
        samples.shape[0],
        wanted.channels,
        path,
        lambda rows: (samples[:, asked.index(row)] for row in rows),
    )
    return Contents(signals, kept, float(header.fs), ecg=ecg, r_peaks_s=_annotated(path, float(header.fs)))


def wfdb_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per channel, with its length and storage format."""
    header = _header(path)
    formats = getattr(header, "fmt", None) or ["of segments"] * len(header.sig_name)
    shape = () if header.sig_len is None else (int(header.sig_len),)
    return tuple(Variable(n, shape, f"format {f}") for n, f in zip(_names(header), formats, strict=True))


def _library() -> Any:
    """Import wfdb, which is slow and warns about pandas, only when a record is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb
    return wfdb


def _header(path: Path) -> Any:
    header_path = path.with_suffix(".hea")
    if not header_path.is_file():
        raise DataError(f"{path}: its WFDB header {header_path.name} is not beside it; copy it there")
    with reading(header_path, "a WFDB header"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # wfdb refuses names of files and segments with a path, which would make a header read any file of the user
        header = _library().rdheader(str(path.with_suffix("")), rd_segments=True)
    for name in getattr(header, "file_name", None) or ():
        if not (path.parent / name).is_file():
            raise DataError(f"{path}: its signal file {name} is not beside it; copy it there")
    if not header.sig_name:
        raise DataError(f"{path}: a WFDB record without signals; name another one")
    check_memory(4 * (header.sig_len or 0) * len(header.sig_name), "the record", path)
    return header


def _names(header: Any) -> tuple[str, ...]:
    return tuple(printable(name or f"ch{i + 1}") for i, name in enumerate(header.sig_name))


def _annotated(path: Path, rate_hz: float) -> NDArray[np.float64] | None:
    for extension in BEAT_FILES:
        if path.with_suffix(f".{extension}").is_file():
            with reading(path.with_suffix(f".{extension}"), "WFDB annotations"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                notes = _library().rdann(str(path.with_suffix("")), extension)
            beats = [symbol in BEAT_SYMBOLS for symbol in notes.symbol]
            return np.asarray(notes.sample, np.float64)[beats] / rate_hz
    return None
