"""Read WFDB records (PhysioNet): a header (.hea), signals (.dat) and beat annotations (.qrs, .atr)."""

import math
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.files import is_beside
from data.readers.contents import (
    Contents,
    Numbers,
    Variable,
    Wanted,
    check_memory,
    gather,
    listing,
    numbered,
    pick_channels,
    reading,
)

BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")  # annotation codes of QRS complexes (wfdb's ann_label_table)
BEAT_FILES = ("qrs", "atr")
RATE = r"\d+(\.\d*)?(/-?\d+(\.\d*)?(\(-?\d+(\.\d*)?\))?)?"
DEFAULT_GAIN = 200  # stored numbers a unit, where a header states none or 0
GAP = "~"  # the name of a segment without samples
CHECKSUMS = 2**16
BIG_ENDIAN = "61"  # a format
SAMPLE_BYTES = {
    "8": 1.0,
    "16": 2.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 4 / 3,
    "311": 4 / 3,
}  # by format; the others are compressed


def read_wfdb(path: Path, wanted: Wanted) -> Contents:
    """Read a WFDB record, named by its .hea or .dat file, in physical units (float32).

    Channels with several samples per frame have their own rates. Gaps between segments are NaN. R peaks are taken from
    RECORD.qrs, else from RECORD.atr, if one of them has beats; their times count at the annotations' own rate, if these
    state one.

    Raises DataError if the header or a signal file is missing or broken, or if the samples are not those of which the
    header has the checksum.
    """
    header, is_default = _header(path), not _states_rate(path)
    names, per_frame = _names(header), _per_frame(header)
    frame_hz, notes = float(header.fs), list[str]()
    if is_default and wanted.rate_hz is not None and 0 < wanted.rate_hz < math.inf:
        first = pick_channels(names, wanted.channels, path)[0][0]
        frame_hz = wanted.rate_hz / per_frame[first]  # the caller's rate is that of the signals
    elif is_default:
        notes.append(f"the header states no rate: {frame_hz:g} Hz, the default of WFDB, is taken")

    def lines(rows: list[int]) -> Iterator[Numbers]:
        asked = sorted(set(rows))
        loaded = _loaded(path, header, asked, per_frame)
        for row in rows:
            samples = loaded[asked.index(row)]
            n_stated = None if header.sig_len is None else header.sig_len * per_frame[row]
            if n_stated is not None and samples.size != n_stated:
                raise DataError(f"{path}: cut off: {samples.size} of {n_stated} samples are there; copy it again")
            yield samples

    if uncalibrated := _uncalibrated(path):
        notes.append(
            f"the header states no gain for {listing(uncalibrated)}: {DEFAULT_GAIN} per unit, the default of WFDB, is "
            "assumed"
        )
    with reading(path, "a WFDB record"):
        contents = gather(names, wanted.channels, path, lines, [frame_hz * n for n in per_frame])
    return replace(
        contents,
        rate_is_default=is_default,
        r_peaks_s=_annotated(path, frame_hz),
        notes=(*notes, *contents.notes),
    )


def wfdb_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per channel, with its length and storage format."""
    header = _header(path)
    formats = getattr(header, "fmt", None) or ["of segments"] * len(header.sig_name)
    n_frames = header.sig_len
    return tuple(
        Variable(name, () if n_frames is None else (int(n_frames) * n,), f"format {kind}")
        for name, kind, n in zip(_names(header), formats, _per_frame(header), strict=True)
    )


def wfdb_parts(path: Path) -> tuple[Path, ...]:
    """Return the files of a record: headers, signal files and annotations, also of its segments.

    Only the path itself if it has no header.
    """
    found: list[Path] = []
    if path.with_suffix(".hea").is_file():
        _add_parts(path, found)
    return tuple(found) or (path,)


def _add_parts(path: Path, found: list[Path]) -> None:
    """Add the files of a record and of its segments to `found`."""
    header = path.with_suffix(".hea")
    if header in found:
        return
    found.append(header)
    found.extend(beats for suffix in BEAT_FILES if (beats := path.with_suffix(f".{suffix}")).is_file())
    # A line begins with the name of the record, of a signal file, or of a record that is a segment.
    for line in header.read_text(encoding="utf-8", errors="replace").splitlines():
        name = line.split()[0] if line.split() and not line.startswith("#") else ""
        if not is_beside(name):
            continue  # refused by the reader
        if (path.parent / name).is_file():
            found.append(path.parent / name)
        elif (path.parent / f"{name}.hea").is_file():
            _add_parts(path.parent / f"{name}.hea", found)


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
        if name != GAP and not (path.parent / name).is_file():
            raise DataError(f"{path}: its signal file {name} is not beside it; copy it there")
    if not header.sig_name:
        raise DataError(f"{path}: a WFDB record without signals; name another one")
    check_memory(4 * (header.sig_len or 0) * len(header.sig_name), "the record", path)
    return header


def _states_rate(path: Path) -> bool:
    """Return whether a header states the rate of its frames. Raises DataError for one that wfdb reads as another."""
    lines = path.with_suffix(".hea").read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    words = first.split()
    if len(words) > 2 and re.fullmatch(RATE, words[2]) is None:
        raise DataError(f"{path}: its header states the rate {printable(words[2])!r}; write it as in 500 or 499.8")
    return len(words) > 2


def _uncalibrated(path: Path) -> list[str]:
    """Return the names of the channels for which the header, or that of a segment, states no gain, or 0."""
    found: dict[str, None] = {}
    for place in (part for part in wfdb_parts(path) if part.suffix == ".hea"):
        lines = place.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if "/" in lines[0].split()[0]:
            continue  # of segments
        header = _header(place)
        for name, line in zip(_names(header), lines[1:], strict=False):
            gain = re.match(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?", (*line.split(), "", "", "")[2])
            if gain is None or float(gain[0]) == 0:
                found[name] = None
    return list(found)


def _loaded(path: Path, header: Any, rows: list[int], per_frame: tuple[int, ...]) -> list[Numbers]:
    """Return the channels at `rows`, each [time]: of one record, or of segments that follow each other."""
    if not hasattr(header, "seg_name"):
        return _of_segment(path, header, rows)
    _check_alike(path, header)
    if header.layout != "fixed":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            smooth = max(per_frame) == 1
            record = _library().rdrecord(str(path.with_suffix("")), channels=rows, return_res=32, smooth_frames=smooth)
        return [*record.p_signal.T] if record.e_p_signal is None else [*record.e_p_signal]
    pieces: list[list[Numbers]] = []
    for name, n_frames in zip(header.seg_name, header.seg_len, strict=True):
        if name == GAP:
            pieces.append([np.full(n_frames * per_frame[row], np.nan, np.float32) for row in rows])
            continue
        place = path.with_name(f"{name}.hea")
        segment = _header(place)
        if _names(segment) != _names(header) or _per_frame(segment) != per_frame or segment.sig_len != n_frames:
            raise DataError(f"{path}: its segment {printable(name)} has other channels or another length than stated")
        pieces.append(_of_segment(place, segment, rows))
    return [np.concatenate(channel) for channel in zip(*pieces, strict=True)]


def _check_alike(path: Path, header: Any) -> None:
    """Raise DataError unless all segments have the record's rate, where they state one, and each channel one unit."""
    units: dict[str, str] = {}
    for name in header.seg_name:
        if name == GAP:
            continue
        place = path.with_name(f"{name}.hea")
        segment = _header(place)
        if _states_rate(place) and segment.fs != header.fs:
            raise DataError(
                f"{path}: its segment {printable(name)} has {segment.fs:g} Hz, the record {header.fs:g} Hz; "
                "read the segments alone, or resample them to one rate"
            )
        for channel, unit in zip(_names(segment), segment.units, strict=True):
            if units.setdefault(channel, unit) != unit:
                raise DataError(
                    f"{path}: channel {channel} is in {printable(units[channel])} in one segment and in "
                    f"{printable(unit)} in {printable(name)}; read the segments alone, or convert them to one unit"
                )


def _of_segment(path: Path, header: Any, rows: list[int]) -> list[Numbers]:
    """Return the channels at `rows` of a record without segments. Raises DataError if its samples are damaged."""
    _check_sizes(path, header)
    stem, smooth = str(path.with_suffix("")), max(_per_frame(header)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not smooth and BIG_ENDIAN in header.fmt:  # of which wfdb returns no stored numbers frame by frame
            return [*_library().rdrecord(stem, channels=rows, return_res=32, smooth_frames=False).e_p_signal]
        record = _library().rdrecord(stem, channels=rows, physical=False, return_res=32, smooth_frames=smooth)
        stored = [*record.d_signal.T] if smooth else record.e_d_signal
        for row, samples in zip(rows, stored, strict=True):
            _check_sum(path, header, row, samples)
        physical = record.dac(expanded=not smooth, return_res=32)
    return [*physical.T] if smooth else [*physical]


def _check_sum(path: Path, header: Any, row: int, samples: Numbers) -> None:
    """Raise DataError if the header states another checksum than that of all samples of a channel, as stored."""
    stated = (header.checksum or [None] * (row + 1))[row]
    is_whole = header.sig_len is None or samples.size == header.sig_len * _per_frame(header)[row]
    if not stated or not is_whole or (header.skew or [0] * (row + 1))[row]:
        return
    found = int(np.sum(samples, dtype=np.int64)) % CHECKSUMS
    if found != stated % CHECKSUMS:
        raise DataError(
            f"{path}: damaged: the samples of {_names(header)[row]} have the checksum {found}, but the header "
            f"states {stated % CHECKSUMS}; copy the record again"
        )


def _check_sizes(path: Path, header: Any) -> None:
    """Raise DataError if a signal file is shorter than its header states."""
    needed: dict[str, float] = {}
    for i, name in enumerate(header.file_name):
        offset = float(header.byte_offset[i] or 0) if header.byte_offset else 0.0
        n_samples = (header.sig_len or 0) * _per_frame(header)[i]
        needed[name] = needed.get(name, offset) + n_samples * SAMPLE_BYTES.get(header.fmt[i], 0.0)
    for name, n_bytes in needed.items():
        size = (path.parent / name).stat().st_size
        if size < int(n_bytes):
            raise DataError(f"{path}: {name} is cut off: {size} of {int(n_bytes)} bytes are there; copy it again")


def _names(header: Any) -> tuple[str, ...]:
    return numbered([printable(name or f"ch{i + 1}") for i, name in enumerate(header.sig_name)])


def _per_frame(header: Any) -> tuple[int, ...]:
    """Return the samples per frame of each channel: 1 unless it is sampled at a multiple of the record's rate."""
    layout = next((part for part in (getattr(header, "segments", None) or ()) if part is not None), header)
    counts = getattr(layout, "samps_per_frame", None) or [1] * len(header.sig_name)
    return tuple(int(count or 1) for count in counts)


def _annotated(path: Path, rate_hz: float) -> NDArray[np.float64] | None:
    """Return the times of the beats in s; None if there are none. rate_hz: where the annotations state no rate."""
    for extension in BEAT_FILES:
        file = path.with_suffix(f".{extension}")
        if file.is_file():
            # Under another name: wfdb would take the rate of a header beside it, also where that is its default.
            with reading(file, "WFDB annotations"), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
                warnings.simplefilter("ignore")
                shutil.copyfile(file, Path(folder) / f"beats.{extension}")
                notes = _library().rdann(f"{folder}/beats", extension)
            beats = [symbol in BEAT_SYMBOLS for symbol in notes.symbol]
            if any(beats):
                return np.asarray(notes.sample, np.float64)[beats] / float(notes.fs or rate_hz)
    return None
