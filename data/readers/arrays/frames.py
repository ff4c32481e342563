"""Find the tables in an HDF5 file: compound datasets, as PyTables and pandas write, and the fixed frames of pandas.

pandas stores the names of some columns as Python objects, which are never unpickled.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data.errors import printable
from data.readers.arrays.records import Field, Records, fields_of
from data.readers.clock import UNITS_S
from data.readers.contents import Numbers, check_memory

BLOCK = re.compile(r"values_block_\d+")  # columns of one type in a table of pandas
INDEX_GROUP = re.compile(r"(?:^|/)_i_\w+/")


def tables_of(datasets: Mapping[str, Any], where: Path) -> dict[str, Records]:
    """Return the tables by path. The path of a fixed frame is that of its group."""
    found = {name: _compound(name, item, where) for name, item in datasets.items() if item.dtype.names is not None}
    groups = [name.removesuffix("/axis1") for name in datasets if name.endswith("/axis1")]
    for group in groups:
        frame = _frame(group, datasets, where)
        if frame is not None:
            found[group] = frame
    return {name: table for name, table in found.items() if table is not None}


def is_within(name: str, tables: Mapping[str, Records]) -> bool:
    """Return whether a dataset is a part of a table, or one in which PyTables keeps the order of its rows."""
    return INDEX_GROUP.search(name) is not None or any(name.startswith(f"{table}/") for table in tables)


def _compound(name: str, item: Any, where: Path) -> Records | None:
    if item.shape is None or len(item.shape) != 1 or item.shape[0] < 2:
        return None

    def load(field: str) -> Numbers:
        check_memory(item.shape[0] * item.dtype.itemsize, f"dataset {name}", where)
        return np.asarray(item.fields(field)[()])

    fields, left_out = fields_of(item.dtype, load)
    notes = []
    if "index" in fields and (name.endswith("/table") or "index_kind" in item.attrs):
        fields["index"] = Field(fields["index"].load, is_clock=True, unit_s=_unit_of(item.attrs, "index_kind"))
        for block in [field for field in left_out if BLOCK.fullmatch(field)]:
            kind = item.dtype[block]
            if kind.subdtype is None or kind.subdtype[0].kind not in "iuf" or len(kind.shape) != 1:
                continue
            left_out = tuple(field for field in left_out if field != block)
            for i in range(kind.shape[0]):
                fields[f"{block}[{i}]"] = Field(_column(load, block, i))
            notes.append(
                f"the columns of {block} are numbered: pandas stores their names as Python objects, which are never "
                "unpickled; write the frame with data_columns=True to keep them"
            )
    if not any(not field.is_clock for field in fields.values()):
        return None
    return Records(item.shape[0], fields, left_out, tuple(notes))


def _column(load: Any, block: str, i: int) -> Any:
    return lambda: load(block)[:, i]


def _frame(group: str, datasets: Mapping[str, Any], where: Path) -> Records | None:
    """Return a frame that pandas wrote in its fixed format; None if the group is none, or has no numeric columns."""
    index = datasets[f"{group}/axis1"]
    fields: dict[str, Field] = {}
    if index.dtype.kind in "iuf" and index.ndim == 1:
        fields["index"] = Field(lambda: np.asarray(index[()]), is_clock=True, unit_s=_unit_of(index.attrs, "kind"))
    for i in range(len(datasets)):
        items, values = datasets.get(f"{group}/block{i}_items"), datasets.get(f"{group}/block{i}_values")
        if items is None or values is None:
            break
        if values.ndim != 2 or values.dtype.kind not in "iuf" or values.shape[0] != index.shape[0]:
            continue
        names = _names(items, values.shape[1])
        for column, name in enumerate(names):
            is_dates = _unit_of(values.attrs, "value_type")
            fields[name] = Field(_block_column(values, column, where), is_dates is not None, is_dates)
    n_columns = sum(not field.is_clock for field in fields.values())
    return Records(int(index.shape[0]), fields) if n_columns and index.shape[0] > 1 else None


def _block_column(values: Any, column: int, where: Path) -> Any:
    def load() -> Numbers:
        check_memory(values.size * values.dtype.itemsize, f"dataset {printable(values.name)}", where)
        return np.asarray(values[:, column])

    return load


def _names(items: Any, n: int) -> list[str]:
    """Return the names of columns that a dataset of texts or numbers holds; "0", "1" ... if it does not hold `n`."""
    if items.dtype.kind in "iuS" or h5py.check_string_dtype(items.dtype) is not None:
        found = np.ravel(items[()]).tolist()
        names = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in found]
        if len(names) == len(set(names)) == n:
            return names
    return [str(i) for i in range(n)]


def _unit_of(attributes: Any, key: str) -> float | None:
    """Return the unit in s of an index of dates: "datetime64", or "datetime64[us]"; None for other indices."""
    if key not in attributes:
        return None
    stored = attributes.get_id(key).dtype
    if stored.kind != "S" and h5py.check_string_dtype(stored) is None:
        return None
    text = attributes[key]
    text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    match = re.search(r"datetime64(?:\[(\w+)\])?", text)
    return None if match is None else UNITS_S.get(match[1] or "ns")
