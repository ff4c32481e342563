"""Find the names of the columns of a text table: in the lines above the first row of numbers, or in that row itself."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from data.errors import DataError, printable
from data.readers.contents import is_ecg
from data.readers.labels import SCALES, role_of
from data.readers.tables.cells import (
    DELIMITERS,
    INTEGER,
    NUMBER,
    SPACES,
    is_missing,
    kind_of,
    split,
    unquoted,
    value_of,
)
from data.readers.tables.stated import is_statement

UNITS = re.compile(
    r"|[-#%°]|[munpkMµμ]?(?:s|sec|g|V|A|Pa|N|Hz|m)|min|hours?|seconds?|m/s|(?:[mk]?m)/?s\W*(?:\^|\*\*)?2|m/s²|m\*?s-2|"
    r"°?C|degC|deg|rad|h+:m+(?::s+)?(?:[.,]\w+)?|(?:deg|°|rad|dps)/?s|mmHg|bar|dB|bpm|rpm|a\.?u\.?|counts?|lsb|adc|raw|samples?|usec|msec|%",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"[\[({].*[\])}]")
# The first word of a line of numbers between the names and the rows that holds no samples.
_PROPERTY = re.compile(
    r"min(imum)?|max(imum)?|mean|average|std|rms|sensitivity|offset|gain|scale|factor|range|calibration|cal|resolution|"
    r"slope|intercept|lsb|filter|empfindlichkeit|messbereich",
    re.IGNORECASE,
)
MAX_HEADER = 4  # lines
MAX_PROPERTIES = 8  # lines between the names and a line that names the times only


@dataclass(frozen=True, slots=True)
class Rows:
    """The first lines of a table, split at a delimiter.

    start: the first of them that is a row of numbers.
    ends_empty: whether the last cell of each row is empty.
    """

    cells: list[list[str]]
    texts: list[str]
    delimiter: str
    kinds: tuple[str, ...]
    start: int
    ends_empty: bool

    def column(self, index: int, first: int) -> list[str]:
        """The cells of a column from a row on; short rows have none."""
        return [row[index] for row in self.cells[first:] if index < len(row)]


@dataclass(frozen=True, slots=True)
class Header:
    """The names of the columns; None if there are none.

    n_above: lines above the first row of numbers that belong to the header.
    n_below: 1 if that row is itself the header, which holds integers.
    """

    labels: list[str] | None
    units: tuple[str, ...] = ()
    n_above: int = 0
    n_below: int = 0
    notes: tuple[str, ...] = ()


def header_of(rows: Rows, path: Path) -> Header:
    """Return the names and units in the lines above the first row of numbers, or in that row itself."""
    above = rows.start - 1
    if (titles := _titles(rows, path)) is not None:
        return Header(titles)
    notes: list[str] = []
    # Between names and rows, a stated rate cannot be taken for one of several "key,value" lines if there are 3 columns.
    while above > 0:
        if not any(rows.cells[above]):
            pass  # a row of delimiters
        elif _is_property(rows, above):
            notes.insert(0, f"the line {printable(rows.texts[above].strip())[:60]!r} below the names is left out")
        elif not (len(rows.kinds) > 2 and is_statement(rows.texts[above])):
            break
        above -= 1
    labels = None if above < 0 or is_statement(rows.texts[above]) else _labels(rows, above, path)
    if labels is None:
        return _integer_header(rows)
    numeric = [label for label in labels if NUMBER.fullmatch(label)]
    names = rows.cells[above - 1] if above else []
    has_names = len(names) == len(labels) and not any(map(NUMBER.fullmatch, names))
    are_numbered = not has_names and (
        (are_consecutive(numeric) and int(numeric[0]) <= 1)
        or (len(numeric) > 1 and all(label.isdecimal() for label in numeric) and len(set(numeric)) == len(numeric))
    )
    if numeric and (not are_numbered or NUMBER.fullmatch(labels[0])):
        if all(NUMBER.fullmatch(label) for label in labels if label):
            n = len(rows.kinds) - rows.ends_empty
            raise DataError(
                f"{path}: row 1 of numbers has too few or too many cells "
                f"({printable(rows.texts[above].strip())[:60]!r}); each row needs {n}, empty for a missing sample"
            )
        if has_names or NUMBER.fullmatch(labels[0]):
            bad = next(label for label in labels if not NUMBER.fullmatch(label))
            raise DataError(
                f"{path}: row 1 of numbers: cell {printable(bad)[:40]!r} is no number; write a number, or leave it "
                "empty for a missing sample"
            )
        return _integer_header(rows)
    found = _of_lines(_lines_above(rows, above, labels), rows)
    place = above - found.n_above
    found_labels, place = _filled(found.labels or labels, rows, place)
    return Header(found_labels, found.units, n_above=rows.start - place, notes=(*found.notes, *notes))


def _filled(labels: list[str], rows: Rows, at: int) -> tuple[list[str], int]:
    """Return names with those of a line above in place of all that are empty, and the line where they begin.

    A line such as "Time,," may stand below one with the names, units and properties of the channels.
    """
    empty = [i for i, label in enumerate(labels) if not label and i < len(labels) - rows.ends_empty]
    if not labels[0] or len(empty) != len(labels) - 1 - rows.ends_empty or not empty:
        return labels, at
    for i in range(at - 1, max(at - 1 - MAX_PROPERTIES, -1), -1):
        cells = [unquoted(cell) for cell in rows.cells[i]]
        if len(cells) < len(labels) - rows.ends_empty or any(map(NUMBER.fullmatch, cells)):
            continue
        names = [cells[k] for k in empty]
        if all(names) and not all(map(_is_unit, names)):
            return [labels[k] or cells[k] if k < len(cells) else "" for k in range(len(labels))], i
    return labels, at


def _titles(rows: Rows, path: Path) -> list[str] | None:
    """Return the names in a line "ChannelTitle=", as LabChart writes one; the times before them have no name."""
    n = len(rows.kinds) - rows.ends_empty
    for first, *titles in rows.cells[: rows.start]:
        if first.lower() == "channeltitle=":
            titles = titles[: len(titles) - (titles[-1:] == [""])]
            last = rows.cells[rows.start - 1]
            if len(last) > n and all(map(NUMBER.fullmatch, last[:n])):
                raise DataError(
                    f"{path}: row 1 of numbers has too many cells ({printable(last[n].strip())[:60]!r}); remove the "
                    "comments behind the rows"
                )
            if n - 1 <= len(titles) <= n:
                return [*[""] * (n - len(titles)), *titles, *[""] * rows.ends_empty]
    return None


def _is_property(rows: Rows, at: int) -> bool:
    """Return whether a line holds a word such as "Sensitivity" and, for each other column, a number."""
    first, *others = rows.cells[at]
    filled = [cell for cell in others if not is_missing(cell)]
    return (
        len(rows.kinds) > 1
        and len(rows.cells[at]) in (len(rows.kinds), len(rows.kinds) - rows.ends_empty)
        and bool(filled)
        and _PROPERTY.match(first) is not None
        and all(NUMBER.fullmatch(cell) for cell in filled)
    )


def _lines_above(rows: Rows, at: int, labels: list[str]) -> list[list[str]]:
    """Return the lines of words with one for each column: the last of them stands at `at`, and holds `labels`."""
    found = [labels]
    while at > 0 and len(found) < MAX_HEADER and not is_statement(rows.texts[at - 1]):
        at -= 1
        cells = [unquoted(cell) for cell in rows.cells[at]]
        if len(cells) == len(labels) + 1 and cells[-1] == "":
            cells.pop()
        cells += [""] * (len(cells) == len(labels) - 1 and len(cells) > 0)
        if len(cells) != len(labels) or any(kind_of(cell) not in ("text", "missing") for cell in cells):
            break
        found.insert(0, cells)
    return found


def _of_lines(lines: list[list[str]], rows: Rows) -> Header:
    """Return the names and units in lines of words; n_above is the number of lines below the names.

    The lowest line has the names, unless it holds units, or an upper line has more names of clocks, counters and ECGs,
    or it repeats a name that the upper line does not.
    """
    at = len(lines) - 1
    for i in range(len(lines) - 2, -1, -1):
        upper, lower = lines[i], lines[at]
        more = _n_telling(upper) > _n_telling(lower)
        wide = rows.delimiter != SPACES and len(upper) > 2
        some_units = any(_is_unit(cell) for cell in lower if cell)
        repeats = _repeats(lower) and not _repeats(upper)
        if (_are_units(lower) and at == len(lines) - 1) or (
            _n_telling(upper) >= _n_telling(lower)
            and ((more and (wide or some_units) and _tells_of(upper, rows)) or (repeats and some_units))
        ):
            at = i
    labels, below = [unquoted(name) for name in lines[at]], lines[at + 1 :]
    notes: list[str] = []
    if (
        below
        and _repeats(labels)
        and not _repeats(joined := [f"{a} {b}".strip() for a, b in zip(labels, below[0], strict=True)])
    ):
        labels, below = joined, below[1:]
    units = max(below, key=lambda line: sum(bool(cell) and _is_unit(cell) for cell in line), default=[])
    for line in below:
        if line is units and not _are_units(line):
            notes.append(f"the line {', '.join(line)[:60]!r} below the names is taken as units")
        elif line is not units:
            notes.append(f"the line {', '.join(line)[:60]!r} below the names is left out")
    return Header(labels, tuple(units), n_above=len(lines) - 1 - at, notes=tuple(printable(note) for note in notes))


def _tells_of(cells: Sequence[str], rows: Rows) -> bool:
    """Return whether a line has the name of an ECG, or of a clock or counter above a column that does not fall."""
    for i, cell in enumerate(cells):
        if is_ecg(cell) or (_n_telling([cell]) and rows.kinds[i] in ("stamp", "date")):
            return True
        if _n_telling([cell]):
            known = [value_of(c, "," if "," in c else ".") for c in rows.column(i, rows.start) if not is_missing(c)]
            numbers = [number for number in known if number is not None]
            falls = sum(b < a for a, b in pairwise(numbers))
            if len(numbers) == len(known) and falls <= 0.2 * len(numbers):
                return True  # also one that starts again and again
    return False


def _n_telling(cells: Sequence[str]) -> int:
    """Return how many cells are names of clocks, counters or ECGs. Bare units are none."""
    names = [cell for cell in cells if cell.lower() not in SCALES and not _is_unit(cell) and not is_missing(cell)]
    roles = [role_of(name, "") for name in names]
    return sum(role.is_clock or role.is_counter for role in roles) + sum(map(is_ecg, cells))


def _repeats(cells: Sequence[str]) -> bool:
    return any(count > 1 for cell, count in Counter(cells).items() if cell)


def _is_unit(cell: str) -> bool:
    return UNITS.fullmatch(cell) is not None or _BRACKETED.fullmatch(cell) is not None


def _are_units(cells: Sequence[str]) -> bool:
    """Return whether all cells are units, as "mV" and "(s)"."""
    return any(cells) and all(map(_is_unit, cells))


def _labels(rows: Rows, at: int, path: Path) -> list[str] | None:
    """Return the cells of a line as names, one per column; None if it is a title.

    Raises DataError if they do not fit.
    """
    n, text = len(rows.kinds), rows.texts[at]
    tries = [rows.cells[at]]
    if rows.delimiter == SPACES:  # names with spaces in them: "Time (s)  Chest wall"
        tries += [text.split(), re.split(r"\s{2,}|\t", text.strip()), re.sub(r"\s+(?=[\[(])", "_", text).split()]
    for found in tries:
        cells = [unquoted(cell) for cell in found]
        if len(cells) == n:
            return cells
        if rows.ends_empty and len(cells) == n - 1:
            return [*cells, ""]
        if len(cells) == n + 1 and cells[-1] == "":
            return cells[:-1]
    cells = [unquoted(cell) for cell in tries[0]]
    if len(cells) == n - 1 and (rows.kinds[0] == "text" or are_consecutive(rows.column(0, rows.start))):
        return ["", *cells]  # R writes no name above the names of the rows
    if len(cells) == 1:
        others = ([unquoted(cell) for cell in split(text, delimiter)] for delimiter in DELIMITERS[:-1])
        fitting = (found for found in others if len(found) == n - rows.ends_empty > 1)
        return next(([*found, *[""] * rows.ends_empty] for found in fitting), None)
    raise DataError(
        f"{path}: {len(cells)} names in the header, but {n} cells in a row; as many names as columns are needed, and "
        "decimal commas only where another character separates the columns"
    )


def _integer_header(rows: Rows) -> Header:
    """Return the header if the first row holds 0, 1 ... or 1, 2 ... and all numbers below it have decimal places."""
    first = rows.cells[rows.start]
    skipped = 1 if first[0] == "" and len(first) > 1 else 0
    numbers = first[skipped : len(first) - (rows.ends_empty and len(first) == len(rows.kinds))]
    if not are_consecutive(numbers) or int(numbers[0]) > 1:
        return Header(None)
    below = [rows.column(i + skipped, rows.start + 1) for i in range(len(numbers))]
    shown = ", ".join(numbers[:4])
    if not below[0] or any(re.fullmatch(INTEGER, cell) for column in below for cell in column):
        note = (f"the first row ({shown}) is taken as samples, not as names",) if len(numbers) > 1 else ()
        return Header(None, notes=note)
    if len(below[0]) > 1 and _continues(first[skipped], below[0]):
        return Header(None)  # the first row of a table whose first column rises from 0
    labels = [*first, *[""] * (len(rows.kinds) - len(first))]
    return Header(labels, n_below=1, notes=(f"the first row ({shown}) is taken as names, as it holds integers",))


def _continues(first: str, below: Sequence[str]) -> bool:
    """Return whether a number lies as far below the next as that below the one after it."""
    try:
        a, b, c = (float(cell.replace(",", ".")) for cell in (first, *below[:2]))
    except ValueError:
        return False
    return b > a and abs((b - a) - (c - b)) <= 0.01 * (b - a)


def are_consecutive(cells: Sequence[str]) -> bool:
    """Return whether cells hold integers that rise by 1."""
    if not cells or not all(cell.isascii() and cell.isdecimal() for cell in cells):
        return False
    return all(int(cell) == int(cells[0]) + i for i, cell in enumerate(cells))
