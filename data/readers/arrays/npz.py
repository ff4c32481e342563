"""Read NumPy archives (.npz), and write recordings as archives."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError
from data.files import atomic
from data.readers.arrays.archive import WholeArrays, array_texts, since_first
from data.readers.arrays.variables import read_generic
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, reading
from data.recording import Recording


def read_npz(path: Path, wanted: Wanted) -> Contents:
    """Read an .npz archive: one of `write_npz`, or any other whose signal and rate are named or can be recognised.

    In an archive with `signals`, `rate_hz` and the texts `channels`, these must be as many as one axis of `signals` is
    long; where they are as many as both, it is [channel, time]. Objects are never unpickled.

    Raises DataError if the archive is broken, the signal cannot be recognised, or `channels` fits neither of its axes.
    """
    with reading(path, "an .npz archive"), _opened(path) as store:
        names = {v.name for v in store.variables}
        ours = {"signals", "rate_hz", "channels"} <= names and wanted.variable in (None, "signals")
        if not ours or wanted.variables or not store.texts("channels"):
            return read_generic(store, wanted, path)
        # `source` is in what write_npz writes, whose channels are no clocks though one may rise evenly.
        wanted = replace(wanted, variable="signals")
        return read_generic(store, wanted, path, named_by="channels", has_clocks="source" not in names)


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
    of_kind = {name: dtype.kind for name, (_, dtype) in held.items()}
    numeric = frozenset(name for name, kind in of_kind.items() if kind in "iuf")
    times = frozenset(name for name, kind in of_kind.items() if kind == "M")
    with np.load(path, allow_pickle=False) as archive:

        @lru_cache(maxsize=1)
        def load(name: str) -> Numbers:
            array = np.asarray(archive[name])
            return since_first(array) if name in times else array

        def texts(name: str) -> tuple[str, ...]:
            return array_texts(np.asarray(archive[name])) if of_kind[name] in "US" else ()

        yield WholeArrays(load, variables, numeric, times, texts)


def _array_header(zipped: zipfile.ZipFile, entry: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with zipped.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return tuple(shape), dtype
