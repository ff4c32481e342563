"""Samples in bytes that arrive: lines of a text table, or frames of float32.

Nothing that arrives ends the reading, except a heading without the channels of the model.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.readers.names import clock_unit_s, is_clock_name
from training.errors import ConfigError

MAX_LINE = 10_000  # bytes; more without an end of line is no table
SHOWN = 40  # characters of a bad line
LARGEST_S = 1e15  # of a time; more is damaged
MISSING = ("", "na", "n/a", "null", "none", "-")  # cells of values that are missing, beside "nan"
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")

Floats = NDArray[np.float64]
# The channels of the model among the names in a heading: the column of each, None where it is missing.
Choose = Callable[[Sequence[str]], tuple[int | None, ...]]


@dataclass(slots=True)
class Notes:
    """What is said about a signal: each kind once, and how often it was seen."""

    counts: Counter[str] = field(default_factory=Counter)
    fresh: list[str] = field(default_factory=list)

    def once(self, kind: str, text: str, n: int = 1) -> None:
        """Count a kind of fault, and say it the first time."""
        if not self.counts[kind]:
            self.fresh.append(text)
        self.counts[kind] += n

    def say(self, text: str) -> None:
        """Say a change, each time."""
        self.fresh.append(text)

    @property
    def summary(self) -> tuple[str, ...]:
        """Return how often each kind was seen."""
        return tuple(f"{kind}: {n} in all" for kind, n in self.counts.items())

    def taken(self) -> tuple[str, ...]:
        """Return what is new since the last call."""
        found = tuple(self.fresh)
        self.fresh.clear()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Samples as they came. time_s: float64[n], or None. values: float64[channel, n], NaN where there is none."""

    time_s: Floats | None
    values: Floats


class TableRows:
    """Lines of numbers separated by commas, semicolons, tabs or spaces, with or without a heading.

    Between semicolons and tabs the decimal mark may be a comma.

    Without a heading the columns are the channels in the order of the model; one more column in front is the time in
    seconds.
    """

    def __init__(self, n_channels: int, choose: Choose, notes: Notes) -> None:
        """Prepare for `n_channels`. choose: finds them in a heading."""
        self._n_channels, self._choose, self._notes = n_channels, choose, notes
        self._rest = b""
        self._columns: tuple[int | None, ...] | None = None
        self._time: int | None = None
        self._unit_s = 1.0  # of the times
        self._n_columns = 0
        self._n_lines = 0

    def feed(self, content: bytes) -> Rows:
        """Return the rows of the lines that are complete now."""
        *lines, self._rest = (self._rest + content).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._notes.once(
                "long line", f"line {self._n_lines + 1}: more than {MAX_LINE} bytes; such lines are left out"
            )
            self._rest = b""
        return self._rows(lines)

    def end(self) -> Rows:
        """Return the row of a last line without an end."""
        lines, self._rest = ([self._rest] if self._rest.strip() else []), b""
        return self._rows(lines)

    def _rows(self, lines: Sequence[bytes]) -> Rows:
        times, rows = [], []
        for line in lines:
            self._n_lines += 1
            cells = _cells(line.decode("utf-8", "replace").removeprefix("\ufeff"))
            if not cells or cells[0].startswith("#"):
                continue
            numbers = [_number(cell) for cell in cells]
            if all(number is None for number in numbers) and not all(cell.casefold() in MISSING for cell in cells):
                self._heading(cells)
                continue
            if self._columns is None:
                if len(cells) not in (self._n_channels, self._n_channels + 1):
                    needed = f"{self._n_channels}, or one more with a time, are needed"
                    self._bad("columns", f"has {len(cells)} columns ({needed})", cells)
                    continue
                self._n_columns = len(cells)
                self._time = 0 if len(cells) > self._n_channels else None
                first = 0 if self._time is None else 1
                self._columns = tuple(range(first, first + self._n_channels))
            if len(cells) > self._n_columns:
                self._bad("columns", f"has {len(cells)} columns, those before had {self._n_columns},", cells)
                continue
            row = self._row(cells, numbers)
            if row is not None:
                times.append(row[0])
                rows.append(row[1])
        values = np.array(rows, np.float64).reshape(-1, self._n_channels).T
        return Rows(None if self._time is None else np.array(times, np.float64), values)

    def _heading(self, cells: Sequence[str]) -> None:
        """Take a line without numbers as a heading; later ones are those of a logger that started again."""
        if self._columns is not None:
            self._notes.once("heading", f"line {self._n_lines}: another heading; the columns stay as they are")
            return
        named = [i for i, cell in enumerate(cells) if is_clock_name(cell)]
        self._time = named[0] if named else None
        self._unit_s = (clock_unit_s(cells[named[0]]) or 1.0) if named else 1.0
        self._n_columns = len(cells)
        others = [i for i in range(len(cells)) if i != self._time]
        try:
            chosen = self._choose([cells[i] for i in others])
        except ConfigError:
            if named or len(cells) == self._n_channels:
                raise
            self._bad("text", "names no channel of the model", cells)
            return
        self._columns = tuple(None if i is None else others[i] for i in chosen)

    def _row(self, cells: Sequence[str], numbers: Sequence[float | None]) -> tuple[float, list[float]] | None:
        """Return time and values of a line, or None with a note for one that cannot be used."""
        assert self._columns is not None
        at_s = 0.0
        if self._time is not None:
            found = numbers[self._time] if self._time < len(numbers) else None
            if found is None or not abs(found) < LARGEST_S:
                self._bad("time", "has no time", cells)
                return None
            at_s = found * self._unit_s
        values = []
        for column in self._columns:
            value = numbers[column] if column is not None and column < len(numbers) else math.nan
            if value is None:
                if cells[column or 0].casefold() not in MISSING:
                    self._bad("number", "is no number", (cells[column or 0],), "is taken as missing")
                value = math.nan
            values.append(value)
        return at_s, values

    def _bad(self, kind: str, fault: str, cells: Sequence[str], does: str = "is left out") -> None:
        shown = ",".join(cells)[:SHOWN]
        self._notes.once(kind, f"line {self._n_lines}: {shown!r} {fault} and {does}, as others like it")


class FloatRows:
    """Frames of little-endian float32, one number for each channel in the order of the model."""

    def __init__(self, n_channels: int) -> None:
        """Prepare for `n_channels`."""
        self._n_channels, self._rest = n_channels, b""

    def feed(self, content: bytes) -> Rows:
        """Return the frames that are complete now."""
        whole = self._rest + content
        n = len(whole) // (4 * self._n_channels) * 4 * self._n_channels
        self._rest = whole[n:]
        with np.errstate(invalid="ignore"):  # any bytes may be numbers that are none
            values = np.frombuffer(whole[:n], "<f4").astype(np.float64)
        return Rows(None, values.reshape(-1, self._n_channels).T)

    def end(self) -> Rows:
        """Return nothing: a part of a frame is no sample."""
        return Rows(None, np.empty((self._n_channels, 0)))


def _cells(line: str) -> list[str]:
    text = line.strip()
    for mark in (";", "\t", ","):
        if mark in text:
            cells = [cell.strip().strip('"') for cell in text.split(mark)]
            # The comma is the decimal mark of loggers that separate by another one.
            return [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells]
    return text.split()


def _number(cell: str) -> float | None:
    if not cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None
