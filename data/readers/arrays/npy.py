"""Read NumPy's files of one array (.npy)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError, printable
from data.readers.arrays.beside import rate_of_clock, resolution
from data.readers.clock import is_even
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, gather, reading
from data.readers.names import clock_unit_s, is_clock_name


def read_npy(path: Path, wanted: Wanted) -> Contents:
    """Read an array as [time], [time, channel] or [channel, time]; the longer axis is time.

    Each numeric field of a structured array [time] is a channel, except for the times of the samples, which give the
    rate. Objects are never unpickled.

    Raises DataError for other arrays, and if the file is broken.
    """
    with reading(path, "a .npy file"):
        channels, rate_hz, notes = _channels(path), None, list[str]()
        for name in [name for name in channels if is_clock_name(name) and len(channels) > 1]:
            times = channels[name]
            if is_even(times.astype(np.float64), resolution(times)):
                rate_hz = rate_of_clock(times, name, clock_unit_s(name), rate_hz, path, notes)
                del channels[name]
        lines = [*channels.values()]
        contents = gather([*channels], wanted.channels, path, lambda rows: (lines[row] for row in rows))
    return replace(contents, rate_hz=rate_hz, notes=(*notes, *contents.notes))


def npy_variables(path: Path) -> tuple[Variable, ...]:
    """Return an entry per channel, with its length and type; the samples are not read."""
    with reading(path, "a .npy file"):
        return tuple(Variable(name, line.shape, str(line.dtype)) for name, line in _channels(path).items())


def _channels(path: Path) -> dict[str, Numbers]:
    """Return the channels by name, each [time], mapped from the file. Raises DataError if it holds no signals."""
    _check_kind(path)
    array = np.lib.format.open_memmap(path, mode="r")
    check_memory(array.nbytes, "the array", path)
    shape = " x ".join(map(str, array.shape)) or "scalar"
    if array.dtype.names is not None:
        fields = {name: array[name] for name in array.dtype.names if array.dtype[name].kind in "iuf"}
        if array.ndim != 1 or not fields:
            raise DataError(f"{path}: {shape} records of {array.dtype}; one axis and numeric fields are needed")
        return {printable(name): line for name, line in fields.items()}
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path}: an array of {array.dtype}; real numbers are needed")
    long = [n for n in array.shape if n > 1]
    if len(long) == 1:
        return {"ch1": array.reshape(-1)}
    if array.ndim != 2 or len(set(array.shape)) == 1:
        raise DataError(
            f"{path}: {shape} is not [time], [time, channel] or [channel, time], time being longer; save it as one"
        )
    lines = array if array.shape[0] < array.shape[1] else array.T
    return {f"ch{i + 1}": line for i, line in enumerate(lines)}


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
