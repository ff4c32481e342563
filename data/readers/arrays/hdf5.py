"""Read HDF5 files (.h5, .hdf5): a dataset named by its path, or the only one that can be the signal."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data.errors import DataError
from data.readers.arrays.archive import ATTRIBUTE, array_texts, lines_of
from data.readers.arrays.clocks import rate_of_signal
from data.readers.arrays.frames import is_within, tables_of
from data.readers.arrays.levels import field_of
from data.readers.arrays.links import own_item
from data.readers.arrays.records import Records, read_records
from data.readers.arrays.scaling import scaled
from data.readers.arrays.titles import is_title_name
from data.readers.arrays.variables import candidates, read_generic, with_beside
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, is_ecg, listing, reading
from data.readers.names import is_clock_name, is_doubtful_rate, is_rate_name, is_unit_name_of

FRAME = "frame"  # the type of a table that is a group of datasets
MAX_TEXTS = 100_000


def read_hdf5(path: Path, wanted: Wanted) -> Contents:
    """Read a dataset as [time], [time, channel] or [channel, time]; see `data.readers.arrays.variables.read_generic`.

    Its rate is that of an attribute such as `fs` of the dataset, else of an attribute of its group or a number in it,
    and so on up to the file. An attribute or a dataset such as `channel_names` names the channels if it fits. In a
    table (a compound dataset, or a frame of pandas), each column of numbers is a channel. The attributes scale_factor,
    add_offset and _FillValue of a dataset are applied, as netCDF defines them.

    Raises DataError if the file is broken, another file holds data of it, or the dataset cannot be recognised.
    """
    if wanted.variable is not None:
        wanted = replace(wanted, variable=wanted.variable.strip("/"))
    wanted = replace(wanted, variables=tuple(name.strip("/") for name in wanted.variables))
    with reading(path, "an HDF5 file"), _opened(path) as store:
        table = _table(store, wanted, path)
        if table is not None:
            notes = list[str]()
            records = store.tables[table]
            stated_hz = rate_of_signal(store, table, records.n_samples, path, notes, wanted.rate_hz)
            contents = read_records(records, wanted, path, stated_hz, notes)
            return with_beside(contents, store, [table], path)
        contents = read_generic(store, wanted, path)
        return replace(contents, notes=(*dict.fromkeys(store.notes), *contents.notes))


def hdf5_variables(path: Path) -> tuple[Variable, ...]:
    """Return the datasets in the file, named by their paths, without loading them."""
    with reading(path, "an HDF5 file"), _opened(path) as store:
        return tuple(v for v in store.variables if v.dtype != ATTRIBUTE)


def _table(store: "_Hdf5", wanted: Wanted, where: Path) -> str | None:
    """Return the table to read: the one that is named, or the only one where no dataset can be the signal.

    Raises DataError for several, or for one beside such a dataset that is no longer than it.
    """
    if wanted.variables or not store.tables:
        return None
    if wanted.variable is not None:
        named = (wanted.variable, f"{wanted.variable}/table")
        return next((name for name in named if name in store.tables), None)
    others = [v for v in candidates(store) if not is_ecg(field_of(v.name))]
    longest = max((n for v in others for n in v.shape), default=0)
    found = [name for name, table in store.tables.items() if table.n_samples >= longest]  # shorter ones are notes
    if not found:
        return None
    if len(found) == 1 and not others:
        return found[0]
    shown = listing([*found, *others])
    raise DataError(f"{where}: more than one variable may be the signal: {shown}; choose with variable=")


@dataclass(frozen=True, slots=True)
class _Hdf5:
    """An open HDF5 file. Its variables are the datasets, named by their paths, and the rates in attributes.

    An attribute of a group has the name of a dataset in it; one of the dataset "acc" is named as one that stands
    beside it: "acc_fs".
    """

    datasets: Mapping[str, Any]
    attributes: Mapping[str, Any]
    tables: Mapping[str, Records]
    path: Path
    notes: list[str]

    variables: tuple[Variable, ...]
    numeric: frozenset[str]
    times: frozenset[str] = frozenset()

    def texts(self, name: str) -> tuple[str, ...]:
        if name in self.attributes:
            return array_texts(self.attributes[name])
        item = self.datasets.get(name)
        if item is None or item.shape is None or not _is_text(item.dtype) or item.size > MAX_TEXTS:
            return ()
        return array_texts(np.asarray(item[()]))

    def load(self, name: str) -> Numbers:
        if name in self.attributes:
            return np.asarray(self.attributes[name])
        stored = self._checked(name)
        return scaled(np.asarray(stored[()]), stored.attrs, name, self.path, self.notes)

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        stored = self._checked(name)
        line_bytes = stored.shape[1 - axis] * stored.dtype.itemsize
        for line in lines_of(lambda at: np.asarray(stored[at] if axis == 0 else stored[:, at].T), indices, line_bytes):
            yield scaled(line, stored.attrs, name, self.path, self.notes)

    def _checked(self, name: str) -> Any:
        stored = self.datasets[name]
        check_memory(math.prod(stored.shape) * stored.dtype.itemsize, f"dataset {name}", self.path)
        return stored


@contextmanager
def _opened(path: Path) -> Iterator[_Hdf5]:
    with h5py.File(path, "r") as file:
        datasets = dict(_datasets(file, path, set()))
        attributes = {name: value for name, value in _attributes(file, datasets) if name not in datasets}
        tables = tables_of(datasets, path)
        kept = {name: item for name, item in datasets.items() if name in tables or not is_within(name, tables)}
        variables = (
            *(Variable(name, item.shape or (), str(item.dtype)) for name, item in kept.items()),
            *(Variable(n, (t.n_samples, len(t.fields)), FRAME) for n, t in tables.items() if n not in kept),
            *(Variable(name, value.shape, ATTRIBUTE) for name, value in attributes.items()),
        )
        numeric = (
            *(name for name, item in kept.items() if item.dtype.kind in "iuf" and item.shape is not None),
            *(name for name, value in attributes.items() if value.dtype.kind in "iuf"),
        )
        yield _Hdf5(kept, attributes, tables, path, [], variables, frozenset(numeric))


def _datasets(group: Any, where: Path, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the path and dataset of all datasets in a group and below. Each is found once, also by several hard links.

    Soft links are not followed: within the file they lead to what is found anyway.

    Raises DataError if another file holds the data of a dataset.
    """
    seen.add(group)
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.SoftLink):
            continue
        item = own_item(group, name, where)
        if item in seen:
            continue
        if isinstance(item, h5py.Group):
            yield from _datasets(item, where, seen)
        elif isinstance(item, h5py.Dataset):
            seen.add(item)
            yield f"{group.name}/{name}".strip("/"), item


def _attributes(file: Any, datasets: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that by their names are rates, units of rates or clocks, or names of channels.

    They are named as variables are.
    """
    groups = dict.fromkeys(group for name in datasets for group in _groups(name))
    for place in (*datasets, *groups):
        before = f"{place}_" if place in datasets else f"{place}/".lstrip("/")
        attributes = file[place].attrs
        rates = [key for key in attributes if is_rate_name(key) or is_doubtful_rate(key)]
        is_clock = place in datasets and is_clock_name(field_of(place))
        for key in attributes:
            is_unit = any(is_unit_name_of(key, rate) for rate in rates) or (is_clock and is_unit_name_of(key, ""))
            if key in rates or is_title_name(key) or is_unit:
                value = _attribute(attributes, key)
                if value is not None:
                    yield before + re.sub("[./]", "", key), value  # these would be the border of a group


def _groups(name: str) -> list[str]:
    """Return the paths of the groups that hold a dataset, from the nearest to the file's root, which is "/"."""
    parts = name.split("/")[:-1]
    return [*("/".join(parts[:n]) for n in range(len(parts), 0, -1)), "/"]


def _attribute(attributes: Any, key: str) -> Any:
    """Return an attribute of numbers or texts; None for other types, of which the library may crash if damaged."""
    stored = attributes.get_id(key).dtype
    return np.asarray(attributes[key]) if stored.kind in "iuf" or _is_text(stored) else None


def _is_text(stored: Any) -> bool:
    return stored.kind == "S" or h5py.check_string_dtype(stored) is not None
