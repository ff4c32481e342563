"""Read NumPy archives (.npz) and text tables (.csv, .tsv), and write recordings as archives."""

import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError, printable
from data.files import atomic
from data.readers.arrays.archive import WholeArrays
from data.readers.arrays.variables import read_generic
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, reading
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
        ours = ours and not wanted.variables
        if ours:
            wanted = replace(wanted, variable="signals")
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


@contextmanager
def _opened(path: Path) -> Iterator[WholeArrays]:
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

        @lru_cache(maxsize=1)
        def load(name: str) -> Numbers:
            return np.asarray(archive[name])

        yield WholeArrays(load, variables, numeric)


def _array_header(zipped: zipfile.ZipFile, entry: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with zipped.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return tuple(shape), dtype


def _labels(store: WholeArrays) -> tuple[str, ...]:
    texts = {v.name: v for v in store.variables if v.dtype.startswith("<U")}
    if "channels" in texts:
        return tuple(printable(str(name)) for name in np.ravel(store.load("channels")))
    if "axes" in texts:
        joined = ",".join(str(text) for text in np.ravel(store.load("axes")))
        return tuple(printable(name.strip()) for name in re.sub(r"\(.*?\)", "", joined).split(",") if name.strip())
    return ()
