"""What stands beside a signal in a file of named arrays: its rate, its clock, its ECG and its R peaks.

What is in the same struct counts before what is around it. A statement that contradicts another is refused.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError, printable
from data.readers.arrays.archive import Archive
from data.readers.clock import is_even, rate_of
from data.readers.contents import Numbers, Variable, as_signal, is_ecg, usable_ecg
from data.readers.names import clock_unit_s, is_clock_name, is_rate_name, is_rate_name_of, rate_from, rate_from_of
from data.recording import Signal

R_PEAK_NAMES = ("r_peaks_s", "r_peak_s")
RATE_TOLERANCE = 1e-3
UNITS = {1.0: "s", 1e-3: "ms", 1e-6: "us", 1e-9: "ns"}


def is_vector(variable: Variable) -> bool:
    """Return whether at most one axis is longer than 1."""
    return sum(n > 1 for n in variable.shape) <= 1


def level_of(name: str) -> str:
    """Return the struct, cell or group that a variable is in: "runs{2}" for "runs{2}.acc", "" at the top."""
    last = re.search(r"([./][^./]*|\{\d+\}|\(\d+\))$", name)
    return name[: last.start()] if last else ""


def field_of(name: str) -> str:
    """Return the name of a variable within its struct."""
    return name.removeprefix(level_of(name)).lstrip("./")


def levels(names: Sequence[str]) -> list[str]:
    """Return the structs and cells that all these variables are in, the innermost first; the last is "", the top."""
    around: list[str] = []
    level = level_of(names[0])
    while level:
        if all(_is_within(name, level) for name in names):
            around.append(level)
        level = level_of(level)
    return [*around, ""]


def _is_within(name: str, level: str) -> bool:
    while name:
        name = level_of(name)
        if name == level:
            return True
    return False


def rate_beside(store: Archive, name: str, where: Path, notes: list[str]) -> float | None:
    """Return the rate that a number beside a variable states, the nearest first; None if there is none.

    Raises DataError if numbers in the same struct contradict each other, or if one can be no rate.
    """
    nearest: float | None = None
    for level in levels([name]):
        said = _stated(store, level, field_of(name), where, notes)
        if said is None:
            continue
        if nearest is None:
            nearest = said
        elif not agree(nearest, said):
            notes.append(f"{said:g} Hz, stated outside of {printable(level_of(name))}, is not its rate")
    return nearest


def _stated(store: Archive, level: str, field: str, where: Path, notes: list[str]) -> float | None:
    own: dict[str, float] = {}
    common: dict[str, float] = {}
    for v in _at(store, level):
        is_own, is_common = is_rate_name_of(field_of(v.name), field), is_rate_name(field_of(v.name))
        if not (is_own or is_common) or v.name == (f"{level}.{field}" if level else field):
            continue
        values = np.ravel(store.load(v.name)) if v.name in store.numeric and is_vector(v) else np.empty(0)
        if values.size == 0 or not bool((values == values[0]).all()):
            if not is_clock_name(field_of(v.name)):
                notes.append(f"{v} is no single number, and not used as the rate")
            continue
        value = float(values[0])
        rate = rate_from_of(field_of(v.name), field, value) if is_own else rate_from(field_of(v.name), value)
        if rate is None or not 0 < rate < math.inf:
            raise DataError(f"{where}: {printable(v.name)} = {value:g} is no rate; a positive number is needed")
        (own if is_own else common)[v.name] = rate
    found = own or common
    first = next(iter(found.values()), None)
    if first is not None and not all(agree(first, rate) for rate in found.values()):
        said = ", ".join(f"{printable(name)} = {rate:g} Hz" for name, rate in found.items())
        raise DataError(f"{where}: the file gives two rates ({said}); correct it")
    return first


def _at(store: Archive, level: str) -> list[Variable]:
    """Return the variables that are directly in a struct or cell, or at the top."""
    return [v for v in store.variables if level_of(v.name) == level]


def agree(one_hz: float, other_hz: float) -> bool:
    """Return whether two rates are the same within 0.1 %."""
    return abs(one_hz - other_hz) <= RATE_TOLERANCE * max(one_hz, other_hz)


def rate_of_signal(store: Archive, name: str, n_samples: int, where: Path, notes: list[str]) -> float | None:
    """Return the rate of a variable by the numbers and the clocks beside it; None if the file does not state it.

    Raises DataError if they contradict each other, or for a clock of the same length that does not rise evenly.
    """
    rate_hz = rate_beside(store, name, where, notes)
    for level in levels([name]):
        for v in _at(store, level):
            if v.name == name or v.name not in store.numeric or not is_vector(v) or math.prod(v.shape) < 2:
                continue
            if not is_clock_name(field_of(v.name)):
                continue
            if math.prod(v.shape) != n_samples:
                notes.append(f"{v} is not used: the signal has {n_samples} samples")
                continue
            times = np.ravel(store.load(v.name))
            if len(field_of(v.name)) == 1 and not _rises(times):
                notes.append(f"{v} does not rise, and is not taken for a clock")
                continue
            found = rate_of_clock(times, v.name, clock_unit_s(field_of(v.name)), rate_hz, where, notes)
            rate_hz = found if rate_hz is None else rate_hz
    return rate_hz


def rate_of_clock(
    times: Numbers, name: str, unit_s: float | None, stated_hz: float | None, where: Path, notes: list[str]
) -> float | None:
    """Return the rate of the times of samples; None if they count samples, or if their unit is not known.

    unit_s: of the times; None takes them in s if their steps are below 1.
    stated_hz: the rate that the file states elsewhere; the times may be in another unit if they agree with it then.

    Raises DataError if the times do not rise evenly, or contradict the stated rate.
    """
    quantum = resolution(times)
    exact = times.astype(np.float64)
    in_s = 1.0 if unit_s is None else unit_s
    rate_hz = rate_of(exact * in_s, quantum * in_s, where, printable(name))
    if unit_s is None:
        if rate_hz == 1.0 and bool((np.diff(exact) == 1.0).all()):
            notes.append(f"{printable(name)} counts the samples: left out")
            return None
        for unit, word in UNITS.items():
            if stated_hz is not None and agree(rate_hz / unit, stated_hz):
                notes.append(f"{printable(name)} is a clock in {word}, and left out")
                return rate_hz / unit
        if rate_hz <= 1.0 and stated_hz is None:
            notes.append(f"{printable(name)} is a clock of unknown unit, and left out: its steps are {1 / rate_hz:g}")
            return None
    if stated_hz is not None and not agree(rate_hz, stated_hz):
        raise DataError(
            f"{where}: {printable(name)} rises as at {rate_hz:g} Hz, but the file says {stated_hz:g} Hz; correct it"
        )
    notes.append(f"{printable(name)} is a clock of {rate_hz:g} Hz, and left out")
    return rate_hz


def clock_columns(store: Archive, variable: Variable, axis: int, *, with_gaps: bool) -> list[int]:
    """Return which slices of a matrix, across `axis`, rise in even steps over the whole file: clocks, no signals.

    with_gaps: also those of which a tenth of the steps or fewer is uneven, or missing.
    """
    columns = slices(store, variable, axis, range(squeezed(variable.shape)[axis]))
    return [i for i, times in enumerate(columns) if _is_clock(times, with_gaps)]


def _is_clock(times: Numbers, with_gaps: bool) -> bool:
    exact = times.astype(np.float64)
    if _rises(exact) and is_even(exact, resolution(times)):
        return True
    known = exact[np.isfinite(exact)]
    if not with_gaps or known.size < max(3, 0.9 * exact.size) or not _rises(known):
        return False
    steps = np.diff(known)
    usual = float(np.median(steps))
    even = np.abs(steps - usual) <= 0.01 * usual + 2 * resolution(times)
    return usual > 2 * resolution(times) and bool(even.mean() >= 0.9)


def _rises(times: Numbers) -> bool:
    return bool(times.size > 1 and np.isfinite(times).all() and (np.diff(times.astype(np.float64)) >= 0).all())


def slices(store: Archive, variable: Variable, axis: int, indices: Iterable[int]) -> Iterator[Numbers]:
    """Yield the slices at `indices` of `axis` of a variable, whose axes of length 1 are left out."""
    if len(variable.shape) == 2:
        yield from store.lines(variable.name, axis, indices)
        return
    matrix = np.squeeze(store.load(variable.name))
    for i in indices:
        yield np.take(matrix, i, axis)


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes that are longer than 1."""
    return tuple(n for n in shape if n > 1)


def resolution(times: Numbers) -> float:
    """Return the resolution of stored times: 0 for integers, the spacing at the largest value for floats."""
    if times.dtype.kind != "f" or times.size == 0:
        return 0.0
    top = np.abs(times).max()
    return float(np.spacing(top)) if np.isfinite(top) else 0.0


def r_peaks_beside(store: Archive, names: Sequence[str], where: Path) -> NDArray[np.float64] | None:
    """Return the annotated R peaks in s, float64[beat]; None if the file has none. Raises DataError for NaN."""
    for level in levels(names):
        for v in _at(store, level):
            if field_of(v.name) in R_PEAK_NAMES and v.name in store.numeric:
                peaks = np.ravel(store.load(v.name)).astype(np.float64)
                if not np.isfinite(peaks).all():
                    raise DataError(f"{where}: {v.name} holds NaN; give every R peak in seconds, or none")
                return peaks
    return None


def ecg_beside(
    store: Archive, names: Sequence[str], n_samples: int, where: Path, notes: list[str]
) -> tuple[Signal | None, float | None]:
    """Return a vector named ECG beside the signals, and its rate; None for the rate if it is that of the signals.

    It is used if its rate is known: it is stated for the ECG, or the ECG has the length of the signals.
    """
    for level in levels(names):
        for v in _at(store, level):
            if v.name in names or v.name not in store.numeric or not is_ecg(field_of(v.name)):
                continue
            if not is_vector(v) or math.prod(v.shape) < 2:
                continue
            rate_hz = _ecg_rate(store, level, field_of(v.name), where, notes)
            if rate_hz is not None or math.prod(v.shape) == n_samples:
                return usable_ecg(as_signal(np.ravel(store.load(v.name)), v.name, notes)), rate_hz
            notes.append(f"{v} is not used: it has not the length of the signal, and no ecg_rate_hz beside it")
    return None, None


def _ecg_rate(store: Archive, level: str, field: str, where: Path, notes: list[str]) -> float | None:
    """Return the rate that is stated for the ECG alone."""
    for name in ("ecg", "ekg", field):
        own = [v for v in _at(store, level) if is_rate_name_of(field_of(v.name), name)]
        if own:
            return _stated(store, level, name, where, notes)
    return None
