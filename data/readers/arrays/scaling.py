"""Give the stored numbers of an HDF5 dataset the values that its attributes state, as netCDF and NWB define them."""

from pathlib import Path
from typing import Any

import numpy as np

from data.errors import DataError, printable
from data.readers.contents import Numbers, listing

FACTORS = ("scale_factor", "conversion")
OFFSETS = ("add_offset", "offset")  # "offset" belongs to "conversion"
FILLS = ("_FillValue", "missing_value")


def scaled(stored: Numbers, attributes: Any, name: str, where: Path, notes: list[str]) -> Numbers:
    """Return the numbers times the factor, plus the offset, and NaN where they are a value that stands for none.

    Numbers are returned as they are if no such attribute changes them.

    Raises DataError for a factor or an offset that is no number, or a factor of 0.
    """
    factor, by = _number(attributes, FACTORS[:1], where, name), FACTORS[0]
    offset = _number(attributes, OFFSETS[:1], where, name)
    if factor is None and offset is None:
        factor, by = _number(attributes, FACTORS[1:], where, name), FACTORS[1]
        offset = None if factor is None else _number(attributes, OFFSETS[1:], where, name)
    if factor == 0:
        raise DataError(f"{where}: {by} of {printable(name)} is 0, which leaves no signal; correct it")
    fills = [fill for each in FILLS if (fill := _number(attributes, (each,), where, name)) is not None]
    fills = [fill for fill in dict.fromkeys(fills) if (stored == fill).any()]
    missing = np.any([stored == fill for fill in fills], axis=0) if fills else np.zeros(1, bool)
    factor, offset = factor or 1.0, offset or 0.0
    if (factor, offset) == (1.0, 0.0) and not missing.any():
        return stored
    values = stored.astype(np.float64) * factor + offset
    if (factor, offset) != (1.0, 0.0):
        notes.append(f"{printable(name)} is multiplied by {factor:g}, plus {offset:g}, as its attributes say")
    if missing.any():
        values[missing] = np.nan
        notes.append(
            f"{printable(name)}: samples of {listing(f'{fill:g}' for fill in fills)} are missing, as its attributes say"
        )
    return values


def _number(attributes: Any, names: tuple[str, ...], where: Path, dataset: str) -> float | None:
    """Return the number in the first of these attributes that is there. Raises DataError if it is none."""
    for name in names:
        if name not in attributes:
            continue
        kind = attributes.get_id(name).dtype.kind
        values = np.ravel(np.asarray(attributes[name])) if kind in "iuf" else np.empty(0)
        if values.size != 1 or (name in (*FACTORS, *OFFSETS) and not np.isfinite(values[0])):
            raise DataError(f"{where}: {name} of {printable(dataset)} is no single number; apply it and remove it")
        return float(values[0])
    return None
