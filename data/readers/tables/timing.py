"""Find the columns of a table that are no signals, as they hold times or count samples, and the rate that they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.readers.clock import Grid, decimal_step, grid_of, is_even, roundest
from data.readers.contents import is_ecg
from data.readers.gaps import MAX_MISSING
from data.readers.labels import Role, role_of

Floats = NDArray[np.float64]
FIT = 0.01  # of a rate that tells the unit of times
AGREE = 1e-3  # of rates that should be one
UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
# Times since 1970 have magnitudes of their own, from 1998 to 2128.
EPOCHS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
EPOCH_S = (9e8, 5e9)
MIN_ROWS = 5  # any two or three rising numbers may be even
MIN_RISING = 20  # numbers that rise all along are no signal
ASSUMED_HZ = (1.0, 1e6)
PERIODS = frozenset((*(2.0**n for n in range(3, 17)), *(10.0**n for n in range(1, 6))))  # of counters that wrap
COUNTING = 0.9  # of the steps of a counter are equal


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its printable name, the name in the file (None without a header), its unit, what it holds, its values.

    asked: whether the caller named it as a channel.
    """

    name: str
    label: str | None
    unit: str
    kind: str
    values: Floats | None
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """The rate of a table, and the columns that are no signals.

    grid: where the samples go if the times have gaps or jitter.
    slack: relative uncertainty of the rate.
    """

    left_out: frozenset[int]
    rate_hz: float | None = None
    grid: Grid | None = None
    slack: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Clock:
    """A column of times: the rate that it gives, or why it gives none.

    is_sure: whether the file states the unit.
    slack: relative uncertainty of the rate.
    """

    index: int
    rate_hz: float = 0.0
    grid: Grid | None = None
    is_sure: bool = False
    slack: float = 0.0
    notes: tuple[str, ...] = ()
    error: DataError | None = None


def timing_of(columns: Sequence[Column], hint_hz: float | None, named_channels: bool, where: Path) -> Timing:
    """Return the rate that times give, and the columns that are no signals.

    hint_hz: the rate that the caller or the file states; it tells the unit of times that have none.
    named_channels: whether the caller named channels; a column with a clock's name may then be what it likes.

    Raises DataError if a clock does not rise in steps that can be put on an even grid, or its unit is unknown.
    """
    roles = [_role(column, i) for i, column in enumerate(columns)]
    left, notes = set[int](), list[str]()
    clocks: list[_Clock] = []
    count: tuple[str, Grid] | None = None
    for i, (column, role) in enumerate(zip(columns, roles, strict=True)):
        if column.values is None:
            left |= {i} if not column.asked else set()
            continue
        if role.is_clock or column.kind == "stamp":
            clocks.append(_clock(i, column, role, hint_hz, where))
        elif role.is_counter and not column.asked:
            counted, grid = _count(column, where)
            if counted:
                left.add(i)
                notes.append(f"column {column.name} counts the samples and is left out")
                count = count or (None if grid is None else (column.name, grid))
    given = sorted((clock for clock in clocks if clock.error is None), key=lambda clock: not clock.is_sure)
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
    for i, (column, role) in enumerate(zip(columns, roles, strict=True)):
        if role.is_clock or i in left or column.asked or column.kind != "number" or is_ecg(column.name):
            continue
        found = _unknown(i, column, bool(given), hint_hz, named_channels, where)
        if found is not None:
            left.add(i)
            given += [found] if found.rate_hz else []
            notes += () if found.rate_hz and found is given[0] else found.notes
    if not given:
        return _counted(left, count, notes, where)
    first = given[0]
    if count is not None and first.grid is None:
        raise DataError(
            f"{where}: column {count[0]!r} counts samples that are missing, but the times in column "
            f"{columns[first.index].name!r} have no gaps; remove the column that is wrong"
        )
    _check_gaps(first.grid, columns[first.index].name, where)
    return Timing(frozenset(left), first.rate_hz, first.grid, first.slack, (*notes, *first.notes))


def _role(column: Column, index: int) -> Role:
    if column.label is None:
        return Role()
    if column.label == "":
        return Role(is_counter=index == 0)
    return role_of(column.label, column.unit)


def _keeps(clock: _Clock, columns: Sequence[Column], named_channels: bool, has_other: bool) -> bool:
    """Return whether a column with a clock's name that gives no rate is no error.

    It is what the caller named, the only column, a coarse clock beside a good one, or not like times at all while the
    caller named other channels.
    """
    column = columns[clock.index]
    if column.asked:
        return True
    if column.values is None:
        return False
    steps = np.diff(column.values)
    rises = bool(np.mean(steps > 0) > 0.9) and column.kind == "number"
    if len(columns) == 1:
        return not rises
    return (has_other and bool((steps >= 0).all())) or (named_channels and not rises and column.kind == "number")


def _clock(index: int, column: Column, role: Role, hint_hz: float | None, where: Path) -> _Clock:
    """Return the rate that a column of times gives, or the error that it gives none."""
    try:
        return _rated(index, column, role, hint_hz, where)
    except DataError as error:
        return _Clock(index, error=error)


def _rated(index: int, column: Column, role: Role, hint_hz: float | None, where: Path) -> _Clock:
    values, name = column.values, column.name
    assert values is not None
    what = f"{where}: column {name!r}"
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0]) + 1
        raise DataError(f"{what} holds NaN: no time in row {row}; write it, or remove that row")
    values = values - values[0] if column.kind == "stamp" else values
    quantum = max(decimal_step(values), float(np.spacing(np.abs(values).max())))
    grid = None
    if not is_even(values, quantum):
        grid = grid_of(values, quantum)
        if grid is None:
            raise DataError(
                f"{what} does not rise in equal steps (within 1 %, or half a step with jitter){_fall(values)}; "
                "resample the recording to an even rate first, or name the columns that are signals in channels="
            )
    step = (values[-1] - values[0]) / (values.size - 1) if grid is None else grid.step
    scale, unit_note = (1.0, "") if column.kind == "stamp" else _scale(values, step, role, hint_hz, what, name)
    span = float(values[-1] - values[0])
    # Times that lie on the line show more of the rate than their last decimal place does.
    at = np.arange(values.size) if grid is None else grid.positions
    is_exact = bool(np.abs(values - values[0] - step * (at - at[0])).max() <= max(0.02 * quantum, 1e-9 * span))
    coarseness = 1e-6 if is_exact else quantum / span
    slack = max(coarseness, 0.0 if grid is None else grid.slack)
    rate_hz = 1.0 / (step * scale)
    if hint_hz is not None and abs(rate_hz - hint_hz) <= slack * rate_hz:
        rate_hz = hint_hz
    elif coarseness > AGREE:
        raise DataError(
            f"{what} does not tell the rate: it is from {rate_hz * (1 - slack):.5g} to {rate_hz * (1 + slack):.5g} Hz, "
            "as its times are coarse; write more decimal places, or give rate_hz="
        )
    else:
        rate_hz = roundest(rate_hz, rate_hz * slack)
    notes = [unit_note] if unit_note else []
    if grid is not None and not grid.is_exact:
        notes.append(
            f"times in column {name} jitter by up to {100 * grid.jitter:.2g} % of a step; the samples are interpolated "
            f"to an even rate of {rate_hz:.6g} Hz"
        )
    if grid is not None and grid.n_samples > values.size:
        notes.append(f"column {name} shows gaps of {grid.n_samples - values.size} samples in all")
    return _Clock(index, rate_hz, grid, not unit_note, slack, tuple(notes))


def _fall(values: Floats) -> str:
    falls = np.flatnonzero(np.diff(values) <= 0)
    return f": row {int(falls[0]) + 2} is no later than the row before" if falls.size else ""


def _scale(values: Floats, step: float, role: Role, hint_hz: float | None, what: str, name: str) -> tuple[float, str]:
    """Return the unit of times in s, and a note if it is assumed. Raises DataError if it is unknown."""
    if role.unit:
        raise DataError(
            f"{what}: its unit {printable(role.unit)!r} is unknown or contradictory; one of s, ms, us, ns, min, h is "
            "needed"
        )
    if role.scale is not None:
        if abs(values[-1]) * role.scale > 1e11:
            raise DataError(
                f"{what}: times such as {values[0]:.0f} cannot be in the unit that its name states; correct the name"
            )
        return role.scale, ""
    unit = next((u for u, scale in EPOCHS.items() if EPOCH_S[0] <= values[0] * scale <= EPOCH_S[1]), None)
    if unit is not None:
        return EPOCHS[unit], f"column {name} is taken as times since 1970 in {unit}, which the file does not state"
    if hint_hz is not None:
        unit = next((u for u, s in UNITS_S.items() if abs(1 / (step * s) - hint_hz) <= FIT * hint_hz), None)
        if unit is not None:
            return UNITS_S[unit], f"column {name} is taken as times in {unit}, as the stated rate says"
    if 30000 < values[0] < 800000 and step < 2e-5:
        raise DataError(f"{what} looks like times in days; write them in s, or as in 2024-05-31T12:30:00.125")
    if step >= 1:
        raise DataError(
            f"{what} does not state its unit, and its steps of {step:g} would be {1 / step:g} Hz in s; write the unit "
            "in its name, as in 'time_ms', or give rate_hz="
        )
    if 1 / step > ASSUMED_HZ[1]:
        raise DataError(
            f"{what} does not state its unit, and its steps of {step:g} would be {1 / step:g} Hz in s; write the unit "
            "in its name, as in 'time_s'"
        )
    return 1.0, f"column {name} is taken as times in s, a unit that the file does not state"


def _count(column: Column, where: Path) -> tuple[bool, Grid | None]:
    """Return whether a column counts the samples, and where they go if some were lost."""
    values = column.values
    assert values is not None
    steps = np.diff(values)
    step = float(np.median(steps))
    is_count = step == 1 or (bool(column.label) and step > 1 and step.is_integer())
    if not is_count or np.mean(steps == step) <= COUNTING or not np.isfinite(values).all():
        return False, None
    if (steps == step).all():
        return True, None
    if _wraps(values):
        return True, None
    if steps.min() <= 0:
        row = int(np.flatnonzero(steps <= 0)[0]) + 2
        raise DataError(
            f"{where}: column {column.name!r} counts the samples, but starts again in row {row}; cut the recording "
            "there, or name the columns that are signals in channels="
        )
    grid = grid_of(values, 0.0)
    return grid is not None and grid.is_exact, grid


def _counted(left: set[int], count: tuple[str, Grid] | None, notes: list[str], where: Path) -> Timing:
    """Return the timing of a table without times: samples that a counter shows to be lost are gaps."""
    if count is None:
        return Timing(frozenset(left), notes=tuple(notes))
    name, grid = count
    _check_gaps(grid, name, where)
    n_lost = grid.n_samples - grid.positions.size
    return Timing(frozenset(left), None, grid, notes=(*notes, f"column {name} shows gaps of {n_lost} samples in all"))


def _unknown(
    index: int, column: Column, has_clock: bool, hint_hz: float | None, named_channels: bool, where: Path
) -> _Clock | None:
    """Return a clock or counter that no name tells, but that rises in even steps; None for a signal."""
    values = column.values
    assert values is not None
    if not column.label and _wraps(values):
        return _Clock(index, notes=(f"column {column.name} counts again and again; it is taken as a counter",))
    if not _may_rise(values):
        return None
    name = column.name
    steps = np.diff(values)
    quantum = max(decimal_step(values), float(np.spacing(np.abs(values).max())))
    is_clear = quantum < 0.49 * steps.mean() or np.ptp(steps) < 0.02 * quantum
    even = is_even(values, quantum) and (is_clear or values[-1] - values[0] > MIN_RISING * quantum)
    if bool((steps == 1).all()):
        return _Clock(index, notes=(f"column {name} rises by 1 from row to row; it is taken as a counter",))
    if not even and not (values.size >= MIN_RISING and steps.min() > 0):
        return None
    if has_clock:
        return _Clock(index, notes=(f"column {name} rises throughout as times do; it is left out",)) if even else None
    try:
        found = _rated(index, column, Role(is_clock=True), hint_hz, where)
        low, high = ASSUMED_HZ
        if low <= found.rate_hz <= high:
            return found
    except DataError as error:
        if not even and not named_channels:
            raise DataError(
                f"{where}: column {name!r} rises in every row, as times do, but not in even steps; resample the "
                "recording to an even rate first, or name the columns that are signals in channels="
            ) from error
    return _Clock(index, notes=(f"column {name} rises throughout as times do; it is left out and gives no rate",))


def _wraps(values: Floats) -> bool:
    """Return whether numbers count from a first to a last one again and again, as a counter of 4 bits does."""
    if values.size < MIN_RISING or not np.isin(np.diff(values[:5]), (1, values[:5].min() - values[:5].max())).any():
        return False
    steps = np.diff(values)
    resets = np.flatnonzero(steps != 1)
    if resets.size < 3 or not (steps[resets] == values.min() - values.max()).all():
        return False
    period = float(values.max() - values.min() + 1)
    return period in PERIODS and bool((np.diff(resets) == period).all())


def _may_rise(values: Floats) -> bool:
    """Return whether no number of a column is below the one before it; its first ones usually tell."""
    if values.size < MIN_ROWS:
        return False
    return all(bool((np.diff(part) >= 0).all()) for part in (values[:1000], values)) and bool(values[-1] > values[0])


def _check_agreement(given: Sequence[_Clock], columns: Sequence[Column], where: Path) -> None:
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
