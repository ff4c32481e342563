"""Read the rows of a text table, as columns of numbers and times."""

import io
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.readers.labels import SCALES
from data.readers.tables.cells import DATE, DURATION, MISSING, SINGLE, SPACES, kind_of, split, value_of
from data.readers.tables.head import Head
from data.readers.tables.text import blocks, is_comment
from data.readers.tables.thousands import check_thousands

Floats = NDArray[np.float64]
DAY_S = 86400.0
_TRUTH = re.compile("true|false", re.IGNORECASE)  # pandas takes them as 1 and 0
_CLOCK = r"(?:(\d{1,2}):)?(\d{1,2}):(\d{2}(?:\.\d+)?)\s*(?:([AaPp])\.?[Mm]\.?)?"
_ISO = re.compile(r"\d{4}-\d\d?-\d\d?[T ]")
NEED = "write a number, or leave it empty for a missing sample"


@dataclass(frozen=True, slots=True)
class Body:
    """The rows of a table.

    columns: float64[row], one per column of the head, times of day and dates in s; None for texts and dates alone.
    texts: the first text in each column that is None.
    comments: lines between the rows that are none.
    notes: what was left out.
    """

    columns: list[Floats | None]
    texts: dict[int, str]
    comments: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Reader:
    """Reads block after block.

    ignored: columns in which a text is no error, as the caller asked for others.
    n_rows: rows read.
    parts: of each column.
    first_stamp: of each column with ISO dates, in ns, which its times are counted from.
    days: of each column with other dates, the last of them and how often it changed.
    """

    path: Path
    head: Head
    ignored: Collection[int]
    decimal: str
    pandas: ModuleType
    n_rows: int = 0
    parts: dict[int, list[Floats]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    first_stamp: dict[int, int] = field(default_factory=dict)
    days: dict[int, tuple[str, int]] = field(default_factory=dict)

    def read(self, rows: list[str], places: list[int]) -> None:
        """Add rows. places: their line numbers in the file, counted from 1."""
        self._check_counts(rows, places)
        if self.head.trailing:
            rows = [self._without_end(row, place) for row, place in zip(rows, places, strict=True)]
        values = self._fast(rows)
        if values is None:
            values = self._slow(rows, places)
        for index, part in values.items():
            self.parts.setdefault(index, []).append(part)
        self.n_rows += len(rows)

    def _check_counts(self, rows: list[str], places: list[int]) -> None:
        """Raise DataError for a row with too few or too many cells."""
        delimiter, n = self.head.delimiter, len(self.head.kinds)
        if delimiter == SINGLE:
            return
        ends = self.head.trailing
        for i, row in enumerate(rows):
            if '"' in row:
                count = len(split(row, delimiter))
            elif delimiter == SPACES:
                count = len(row.split())
            else:
                count = row.count(delimiter) + 1
            if count != n + ends and not (ends and count == n and not row.rstrip(" \r").endswith(delimiter)):
                fault = "too few" if count < n + ends else "too many"
                raise DataError(
                    f"{self._at(i, places[i])} has {fault} cells: {count - (ends and count > n)} of {n} "
                    f"({printable(row.strip())[:60]!r}); each row needs one for every column, empty for a missing "
                    "sample"
                )

    def _without_end(self, row: str, place: int) -> str:
        cells = split(row, self.head.delimiter)
        if len(cells) > len(self.head.kinds) and cells[-1]:
            raise DataError(
                f"{self.path}: line {place} has too many cells: {cells[-1][:40]!r} stands after the last column; each "
                "row needs one for every column"
            )
        return row.rstrip(" \r").removesuffix(self.head.delimiter) if len(cells) > len(self.head.kinds) else row

    def _fast(self, rows: list[str]) -> dict[int, Floats] | None:
        """Return the columns of rows as pandas reads them; None if it cannot, or takes texts as numbers."""
        text = "\n".join(rows)
        if _TRUTH.search(text):
            return None
        kept = [i for i, kind in enumerate(self.head.kinds) if kind in ("number", "stamp")]
        numbers = {i for i in kept if self.head.kinds[i] == "number"}
        decimal = self.decimal or "."
        if "," in (decimal, self.head.delimiter) and decimal == self.head.delimiter:
            return None  # quoted decimal commas between commas
        delimiter = {SPACES: r"\s+", SINGLE: "\x1f"}.get(self.head.delimiter, self.head.delimiter)
        try:
            frame = self.pandas.read_csv(
                io.StringIO(text + "\n"),
                sep=delimiter,
                header=None,
                names=list(range(len(self.head.kinds))),
                usecols=kept,
                dtype={i: np.float64 if i in numbers else str for i in kept},
                decimal=decimal,
                na_values=list(MISSING),
                keep_default_na=False,
                skipinitialspace=True,
                skip_blank_lines=False,
                index_col=False,
                engine="c",
            )
        except (ValueError, self.pandas.errors.ParserError):
            return None
        if len(frame) != len(rows):
            return None
        if not self.decimal and "." in text:
            self.decimal = "."
        values: dict[int, Floats] = {}
        for i in kept:
            found = frame[i].to_numpy(np.float64, copy=True) if i in numbers else self._stamps(i, frame[i])
            if found is None:
                return None
            values[i] = found
        return values

    def _slow(self, rows: list[str], places: list[int]) -> dict[int, Floats]:
        """Return the columns of rows, cell by cell. Raises DataError for a cell that holds something else."""
        kinds = self.head.kinds
        kept = [i for i, kind in enumerate(kinds) if kind in ("number", "stamp")]
        columns: dict[int, list[Any]] = {i: [] for i in kept}
        for r, row in enumerate(rows):
            cells = split(row, self.head.delimiter)
            for i in kept:
                cell = cells[i]
                if kinds[i] == "stamp":
                    found: Any = cell if kind_of(cell) == "stamp" else None
                    found = "" if kind_of(cell) == "missing" else found
                else:
                    if not self.decimal and kind_of(cell) == "number" and re.search("[.,]", cell):
                        self.decimal = "," if "," in cell else "."
                    found = value_of(cell, self.decimal or ".")
                if found is None:
                    if i not in self.ignored:
                        raise DataError(self._fault(i, cell, r, places[r]))
                    self.texts.setdefault(i, cell)
                    found = "" if kinds[i] == "stamp" else float("nan")
                columns[i].append(found)
        values = {i: np.array(columns[i], np.float64) for i in kept if kinds[i] == "number"}
        for i in kept:
            if kinds[i] == "stamp":
                found = self._stamps(i, self.pandas.Series(columns[i], dtype=str))
                if found is None:
                    raise DataError(
                        f"{self.path}: column {self.head.names[i]!r}: times such as {columns[i][0]!r} cannot be read; "
                        "write them in s, as hh:mm:ss, or as in 2024-05-31T12:30:00.125"
                    )
                values[i] = found
        return values

    def _fault(self, index: int, cell: str, row: int, place: int) -> str:
        kind = "number" if self.head.kinds[index] == "number" else "time"
        mark = ""
        if kind_of(cell) == "number":
            mark = f" with a decimal {'comma' if self.decimal == ',' else 'point'}, as the rows before it have"
        need = NEED if len(self.head.kinds) == 1 else f"{NEED}, or name other columns in channels="
        return (
            f"{self._at(row, place)}: cell {printable(cell)[:40]!r} of column {self.head.names[index]!r} is no {kind}"
            f"{mark}; {need}"
        )

    def _at(self, row: int, place: int) -> str:
        return f"{self.path}: row {self.n_rows + row + 1} of numbers (line {place} of the file)"

    def _stamps(self, index: int, texts: Any) -> Floats | None:
        """Return times of day, or dates with times, in s; dates count from the first one."""
        texts = texts.fillna("").astype(str).str.strip(" '").str.replace(r"(?<=\d),(?=\d)", ".", regex=True)
        if _ISO.match(texts.iloc[0]) and index not in self.first_stamp and self.n_rows == 0:
            self.first_stamp[index] = -1
        if index in self.first_stamp:
            try:
                dates = self.pandas.to_datetime(texts.where(texts != ""), format="ISO8601", utc=True)
            except (ValueError, OverflowError):
                return None
            ns = dates.dt.tz_localize(None).to_numpy("datetime64[ns]")
            counts = ns.astype(np.int64)
            if self.first_stamp[index] == -1:
                self.first_stamp[index] = int(counts[0])
            seconds = (counts - self.first_stamp[index]).astype(np.float64) / 1e9
            seconds[np.isnat(ns)] = np.nan
            return np.asarray(seconds, np.float64)
        durations = texts.str.extract(f"^{DURATION}$")
        if durations[0].notna().any():
            known = durations[0].notna() | (texts == "")
            scales = durations[1].map(SCALES).to_numpy(np.float64)
            return np.asarray(durations[0].to_numpy(np.float64) * scales, np.float64) if known.all() else None
        self._count_days(index, texts)
        texts = texts.str.replace(r"(:\d{2}:\d{2}):(\d{3})$", r"\1.\2", regex=True)  # "10:00:00:123"
        days = texts.str.extract(r"^(\d+) days?")[0].astype(object).fillna("0").to_numpy().astype(np.float64)
        parts = texts.str.extract(_CLOCK)
        hours, minutes, seconds_part = (
            parts[i].astype(object).where(parts[i].notna(), "nan").to_numpy().astype(np.float64) for i in range(3)
        )
        hours = np.where(np.isnan(hours) & ~np.isnan(minutes), 0.0, hours)
        half = parts[3].astype(object).where(parts[3].notna(), "").str.lower().to_numpy()
        hours = np.where(half == "", hours, hours % 12 + 12.0 * (half == "p"))
        return np.asarray(days * DAY_S + hours * 3600.0 + minutes * 60.0 + seconds_part, np.float64)

    def _count_days(self, index: int, texts: Any) -> None:
        days = texts[texts != ""].str.extract(rf"^({DATE})")[0].dropna().tolist()
        last, n_changes = self.days.get(index, (days[0] if days else "", 0))
        n_changes += sum(day != before for before, day in zip([last, *days], days, strict=False))
        self.days[index] = (days[-1] if days else last, n_changes)

    def unwrapped(self, index: int, times: Floats) -> Floats:
        """Return times of day that go on rising after midnight.

        Raises DataError if their dates, whose order of day and month is unknown, change at other times.
        """
        if index in self.first_stamp:
            return times
        falls = np.diff(times) < -DAY_S / 2
        last, n_changes = self.days.get(index, ("", 0))
        if last and n_changes != np.count_nonzero(falls):
            raise DataError(
                f"{self.path}: column {self.head.names[index]!r}: the date changes, to {last!r}, elsewhere than at "
                "midnight; cut the recording there, or write dates as in 2024-05-31T12:30:00"
            )
        if falls.any():
            times[1:] += DAY_S * np.cumsum(falls)
        return times


def body_of(path: Path, head: Head, ignored: Collection[int] = ()) -> Body:
    """Read the rows of a table.

    ignored: columns in which a text is no error; such a column has no numbers then.

    Raises DataError for a row with too few or too many cells, or a cell that is no number.
    """
    reader = _Reader(path, head, ignored, head.decimal, _pandas())
    comments: list[str] = []
    n_blank, blank_since = 0, 0
    for lines in _lines(path, head):
        rows: list[str] = []
        places: list[int] = []
        for place, line in lines:
            if not line.strip():
                blank_since += 1
            elif is_comment(line):
                comments.append(line)
            else:
                n_blank, blank_since = n_blank + blank_since, 0
                rows.append(line)
                places.append(place)
        if rows:
            reader.read(rows, places)
    columns: list[Floats | None] = []
    texts = dict(reader.texts)
    for i, kind in enumerate(head.kinds):
        parts = reader.parts.pop(i, [])
        joined = np.concatenate(parts) if parts else np.empty(0)
        is_values = kind in ("number", "stamp") and i not in texts
        columns.append((reader.unwrapped(i, joined) if kind == "stamp" else joined) if is_values else None)
    n_rows = _without_empty_end(columns, reader.n_rows)
    if n_rows < 2:
        raise DataError(f"{path}: {n_rows} rows of numbers below the header; at least two are needed")
    if len(head.kinds) > max(100, n_rows):
        raise DataError(
            f"{path}: {n_rows} rows and {len(head.kinds)} columns; one column per channel and one row per sample is "
            "needed, so exchange rows and columns"
        )
    if head.count not in (None, n_rows):
        raise DataError(
            f"{path}: the first row holds {head.count} in all columns but the first, as a row of counts does, but "
            f"{n_rows} rows follow; is the file complete? Remove that row if it is"
        )
    rows_again = (line for lines in _lines(path, head) for _, line in lines if line.strip() and not is_comment(line))
    notes = [*check_thousands(path, head, columns, rows_again)]
    if head.count is not None:
        notes.append(f"the row of counts ({head.count}) below the names is left out")
    if 0 < 2 * n_blank < n_rows and len(head.kinds) == 1:
        raise DataError(
            f"{path}: {n_blank} blank lines between the rows of the only column; write NaN for a sample that is "
            "missing, or remove them"
        )
    if n_blank:
        notes.append(f"{n_blank} blank {'line' if n_blank == 1 else 'lines'} between the rows left out")
    if n_rows < reader.n_rows:
        notes.append(f"{reader.n_rows - n_rows} empty rows at the end left out")
    return Body(columns, texts, tuple(comments), tuple(notes))


def _lines(path: Path, head: Head) -> Iterator[list[tuple[int, str]]]:
    """Yield the lines below the head in lists, each with its number in the file, counted from 1."""
    at = 0
    for lines in blocks(path, head.encoding):
        yield [(place, line) for place, line in enumerate(lines, at + 1) if place > head.first_line]
        at += len(lines)


def _without_empty_end(columns: list[Floats | None], n_rows: int) -> int:
    """Cut rows without any number off the end of all columns; return how many rows are left."""
    known = [column for column in columns if column is not None]
    while n_rows and known and all(np.isnan(column[n_rows - 1]) for column in known):
        n_rows -= 1
    for i, column in enumerate(columns):
        if column is not None:
            columns[i] = column[:n_rows]
    return n_rows


def _pandas() -> ModuleType:
    """Import pandas, which is slow and may warn, only when a table is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas
    found: ModuleType = pandas
    return found
