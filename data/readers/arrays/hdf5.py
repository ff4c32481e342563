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

from data.errors import printable
from data.readers.arrays.links import own_item
from data.readers.arrays.variables import choose, is_vector, read_generic
from data.readers.contents import Contents, Numbers, Variable, Wanted, check_memory, reading
from data.readers.names import is_rate_name

LABEL_NAMES = ("channels", "channel_names", "channelnames", "columns", "labels", "names")


def read_hdf5(path: Path, wanted: Wanted) -> Contents:
    """Read a dataset as [time], [time, channel] or [channel, time]; see `data.readers.arrays.variables.read_generic`.

    Its rate is that of an attribute such as `fs` of the dataset, else of an attribute of its group or a number in it,
    and so on up to the file. An attribute such as `channel_names` names the channels if it fits.

    Raises DataError if the file is broken, another file holds data of it, or the dataset cannot be recognised.
    """
    if wanted.variable is not None:
        wanted = replace(wanted, variable=wanted.variable.strip("/"))
    wanted = replace(wanted, variables=tuple(name.strip("/") for name in wanted.variables))
    with reading(path, "an HDF5 file"), _opened(path) as store:
        chosen = () if wanted.variables else choose(store, wanted.variable, path)
        return read_generic(store, wanted, path, _labels(store, chosen[0]) if len(chosen) == 1 else ())


def hdf5_variables(path: Path) -> tuple[Variable, ...]:
    """Return the datasets in the file, named by their paths, without loading them."""
    with reading(path, "an HDF5 file"), _opened(path) as store:
        return tuple(v for v in store.variables if v.name in store.datasets)


@dataclass(frozen=True, slots=True)
class _Hdf5:
    """An open HDF5 file. Its variables are the datasets, named by their paths, and the rates in attributes.

    An attribute of a group has the name of a dataset in it; one of the dataset "acc" is named as one that stands
    beside it: "acc_fs".
    """

    file: Any  # h5py.File; h5py has no types
    datasets: Mapping[str, Any]
    attributes: Mapping[str, float]
    path: Path

    @property
    def variables(self) -> tuple[Variable, ...]:
        held = (Variable(name, item.shape or (), str(item.dtype)) for name, item in self.datasets.items())
        return (*held, *(Variable(name, (), "attribute") for name in self.attributes))

    @property
    def numeric(self) -> frozenset[str]:
        held = (n for n, item in self.datasets.items() if item.dtype.kind in "iuf" and item.shape is not None)
        return frozenset((*held, *self.attributes))

    def load(self, name: str) -> Numbers:
        if name in self.attributes:
            return np.array(self.attributes[name])
        return np.asarray(self._checked(name)[()])

    def lines(self, name: str, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
        stored = self._checked(name)
        for i in indices:
            yield np.asarray(stored[i] if axis == 0 else stored[:, i])

    def _checked(self, name: str) -> Any:
        stored = self.datasets[name]
        check_memory(math.prod(stored.shape) * stored.dtype.itemsize, f"dataset {name}", self.path)
        return stored


@contextmanager
def _opened(path: Path) -> Iterator[_Hdf5]:
    with h5py.File(path, "r") as file:
        datasets = dict(_datasets(file, path, set()))
        attributes = {name: value for name, value in _rates(file, datasets) if name not in datasets}
        yield _Hdf5(file, datasets, attributes, path)


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


def _rates(file: Any, datasets: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers in attributes that are rates by their names, with the names that they have as variables."""
    groups = dict.fromkeys(group for name in datasets for group in _groups(name))
    for place in (*datasets, *groups):
        before = f"{place}_" if place in datasets else f"{place}/".lstrip("/")
        attributes = file[place].attrs
        for key in attributes:
            if is_rate_name(key) and (value := _number(_attribute(attributes, key))) is not None:
                yield before + re.sub("[./]", "", key), value  # these would be the border of a group


def _groups(name: str) -> list[str]:
    """Return the paths of the groups that hold a dataset, from the nearest to the file's root, which is "/"."""
    parts = name.split("/")[:-1]
    return [*("/".join(parts[:n]) for n in range(len(parts), 0, -1)), "/"]


def _attribute(attributes: Any, key: str) -> Any:
    """Return an attribute of numbers or texts; None for other types, of which the library may crash if damaged."""
    stored = attributes.get_id(key).dtype
    return attributes[key] if stored.kind in "iufS" or h5py.check_string_dtype(stored) is not None else None


def _number(value: Any) -> float | None:
    """Return the number that an attribute holds, also as text or in an array of one; None if it holds none."""
    array = np.ravel(np.asarray(value))
    try:
        return float(array[0]) if array.size == 1 else None
    except (TypeError, ValueError):
        return None


def _labels(store: _Hdf5, variable: Variable) -> tuple[str, ...]:
    """Return the channel names that fit a dataset, from an attribute of it or of its groups; () if there are none."""
    n_channels = 1 if is_vector(variable) else min(n for n in variable.shape if n > 1)
    for place in (variable.name, *_groups(variable.name)):
        attributes = store.file[place].attrs
        for key in attributes:
            if key.lower().replace(" ", "_") in LABEL_NAMES:
                names = _texts(_attribute(attributes, key))
                if len(names) == n_channels and len(set(names)) == n_channels and all(names):
                    return names
    return ()


def _texts(value: Any) -> tuple[str, ...]:
    """Return the texts of an attribute: those of an array, or the parts of a text between commas."""
    texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in np.ravel(value).tolist()]
    if not all(isinstance(text, str) for text in texts):
        return ()
    parts = texts[0].split(",") if len(texts) == 1 else texts
    return tuple(printable(part.strip()) for part in parts)
