"""Read MATLAB files, v5 and v7.3 (HDF5): the layouts of the lab's campaigns, recognised by content, and others."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from data.errors import DataError, printable
from data.readers.clock import is_even, rate_of
from data.readers.contents import (
    Contents,
    Numbers,
    Variable,
    Wanted,
    as_signal,
    check_memory,
    gather,
    reading,
    usable_ecg,
)
from data.readers.mat5 import real_variables
from data.readers.variables import RATE_NAMES, Archive, arrays, choose, is_vector, read_generic, scalar

LAYOUTS = ("auto", "240219", "240517", "240826", "generic")
COLUMNS_240219 = ("Time", "ECG", "ch1z", "ch2z", "ch3z", "ch4z", "ch5z", "ch6z")
LAB_NAMES = ("HS_data", "Noise_data", "data", "ECG_data")
LAB_RATE_HZ = 1000.0  # of 240517 and 240826, whose files do not state it
NUMERIC = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def read_mat(path: Path, wanted: Wanted) -> Contents:
    """Read a MATLAB file by the layout that its variables and their shapes have, or by the requested layout.

    - 240219: samples x 8 (Time in s, ECG, ch1z ... ch6z); the rate is that of the Time column.
    - 240517: HS_data or Noise_data, one column or row: ch1z at 1000 Hz.
    - 240826: HS_data, ECG_data or data, a matrix of segments joined in row order: ch1z (or ECG) at 1000 Hz.
    - generic: any other; see `data.readers.variables.read_generic`.

    Raises DataError if the file is broken, its layout cannot be recognised, or the requested layout does not fit.
    """
    if wanted.layout not in LAYOUTS:
        raise DataError(f"{path}: layout {wanted.layout!r} is unknown; allowed are {', '.join(LAYOUTS)}")
    with reading(path, "a MATLAB file"), _opened(path) as store:
        layout, main = _layout(store, wanted, path)
        if layout == "generic" or main is None:
            return read_generic(store, wanted, path)
        if layout == "240219":
            return _read_columns(store, main, wanted, path)
        return _read_segments(store, main, wanted, path)


def mat_variables(path: Path) -> tuple[Variable, ...]:
    """Return the variables in a MATLAB file without loading them."""
    with reading(path, "a MATLAB file"), _opened(path) as store:
        return store.variables


def _layout(store: Archive, wanted: Wanted, where: Path) -> tuple[str, Variable | None]:
    found = arrays(store)
    if wanted.layout == "generic":
        return "generic", None
    if wanted.variable is not None:
        chosen = choose(store, wanted.variable, where)
        if len(chosen) > 1 or (wanted.layout == "auto" and chosen[0].name not in LAB_NAMES):
            return "generic", None
        main = chosen[0]
    else:
        lab = [found[name] for name in LAB_NAMES if name in found]
        signals = [v for v in lab if v.name != "ECG_data"] or lab
        if len(signals) > 1:
            shown = ", ".join(map(str, signals))
            raise DataError(f"{where}: more than one variable may be the signal: {shown}; choose with variable=")
        if not signals:
            if wanted.layout == "auto":
                return "generic", None
            signals = choose(store, None, where)
        main = signals[0]
    return (_recognise(store, main, where) if wanted.layout == "auto" else wanted.layout), main


def _recognise(store: Archive, main: Variable, where: Path) -> str:
    if is_vector(main):
        return "240517"
    if main.name != "data" or len(main.shape) != 2:
        return "240826"
    if _time_axis(store, main) is not None:
        return "240219"
    n_rows, n_columns = main.shape
    if n_columns == len(COLUMNS_240219) and n_rows > n_columns:
        raise DataError(
            f"{where}: {main} has the 8 columns of layout 240219, but the first, Time, does not rise evenly; "
            "mend it, or state layout='240826' (segments in rows) or layout='generic' with rate_hz="
        )
    # Segments have more than a few samples, so a tall, narrow matrix is [time, channel].
    return "generic" if n_rows > n_columns and n_columns <= 16 else "240826"


def _time_axis(store: Archive, variable: Variable) -> int | None:
    """Return the axis of the eight columns if the first is evenly spaced times (0 in transposed files), else None."""
    for axis in (1, 0):
        if len(variable.shape) == 2 and variable.shape[axis] == len(COLUMNS_240219):
            times = next(iter(store.lines(variable.name, axis, [0])))
            if is_even(times.astype(np.float64), _quantum(times)):
                return axis
    return None


def _quantum(times: Numbers) -> float:
    """Return the resolution of stored times: 0 for integers, the spacing at the largest value for floats."""
    if times.dtype.kind != "f" or times.size == 0:
        return 0.0
    top = np.abs(times).max()
    return float(np.spacing(top)) if np.isfinite(top) else 0.0


def _read_columns(store: Archive, main: Variable, wanted: Wanted, where: Path) -> Contents:
    if len(main.shape) != 2 or len(COLUMNS_240219) not in main.shape:
        raise DataError(f"{where}: layout 240219 needs samples x 8 ({', '.join(COLUMNS_240219)}); got {main}")
    axis = _time_axis(store, main)
    axis = (1 if main.shape[1] == len(COLUMNS_240219) else 0) if axis is None else axis
    times = next(iter(store.lines(main.name, axis, [0])))
    rate_hz = rate_of(times.astype(np.float64), _quantum(times), where, "the Time column")
    del times
    contents = gather(
        COLUMNS_240219[1:],
        wanted.channels,
        where,
        lambda rows: store.lines(main.name, axis, [row + 1 for row in rows]),
    )
    layout = f"layout 240219: columns {', '.join(COLUMNS_240219)}"
    return replace(contents, rate_hz=rate_hz, notes=(layout, *contents.notes))


def _read_segments(store: Archive, main: Variable, wanted: Wanted, where: Path) -> Contents:
    if len(main.shape) != 2:
        raise DataError(f"{where}: a vector or a matrix of segments is needed; got {main}; see layout='generic'")
    if wanted.layout == "240517" and not is_vector(main):
        raise DataError(f"{where}: layout 240517 needs samples x 1; got {main}; for segments state layout='240826'")
    name = "ECG" if main.name == "ECG_data" else "ch1z"
    lines = {name: np.ravel(store.load(main.name), order="C")}
    beside, notes, aside = arrays(store).get("ECG_data") if name != "ECG" else None, list[str](), None
    if beside is not None:
        joined = np.ravel(store.load(beside.name), order="C")
        if joined.size == lines[name].size:
            lines["ECG"] = joined
        else:
            aside = usable_ecg(as_signal(joined, "ECG_data", notes))
    contents = gather(tuple(lines), wanted.channels, where, lambda rows: [[*lines.values()][row] for row in rows])
    if not is_vector(main):
        notes.append(f"layout 240826: {main.shape[0]} segments of {main.shape[1]} samples joined in row order")
    said = scalar(store, RATE_NAMES, where)
    if said is None:
        notes.append(f"rate {LAB_RATE_HZ:g} Hz assumed, as in the lab's files of this layout")
    return replace(
        contents,
        rate_hz=LAB_RATE_HZ if said is None else said,
        rate_is_default=said is None,
        ecg=contents.ecg if aside is None else aside,
        notes=(*notes, *contents.notes),
    )


@dataclass(frozen=True, slots=True)
class _Mat5:
    """A MATLAB file up to v7.2. scipy loads a variable whole, in the type it is stored in."""

    load_once: Callable[[str], Numbers]  # cached, as times and channels are columns of the same variable
    variables: tuple[Variable, ...]
    numeric: frozenset[str]

    def load(self, name: str) -> Numbers:
        return self.load_once(name)

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        matrix = self.load(name)
        for i in indices:
            yield matrix[i] if axis == 0 else matrix[:, i]


@dataclass(frozen=True, slots=True)
class _Mat73:
    """A MATLAB v7.3 file: HDF5, whose arrays MATLAB stores with their axes in reverse order."""

    file: Any  # h5py.File; h5py has no types
    variables: tuple[Variable, ...]
    numeric: frozenset[str]

    def load(self, name: str) -> Numbers:
        return np.asarray(self.file[name][()]).T

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        stored = self.file[name]
        for i in indices:
            yield np.asarray(stored[:, i] if axis == 0 else stored[i])


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            held = {name: _described(name, _item(file, name, path)) for name in file if not name.startswith("#")}
            numeric = _numeric(held.values(), path)
            yield _Mat73(file, tuple(held.values()), numeric)
        return
    variables = tuple(
        Variable(name, tuple(int(n) for n in shape), kind)
        for name, shape, kind in scipy.io.whosmat(str(path), appendmat=False)
    )

    @lru_cache(maxsize=1)
    def load(name: str) -> Numbers:
        value: Any = scipy.io.loadmat(str(path), variable_names=[name], appendmat=False)[name]
        return np.asarray(value)

    real = real_variables(path)
    yield _Mat5(load, variables, _numeric((v for v in variables if real is None or v.name in real), path))


def _numeric(variables: Iterable[Variable], where: Path) -> frozenset[str]:
    """Return the names of the variables with real numbers. Raises DataError for one too large for the memory."""
    found = [v for v in variables if v.dtype in NUMERIC]
    for v in found:
        itemsize = np.dtype({"double": "f8", "single": "f4"}.get(v.dtype, v.dtype)).itemsize
        check_memory(math.prod(v.shape) * itemsize, f"variable {v}", where)
    return frozenset(v.name for v in found)


def _item(file: Any, name: str, where: Path) -> Any:
    """Return a variable of an HDF5 file.

    Raises DataError if another file holds its data: a foreign recording could name any file of the user.
    """
    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        target = getattr(link, "filename", getattr(link, "path", "another file"))
        raise DataError(_outside(name, f"is a link to {target!r}", where))
    item = file[name]
    if isinstance(item, h5py.Dataset) and item.external:
        raise DataError(_outside(name, f"has its data in {item.external[0][0]!r}", where))
    if isinstance(item, h5py.Dataset) and item.is_virtual:
        raise DataError(_outside(name, "has its data in other datasets (it is virtual)", where))
    return item


def _outside(name: str, problem: str, where: Path) -> str:
    return f"{where}: dataset {printable(name)} {problem}; a recording must hold its own data, so copy them into it"


def _described(name: str, item: Any) -> Variable:
    kind = item.attrs.get("MATLAB_class", b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if not isinstance(item, h5py.Dataset):
        return Variable(name, (), kind or "struct")
    if not kind:  # HDF5 written by another program
        kind = {"float64": "double", "float32": "single"}.get(item.dtype.name, item.dtype.name)
    if item.attrs.get("MATLAB_empty"):
        return Variable(name, (0, 0), kind)
    return Variable(name, (0,) if item.shape is None else tuple(item.shape[::-1]), kind)
