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
from data.readers.arrays.archive import ATTRIBUTE, Archive, arrays
from data.readers.arrays.beside import ecg_beside, r_peaks_beside
from data.readers.arrays.clocks import clock_columns, rate_of_clock, rate_of_signal, slices
from data.readers.arrays.levels import field_of, is_vector, level_of, squeezed
from data.readers.arrays.rates import rate_beside, unused_rates
from data.readers.arrays.titles import Titles, titles_beside
from data.readers.clock import agree, is_even
from data.readers.contents import Contents, Variable, Wanted, check_spans, gather, is_ecg, listing
from data.readers.names import clock_unit_s, is_clock_name, is_rate_name, is_rate_name_of, natural

RATE_NAMES = ("fs", "sr", "rate_hz", "SampleRate", "dt")  # examples, for messages; see is_rate_name
MOST_CHANNELS = 64  # more names than these are no reason to take the longer axis for that of the channels
TABLES = ("table", "timetable")


def choose(store: Archive, pattern: str | None, where: Path, notes: list[str]) -> list[Variable]:
    """Return the variables with the signal: those that match a name or glob, sorted, or the only candidate.

    pattern: name or glob; None takes the only candidate at the top, or else in structs and cells. "*" does not match
        the border of a struct or cell. Numbers in names are sorted as numbers.
    notes: gets those that match and hold no array of real numbers.

    Raises DataError, listing the variables, if nothing matches or there is more than one candidate.
    """
    found = arrays(store)
    held = [v for v in store.variables if v.dtype != ATTRIBUTE]
    holds = f"it holds {listing(held)}"
    if pattern is None:
        return [_only(store, where, holds)]
    name = pattern.strip()
    names = [v.name for v in held]
    chosen = [name] if name in names else sorted(_matches(names, name), key=natural)
    if not chosen:
        inside = [v for v in names if v.startswith((f"{name}.", f"{name}/", f"{name}{{", f"{name}("))]
        if inside:
            raise DataError(f"{where}: variable {pattern!r} is no array; choose one in it: {listing(inside)}")
        raise DataError(f"{where}: no variable {pattern!r}{near(pattern, names)}; {holds}")
    usable = [found[name] for name in chosen if name in found]
    if not usable:
        kind = next(v.dtype for v in held if v.name in chosen)
        if kind in TABLES:
            raise DataError(f"{where}: variable {pattern!r} {_table_advice(kind, chosen[0])}")
        raise DataError(f"{where}: variable {pattern!r} is no array of two or more real numbers; {holds}")
    unusable = [v for v in held if v.name in chosen and v.name not in found]
    if unusable:
        notes.append(f"{pattern!r} also matches {listing(unusable)}: left out, as no array of two or more real numbers")
    for v in usable:
        _check_no_clock(store, v, where)
    return usable


def _only(store: Archive, where: Path, holds: str) -> Variable:
    """Return the only variable that may be the signal."""
    found = candidates(store)
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


def candidates(store: Archive) -> list[Variable]:
    """Return the variables that may be the signal: those at the top, or if there are none those in structs."""
    found = [v for v in arrays(store).values() if not _is_aside(v)]
    found = [v for v in found if not is_ecg(field_of(v.name))] or found
    return [v for v in found if level_of(v.name) == ""] or found


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


def _check_no_clock(store: Archive, variable: Variable, where: Path) -> None:
    """Raise DataError for a vector named as a clock that rises evenly."""
    if is_vector(variable) and is_clock_name(field_of(variable.name)):
        times = np.ravel(store.load(variable.name)).astype(np.float64)
        if is_even(times, float(np.spacing(np.abs(times).max()))):
            raise DataError(f"{where}: {variable} is a clock, no signal; choose another variable")


def read_generic(
    store: Archive, wanted: Wanted, where: Path, named_by: str | None = None, has_clocks: bool = True
) -> Contents:
    """Read the chosen variables: vectors as channels, or one as [time], [time, channel] or [channel, time].

    Texts beside a matrix, as `channels` or `labels`, name its channels and tell its axes. Without them the longer axis
    is time. A column that rises evenly is a clock. Several variables that match a glob are joined in time to one
    channel. If several vectors may be the signal, channels with their names choose among them. Another vector named ECG
    becomes the ECG if its rate is known.

    named_by: the variable with the names of the channels, if the layout defines it: they must fit, and only columns
        that they name as clocks are. Where they fit both axes, the first axis is that of the channels.
    has_clocks: whether columns may be clocks.

    Raises DataError as `choose` does, for other shapes, and for rates that contradict each other.
    """
    notes: list[str] = []
    wanted = _named_by_channels(store, wanted)
    if wanted.variables:
        chosen = _each(store, wanted.variables, where)
        contents, rate_hz = _side_by_side(store, chosen, wanted, where, notes)
    else:
        chosen = choose(store, wanted.variable, where, notes)
        titles = titles_beside(store, chosen[0].name) if len(chosen) == 1 else []
        if named_by is not None:
            titles = [found for found in titles if found.source == named_by]
        if len(chosen) > 1 or (is_vector(chosen[0]) and (named_by is None or len(chosen[0].shape) != 2)):
            contents = _joined(store, chosen, wanted, where, titles, named_by is not None, notes)
            rate_hz = _common_rate(store, chosen, where, notes, wanted.rate_hz)
        else:
            contents, rate_hz = _matrix(
                store, chosen[0], wanted, where, titles, named_by is not None, has_clocks, notes
            )
    contents = replace(contents, rate_hz=rate_hz, notes=(*dict.fromkeys(notes), *contents.notes))
    return with_beside(contents, store, [v.name for v in chosen], where)


def _named_by_channels(store: Archive, wanted: Wanted) -> Wanted:
    """Return `wanted` with its channels as variables, if several vectors may be the signal and have these names."""
    if wanted.channels is None or wanted.variable is not None or wanted.variables:
        return wanted
    vectors = [v.name for v in candidates(store) if is_vector(v)]
    is_named = len(vectors) > 1 and set(wanted.channels) <= set(vectors)
    return replace(wanted, variables=wanted.channels) if is_named else wanted


def with_beside(contents: Contents, store: Archive, taken: Sequence[str], where: Path) -> Contents:
    """Return the contents of the variables `taken` with the ECG and the R peaks beside them.

    Without a rate, what may be it and is not taken for it is noted.
    """
    notes = unused_rates(store, taken[0]) if contents.rate_hz is None else []
    ecg, ecg_rate_hz = contents.ecg, None
    if ecg is None:
        ecg, ecg_rate_hz = ecg_beside(store, taken, contents.signals.shape[1], where, notes)
    return replace(
        contents,
        ecg=ecg,
        ecg_rate_hz=None if ecg is None else ecg_rate_hz,
        r_peaks_s=r_peaks_beside(store, taken, where),
        notes=(*dict.fromkeys((*notes, *contents.notes)),),
    )


def _each(store: Archive, names: Sequence[str], where: Path) -> list[Variable]:
    """Return the vector with each name. Raises DataError if one is none."""
    if len(set(names)) < len(names):
        raise DataError(f"{where}: variables={[*names]} names one twice; name each once")
    known = [v.name for v in store.variables if v.dtype != ATTRIBUTE]
    for name in names:
        if name not in known and _matches(known, name):
            raise DataError(f"{where}: variables= takes names, not patterns as {name!r}; it holds {listing(known)}")
    chosen = [choose(store, name, where, [])[0] for name in names]
    bad = next((v for v in chosen if not is_vector(v)), None)
    if bad is not None:
        raise DataError(f"{where}: {bad} is no vector, so not one channel; read it alone with variable=")
    return chosen


def _side_by_side(
    store: Archive, chosen: Sequence[Variable], wanted: Wanted, where: Path, notes: list[str]
) -> tuple[Contents, float | None]:
    """Read variables that are one channel each, and the rate of the first of the channels that are asked for.

    Raises DataError if they differ in duration, if they differ in length at one rate, or if only some state a rate.
    """
    lengths = [math.prod(v.shape) for v in chosen]
    rates = [
        rate_of_signal(store, v.name, n, where, notes, wanted.rate_hz) for v, n in zip(chosen, lengths, strict=True)
    ]
    known = [rate for rate in rates if rate is not None]
    rates_hz = None if all(agree(known[0], rate) for rate in known) else known
    if rates_hz is None and len(set(lengths)) > 1:
        sizes = listing(f"{v.name} {n}" for v, n in zip(chosen, lengths, strict=True))
        raise DataError(f"{where}: the variables differ in length ({sizes}); name those of one length")
    if rates_hz is not None:
        unknown = [v.name for v, rate in zip(chosen, rates, strict=True) if rate is None]
        if unknown:
            raise DataError(f"{where}: {listing(unknown)} states no rate, other variables do; name those of one rate")
        spans_s = {v.name: n / rate for v, n, rate in zip(chosen, lengths, rates_hz, strict=True)}
        check_spans(spans_s, 1 / min(rates_hz), where, "name those of one measurement with variables=")
    names = wanted.variables
    channels = names if wanted.channels is None else wanted.channels
    contents = gather(
        names, channels, where, lambda rows: (np.ravel(store.load(chosen[i].name)) for i in rows), rates_hz
    )
    return contents, contents.rate_hz if rates_hz is not None else next(iter(known), None)


def _common_rate(
    store: Archive, chosen: Sequence[Variable], where: Path, notes: list[str], asked_hz: float | None
) -> float | None:
    """Return the rate of all variables; None if the file states none. Raises DataError if they differ."""
    rates = {v.name: rate_of_signal(store, v.name, math.prod(v.shape), where, notes, asked_hz) for v in chosen}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    first = next(iter(known.values()), None)
    if first is not None and not all(agree(first, rate) for rate in known.values()):
        said = listing(f"{name} {rate:g} Hz" for name, rate in known.items())
        raise DataError(f"{where}: the variables differ in rate ({said}); name those of one rate")
    return first


def _joined(
    store: Archive,
    chosen: Sequence[Variable],
    wanted: Wanted,
    where: Path,
    titles: Sequence[Titles],
    must_fit: bool,
    notes: list[str],
) -> Contents:
    """Join vectors in time to one channel."""
    bad = next((v for v in chosen if not is_vector(v)), None)
    if bad is not None:
        raise DataError(f"{where}: {bad} is among several variables to be joined; each must be one channel")
    joined = np.concatenate([np.ravel(store.load(v.name)) for v in chosen])
    names = _fitting(titles, 1, chosen[0], where, must_fit, notes) or ("ch1",)
    return gather(names, wanted.channels, where, lambda rows: [joined for _ in rows])


def _matrix(
    store: Archive,
    variable: Variable,
    wanted: Wanted,
    where: Path,
    titles: Sequence[Titles],
    must_fit: bool,
    has_clocks: bool,
    notes: list[str],
) -> tuple[Contents, float | None]:
    """Read a matrix, and its rate by what is beside it and by its clocks."""
    shape = variable.shape if must_fit and len(variable.shape) == 2 else squeezed(variable.shape)
    axis = _channel_axis(shape, titles, must_fit) if len(shape) == 2 else None
    if axis is None:
        raise DataError(
            f"{where}: {variable} is not [time], [time, channel] or [channel, time], time being longer; "
            "choose another with variable="
        )
    n_columns, n_samples = shape[axis], shape[1 - axis]
    clocks: list[int] = []
    if has_clocks:
        rate_hz = rate_of_signal(store, variable.name, n_samples, where, notes, wanted.rate_hz)
        if not must_fit:
            clocks = clock_columns(store, variable, axis, n_columns, with_gaps=wanted.layout == "auto")
    else:
        rate_hz = rate_beside(store, variable.name, where, notes)
    named = next((names for found in titles if (names := found.of(n_columns))), ())
    clocks += [i for i, label in enumerate(named) if has_clocks and is_clock_name(label) and i not in clocks]
    if len(clocks) == n_columns:
        raise DataError(f"{where}: all columns of {variable} rise evenly, as clocks; no signal is in it")
    for i in sorted(clocks):
        times = next(iter(slices(store, variable, axis, [i])))
        what = f"{'column' if axis == 1 else 'row'} {i + 1} of {variable.name}"
        unit_s = clock_unit_s(named[i]) if named else None
        found_hz = rate_of_clock(times, what, unit_s, rate_hz, where, notes, wanted.rate_hz)
        rate_hz = found_hz if rate_hz is None else rate_hz
    kept = [i for i in range(n_columns) if i not in clocks]
    named = tuple(named[i] for i in kept) if named else _fitting(titles, len(kept), variable, where, must_fit, notes)
    contents = gather(
        named or tuple(f"ch{i + 1}" for i in range(len(kept))),
        wanted.channels,
        where,
        lambda rows: slices(store, variable, axis, [kept[row] for row in rows]),
    )
    return contents, rate_hz


def _channel_axis(shape: Sequence[int], titles: Sequence[Titles], first: bool) -> int | None:
    """Return the axis of the channels: the one that names fit, else the shorter one; None if they are equal.

    More than 64 names are those of channels only if they fit the shorter axis: they may be notes on each sample.

    first: whether names that fit both axes name the first.
    """
    for found in titles:
        fits = [axis for axis in (0, 1) if len(found.texts) == shape[axis] or found.of(shape[axis])]
        if len(fits) == 1 and (first or found.of(min(shape)) or 0 < len(found.of(max(shape))) <= MOST_CHANNELS):
            return fits[0]
        if fits and first:
            return 0
    return None if shape[0] == shape[1] else int(np.argmin(shape))


def _fitting(
    titles: Sequence[Titles], n_channels: int, variable: Variable, where: Path, must_fit: bool, notes: list[str]
) -> tuple[str, ...]:
    """Return the nearest names that fit that many channels; () if none do, with notes of those that do not.

    Raises DataError if they must fit and do not.
    """
    names = next((names for found in titles if (names := found.of(n_channels))), ())
    if names:
        return names
    if must_fit and titles:
        if len(titles[0].texts) == n_channels:
            return titles[0].texts  # of which some are equal: a recording refuses them
        raise DataError(f"{where}: the names in {titles[0]} fit neither axis of {variable}; correct them")
    for found in titles:
        if not found.texts:
            notes.append(f"{found.source} holds no texts that can be read, and names no channels")
            continue
        count = "1 channel" if n_channels == 1 else f"{n_channels} channels"
        notes.append(f"the names in {found} are not used: they are not those of the {count} of {variable}")
    return ()
