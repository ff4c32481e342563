"""The layouts of the lab's MATLAB files, recognised by their variables and values, never by the file's name."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.readers.arrays.archive import Archive, arrays
from data.readers.arrays.clocks import rate_of_signal, resolution
from data.readers.arrays.levels import field_of, is_vector, level_of
from data.readers.arrays.rates import rate_beside
from data.readers.arrays.titles import titles_beside
from data.readers.arrays.variables import choose, read_generic
from data.readers.clock import agree, is_even, rate_of
from data.readers.contents import Contents, Variable, Wanted, as_signal, gather, usable_ecg
from data.readers.matlab.joins import verdict
from data.readers.names import is_clock_name

LAYOUTS = ("auto", "240219", "240517", "240826", "generic")
COLUMNS_240219 = ("Time", "ECG", "ch1z", "ch2z", "ch3z", "ch4z", "ch5z", "ch6z")
LAB_NAMES = ("HS_data", "Noise_data", "data", "ECG_data")
LAB_RATE_HZ = 1000.0  # of 240517 and 240826, whose files do not state it
SEGMENT_SAMPLES = 5120  # of a row in the lab's files of layout 240826
MAX_CHANNELS = 16  # a matrix with more rows than this holds segments, one with fewer columns may hold channels


def read_layout(store: Archive, wanted: Wanted, where: Path) -> Contents:
    """Read by the layout that the variables have, or by the requested layout.

    Raises DataError if the layout cannot be recognised, or the requested layout does not fit.
    """
    notes: list[str] = []
    layout, main = _layout(store, wanted, where, notes)
    if layout == "generic" or main is None:
        return read_generic(store, wanted, where)
    read = _read_columns if layout == "240219" else _read_segments
    contents = read(store, main, wanted, where)
    return replace(contents, notes=(*notes, *contents.notes))


def _layout(store: Archive, wanted: Wanted, where: Path, notes: list[str]) -> tuple[str, Variable | None]:
    """Return the layout, and the variable with the signal where it is one of the lab's. notes: see `choose`."""
    found = arrays(store)
    if wanted.variables and wanted.layout not in ("auto", "generic"):
        raise DataError(f"{where}: layout {wanted.layout!r} has one variable; leave out layout or variables=")
    if wanted.layout == "generic" or wanted.variables:
        return "generic", None
    if wanted.variable is not None:
        chosen = choose(store, wanted.variable, where, notes)
        if len(chosen) > 1 or (wanted.layout == "auto" and chosen[0].name not in LAB_NAMES):
            return "generic", None
        main = chosen[0]
    else:
        lab = [found[name] for name in LAB_NAMES if name in found]
        signals = [v for v in lab if v.name != "ECG_data"] or lab
        if len(signals) > 1:
            shown = ", ".join(map(str, signals))
            raise DataError(f"{where}: more than one variable may be the signal: {shown}; choose with variable=")
        if not signals:
            if wanted.layout == "auto":
                return "generic", None
            signals = choose(store, None, where, notes)
        main = signals[0]
    return (_recognise(store, main, where) if wanted.layout == "auto" else wanted.layout), main


def _recognise(store: Archive, main: Variable, where: Path) -> str:
    """Return the layout of a variable with one of the lab's names.

    Heart sounds, noise and ECG by their names are the lab's, but for [time, channel]: segments have more than a few
    samples. A `data` matrix is that of 240219 if its first column is a clock; that of 240826 if neither a rate nor
    names of channels are beside it and its rows are segments of one signal, see `_are_segments`.
    """
    if main.name != "data":
        if is_vector(main):
            return "240517"
        is_columns = len(main.shape) == 2 and main.shape[0] > main.shape[1] and main.shape[1] <= MAX_CHANNELS
        return "generic" if is_columns else "240826"
    if _time_axis(store, main) is not None:
        return "240219"
    if len(main.shape) != 2 or _states_rate(store, main, where):
        return "generic"
    n_rows, n_columns = main.shape
    if is_vector(main):
        return "240826" if main.shape == (1, SEGMENT_SAMPLES) else "generic"
    if n_columns == len(COLUMNS_240219) and n_rows > n_columns:
        raise DataError(
            f"{where}: {main} has the 8 columns of layout 240219, but the first, Time, does not rise evenly; "
            "mend it, or state layout='240826' (segments in rows) or layout='generic' with rate_hz="
        )
    if n_rows > n_columns and n_columns <= MAX_CHANNELS:
        return "generic"  # segments have more than a few samples, so it is [time, channel]
    if any(titles.of(n) for titles in titles_beside(store, main.name) for n in main.shape):
        return "generic"  # names of channels, as many as rows or columns
    if _are_segments(store, main):
        return "240826"
    raise DataError(
        f"{where}: {main} may be {n_rows} segments of one signal or channels; state layout='240826', which joins the "
        "rows, or layout='generic' with rate_hz="
    )


def _states_rate(store: Archive, main: Variable, where: Path) -> bool:
    """Return whether a rate or a clock of the columns or rows of `data` is beside it."""
    clocks = [v for v in arrays(store).values() if level_of(v.name) == "" and is_clock_name(field_of(v.name))]
    if any(is_vector(v) and math.prod(v.shape) in main.shape for v in clocks):
        return True
    return rate_beside(store, main.name, where, []) is not None


def _are_segments(store: Archive, main: Variable) -> bool:
    """Return whether the rows of `data`, without a rate, are certain to be segments of one signal.

    They are if there are more than 16, as no more channels than that are expected; or if each row continues the one
    before it; or if they have the length of the lab's segments, are not alike sample by sample as channels of one
    measurement are, and do not jump where they meet.
    """
    n_rows, n_columns = main.shape
    if MAX_CHANNELS < n_rows <= n_columns:
        return True
    found = verdict(store.load(main.name))
    return found == "continuous" or (found == "unclear" and n_columns == SEGMENT_SAMPLES)


def _time_axis(store: Archive, variable: Variable) -> int | None:
    """Return the axis of the eight columns if the first is evenly spaced times (0 in transposed files), else None."""
    for axis in (1, 0):
        if len(variable.shape) == 2 and variable.shape[axis] == len(COLUMNS_240219):
            times = next(iter(store.lines(variable.name, axis, [0])))
            if is_even(times.astype(np.float64), resolution(times)):
                return axis
    return None


def _read_columns(store: Archive, main: Variable, wanted: Wanted, where: Path) -> Contents:
    if len(main.shape) != 2 or len(COLUMNS_240219) not in main.shape:
        raise DataError(f"{where}: layout 240219 needs samples x 8 ({', '.join(COLUMNS_240219)}); got {main}")
    axis = _time_axis(store, main)
    axis = (1 if main.shape[1] == len(COLUMNS_240219) else 0) if axis is None else axis
    times = next(iter(store.lines(main.name, axis, [0])))
    rate_hz = rate_of(times.astype(np.float64), resolution(times), where, "the Time column")
    del times
    notes = [f"layout 240219: columns {', '.join(COLUMNS_240219)}"]
    said_hz = rate_beside(store, main.name, where, notes)
    if said_hz is not None and not agree(said_hz, rate_hz):
        raise DataError(
            f"{where}: the Time column rises as at {rate_hz:g} Hz, but the file says {said_hz:g} Hz; correct it"
        )
    contents = gather(
        COLUMNS_240219[1:],
        wanted.channels,
        where,
        lambda rows: store.lines(main.name, axis, [row + 1 for row in rows]),
    )
    return replace(contents, rate_hz=rate_hz, notes=(*notes, *contents.notes))


def _read_segments(store: Archive, main: Variable, wanted: Wanted, where: Path) -> Contents:
    if len(main.shape) != 2:
        raise DataError(f"{where}: a vector or a matrix of segments is needed; got {main}; see layout='generic'")
    if wanted.layout == "240517" and not is_vector(main):
        raise DataError(f"{where}: layout 240517 needs samples x 1; got {main}; for segments state layout='240826'")
    name = "ECG" if main.name == "ECG_data" else "ch1z"
    matrix = store.load(main.name)
    lines = {name: np.ravel(matrix, order="C")}
    beside, notes, aside = arrays(store).get("ECG_data") if name != "ECG" else None, list[str](), None
    if beside is not None:
        joined = np.ravel(store.load(beside.name), order="C")
        if joined.size == lines[name].size:
            lines["ECG"] = joined
        else:
            aside = usable_ecg(as_signal(joined, "ECG_data", notes))
    contents = gather(tuple(lines), wanted.channels, where, lambda rows: [[*lines.values()][row] for row in rows])
    if is_vector(main) and main.name != "data":
        notes.append(f"layout 240517: {main.name} is one channel")
    else:
        notes.append(f"layout 240826: {main.shape[0]} segments of {main.shape[1]} samples joined in row order")
        if verdict(matrix) == "broken":
            notes.append("the signal jumps where the segments are joined")
    said = rate_of_signal(store, main.name, lines[name].size, where, notes)
    if said is None and wanted.rate_hz is None:
        notes.append(f"rate {LAB_RATE_HZ:g} Hz assumed, as in the lab's files of this layout")
    return replace(
        contents,
        rate_hz=LAB_RATE_HZ if said is None else said,
        rate_is_default=said is None,
        ecg=contents.ecg if aside is None else aside,
        notes=(*notes, *contents.notes),
    )
