"""Find out how a text table is written: delimiter, decimal mark, header, units, and where its rows begin."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError, printable
from data.readers.clock import SINCE_1970_S
from data.readers.contents import is_ecg
from data.readers.labels import role_of
from data.readers.tables.cells import (
    DELIMITERS,
    NUMBER,
    SINGLE,
    SPACES,
    decimal_of,
    is_missing,
    kind_of,
    kind_of_column,
    split,
    unquoted,
)
from data.readers.tables.commas import is_decimal_comma
from data.readers.tables.header import Header, Rows, header_of
from data.readers.tables.stated import is_statement, stated_rate
from data.readers.tables.text import blocks, encoding_of, is_comment

MAX_SAMPLE = 1000  # lines by which a table is judged
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
    count: the number of rows that a row of counts below the names states, which first_line includes.
    notes: what was assumed or left out.
    first: the cells of the first row.
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
    count: int | None = None
    first: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The printable names of the columns; columnN for those without one."""
        labels = self.labels or ("",) * len(self.kinds)
        return tuple(printable(label) or f"column{i + 1}" for i, label in enumerate(labels))


def head_of(path: Path) -> Head:
    """Return how a table is written, judged by its first lines.

    Raises DataError if there are no rows of numbers, if names and rows do not fit together, or if commas can be read as
    delimiters and as decimal marks.
    """
    encoding = encoding_of(path)
    lines, comments, separator = _sample(path, encoding)
    if not lines:
        raise DataError(f"{path}: empty table; one column per channel and one row per sample is needed")
    texts = [text for _, text in lines]
    rows = _rows(texts, separator or _delimiter(texts[len(texts) // 2 :]), path)
    if _only_integers(rows):
        above = rows.cells[rows.start - 1] if rows.start and not is_statement(texts[rows.start - 1]) else None
        commented = _commented(rows, lines, comments)
        n_labels = len(above) - (above[-1] == "") if above else len(commented) if commented else None
        n_cells = len(rows.kinds) - rows.ends_empty
        if n_cells > 1 and is_decimal_comma(path, encoding, lines[rows.start][0], n_cells, n_labels):
            rows = _rows(texts, SINGLE, path)
    header = header_of(rows, path)
    if header.labels is None and (commented := _commented(rows, lines, comments)):
        header = Header(commented, notes=("the names of the columns are those of the last comment above them",))
    labels, kinds, start = header.labels, rows.kinds, rows.start + header.n_below
    count = _count_in(rows, start) if labels is not None else None
    start += count is not None
    if start >= len(texts):
        raise _no_rows(path, texts[-1])
    if labels is None:
        _check_first_rows(rows, start, path)
    trailing = rows.ends_empty and (labels is None or labels[-1] == "")
    if trailing:
        kinds, labels = kinds[:-1], None if labels is None else labels[:-1]
    if labels is not None:
        _check_labels(labels, path)
    numbers = [cell for i, kind in enumerate(kinds) if kind == "number" for cell in rows.column(i, start)]
    decimal = decimal_of(numbers)
    above = [*(text for _, text in comments), *texts[: rows.start]]
    stated = stated_rate(above, path, mark_of(decimal, rows.delimiter))
    preamble = [text for text in texts[: rows.start - header.n_above] if not is_statement(text)]
    return Head(
        encoding,
        None if labels is None else tuple(labels),
        (*header.units, *[""] * len(kinds))[: len(kinds)],
        kinds,
        rows.delimiter,
        decimal,
        trailing,
        lines[start][0],
        stated.rate_hz,
        (*_preamble_note(preamble), *header.notes, *stated.notes),
        count,
        (*map(printable, rows.cells[start]), *[""] * len(kinds))[: len(kinds)],
    )


def mark_of(decimal: str, delimiter: str) -> str:
    """Return the decimal mark of the text around a table, "" if it is not known: a point where commas delimit."""
    return decimal or ("." if delimiter == "," else "")


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


def _rows(texts: list[str], delimiter: str, path: Path) -> Rows:
    cells = [split(text, delimiter) for text in texts]
    last = cells[len(cells) // 2 :]
    n_cells = max(Counter(map(len, last)).items(), key=lambda item: (item[1], item[0]))[0]
    last = [row for row in last if len(row) == n_cells]
    kinds = tuple(kind_of_column([row[i] for row in last]) for i in range(n_cells))
    ends_empty = n_cells > 1 and delimiter != SPACES and all(row[-1] == "" for row in last)
    for i, row in enumerate(cells):
        if len(row) in (n_cells, n_cells - ends_empty) and _fits(row, kinds) and not is_statement(texts[i]):
            while i and n_cells > 1 and len(cells[i - 1]) == len(row) and all(map(is_missing, cells[i - 1])):
                if not any(cells[i - 1]):
                    break
                i -= 1  # rows of "--" at the start
            return Rows(cells, texts, delimiter, kinds, i, ends_empty)
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


def _count_in(rows: Rows, start: int) -> int | None:
    """Return the number in a row of counts, as BIOPAC writes one: nothing in the first column, else one integer."""
    if start + 1 >= len(rows.cells):
        return None
    first, *others = rows.cells[start]
    others = [cell for cell in others if cell]
    is_count = first == "" and len(set(others)) == 1 and others[0].isascii() and others[0].isdecimal()
    return int(others[0]) if is_count and rows.kinds[0] != "text" and rows.cells[start + 1][0] != "" else None


def _check_first_rows(rows: Rows, start: int, path: Path) -> None:
    """Raise DataError for the first two rows of Empatica's files: the time of the start, then the rate."""
    pair = [row for row in rows.cells[start : start + 2] if len(set(row)) == 1 and NUMBER.fullmatch(row[0])]
    if len(pair) < 2 or len(rows.cells) < start + 4:
        return
    time_s, rate_hz = (float(row[0].replace(",", ".")) for row in pair)
    after = [cell for row in rows.cells[start + 2 : start + 10] for cell in row if NUMBER.fullmatch(cell)]
    if SINCE_1970_S[0] <= time_s <= SINCE_1970_S[1] and all(
        abs(float(c.replace(",", "."))) < SINCE_1970_S[0] for c in after
    ):
        raise DataError(
            f"{path}: the first two rows hold a time since 1970 and {rate_hz:g}, as in the files of Empatica, whose "
            f"second row is the rate; remove these two rows and give rate_hz={rate_hz:g}"
        )


def _only_integers(rows: Rows) -> bool:
    """Return whether all that the first rows show is digits and commas."""
    if rows.delimiter != "," or set(rows.kinds) != {"number"}:
        return False
    cells = [cell for row in rows.cells[rows.start :] for cell in row]
    return not any("." in cell or "," in cell for cell in cells)


def _commented(rows: Rows, lines: Sequence[tuple[int, str]], comments: Sequence[tuple[int, str]]) -> list[str] | None:
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
