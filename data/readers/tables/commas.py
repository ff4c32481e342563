"""Decide whether the comma in rows such as `0,125` separates two columns or is a decimal mark."""

import re
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.readers.tables.text import blocks, is_comment

STEP = "save the table with a header, a decimal point, or semicolons between its columns"
_PADDED = re.compile(r"0\d+")


@dataclass(frozen=True, slots=True)
class _Signs:
    """What rows of integers and commas show: decimal points, signs after a comma, fractions such as 05 or after -0."""

    points: bool
    signs: bool
    fractions: bool


def is_decimal_comma(path: Path, encoding: str, first_line: int, n_cells: int, n_labels: int | None) -> bool:
    """Return whether the comma of each row is a decimal mark, so that the table has one column.

    All rows are looked at: the first point or sign may stand in the last of them.

    n_cells: in each row, if commas are delimiters.
    n_labels: in the header; None if there is no header.

    Raises DataError, with both readings, if nothing in the file decides.
    """
    shown = _shown(path, encoding, first_line)
    if shown.points:
        return False
    if n_cells == 2 and n_labels == 1 and not shown.signs:
        return True
    if n_cells == 2 and n_labels is None and shown.signs != shown.fractions:
        return shown.fractions
    paired = n_cells % 2 == 0 and n_labels in (None, n_cells // 2)
    if shown.fractions or (paired and not (n_labels is None and shown.signs)):
        readings = (
            "2 columns of integers, or one of numbers with decimal commas"
            if n_cells == 2
            else (f"{n_cells} columns of integers, or {n_cells // 2} of numbers with decimal commas")
        )
        names = "no header" if n_labels is None else f"{n_labels} {'name' if n_labels == 1 else 'names'} in the header"
        raise DataError(f"{path}: commas can be read in two ways: {readings} ({names}); {STEP}")
    return False


def _shown(path: Path, encoding: str, first_line: int) -> _Signs:
    points = signs = fractions = False
    n_before = 0
    for lines in blocks(path, encoding):
        for line in lines[max(first_line - n_before, 0) :]:
            if is_comment(line):
                continue
            if "." in line:
                return _Signs(True, signs, fractions)
            cells = [cell.strip() for cell in line.split(",")]
            for whole, fraction in zip(cells[::2], cells[1::2], strict=False):
                signs |= fraction[:1] in ("+", "-")
                fractions |= whole == "-0" or _PADDED.fullmatch(fraction) is not None
        n_before += len(lines)
    return _Signs(points, signs, fractions)
