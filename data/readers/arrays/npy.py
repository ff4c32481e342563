"""Read NumPy's files of one array (.npy)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError, printable
from data.readers.arrays.archive import WholeArrays, since_first
from data.readers.arrays.records import Records, fields_of, read_records
from data.readers.arrays.variables import read_generic
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, reading

ARRAY = "the array"  # its name in messages


def read_npy(path: Path, wanted: Wanted) -> Contents:
    """Read an array as [time], [time, channel] or [channel, time]; the longer axis is time.

    A column that rises evenly is a clock, as in files of named arrays. Each numeric field of a structured array [time]
    is a channel, except for the times of the samples, which give the rate. Objects are never unpickled.

    Raises DataError for other arrays, for a clock that contradicts the rate that is asked for, and if the file is
    broken.
    """
    with reading(path, "a .npy file"):
        array = _mapped(path)
        if array.dtype.names is not None:
            return read_records(_records(array), wanted, path, None, [])
        variable = Variable(ARRAY, array.shape, str(array.dtype))
        store = WholeArrays(_loaded(array), (variable,), frozenset([ARRAY]))
        return read_generic(store, wanted, path)


def npy_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per field or column, with its length and type; the samples are not read."""
    with reading(path, "a .npy file"):
        array = _mapped(path)
        if array.dtype.names is not None:
            kinds = {name: array.dtype[name] for name in _records(array).fields}
            return tuple(Variable(printable(name), array.shape, str(kind)) for name, kind in kinds.items())
        n_samples = max(array.shape)
        n_columns = array.size // n_samples
        return tuple(Variable(f"ch{i + 1}", (n_samples,), str(array.dtype)) for i in range(n_columns))


def _loaded(array: Numbers) -> Callable[[str], Numbers]:
    return lambda _: array


def _records(array: Any) -> Records:
    def load(name: str) -> Numbers:
        return since_first(array[name]) if array.dtype[name].kind == "M" else np.asarray(array[name])

    return Records(array.size, *fields_of(array.dtype, load))


def _mapped(path: Path) -> Any:
    """Return the array, mapped from the file. Raises DataError if it holds no signals."""
    _check_kind(path)
    array = np.lib.format.open_memmap(path, mode="r")
    check_memory(array.nbytes, "the array", path)
    shape = " x ".join(map(str, array.shape)) or "scalar"
    if array.dtype.names is not None:
        if array.ndim != 1 or not any(array.dtype[name].kind in "iuf" for name in array.dtype.names):
            raise DataError(f"{path}: {shape} records of {array.dtype}; one axis and numeric fields are needed")
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path}: an array of {array.dtype}; real numbers are needed")
    long = [n for n in array.shape if n > 1]
    if len(long) != 1 and (len(long) != 2 or long[0] == long[1]):
        raise DataError(
            f"{path}: {shape} is not [time], [time, channel] or [channel, time], time being longer; save it as one"
        )
    return array


def _check_kind(path: Path) -> None:
    """Raise DataError if the file holds Python objects or no samples: neither can be mapped into memory."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(f"{path}: holds Python objects, which are never unpickled; save an array of numbers")
    if 0 in shape:
        raise DataError(f"{path}: an array without samples; save it again")
