"""Refuse HDF5 datasets whose data another file holds: a foreign recording could name any file of the user."""

from pathlib import Path
from typing import Any

import h5py

from data.errors import DataError, printable


def own_item(group: Any, name: str, where: Path) -> Any:
    """Return the dataset or group `name` in a group of an HDF5 file.

    Raises DataError if another file, or another dataset, holds its data.
    """
    link = group.get(name, getlink=True)
    path = f"{group.name}/{name}".strip("/")
    if not isinstance(link, h5py.HardLink):
        target = getattr(link, "filename", getattr(link, "path", "another file"))
        raise DataError(_outside(path, f"is a link to {target!r}", where))
    item = group[name]
    if isinstance(item, h5py.Dataset) and item.external:
        raise DataError(_outside(path, f"has its data in {item.external[0][0]!r}", where))
    if isinstance(item, h5py.Dataset) and item.is_virtual:
        raise DataError(_outside(path, "has its data in other datasets (it is virtual)", where))
    return item


def _outside(name: str, problem: str, where: Path) -> str:
    return f"{where}: dataset {printable(name)} {problem}; a recording must hold its own data, so copy them into it"
