"""Read NumPy archives (.npz) and text tables (.csv, .tsv), and write recordings as archives."""

import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.files import atomic
from data.readers.clock import rate_of
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, gather, reading
from data.readers.variables import read_generic
from data.recording import Recording

DELIMITERS = ("\t", ";", ",")  # a table without any of them is split at white space
TIME_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}


def read_npz(path: Path, wanted: Wanted) -> Contents:
    """Read an .npz archive: one of `write_npz`, or any other whose signal and rate are named or can be recognised.

    Channel names are taken from a text array `channels`, or from a text `axes` such as "x,y,z (z is up)". Objects are
    never unpickled.

    Raises DataError if the archive is broken or the signal cannot be recognised.
    """
    with reading(path, "an .npz archive"), _opened(path) as store:
        names = {v.name for v in store.variables}
        ours = {"signals", "rate_hz", "channels"} <= names and wanted.variable in (None, "signals")
        if ours:
            wanted = Wanted("signals", wanted.layout, wanted.channels)
        return read_generic(store, wanted, path, _labels(store), channel_axis=0 if ours else None)


def npz_variables(path: Path) -> tuple[Variable, ...]:
    """Return the variables in an archive; only the headers of the arrays are read."""
    with reading(path, "an .npz archive"), _opened(path) as store:
        return store.variables


def write_npz(recording: Recording, path: Path) -> None:
    """Write a recording atomically as an .npz archive, from which `data.readers.read.read` reads an equal recording.

    Arrays: signals float32[channel, time], rate_hz, channels, source; ecg float32[time], ecg_rate_hz and
    r_peaks_s float64[beat] if there are any.

    The folder is created if it does not exist. Raises DataError for another suffix, FileError if the file cannot be
    written.
    """
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path}: cannot be written; name a file that ends in .npz")
    held: dict[str, Any] = {
        "signals": recording.signals,
        "rate_hz": np.float64(recording.rate_hz),
        "channels": np.array(recording.channels, dtype=np.str_),
        "source": np.array(str(recording.source), dtype=np.str_),
    }
    if recording.ecg is not None:
        held |= {"ecg": recording.ecg, "ecg_rate_hz": np.float64(recording.ecg_rate_hz or 0.0)}
    if recording.r_peaks_s is not None:
        held["r_peaks_s"] = recording.r_peaks_s
    with atomic(path) as temporary:
        np.savez(temporary, **held)


@dataclass(frozen=True, slots=True)
class _Npz:
    archive: Any  # np.lib.npyio.NpzFile
    variables: tuple[Variable, ...]
    numeric: frozenset[str]

    def load(self, name: str) -> Numbers:
        return np.asarray(self.archive[name])

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        matrix = self.load(name)
        for i in indices:
            yield matrix[i] if axis == 0 else matrix[:, i]


@contextmanager
def _opened(path: Path) -> Iterator[_Npz]:
    with zipfile.ZipFile(path) as zipped:
        held = {
            entry.removesuffix(".npy"): _array_header(zipped, entry)
            for entry in zipped.namelist()
            if entry.endswith(".npy")
        }
    variables = tuple(Variable(name, shape, str(dtype)) for name, (shape, dtype) in held.items())
    for variable, (shape, dtype) in zip(variables, held.values(), strict=True):
        check_memory(math.prod(shape) * dtype.itemsize, f"array {variable}", path)
    numeric = frozenset(name for name, (_, dtype) in held.items() if dtype.kind in "iuf")
    with np.load(path, allow_pickle=False) as archive:
        yield _Npz(archive, variables, numeric)


def _array_header(zipped: zipfile.ZipFile, entry: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with zipped.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return tuple(shape), dtype


def _labels(store: _Npz) -> tuple[str, ...]:
    texts = {v.name: v for v in store.variables if v.dtype.startswith("<U")}
    if "channels" in texts:
        return tuple(printable(str(name)) for name in np.ravel(store.load("channels")))
    if "axes" in texts:
        joined = ",".join(str(text) for text in np.ravel(store.load("axes")))
        return tuple(printable(name.strip()) for name in re.sub(r"\(.*?\)", "", joined).split(",") if name.strip())
    return ()


def read_csv(path: Path, wanted: Wanted) -> Contents:
    """Read a text table: a column per channel, a row per sample, split at tabs, semicolons, commas or spaces.

    A header names the channels, else they are ch1 ... chN. A first column named time or t gives the rate; its unit is s
    unless its name says ms or us. Lines that begin with # are skipped.

    Raises DataError if a cell is not a number, a row is short, or the times are not evenly spaced within 1 %.
    """
    with reading(path, "a text table"):
        names, delimiter, n_skip = _table(path)
        scale = _time_scale(names[0]) if len(names) > 1 else None
        rate_hz = None
        if scale is not None:
            texts = _columns(path, delimiter, n_skip, [0], np.dtype(np.float64))[:, 0]
            rate_hz = rate_of(texts * scale, _decimal_step(texts) * scale, path, f"column {names[0]!r}")
            del texts
        first = 0 if scale is None else 1
        samples = _columns(path, delimiter, n_skip, range(first, len(names)), np.dtype(np.float64))
        contents = gather(names[first:], wanted.channels, path, lambda rows: (samples[:, row] for row in rows))
    return replace(contents, rate_hz=rate_hz)


def csv_variables(path: Path) -> tuple[Variable, ...]:
    """Return the columns of a table; its rows are not counted."""
    with reading(path, "a text table"):
        names, _, _ = _table(path)
    return tuple(Variable(name, (), "column") for name in names)


def _table(path: Path) -> tuple[tuple[str, ...], str | None, int]:
    """Return column names, delimiter (None for white space) and the number of lines before the first sample."""
    n_before = 0
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                break
            n_before += 1
        else:
            raise DataError(f"{path}: empty table; one column per channel and one row per sample is needed")
    delimiter = next((mark for mark in DELIMITERS if mark in line), None)
    cells = [cell.strip().strip("\"'").strip() for cell in line.rstrip("\r\n").split(delimiter)]
    if all(_is_number(cell) for cell in cells):
        return tuple(f"ch{i + 1}" for i in range(len(cells))), delimiter, n_before
    return tuple(printable(cell) or f"column{i + 1}" for i, cell in enumerate(cells)), delimiter, n_before + 1


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _time_scale(name: str) -> float | None:
    match = re.fullmatch(r"(time|t)[\s_]*[\[(/]?\s*(\w*?)\s*[\])]?", name.strip().lower())
    return TIME_UNITS.get(match.group(2)) if match else None


def _columns(
    path: Path, delimiter: str | None, n_skip: int, columns: Iterable[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a table without rows is refused below
            table = np.loadtxt(
                path,
                dtype,
                delimiter=delimiter,
                skiprows=n_skip,
                usecols=list(columns),
                ndmin=2,
                encoding="utf-8-sig",
            )
    except ValueError as error:
        reason = re.sub(r"\s*;.*$", "", str(error)).rstrip(".")
        raise DataError(
            f"{path}: not a table of numbers ({reason}, counted from the first row of numbers); "
            "every cell must be a number with a decimal point"
        ) from error
    if table.shape[0] < 2:
        raise DataError(f"{path}: {table.shape[0]} rows of numbers below the header; at least two are needed")
    return np.asarray(table)


def _decimal_step(values: NDArray[np.float64]) -> float:
    """Return the value of the last decimal place that the values, read from text, use; 0 if it is below 1e-9."""
    for places in range(10):
        scaled = values * 10.0**places
        if np.abs(scaled - np.round(scaled)).max(initial=0.0) < 1e-3:
            return float(10.0**-places)
    return 0.0
