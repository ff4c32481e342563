"""Refuse columns whose marks may separate thousands: `-1.500`, `417`, `1.250`."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data.errors import DataError, printable
from data.readers.contents import listing
from data.readers.labels import Role, role_of
from data.readers.tables.cells import split
from data.readers.tables.columns import Floats
from data.readers.tables.head import Head

_MARKED = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
_WHOLE = re.compile(r"[+-]?\d{1,3}")


def check_thousands(path: Path, head: Head, columns: Sequence[Floats | None], rows: Iterable[str]) -> tuple[str, ...]:
    """Raise DataError for a column of numbers with a mark before exactly three digits, and of others without a mark.

    Where another column shows that the mark is a decimal one, it is so everywhere. Where all numbers of a column have
    such a mark, they have decimal places, and a note says so; quoted between commas they are as likely thousands, so
    they are refused.

    rows: of the table, which are only read if the numbers leave it open.
    """
    found: dict[int, tuple[str, str]] = {}
    for i, values in enumerate(columns):
        if values is None or head.kinds[i] != "number":
            continue
        if _may_be(values):
            found[i] = ("", "")
        elif bool((np.isfinite(values) & (values != np.floor(values))).any()):
            return ()
    if not found:
        return ()
    for row in rows:
        cells = split(row, head.delimiter)
        for i, (marked, whole) in list(found.items()):
            cell = cells[i] if i < len(cells) else ""
            if _MARKED.fullmatch(cell):
                found[i] = (marked or cell, whole)
            elif _WHOLE.fullmatch(cell):
                found[i] = (marked, whole or cell)
            elif any(character.isdigit() for character in cell):
                del found[i]
        if not found:
            return ()
    read = []
    for i, (marked, whole) in found.items():
        name = printable(head.names[i])
        if marked and (whole or (head.delimiter == "," and "," in marked)):
            beside = f" beside {whole!r}" if whole else ""
            raise DataError(
                f"{path}: column {name!r}: numbers such as {marked!r}{beside} can be read in two ways, with thousands "
                "or with decimal places; write them without marks between thousands, or with four decimal places"
            )
        if marked and role_of(name, head.units[i]) == Role():
            read.append((name, marked))
    if not read:
        return ()
    named = f"{'column' if len(read) == 1 else 'columns'} {listing(name for name, _ in read)}"
    return (f"{named}: numbers such as {read[0][1]!r} are read with decimal places, not with thousands",)


def _may_be(values: Floats) -> bool:
    """Return whether all numbers are whole ones below 1000, or have up to three decimal places and are above 1."""
    has_marks = False
    for part in (values[:1000], values):
        known = np.abs(part[np.isfinite(part)])
        if known.size == 0 or known.max() >= 1000:
            return False
        off = known[known != np.floor(known)]
        has_marks = off.size > 0
        if has_marks and (off.min() < 1 or np.abs(off * 1000 - np.round(off * 1000)).max() > 1e-6):
            return False
    return has_marks
