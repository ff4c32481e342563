"""Read WFDB records (PhysioNet): a header (.hea), signals (.dat) and beat annotations (.qrs, .atr)."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.readers.contents import (
    Contents,
    Numbers,
    Variable,
    Wanted,
    check_memory,
    gather,
    reading,
)

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")  # annotation codes of QRS complexes (wfdb's ann_label_table)
BEAT_FILES = ("qrs", "atr")


def read_wfdb(path: Path, wanted: Wanted) -> Contents:
    """Read a WFDB record, named by its .hea or .dat file, in physical units (float32).

    Channels with several samples per frame have their own rates. R peaks are taken from RECORD.qrs, else from
    RECORD.atr, if one of them has beats; their times count at the annotations' own rate, if these state one.

    Raises DataError if the header or a signal file is missing or broken.
    """
    wfdb, header = _library(), _header(path)
    names, per_frame = _names(header), _per_frame(header)
    frame_hz = float(header.fs)

    def lines(rows: list[int]) -> Iterator[Numbers]:
        asked = sorted(set(rows))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = wfdb.rdrecord(
                str(path.with_suffix("")), channels=asked, return_res=32, smooth_frames=max(per_frame) == 1
            )
        loaded = record.p_signal.T if record.e_p_signal is None else record.e_p_signal
        for row in rows:
            samples = loaded[asked.index(row)]
            n_stated = None if header.sig_len is None else header.sig_len * per_frame[row]
            if n_stated is not None and samples.size != n_stated:
                raise DataError(f"{path}: cut off: {samples.size} of {n_stated} samples are there; copy it again")
            yield samples

    with reading(path, "a WFDB record"):
        contents = gather(names, wanted.channels, path, lines, [frame_hz * n for n in per_frame])
    return replace(contents, r_peaks_s=_annotated(path, frame_hz))


def wfdb_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per channel, with its length and storage format."""
    header = _header(path)
    formats = getattr(header, "fmt", None) or ["of segments"] * len(header.sig_name)
    n_frames = header.sig_len
    return tuple(
        Variable(name, () if n_frames is None else (int(n_frames) * n,), f"format {kind}")
        for name, kind, n in zip(_names(header), formats, _per_frame(header), strict=True)
    )


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


def _per_frame(header: Any) -> tuple[int, ...]:
    """Return the samples per frame of each channel: 1 unless it is sampled at a multiple of the record's rate."""
    layout = next((part for part in (getattr(header, "segments", None) or ()) if part is not None), header)
    counts = getattr(layout, "samps_per_frame", None) or [1] * len(header.sig_name)
    return tuple(int(count or 1) for count in counts)


def _annotated(path: Path, rate_hz: float) -> NDArray[np.float64] | None:
    for extension in BEAT_FILES:
        if path.with_suffix(f".{extension}").is_file():
            with reading(path.with_suffix(f".{extension}"), "WFDB annotations"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                notes = _library().rdann(str(path.with_suffix("")), extension)
            beats = [symbol in BEAT_SYMBOLS for symbol in notes.symbol]
            if any(beats):
                return np.asarray(notes.sample, np.float64)[beats] / float(notes.fs or rate_hz)
    return None
