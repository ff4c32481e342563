"""Find clocks and counters that no name tells: columns that rise as times do, or as the times of another clock."""

from pathlib import Path

import numpy as np

from data.errors import DataError, printable
from data.readers.clock import is_even, unit_since_1970
from data.readers.labels import SCALES, rising_role
from data.readers.tables.clocks import ASSUMED_HZ, rated
from data.readers.tables.columns import MIN_RISING, MIN_ROWS, Clock, Column, Floats, never_falls, quantum_of

SPAN = 0.05  # allowed difference of two clocks over the whole recording


def unknown_clock(
    index: int, column: Column, has_clock: bool, hint_hz: float | None, named_channels: bool, where: Path
) -> Clock | None:
    """Return a clock or counter that no name tells, but that rises in even steps; None for a signal.

    Its unit is that of its label or of the row of units, where the file has one.

    Raises DataError if it is the only clock and its steps are not even, or its unit is none of time.
    """
    values = column.values
    assert values is not None
    if not never_falls(values):
        return None
    name = column.name
    role = rising_role(column.label or "", column.unit)
    if np.isnan(values).any():
        if not _is_line(values):
            return None
        if has_clock or named_channels:
            return Clock(index, notes=(f"column {name} rises throughout as times do; it is left out",))
        return rated(index, column, role, hint_hz, where)  # raises
    steps = np.diff(values)
    quantum = quantum_of(values)
    is_clear = quantum < 0.49 * steps.mean() or np.ptp(steps) < 0.02 * quantum
    even = is_even(values, quantum) and (is_clear or values[-1] - values[0] > MIN_RISING * quantum)
    if role.scale is None and not role.unit and bool((steps == 1).all()):
        return Clock(index, notes=(f"column {name} rises by 1 from row to row; it is taken as a counter",))
    if not even and not (values.size >= MIN_RISING and steps.min() > 0):
        return None
    if has_clock:
        return Clock(index, notes=(f"column {name} rises throughout as times do; it is left out",)) if even else None
    if role.unit and not named_channels:
        raise DataError(
            f"{where}: column {name!r} rises in every row, as times do, but its unit {printable(role.unit)!r} is none "
            "of time (s, ms, us, ns, min, h); correct the unit, or name the columns that are signals in channels="
        )
    try:
        found = rated(index, column, role, hint_hz, where)
        low, high = ASSUMED_HZ
        if role.scale is not None or low <= found.rate_hz <= high:
            return found
    except DataError as error:
        if role.scale is not None and not named_channels:
            raise
        if not even and not named_channels:
            raise DataError(
                f"{where}: column {name!r} rises in every row, as times do, but not in even steps; resample the "
                "recording to an even rate first, or name the columns that are signals in channels="
            ) from error
    return Clock(index, notes=(f"column {name} rises throughout as times do; it is left out and gives no rate",))


def second_clock(column: Column, span_s: float | None) -> str:
    """Return the note on a column that never falls, if it is another clock, or may be one; "" if it is none.

    It is a clock if its numbers are times since 1970, or span as much as the clock, in some unit of time.

    span_s: of the clock of the table, None if there is none.
    """
    values = column.values
    assert values is not None
    if not never_falls(values):
        return ""
    known = values[np.isfinite(values)]
    if unit_since_1970(known[0]) and unit_since_1970(known[-1]):
        return f"column {column.name} holds times since 1970 and is left out; it gives no rate"
    span = float(known[-1] - known[0])
    slack = SPAN * span + 2 * float(np.diff(known).max())
    if span_s is not None and known.size >= MIN_RISING:
        for scale in sorted(set(SCALES.values())):
            if abs(span - span_s / scale) <= min(slack, 0.2 * span):
                return f"column {column.name} spans as much as the clock and never falls; it is left out as another one"
    return ""


def may_be_clock(column: Column) -> bool:
    """Return whether a signal rises again and again and never falls, so that a note should name it."""
    values = column.values
    if values is None or not never_falls(values):
        return False
    known = values[np.isfinite(values)]
    is_known = known.size >= max(MIN_RISING, 0.9 * values.size)
    return is_known and int(np.count_nonzero(np.diff(known))) >= MIN_ROWS


def _is_line(values: Floats) -> bool:
    """Return whether numbers, some of which are missing, lie on a line over their rows, to half a step."""
    at = np.flatnonzero(np.isfinite(values))
    if at.size < MIN_RISING or at.size < 0.9 * values.size:
        return False
    known = values[at]
    step = (known[-1] - known[0]) / (at[-1] - at[0])
    return bool(np.abs(known - known[0] - step * (at - at[0])).max() <= 0.5 * step)
