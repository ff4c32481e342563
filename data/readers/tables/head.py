"""Find out how a text table is written: delimiter, decimal mark, header, units, and where its rows begin."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError, printable
from data.readers.contents import is_ecg
from data.readers.labels import role_of
from data.readers.tables.cells import (
    DELIMITERS,
    INTEGER,
    NUMBER,
    SINGLE,
    SPACES,
    decimal_of,
    kind_of,
    kind_of_column,
    split,
    unquoted,
)
from data.readers.tables.commas import is_decimal_comma
from data.readers.tables.stated import is_statement, stated_rate
from data.readers.tables.text import blocks, encoding_of, is_comment

MAX_SAMPLE = 1000  # lines by which a table is judged
UNITS = re.compile(
    r"|[-#%°]|[munpkMµμ]?(?:s|sec|g|V|A|Pa|N|Hz|m)|min|hours?|seconds?|m/s|(?:[mk]?m)/?s\W*(?:\^|\*\*)?2|m/s²|m\*?s-2|"
    r"°?C|degC|deg|rad|h+:m+(?::s+)?(?:[.,]\w+)?|(?:deg|°|rad|dps)/?s|mmHg|bar|dB|bpm|rpm|a\.?u\.?|counts?|lsb|adc|raw|samples?|usec|msec|%",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"[\[({].*[\])}]")
_SEPARATOR = re.compile(r'"?sep=(.)"?')


@dataclass(frozen=True, slots=True)
class Head:
    """How a table is written.

    labels: of the columns, as in the header; "" for one without a name. None if there is no header.
    units: from a row of units below the header, "" if there is none.
    kinds: what the columns hold: "number", "stamp", "date" or "text".
    delimiter: as in data.readers.tables.cells.
    decimal: the decimal mark, "" if the first rows show none.
    trailing: whether a delimiter ends each row.
    first_line: the number of lines before the first row.
    rate_hz: the sampling rate that comments or the preamble state.
    notes: what was assumed or left out.
    """

    encoding: str
    labels: tuple[str, ...] | None
    units: tuple[str, ...]
    kinds: tuple[str, ...]
    delimiter: str
    decimal: str
    trailing: bool
    first_line: int
    rate_hz: float | None
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The printable names of the columns; columnN for those without one."""
        labels = self.labels or ("",) * len(self.kinds)
        return tuple(printable(label) or f"column{i + 1}" for i, label in enumerate(labels))


@dataclass(frozen=True, slots=True)
class _Rows:
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
class _Header:
    """The names of the columns; None if there are none.

    n_above: lines above the first row of numbers that belong to the header.
    n_below: 1 if that row is itself the header, which holds integers.
    """

    labels: list[str] | None
    units: tuple[str, ...] = ()
    n_above: int = 0
    n_below: int = 0
    notes: tuple[str, ...] = ()


def head_of(path: Path) -> Head:
    """Return how a table is written, judged by its first lines.

    Raises DataError if there are no rows of numbers, if names and rows do not fit together, or if commas can be read as
    delimiters and as decimal marks.
    """
    encoding = encoding_of(path)
    lines, comments, stated = _sample(path, encoding)
    if not lines:
        raise DataError(f"{path}: empty table; one column per channel and one row per sample is needed")
    texts = [text for _, text in lines]
    rows = _rows(texts, stated or _delimiter(texts[len(texts) // 2 :]), path)
    if _only_integers(rows):
        above = rows.cells[rows.start - 1] if rows.start and not is_statement(texts[rows.start - 1]) else None
        commented = _commented(rows, lines, comments)
        n_labels = len(above) - (above[-1] == "") if above else len(commented) if commented else None
        n_cells = len(rows.kinds) - rows.ends_empty
        if n_cells > 1 and is_decimal_comma(path, encoding, lines[rows.start][0], n_cells, n_labels):
            rows = _rows(texts, SINGLE, path)
    header = _header(rows, path)
    if header.labels is None and (commented := _commented(rows, lines, comments)):
        header = _Header(commented, notes=("the names of the columns are those of the last comment above them",))
    labels, kinds, start = header.labels, rows.kinds, rows.start + header.n_below
    if start >= len(texts):
        raise _no_rows(path, texts[-1])
    trailing = rows.ends_empty and (labels is None or labels[-1] == "")
    if trailing:
        kinds, labels = kinds[:-1], None if labels is None else labels[:-1]
    if labels is not None:
        _check_labels(labels, path)
    numbers = [cell for i, kind in enumerate(kinds) if kind == "number" for cell in rows.column(i, start)]
    preamble = [text for text in texts[: rows.start - header.n_above] if not is_statement(text)]
    return Head(
        encoding,
        None if labels is None else tuple(labels),
        (*header.units, *[""] * len(kinds))[: len(kinds)],
        kinds,
        rows.delimiter,
        decimal_of(numbers),
        trailing,
        lines[start][0],
        stated_rate([*(text for _, text in comments), *texts[: rows.start]], path),
        (*_preamble_note(preamble), *header.notes),
    )


def _sample(path: Path, encoding: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]], str | None]:
    """Return the first lines with their positions, the comments among them, and a delimiter stated by "sep=;"."""
    lines: list[tuple[int, str]] = []
    comments: list[tuple[int, str]] = []
    delimiter, at = None, 0
    for block in blocks(path, encoding, 1 << 16):
        for line in block:
            if not lines and (match := _SEPARATOR.fullmatch(line.strip())):
                delimiter = match[1]
            elif is_comment(line):
                comments.append((at, line))
            elif line.strip():
                lines.append((at, line))
            at += 1
        if len(lines) >= MAX_SAMPLE:
            break
    return lines, comments, delimiter


def _delimiter(texts: Sequence[str]) -> str:
    """Return the delimiter that splits lines into cells of the same number, as many as possible of them numbers."""
    texts = texts[-200:]
    scores: dict[str, float] = {}
    for delimiter in DELIMITERS:
        rows = [split(text, delimiter) for text in texts]
        n_cells = max(Counter(map(len, rows)).items(), key=lambda item: (item[1], item[0]))[0]
        if n_cells > 1:
            fitting = [row for row in rows if len(row) == n_cells]
            known = sum(kind_of(cell) != "text" for row in fitting for cell in row)
            filled = any(kind_of(cell) not in ("text", "missing") for row in fitting for cell in row)
            scores[delimiter] = filled * len(fitting) / len(rows) * known / (n_cells * len(fitting))
    alone = sum("," not in text and kind_of(unquoted(text)) != "text" for text in texts) / len(texts)
    best = max(scores, key=scores.__getitem__, default=SINGLE)  # the first of the best
    return best if scores.get(best, 0.0) > 0.0 and scores[best] >= alone else SINGLE


def _rows(texts: list[str], delimiter: str, path: Path) -> _Rows:
    cells = [split(text, delimiter) for text in texts]
    last = cells[len(cells) // 2 :]
    n_cells = max(Counter(map(len, last)).items(), key=lambda item: (item[1], item[0]))[0]
    last = [row for row in last if len(row) == n_cells]
    kinds = tuple(kind_of_column([row[i] for row in last]) for i in range(n_cells))
    ends_empty = n_cells > 1 and delimiter != SPACES and all(row[-1] == "" for row in last)
    for i, row in enumerate(cells):
        if len(row) in (n_cells, n_cells - ends_empty) and _fits(row, kinds) and not is_statement(texts[i]):
            return _Rows(cells, texts, delimiter, kinds, i, ends_empty)
    raise _no_rows(path, texts[-1])


def _no_rows(path: Path, line: str) -> DataError:
    return DataError(
        f"{path}: not a table of numbers: 0 rows below the header ({printable(line.strip())[:60]!r} is none); at "
        "least two are needed, with a number in each column of numbers"
    )


def _fits(row: Sequence[str], kinds: Sequence[str]) -> bool:
    """Return whether a row has a number or time in some column, and nothing else in any column of numbers or times."""
    found = [kind_of(cell) for cell in row]
    is_filled = any(f == kind != "text" for f, kind in zip(found, kinds, strict=False))
    return is_filled and all(kind == "text" or f in (kind, "missing") for f, kind in zip(found, kinds, strict=False))


def _only_integers(rows: _Rows) -> bool:
    """Return whether all that the first rows show is digits and commas."""
    if rows.delimiter != "," or set(rows.kinds) != {"number"}:
        return False
    cells = [cell for row in rows.cells[rows.start :] for cell in row]
    return not any("." in cell or "," in cell for cell in cells)


def _header(rows: _Rows, path: Path) -> _Header:
    """Return the names and units in the lines above the first row of numbers, or in that row itself."""
    above = rows.start - 1
    # Between names and rows, a stated rate cannot be taken for one of several "key,value" lines if there are 3 columns.
    while above > 0 and len(rows.kinds) > 2 and is_statement(rows.texts[above]):
        above -= 1
    labels = None if above < 0 or is_statement(rows.texts[above]) else _labels(rows, above, path)
    if labels is None:
        return _integer_header(rows)
    numeric = [label for label in labels if NUMBER.fullmatch(label)]
    names = rows.cells[above - 1] if above else []
    has_names = len(names) == len(labels) and not any(map(NUMBER.fullmatch, names))
    are_numbered = not has_names and (
        (_are_consecutive(numeric) and int(numeric[0]) <= 1)
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
    if above > 0 and _are_units(labels) and not is_statement(rows.texts[above - 1]):
        names = names if len(names) == len(labels) else [*names, ""]
        if len(names) == len(labels) and not any(map(NUMBER.fullmatch, names)):
            return _Header([unquoted(name) for name in names], tuple(labels), n_above=rows.start - above + 1)
    return _Header(labels, n_above=rows.start - above)


def _labels(rows: _Rows, at: int, path: Path) -> list[str] | None:
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
    if len(cells) == n - 1 and (rows.kinds[0] == "text" or _are_consecutive(rows.column(0, rows.start))):
        return ["", *cells]  # R writes no name above the names of the rows
    if len(cells) == 1:
        others = ([unquoted(cell) for cell in split(text, delimiter)] for delimiter in DELIMITERS[:-1])
        fitting = (found for found in others if len(found) == n - rows.ends_empty > 1)
        return next(([*found, *[""] * rows.ends_empty] for found in fitting), None)
    raise DataError(
        f"{path}: {len(cells)} names in the header, but {n} cells in a row; as many names as columns are needed, and "
        "decimal commas only where another character separates the columns"
    )


def _integer_header(rows: _Rows) -> _Header:
    """Return the header if the first row holds 0, 1 ... or 1, 2 ... and all numbers below it have decimal places."""
    first = rows.cells[rows.start]
    skipped = 1 if first[0] == "" and len(first) > 1 else 0
    numbers = first[skipped : len(first) - (rows.ends_empty and len(first) == len(rows.kinds))]
    if not _are_consecutive(numbers) or int(numbers[0]) > 1:
        return _Header(None)
    below = [rows.column(i + skipped, rows.start + 1) for i in range(len(numbers))]
    shown = ", ".join(numbers[:4])
    if not below[0] or any(re.fullmatch(INTEGER, cell) for column in below for cell in column):
        note = (f"the first row ({shown}) is taken as samples, not as names",) if len(numbers) > 1 else ()
        return _Header(None, notes=note)
    if len(below[0]) > 1 and _continues(first[skipped], below[0]):
        return _Header(None)  # the first row of a table whose first column rises from 0
    labels = [*first, *[""] * (len(rows.kinds) - len(first))]
    return _Header(labels, n_below=1, notes=(f"the first row ({shown}) is taken as names, as it holds integers",))


def _continues(first: str, below: Sequence[str]) -> bool:
    """Return whether a number lies as far below the next as that below the one after it."""
    try:
        a, b, c = (float(cell.replace(",", ".")) for cell in (first, *below[:2]))
    except ValueError:
        return False
    return b > a and abs((b - a) - (c - b)) <= 0.01 * (b - a)


def _commented(rows: _Rows, lines: Sequence[tuple[int, str]], comments: Sequence[tuple[int, str]]) -> list[str] | None:
    """Return the names in a comment directly above the first row, as NumPy's savetxt writes them, or None."""
    before = lines[rows.start - 1][0] if rows.start else -1
    near = [text for at, text in comments if before < at < lines[rows.start][0]]
    if not near or rows.delimiter == SINGLE or is_statement(near[-1]):
        return None
    text = near[-1].lstrip().lstrip("#%").strip(" ")
    cells = [unquoted(cell) for cell in split(text, rows.delimiter)]
    cells += [""] * (rows.ends_empty and len(cells) == len(rows.kinds) - 1)
    filled = [cell for cell in cells[1:] if cell] + cells[:1]
    is_header = len(cells) == len(rows.kinds) and len(set(filled)) >= len(cells) - rows.ends_empty
    if rows.delimiter == SPACES and not any(
        is_ecg(c) or role_of(c, "").is_clock or re.search(r"\d|_", c) for c in cells
    ):
        return None  # rather a sentence
    return cells if is_header and not any(re.search("[=:]", c) or NUMBER.fullmatch(c) for c in cells) else None


def _are_consecutive(cells: Sequence[str]) -> bool:
    if not cells or not all(cell.isascii() and cell.isdecimal() for cell in cells):
        return False
    return all(int(cell) == int(cells[0]) + i for i, cell in enumerate(cells))


def _are_units(cells: Sequence[str]) -> bool:
    """Return whether all cells are units, as "mV" and "(s)"."""
    return any(cells) and all(UNITS.fullmatch(cell) or _BRACKETED.fullmatch(cell) for cell in cells)


def _check_labels(labels: Sequence[str], path: Path) -> None:
    """Raise DataError if two columns have the same name."""
    for name, count in Counter(label for label in labels if label).items():
        if count > 1:
            places = " and ".join(str(i + 1) for i, label in enumerate(labels) if label == name)
            raise DataError(
                f"{path}: columns {places} have the same name {printable(name)[:40]!r}; each needs a name of its own"
            )


def _preamble_note(lines: Sequence[str]) -> tuple[str, ...]:
    if not lines:
        return ()
    count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
    return (f"{count} above the table left out as a preamble, the first {printable(lines[0].strip())[:60]!r}",)
