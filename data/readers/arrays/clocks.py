"""The clocks in a file of named arrays: vectors and columns that hold the times or the numbers of the samples."""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.readers.arrays.archive import Archive
from data.readers.arrays.levels import at, field_of, is_vector, levels
from data.readers.arrays.rates import rate_beside, unit_beside
from data.readers.clock import UNITS_S, agree, is_even, rate_of, unit_since_1970
from data.readers.contents import Numbers, Variable
from data.readers.labels import NO_UNIT, SCALES
from data.readers.names import clock_unit_s, is_clock_name

DAYS = {"d": 86400.0, "day": 86400.0, "days": 86400.0}
_UNIT = re.compile(r"[\[(]?\s*([^\W\d_]+)\.?\s*[\])]?(?:\s+since\b.*)?")


def rate_of_signal(
    store: Archive, name: str, n_samples: int, where: Path, notes: list[str], asked_hz: float | None = None
) -> float | None:
    """Return the rate of a variable by the numbers and the clocks beside it; None if the file does not state it.

    asked_hz: what the caller says, which may tell the unit of the clocks.

    Raises DataError if they contradict each other, or for a clock of the same length that does not rise evenly.
    """
    rate_hz = rate_beside(store, name, where, notes)
    unread: list[str] = []
    for level in levels([name]):
        for v in at(store, level):
            is_dates = v.name in store.times
            if v.name == name or not (is_dates or is_clock_name(field_of(v.name))):
                continue
            if not is_dates and v.name not in store.numeric:
                unread.append(f"{v} is not read as a clock: it holds no numbers")
                continue
            if not is_vector(v) or math.prod(v.shape) < 2:
                continue
            if math.prod(v.shape) != n_samples:
                notes.append(f"{v} is not used: the signal has {n_samples} samples")
                continue
            times = np.ravel(store.load(v.name))
            if len(field_of(v.name)) == 1 and not rises(times):
                notes.append(f"{v} does not rise, and is not taken for a clock")
                continue
            unit_s = 1.0 if is_dates else stated_unit_s(field_of(v.name), unit_beside(store, v) or "", where)
            found = rate_of_clock(times, v.name, unit_s, rate_hz, where, notes, asked_hz)
            rate_hz = found if rate_hz is None else rate_hz
    notes += unread if rate_hz is None else []
    return rate_hz


def stated_unit_s(name: str, beside: str, where: Path) -> float | None:
    """Return the unit of a clock in s by its name or by a text beside it; None if neither states one.

    beside: as in "ms", or in "days since 2020-01-01" of netCDF.

    Raises DataError if the text is no unit of time, or not that of the name.
    """
    by_name, found = clock_unit_s(name), _UNIT.fullmatch(beside.strip().lower())
    word = found[1] if found else beside
    if word.lower() in NO_UNIT:
        return by_name
    unit_s = SCALES.get(word, DAYS.get(word))
    if unit_s is None:
        raise DataError(
            f"{where}: the unit of {printable(name)} is {printable(beside)[:80]!r}; one of days, h, min, s, ms, us, ns "
            "is needed; correct it, or save the signal without that clock"
        )
    if by_name not in (None, unit_s):
        raise DataError(
            f"{where}: {printable(name)} states another unit by its name than {printable(beside)[:80]!r} beside it; "
            "correct the wrong one"
        )
    return unit_s


def rate_of_clock(
    times: Numbers,
    name: str,
    unit_s: float | None,
    stated_hz: float | None,
    where: Path,
    notes: list[str],
    asked_hz: float | None = None,
) -> float | None:
    """Return the rate of the times of samples; None if they count samples, or if their unit is not known.

    unit_s: of the times. None takes times since 1970 in the unit in which they are of our days, and others in s if
        their steps are below 1.
    stated_hz: the rate that the file states elsewhere; the times may be in another unit if they agree with it then.
    asked_hz: the rate that the caller says; without a stated one it tells the unit in the same way.

    Raises DataError if the times do not rise evenly, or contradict the stated rate, or in every unit the asked one.
    """
    quantum, exact, shown = resolution(times), in_order(times), printable(name)
    since_1970 = unit_since_1970(float(times.flat[0])) if unit_s is None and times.size else None
    in_s = unit_s or (UNITS_S[since_1970] if since_1970 else 1.0)
    rate_hz = rate_of(exact * in_s, quantum * in_s, where, shown)
    if unit_s is None and since_1970 is None:
        told_hz = asked_hz if stated_hz is None else stated_hz
        if rate_hz == 1.0 and bool((np.diff(exact) == 1.0).all()):
            notes.append(f"{shown} counts the samples: left out")
            return None
        for word, unit in UNITS_S.items():
            if told_hz is not None and agree(rate_hz / unit, told_hz):
                notes.append(f"{shown} is a clock in {word}, and left out")
                return rate_hz / unit
        if rate_hz <= 1.0 and told_hz is None:
            notes.append(f"{shown} is a clock of unknown unit, and left out: its steps are {1 / rate_hz:g}")
            return None
        if rate_hz <= 1.0 and stated_hz is None:
            raise DataError(
                f"{where}: {shown} rises in steps of {1 / rate_hz:g}, which in no unit are those of "
                f"rate_hz={asked_hz:g}; correct rate_hz, or save the signal without the clock"
            )
    if stated_hz is not None and not agree(rate_hz, stated_hz):
        raise DataError(f"{where}: {shown} rises as at {rate_hz:g} Hz, but the file says {stated_hz:g} Hz; correct it")
    since = "" if since_1970 in (None, "s") else f" in {since_1970} since 1970"
    notes.append(f"{shown} is a clock of {rate_hz:g} Hz{since}, and left out")
    return rate_hz


def in_order(times: Numbers) -> NDArray[np.float64]:
    """Return times as float64; whole numbers from the smallest on, which float64 would round in ns since 1970."""
    return (times - times.min() if times.dtype.kind in "iu" and times.size else times).astype(np.float64)


def clock_columns(store: Archive, variable: Variable, axis: int, n_columns: int, *, with_gaps: bool) -> list[int]:
    """Return which slices of a matrix, across `axis`, rise in even steps over the whole file: clocks, no signals.

    with_gaps: also those of which a tenth of the steps or fewer is uneven, or missing.
    """
    columns = slices(store, variable, axis, range(n_columns))
    return [i for i, times in enumerate(columns) if is_clock(times, with_gaps)]


def is_clock(times: Numbers, with_gaps: bool) -> bool:
    """Return whether numbers rise in even steps; with_gaps: or a tenth of the steps or fewer is uneven or missing."""
    if times.size < 3:
        return False  # two numbers always rise or fall evenly
    exact = in_order(times)
    if rises(exact) and is_even(exact, resolution(times)):
        return True
    known = exact[np.isfinite(exact)]
    if not with_gaps or known.size < max(3, 0.9 * exact.size) or not rises(known):
        return False
    steps = np.diff(known)
    usual = float(np.median(steps))
    even = np.abs(steps - usual) <= 0.01 * usual + 2 * resolution(times)
    return usual > 2 * resolution(times) and bool(even.mean() >= 0.9)


def rises(times: Numbers) -> bool:
    """Return whether numbers are two or more, all finite, and none is below the one before it."""
    return bool(times.size > 1 and np.isfinite(times).all() and (np.diff(in_order(times)) >= 0).all())


def slices(store: Archive, variable: Variable, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
    """Yield the slices at `indices` of `axis` of a variable, whose axes of length 1 are left out."""
    if len(variable.shape) == 2:
        yield from store.lines(variable.name, axis, indices)
        return
    matrix = np.squeeze(store.load(variable.name))
    for i in indices:
        yield np.take(matrix, i, axis)


def resolution(times: Numbers) -> float:
    """Return the resolution of stored times: 0 for integers, the spacing at the largest value for floats."""
    if times.dtype.kind != "f" or times.size == 0:
        return 0.0
    top = np.abs(times).max()
    return float(np.spacing(top)) if np.isfinite(top) else 0.0
