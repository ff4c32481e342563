"""Read MATLAB files of version 7.3, which are HDF5, with the insides of structs and cells.

MATLAB stores arrays with their axes in reverse order. A struct is a group; in an array of structs, and in a cell, each
element is a reference to a dataset or group in "#refs#".
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data.errors import DataError, printable
from data.readers.arrays.archive import lines_of
from data.readers.arrays.links import own_item
from data.readers.contents import Numbers, Variable, check_memory

MAX_DEPTH = 32  # of structs and cells in each other
MAX_FOUND = 100_000  # arrays in a file: references to references may be more than any memory holds


@dataclass(frozen=True, slots=True)
class Hdf5Array:
    """An array in the file; `item` is a dataset with real numbers, or None, and `characters` one with them, or None."""

    variable: Variable
    item: Any  # h5py.Dataset; h5py has no types
    characters: Any = None


@dataclass(frozen=True, slots=True)
class _Walk:
    """An open file, and the groups and cells around the one that is looked into, by address."""

    file: Any
    where: Path
    around: tuple[int, ...] = field(default=())

    def into(self, item: Any, name: str) -> "_Walk":
        """Raises DataError if the item is within itself, or too deep."""
        address = h5py.h5o.get_info(item.id).addr
        if address in self.around or len(self.around) >= MAX_DEPTH:
            raise DataError(
                f"{self.where}: {printable(name)} is within itself or too deep; save its arrays by themselves"
            )
        return _Walk(self.file, self.where, (*self.around, address))


def contents_of(file: Any, where: Path) -> list[Hdf5Array]:
    """Return each variable of an open HDF5 file, those in structs and cells after it, by its path in MATLAB.

    Raises DataError if another file holds the data of any of them: a foreign recording could name any file of the user.
    """
    found: list[Hdf5Array] = []
    walk = _Walk(file, where)
    items = {name: own_item(file, name, where) for name in file if not name.startswith("#")}
    for name, item in items.items():
        for array in _listed(walk, name, item, top=True):
            found.append(array)
            if len(found) > MAX_FOUND:
                raise DataError(f"{where}: holds more than {MAX_FOUND:,} arrays; save those of the recording alone")
    return found


def load(item: Any) -> Numbers:
    """Return a dataset with its axes as MATLAB shows them."""
    return np.asarray(item[()]).T


def lines(item: Any, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
    """Yield the slices of a dataset of two axes at `indices` of `axis`, as MATLAB shows them."""
    line_bytes = item.shape[axis] * item.dtype.itemsize  # the axes are stored in reverse order
    yield from lines_of(lambda at: np.asarray(item[:, at].T if axis == 0 else item[at]), indices, line_bytes)


def texts(item: Any) -> tuple[str, ...]:
    """Return the rows of a matrix of characters, without the blanks at their ends; () if they are too many."""
    if len(item.shape) != 2 or math.prod(item.shape) > MAX_FOUND:
        return ()
    codes = np.asarray(item[()]).T
    rows = ("".join(map(chr, row)) for row in codes.tolist())
    return tuple(row.encode("utf-16", "surrogatepass").decode("utf-16", "replace").rstrip(" \0") for row in rows)


def _listed(walk: _Walk, name: str, item: Any, top: bool = False) -> Iterator[Hdf5Array]:
    """Yield an array, or a struct or cell at the top with what is in it."""
    kind = _class(item)
    if isinstance(item, h5py.Group):
        if kind not in ("", "struct") or "MATLAB_sparse" in item.attrs:
            yield Hdf5Array(Variable(name, (), "sparse" if "MATLAB_sparse" in item.attrs else kind), None)
            return
        within = walk.into(item, name)
        fields = {key: own_item(item, key, walk.where) for key in item}
        n_elements = max((math.prod(f.shape) for f in fields.values() if _is_field_of_many(f)), default=None)
        if top or not fields:
            shape = next((f.shape[::-1] for f in fields.values() if _is_field_of_many(f)), (1, 1))
            yield Hdf5Array(Variable(name, tuple(shape), "struct"), None)
        if n_elements is None:
            for key, one in fields.items():
                yield from _listed(within, f"{name}.{key}", one)
            return
        for key, many in fields.items():
            for i, element in enumerate(_referred(within, many, name)):
                yield from _listed(within, f"{name}({i + 1}).{key}", element)
        return
    if kind == "cell" and item.dtype == h5py.ref_dtype:
        within = walk.into(item, name)
        if top:
            yield Hdf5Array(Variable(name, tuple(item.shape[::-1]), "cell"), None)
        for i, element in enumerate(_referred(within, item, name)):
            yield from _listed(within, f"{name}{{{i + 1}}}", element)
        return
    yield _array(name, item, kind, walk.where)


def _is_field_of_many(item: Any) -> bool:
    """Return whether a member of a group holds references to the field of each struct in an array of structs."""
    return isinstance(item, h5py.Dataset) and item.dtype == h5py.ref_dtype and not _class(item)


def _referred(walk: _Walk, item: Any, name: str) -> Iterator[Any]:
    """Yield the items that a dataset refers to, in MATLAB's order."""
    check_memory(math.prod(item.shape) * 8, f"variable {name}", walk.where)
    for reference in np.ravel(item[()]):
        place = h5py.h5r.get_name(reference, walk.file.id) if reference else None
        if not place:
            raise DataError(f"{walk.where}: {printable(name)} refers to nothing; the file is damaged, copy it again")
        yield own_item(walk.file, place.decode("utf-8", "surrogateescape"), walk.where)


def _array(name: str, item: Any, kind: str, where: Path) -> Hdf5Array:
    """Return the array in a dataset."""
    if not isinstance(item, h5py.Dataset):
        return Hdf5Array(Variable(name, (), "named type"), None)
    stored = item.dtype
    is_real = stored.kind in "iuf" and "MATLAB_object_decode" not in item.attrs
    if not kind:  # HDF5 written by another program
        kind = {"float64": "double", "float32": "single"}.get(stored.name, stored.name)
    elif not is_real and stored.names == ("real", "imag"):
        kind = f"complex {kind}"
    shape = (0,) if item.shape is None else tuple(item.shape[::-1])
    variable = Variable(name, (0, 0) if item.attrs.get("MATLAB_empty") else shape, kind)
    if kind == "char" and stored.kind in "iu" and 0 not in variable.shape:
        return Hdf5Array(variable, None, item)
    if not is_real or kind in ("char", "logical"):
        return Hdf5Array(variable, None)
    check_memory(math.prod(shape) * stored.itemsize, f"variable {variable}", where)
    return Hdf5Array(variable, item)


def _class(item: Any) -> str:
    """Return MATLAB's class of an item; "" if another program wrote it."""
    kind = item.attrs.get("MATLAB_class", b"")
    return kind.decode("latin-1") if isinstance(kind, bytes) else str(kind)
