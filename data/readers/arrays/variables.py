"""Files of named arrays (.mat, .npz): choose the variables with the signal, and read them as channels."""

import fnmatch
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.errors import DataError, near
from data.readers.arrays.archive import Archive, arrays
from data.readers.arrays.beside import (
    agree,
    clock_columns,
    ecg_beside,
    field_of,
    is_vector,
    level_of,
    r_peaks_beside,
    rate_beside,
    rate_of_clock,
    rate_of_signal,
    slices,
    squeezed,
)
from data.readers.clock import is_even
from data.readers.contents import Contents, Variable, Wanted, gather, is_ecg, listing
from data.readers.names import clock_unit_s, is_clock_name, is_rate_name, is_rate_name_of, rate_from

__all__ = ["RATE_NAMES", "Archive", "arrays", "choose", "is_rate_name", "is_vector", "rate_from", "read_generic"]

RATE_NAMES = ("fs", "sr", "rate_hz", "SampleRate", "dt")  # examples, for messages; see is_rate_name
TABLES = ("table", "timetable")


def choose(store: Archive, pattern: str | None, where: Path) -> list[Variable]:
    """Return the variables with the signal: those that match a name or glob, sorted, or the only candidate.

    pattern: name or glob; None takes the only candidate at the top, or else in structs and cells. "*" does not match
        the border of a struct or cell. Numbers in names are sorted as numbers.

    Raises DataError, listing the variables, if nothing matches or there is more than one candidate.
    """
    found = arrays(store)
    holds = f"it holds {listing(store.variables)}"
    if pattern is None:
        return [_only(store, where, holds)]
    name = pattern.strip()
    names = [v.name for v in store.variables]
    chosen = [name] if name in names else sorted(_matches(names, name), key=_natural)
    if not chosen:
        inside = [v for v in names if v.startswith((f"{name}.", f"{name}/", f"{name}{{", f"{name}("))]
        if inside:
            raise DataError(f"{where}: variable {pattern!r} is no array; choose one in it: {listing(inside)}")
        raise DataError(f"{where}: no variable {pattern!r}{near(pattern, names)}; {holds}")
    usable = [found[name] for name in chosen if name in found]
    if not usable:
        kind = next(v.dtype for v in store.variables if v.name in chosen)
        if kind in TABLES:
            raise DataError(f"{where}: variable {pattern!r} {_table_advice(kind, chosen[0])}")
        raise DataError(f"{where}: variable {pattern!r} is no array of two or more real numbers; {holds}")
    for v in usable:
        _check_no_clock(store, v, where)
    return usable


def _only(store: Archive, where: Path, holds: str) -> Variable:
    """Return the only variable that may be the signal."""
    found = [v for v in arrays(store).values() if not _is_aside(v)]
    found = [v for v in found if not is_ecg(field_of(v.name))] or found
    found = [v for v in found if level_of(v.name) == ""] or found
    if len(found) == 1:
        return found[0]
    tables = [v for v in store.variables if v.dtype in TABLES]
    if not found and tables:
        raise DataError(f"{where}: variable {tables[0].name!r} {_table_advice(tables[0].dtype, tables[0].name)}")
    if not found:
        raise DataError(f"{where}: no variable holds a signal; {holds}; choose with variable=")
    alike = Counter(math.prod(v.shape) for v in found if is_vector(v))
    several = " or, for one channel each, variables=" if max(alike.values(), default=0) > 1 else ""
    shown = listing(found)
    raise DataError(f"{where}: more than one variable may be the signal: {shown}; choose with variable={several}")


def _is_aside(variable: Variable) -> bool:
    """Return whether a variable is no signal by its name: a rate, a clock, or times in s."""
    name = field_of(variable.name)
    is_rate = is_rate_name(name) or is_rate_name_of(name, "ecg")
    return is_rate or name.endswith("_s") or (is_clock_name(name) and is_vector(variable))


def _table_advice(kind: str, name: str) -> str:
    made = f"table2struct({name}, 'ToScalar', true)"
    made = made if kind == "table" else f"table2struct(timetable2table({name}), 'ToScalar', true)"
    return (
        f"is a MATLAB {kind}, which only MATLAB can decode; in MATLAB, save s = {made}, or write{kind}({name}, 'x.csv')"
    )


def _matches(names: Sequence[str], pattern: str) -> list[str]:
    depth = _depth(pattern)
    return [name for name in fnmatch.filter(names, pattern) if _depth(name) == depth]


def _depth(name: str) -> int:
    return len(re.findall(r"[./{(]", name))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _check_no_clock(store: Archive, variable: Variable, where: Path) -> None:
    """Raise DataError for a vector named as a clock that rises evenly."""
    if is_vector(variable) and is_clock_name(field_of(variable.name)):
        times = np.ravel(store.load(variable.name)).astype(np.float64)
        if is_even(times, float(np.spacing(np.abs(times).max()))):
            raise DataError(f"{where}: {variable} is a clock, no signal; choose another variable")


def read_generic(
    store: Archive, wanted: Wanted, where: Path, labels: tuple[str, ...] = (), channel_axis: int | None = None
) -> Contents:
    """Read the chosen variables: vectors as channels, or one as [time], [time, channel] or [channel, time].

    Of a matrix, the longer axis is time, and a column that rises evenly is a clock. Several variables that match a glob
    are joined in time to one channel. Another vector named ECG becomes the ECG if its rate is known.

    labels: channel names, used if there are as many as channels; else they are ch1 ... chN.
    channel_axis: the axis of the channels, if the layout defines it; then no column is a clock.

    Raises DataError as `choose` does, for other shapes, and for rates that contradict each other.
    """
    notes: list[str] = []
    if wanted.variables:
        chosen = _each(store, wanted.variables, where)
        names = wanted.variables
        channels = names if wanted.channels is None else wanted.channels
        contents = gather(names, channels, where, lambda rows: (np.ravel(store.load(chosen[i].name)) for i in rows))
        rate_hz = _common_rate(store, chosen, where, notes)
    else:
        chosen = choose(store, wanted.variable, where)
        if len(chosen) > 1 or is_vector(chosen[0]):
            contents = _joined(store, chosen, wanted, where, labels)
            rate_hz = _common_rate(store, chosen, where, notes)
        else:
            contents, rate_hz = _matrix(store, chosen[0], wanted, where, labels, channel_axis, notes)
    taken = [v.name for v in chosen]
    ecg, ecg_rate_hz = contents.ecg, None
    if ecg is None:
        ecg, ecg_rate_hz = ecg_beside(store, taken, contents.signals.shape[1], where, notes)
    return replace(
        contents,
        rate_hz=rate_hz,
        ecg=ecg,
        ecg_rate_hz=None if ecg is None else ecg_rate_hz,
        r_peaks_s=r_peaks_beside(store, taken, where),
        notes=(*contents.notes, *dict.fromkeys(notes)),
    )


def _each(store: Archive, names: Sequence[str], where: Path) -> list[Variable]:
    """Return the vector with each name. Raises DataError if one is none, or if their lengths differ."""
    if len(set(names)) < len(names):
        raise DataError(f"{where}: variables={[*names]} names one twice; name each once")
    known = {v.name for v in store.variables}
    for name in names:
        if name not in known and _matches([*known], name):
            raise DataError(f"{where}: variables= takes names, not patterns as {name!r}; it holds {listing(known)}")
    chosen = [choose(store, name, where)[0] for name in names]
    bad = next((v for v in chosen if not is_vector(v)), None)
    if bad is not None:
        raise DataError(f"{where}: {bad} is no vector, so not one channel; read it alone with variable=")
    if len({math.prod(v.shape) for v in chosen}) > 1:
        sizes = listing(f"{v.name} {math.prod(v.shape)}" for v in chosen)
        raise DataError(f"{where}: the variables differ in length ({sizes}); name those of one length")
    return chosen


def _common_rate(store: Archive, chosen: Sequence[Variable], where: Path, notes: list[str]) -> float | None:
    """Return the rate of all variables; None if the file states none. Raises DataError if they differ."""
    rates = {v.name: rate_of_signal(store, v.name, math.prod(v.shape), where, notes) for v in chosen}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    first = next(iter(known.values()), None)
    if first is not None and not all(agree(first, rate) for rate in known.values()):
        said = listing(f"{name} {rate:g} Hz" for name, rate in known.items())
        raise DataError(f"{where}: the variables differ in rate ({said}); name those of one rate")
    return first


def _joined(
    store: Archive, chosen: Sequence[Variable], wanted: Wanted, where: Path, labels: tuple[str, ...]
) -> Contents:
    """Join vectors in time to one channel."""
    bad = next((v for v in chosen if not is_vector(v)), None)
    if bad is not None:
        raise DataError(f"{where}: {bad} is among several variables to be joined; each must be one channel")
    joined = np.concatenate([np.ravel(store.load(v.name)) for v in chosen])
    names = labels if len(labels) == 1 else ("ch1",)
    return gather(names, wanted.channels, where, lambda rows: [joined for _ in rows])


def _matrix(
    store: Archive,
    variable: Variable,
    wanted: Wanted,
    where: Path,
    labels: tuple[str, ...],
    channel_axis: int | None,
    notes: list[str],
) -> tuple[Contents, float | None]:
    """Read a matrix, and its rate by what is beside it and by its clocks."""
    shape = squeezed(variable.shape)
    is_square = channel_axis is None and len(set(shape)) == 1
    if len(shape) != 2 or is_square:
        raise DataError(
            f"{where}: {variable} is not [time], [time, channel] or [channel, time], time being longer; "
            "choose another with variable="
        )
    axis = int(np.argmin(shape)) if channel_axis is None else channel_axis
    n_columns, n_samples = shape[axis], shape[1 - axis]
    if channel_axis is None:
        rate_hz = rate_of_signal(store, variable.name, n_samples, where, notes)
        clocks = clock_columns(store, variable, axis, with_gaps=wanted.layout == "auto")
    else:
        rate_hz, clocks = rate_beside(store, variable.name, where, notes), []
    named = labels if len(labels) == n_columns else ()
    clocks += [i for i, label in enumerate(named) if is_clock_name(label) and i not in clocks and channel_axis is None]
    if len(clocks) == n_columns:
        raise DataError(f"{where}: all columns of {variable} rise evenly, as clocks; no signal is in it")
    for i in sorted(clocks):
        times = next(iter(slices(store, variable, axis, [i])))
        what = f"{'column' if axis == len(shape) - 1 else 'row'} {i + 1} of {variable.name}"
        found = rate_of_clock(times, what, clock_unit_s(named[i]) if named else None, rate_hz, where, notes)
        rate_hz = found if rate_hz is None else rate_hz
    kept = [i for i in range(n_columns) if i not in clocks]
    if named:
        names = tuple(named[i] for i in kept)
    else:
        names = labels if len(labels) == len(kept) else tuple(f"ch{i + 1}" for i in range(len(kept)))
    contents = gather(
        names, wanted.channels, where, lambda rows: slices(store, variable, axis, [kept[row] for row in rows])
    )
    return contents, rate_hz
