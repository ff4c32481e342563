"""Read MATLAB files: open those of version 4, 5 (up to 7.2) and 7.3 alike, and read them by their layout."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from data.errors import DataError
from data.readers.arrays.archive import Archive, WholeArrays, array_texts
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, reading
from data.readers.matlab import mat5, mat73
from data.readers.matlab.lab import LAYOUTS, read_layout

__all__ = ["LAYOUTS", "mat_variables", "read_mat"]


def read_mat(path: Path, wanted: Wanted) -> Contents:
    """Read a MATLAB file by the layout that its variables and their values have, or by the requested layout.

    - 240219: samples x 8 (Time in s, ECG, ch1z ... ch6z); the rate is that of the Time column.
    - 240517: HS_data or Noise_data, one column or row: ch1z at 1000 Hz.
    - 240826: HS_data, ECG_data or data, a matrix of segments joined in row order: ch1z (or ECG) at 1000 Hz.
    - generic: any other; see `data.readers.arrays.variables.read_generic`. Arrays in structs and cells are named by
      their path in MATLAB: rec.sig, runs(2).acc, runs{2}.acc.

    Raises DataError if the file is broken, its layout cannot be recognised, or the requested layout does not fit.
    """
    if wanted.layout not in LAYOUTS:
        raise DataError(f"{path}: layout {wanted.layout!r} is unknown; allowed are {', '.join(LAYOUTS)}")
    with reading(path, "a MATLAB file"), _opened(path) as store:
        return read_layout(store, wanted, path)


def mat_variables(path: Path) -> tuple[Variable, ...]:
    """Return the variables in a MATLAB file, those in structs and cells after it, without loading them."""
    with reading(path, "a MATLAB file"), _opened(path) as store:
        return store.variables


@dataclass(frozen=True, slots=True)
class _Mat73:
    """A file of version 7.3, of which columns can be loaded alone."""

    items: dict[str, Any]
    variables: tuple[Variable, ...]
    numeric: frozenset[str]
    characters: dict[str, Any]

    @property
    def times(self) -> frozenset[str]:
        return frozenset()

    def texts(self, name: str) -> tuple[str, ...]:
        return mat73.texts(self.characters[name]) if name in self.characters else ()

    def load(self, name: str) -> Numbers:
        return mat73.load(self.items[name])

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        return mat73.lines(self.items[name], axis, indices)


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            arrays = mat73.contents_of(file, path)
            variables, numeric = _unique([a.variable for a in arrays], [a.item is not None for a in arrays])
            characters = {a.variable.name: a.characters for a in arrays if a.characters is not None}
            yield _Mat73({a.variable.name: a.item for a in arrays}, variables, numeric, characters)
        return
    found = mat5.contents_of(path)
    if found is None:
        yield _version_4(path)
        return
    variables, numeric = _unique([v for v, _ in found], [bool(place.stored) for _, place in found])
    held = {v.name: (v, place) for v, place in found}
    for name in numeric:
        check_memory(held[name][1].n_bytes, f"variable {held[name][0]}", path)

    @lru_cache(maxsize=1)
    def unpack(at: int, size: int, order: str) -> bytes:
        return mat5.unpacked(path, at, size, order)

    @lru_cache(maxsize=1)
    def load(name: str) -> Numbers:
        return mat5.load(path, *held[name], unpack)

    def texts(name: str) -> tuple[str, ...]:
        return mat5.texts(path, *held[name], unpack) if held[name][1].codec else ()

    yield WholeArrays(load, variables, numeric, texts_of=texts)


def _unique(variables: list[Variable], real: list[bool]) -> tuple[tuple[Variable, ...], frozenset[str]]:
    """Return the variables, and the names of those with real numbers; a name that occurs twice is none of them."""
    times = Counter(v.name for v in variables)
    numeric = frozenset(v.name for v, is_real in zip(variables, real, strict=True) if is_real and times[v.name] == 1)
    return tuple(v if times[v.name] == 1 else replace(v, dtype=f"{v.dtype}, named twice") for v in variables), numeric


def _version_4(path: Path) -> WholeArrays:
    variables = tuple(
        Variable(name, tuple(int(n) for n in shape), kind)
        for name, shape, kind in scipy.io.whosmat(str(path), appendmat=False)
    )
    for v in variables:
        check_memory(math.prod(v.shape) * 8, f"variable {v}", path)

    @lru_cache(maxsize=1)
    def load(name: str) -> Numbers:
        value: Any = scipy.io.loadmat(str(path), variable_names=[name], appendmat=False)[name]
        if np.iscomplexobj(value):
            raise DataError(f"{path}: variable {name!r} is no array of two or more real numbers, but of complex ones")
        return np.asarray(value)

    def texts(name: str) -> tuple[str, ...]:
        if next(v.dtype for v in variables if v.name == name) != "char":
            return ()
        rows = array_texts(scipy.io.loadmat(str(path), variable_names=[name], appendmat=False)[name])
        return tuple(row.rstrip(" \0") for row in rows)

    kinds = frozenset(mat5.NUMERIC.values())
    return WholeArrays(load, variables, frozenset(v.name for v in variables if v.dtype in kinds), texts_of=texts)
