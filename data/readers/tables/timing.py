"""Find the columns of a table that are no signals, as they hold times or count samples, and the rate that they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.readers.clock import Grid
from data.readers.contents import is_ecg
from data.readers.gaps import MAX_MISSING
from data.readers.labels import Role, has_time_unit, rising_role, role_of
from data.readers.tables.clocks import FIT, rated
from data.readers.tables.columns import Clock, Column, never_falls
from data.readers.tables.counters import count_of, unwrapped
from data.readers.tables.parts import parts_of
from data.readers.tables.rising import may_be_clock, second_clock, unknown_clock


@dataclass(frozen=True, slots=True)
class Timing:
    """The rate of a table, and the columns that are no signals.

    grid: where the samples go if the times have gaps or jitter.
    slack: relative uncertainty of the rate.
    clock: name of the column of times that gives the rate; "" if none does.
    """

    left_out: frozenset[int]
    rate_hz: float | None = None
    grid: Grid | None = None
    slack: float = 0.0
    notes: tuple[str, ...] = ()
    clock: str = ""


def timing_of(columns: Sequence[Column], hint_hz: float | None, named_channels: bool, where: Path) -> Timing:
    """Return the rate that times give, and the columns that are no signals.

    hint_hz: the rate that the caller or the file states; it tells the unit of times that have none.
    named_channels: whether the caller named channels; a column with a clock's name may then be what it likes.

    Raises DataError if a clock does not rise in steps that can be put on an even grid, or its unit is unknown.
    """
    left, notes, n_columns = set[int](), list[str](), len(columns)
    columns, joint = _with_joint(columns)
    left |= joint
    if joint:
        notes.append(f"columns {columns[-1].name} are taken together as times")
    roles = [Role() if i in joint else _role(column, i) for i, column in enumerate(columns)]
    clocks: list[Clock] = []
    count: tuple[str, Grid] | None = None
    for i, (column, role) in enumerate(zip(columns, roles, strict=True)):
        if column.values is None:
            left |= {i} if not column.asked else set()
            continue
        if role.is_clock or column.kind == "stamp":
            clocks.append(_clock(i, column, role, hint_hz, where))
        elif i not in joint and not column.asked and _may_count(column, role):
            counted, grid = count_of(column, where)
            if counted:
                left.add(i)
                notes.append(f"column {column.name} counts the samples and is left out")
                count = count or (None if grid is None else (column.name, grid))
    given = _best_first([clock for clock in clocks if clock.error is None])
    for clock in clocks:
        if clock.error is None:
            left |= {clock.index} if not columns[clock.index].asked else set()
        elif _keeps(clock, columns, named_channels, bool(given)):
            if not columns[clock.index].asked and len(columns) > 1:
                left.add(clock.index)
                notes.append(f"column {columns[clock.index].name} gives no rate and is left out")
        else:
            raise clock.error
    _check_agreement(given, columns, where)
    others = [
        i
        for i, column in enumerate(columns)
        if not (roles[i].is_clock or i in left or column.asked or column.kind != "number" or is_ecg(column.name))
    ]
    for i in others:
        found = unknown_clock(i, columns[i], bool(given), hint_hz, named_channels, where)
        if found is not None:
            left.add(i)
            given += [found] if found.rate_hz else []
            notes += () if found.rate_hz and found is given[0] else found.notes
    span_s = _span_s(given[0], columns) if given else None
    for i in others:
        if i not in left and (note := second_clock(columns[i], span_s)):
            left.add(i)
            notes.append(note)
        elif i not in left and may_be_clock(columns[i]):
            notes.append(f"column {columns[i].name} never falls, but is taken as a signal; name others in channels=")
    left.discard(n_columns)  # the joint one
    if not given:
        return _counted(left, count, notes, where)
    first = given[0]
    if count is not None and first.grid is None:
        raise DataError(
            f"{where}: column {count[0]!r} counts samples that are missing, but the times in column "
            f"{columns[first.index].name!r} have no gaps; remove the column that is wrong"
        )
    _check_gaps(first.grid, columns[first.index].name, where)
    name = columns[first.index].name
    return Timing(frozenset(left), first.rate_hz, first.grid, first.slack, (*notes, *first.notes), name)


def _with_joint(columns: Sequence[Column]) -> tuple[list[Column], set[int]]:
    """Return the columns with one more that joins those that are parts of a time, and the indices of all of these."""
    parts = parts_of(columns)
    if parts is None:
        return list(columns), set()
    return [*columns, Column(parts.name, "time", "s", "number", parts.times)], set(parts.indices)


def _role(column: Column, index: int) -> Role:
    if column.label is None:
        return Role()
    if column.label == "":
        return Role(is_counter=index == 0)
    role = role_of(column.label, column.unit)
    if (
        not (role.is_clock or role.is_counter or is_ecg(column.name) or column.values is None)
        and column.kind == "number"
        and has_time_unit(column.label, column.unit)
        and never_falls(column.values)
    ):
        return rising_role(column.label, column.unit)  # "PC uptime (s)"
    return role


def _may_count(column: Column, role: Role) -> bool:
    """Return whether the name of a column says that it counts, or its numbers start again and again as a counter's."""
    assert column.values is not None
    return role.is_counter or (column.kind == "number" and unwrapped(column.values) is not None)


def _best_first(clocks: list[Clock]) -> list[Clock]:
    """Return clocks in the order in which they are trusted: with a stated unit, then without jitter."""
    clocks = sorted(clocks, key=lambda clock: not clock.is_sure)
    for clock in clocks[1:]:
        first = clocks[0].grid
        if first is None or first.is_exact:
            break
        if clock.grid is None and abs(clock.rate_hz - clocks[0].rate_hz) <= FIT * clocks[0].rate_hz:
            return [clock, *(other for other in clocks if other is not clock)]
    return clocks


def _span_s(clock: Clock, columns: Sequence[Column]) -> float:
    values = columns[clock.index].values
    assert values is not None
    n = values.size if clock.grid is None else clock.grid.n_samples
    return (n - 1) / clock.rate_hz


def _keeps(clock: Clock, columns: Sequence[Column], named_channels: bool, has_other: bool) -> bool:
    """Return whether a column with a clock's name that gives no rate is no error.

    It is what the caller named, the only column, a coarse clock beside a good one, or not like times at all while the
    caller named other channels.
    """
    column = columns[clock.index]
    if column.asked:
        return True
    if column.values is None:
        return False
    steps = np.diff(column.values[np.isfinite(column.values)])
    if named_channels and not role_of(column.label or "", column.unit).is_clock and column.kind == "number":
        return True  # only its unit is one of time
    rises = steps.size > 0 and bool(np.mean(steps > 0) > 0.9) and column.kind == "number"
    if len(columns) == 1:
        return not rises
    return (has_other and bool((steps >= 0).all())) or (named_channels and not rises and column.kind == "number")


def _clock(index: int, column: Column, role: Role, hint_hz: float | None, where: Path) -> Clock:
    """Return the rate that a column of times gives, or the error that it gives none."""
    try:
        return rated(index, column, role, hint_hz, where)
    except DataError as error:
        return Clock(index, error=error)


def _counted(left: set[int], count: tuple[str, Grid] | None, notes: list[str], where: Path) -> Timing:
    """Return the timing of a table without times: samples that a counter shows to be lost are gaps."""
    if count is None:
        return Timing(frozenset(left), notes=tuple(notes))
    name, grid = count
    _check_gaps(grid, name, where)
    n_lost = grid.n_samples - grid.positions.size
    return Timing(frozenset(left), None, grid, notes=(*notes, f"column {name} shows gaps of {n_lost} samples in all"))


def _check_agreement(given: Sequence[Clock], columns: Sequence[Column], where: Path) -> None:
    """Raise DataError if two columns whose units are stated give different rates."""
    for clock in given[1:]:
        first = given[0]
        if clock.is_sure and abs(clock.rate_hz - first.rate_hz) > max(FIT, clock.slack, first.slack) * first.rate_hz:
            raise DataError(
                f"{where}: column {columns[first.index].name!r} gives {first.rate_hz:g} Hz, column "
                f"{columns[clock.index].name!r} {clock.rate_hz:g} Hz; remove the one that is wrong"
            )


def _check_gaps(grid: Grid | None, name: str, where: Path) -> None:
    """Raise DataError if too many samples are missing between the times."""
    if grid is None:
        return
    share = 1 - grid.positions.size / grid.n_samples
    if share > MAX_MISSING:
        raise DataError(
            f"{where}: column {name!r} does not rise in equal steps: {100 * share:.3g} % of the samples are missing, "
            f"with a step of up to {grid.largest_gap:.4g} samples; at most {100 * MAX_MISSING:g} % may be, so cut the "
            "recording there"
        )
