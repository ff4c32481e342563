"""Read text tables of any make (.csv, .tsv, .txt, .dat): a column per channel, a row per sample."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.clock import RATE_TOLERANCE, agree
from data.readers.contents import Contents, Variable, Wanted, gather, listing, reading
from data.readers.labels import role_of
from data.readers.tables.body import Body, body_of
from data.readers.tables.columns import Column
from data.readers.tables.head import Head, head_of, mark_of
from data.readers.tables.oddities import oddities
from data.readers.tables.stated import stated_rate
from data.readers.tables.text import encoding_notes
from data.readers.tables.timing import Timing, timing_of


def read_table(path: Path, wanted: Wanted) -> Contents:
    """Read a text table: a column per channel, a row per sample.

    Encoding, delimiter (tab, semicolon, comma, pipe or white space), decimal mark, header, units and the place of the
    first row are found out. A header names the channels, else they are ch1 ... chN.

    Columns of times give the rate; they and counters of samples are no channels unless `wanted` names them. Times with
    gaps get NaN there, and those with jitter of up to half a step are interpolated to an even rate. Comments and lines
    above the table may state the rate, too.

    Raises DataError for whatever can be read in two ways, for a row with too few or too many cells, and for a cell that
    is no number.
    """
    with reading(path, "a text table"):
        head, body, timing, stated_hz = _read(path, wanted)
        rate_hz = _agreed(timing, stated_hz, path)
        names, indices = _signals(head, body, timing, wanted, path)

        def lines(rows: list[int]) -> Iterator[NDArray[np.float64]]:
            for row in rows:
                values = body.columns[indices[row]]
                assert values is not None
                yield values if timing.grid is None else timing.grid.place(values)

        contents = gather(names, wanted.channels, path, lines)
    notes = (*encoding_notes(head.encoding), *head.notes, *body.notes, *timing.notes, *_text_notes(head, body, indices))
    notes = (
        *notes,
        *oddities(
            {name: values for name, i in zip(names, indices, strict=True) if (values := body.columns[i]) is not None}
        ),
    )
    return replace(contents, rate_hz=rate_hz, notes=(*notes, *contents.notes), clock=timing.clock)


def table_variables(path: Path) -> tuple[Variable, ...]:
    """Return the columns of a table; without a header those that are channels, for which the whole table is read."""
    with reading(path, "a text table"):
        head = head_of(path)
        names = head.names
        if head.labels is None:
            head, body, timing, _ = _read(path, Wanted())
            names = _signals(head, body, timing, Wanted(), path)[0]
    return tuple(Variable(name, (), "column") for name in names)


def _read(path: Path, wanted: Wanted) -> tuple[Head, Body, Timing, float | None]:
    """Return all that a table holds, and the rate that its comments and preamble state."""
    head = head_of(path)
    asked = wanted.channels or ()
    body = body_of(path, head, _free(head, wanted))
    between = stated_rate(body.comments, path, mark_of(head.decimal, head.delimiter))
    stated = [rate for rate in (head.rate_hz, between.rate_hz) if rate is not None]
    if len(stated) > 1 and not agree(*stated):
        raise DataError(
            f"{path}: states two sampling rates, {stated[0]:g} Hz and, between the rows, {stated[1]:g} Hz; cut the "
            "recording where the rate changes"
        )
    stated_hz = stated[0] if stated else None
    hint_hz = wanted.rate_hz if wanted.rate_hz is not None else stated_hz
    if hint_hz is not None and not 0 < hint_hz < math.inf:
        hint_hz = None  # refused by the caller
    void = [i for i in range(len(head.names)) if _is_void(head, body, i, asked)]
    columns = [
        Column(name, None if head.labels is None else head.labels[i], unit, kind, values, name in asked)
        for i, (name, unit, kind, values) in enumerate(
            zip(head.names, head.units, head.kinds, body.columns, strict=True)
        )
        if i not in void
    ]
    kept = [i for i in range(len(head.names)) if i not in void]
    timing = timing_of(columns, hint_hz, wanted.channels is not None, path)
    if timing.rate_hz is None and hint_hz is None:
        _check_unread_clocks(head, body, path)
    left = {kept[i] for i in timing.left_out} | (set(range(len(head.names))) - set(kept))
    empty = [head.names[i] for i in void if head.labels is not None and head.labels[i]]
    empties = (f"{'column' if len(empty) == 1 else 'columns'} {listing(empty)} left out: empty",) if empty else ()
    notes = (*empties, *timing.notes, *(note for note in between.notes if note not in head.notes))
    return head, body, replace(timing, left_out=frozenset(left), notes=notes), stated_hz


def _free(head: Head, wanted: Wanted) -> list[int]:
    """Return the columns in which a text is no error, as the caller asked for others by name. Times must be right."""
    if head.labels is None or wanted.channels is None or not set(wanted.channels) <= set(head.names):
        return []
    return [
        i
        for i, name in enumerate(head.names)
        if name not in wanted.channels
        and head.kinds[i] != "stamp"
        and not role_of(head.labels[i], head.units[i]).is_clock
    ]


def _check_unread_clocks(head: Head, body: Body, path: Path) -> None:
    """Raise DataError for a table without a rate in which a column with a clock's name holds texts or dates."""
    for i, label in enumerate(head.labels or ()):
        if body.columns[i] is None and role_of(label, head.units[i]).is_clock:
            raise DataError(
                f"{path}: column {head.names[i]!r}: times such as {body.texts.get(i, head.first[i])!r} cannot be read; "
                "write them in s, as hh:mm:ss.fff, or as in 2024-05-31T12:30:00.125, or give rate_hz="
            )


def _is_void(head: Head, body: Body, index: int, asked: Iterable[str]) -> bool:
    """Return whether a column that the caller does not name has no number, as the left border of some tables."""
    values = body.columns[index]
    return values is not None and head.names[index] not in asked and bool(np.isnan(values).all())


def _signals(head: Head, body: Body, timing: Timing, wanted: Wanted, path: Path) -> tuple[tuple[str, ...], list[int]]:
    """Return the names and indices of the columns that are signals, then of others that `wanted` names."""
    indices = [i for i in range(len(head.names)) if i not in timing.left_out and body.columns[i] is not None]
    names = list(_numbered(indices) if head.labels is None else (head.names[i] for i in indices))
    for i, name in enumerate(head.names):
        if i in indices or name in names or name not in (wanted.channels or ()):
            continue
        if body.columns[i] is None:
            found = f" ({body.texts[i]!r})" if i in body.texts else ""
            raise DataError(
                f"{path}: column {name!r} holds texts or dates{found} and is no channel; name others of "
                f"{listing(names)}"
            )
        indices.append(i)
        names.append(name)
    if not names:
        raise DataError(
            f"{path}: no column is a signal: {listing(head.names)} {'hold' if len(head.names) > 1 else 'holds'} times, "
            "counters or texts; name those that are signals in channels="
        )
    return tuple(names), indices


def _numbered(indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"ch{n}" for n, _ in enumerate(indices, 1))


def _text_notes(head: Head, body: Body, signals: Iterable[int]) -> tuple[str, ...]:
    texts = [head.names[i] for i, values in enumerate(body.columns) if values is None and i not in signals]
    return (f"{'column' if len(texts) == 1 else 'columns'} {listing(texts)} left out: texts or dates",) if texts else ()


def _agreed(timing: Timing, stated_hz: float | None, path: Path) -> float | None:
    """Return the rate of times and statements. Raises DataError if they differ."""
    if timing.rate_hz is None or stated_hz is None:
        return stated_hz if timing.rate_hz is None else timing.rate_hz
    if abs(timing.rate_hz - stated_hz) > max(RATE_TOLERANCE, timing.slack) * stated_hz:
        raise DataError(
            f"{path}: its text states {stated_hz:g} Hz, its times {timing.rate_hz:g} Hz; correct the one that is wrong"
        )
    return timing.rate_hz
