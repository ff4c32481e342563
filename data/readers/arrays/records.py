"""Read records, of which each field is a channel or the times of the samples: structured arrays, tables of HDF5."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.errors import DataError, printable
from data.readers.arrays.clocks import is_clock, rate_of_clock, rises
from data.readers.contents import Contents, Numbers, Wanted, gather, is_ecg, listing
from data.readers.names import clock_unit_s, is_clock_name


@dataclass(frozen=True, slots=True)
class Field:
    """A column of numbers.

    load: returns it, [time].
    is_clock: whether it holds times or numbers of samples, whatever its name.
    unit_s: of the times, if the file states it apart from the name.
    """

    load: Callable[[], Numbers]
    is_clock: bool = False
    unit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """Columns of one length, by name.

    left_out: names of the columns that hold no numbers, or several in each record.
    notes: what was assumed in finding the columns.
    """

    n_samples: int
    fields: Mapping[str, Field]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def fields_of(dtype: np.dtype[np.void], load: Callable[[str], Numbers]) -> tuple[dict[str, Field], tuple[str, ...]]:
    """Return the numeric fields and those with dates of a structured type, and the names of the others."""
    fields: dict[str, Field] = {}
    left_out = []
    for name in dtype.names or ():
        kind = dtype[name].kind
        if kind in "iuf":
            fields[name] = Field(lambda name=name: load(name))  # type: ignore[misc]
        elif kind == "M":
            fields[name] = Field(lambda name=name: load(name), is_clock=True, unit_s=1.0)  # type: ignore[misc]
        else:
            left_out.append(name)
    return fields, tuple(left_out)


def read_records(records: Records, wanted: Wanted, where: Path, stated_hz: float | None, notes: list[str]) -> Contents:
    """Read each column as a channel, except for those that rise evenly: times, which give the rate, and counters.

    stated_hz: the rate that the file states beside the records.

    Raises DataError if times contradict each other or the stated rate, or if no column is left.
    """
    rate_hz, channels = stated_hz, dict(records.fields)
    for name, field in records.fields.items():
        if len(channels) == 1 or is_ecg(name):
            continue
        times, is_named = field.load(), field.is_clock or is_clock_name(name)
        if not is_named and not is_clock(times, with_gaps=wanted.layout == "auto"):
            continue
        if is_named and len(name) == 1 and not rises(times):
            notes.append(f"{name} does not rise, and is not taken for a clock")
            continue
        unit_s = field.unit_s if field.unit_s is not None else clock_unit_s(name)
        found = rate_of_clock(times, name, unit_s, rate_hz, where, notes, wanted.rate_hz)
        rate_hz = found if rate_hz is None else rate_hz
        del channels[name]
    if records.left_out:
        notes.append(f"fields that are not one number each are left out: {listing(map(printable, records.left_out))}")
    if not channels:
        raise DataError(f"{where}: no field holds one number for each sample; choose another with variable=")
    fields = [*channels.values()]

    def lines(rows: list[int]) -> Iterator[Numbers]:
        return (fields[row].load() for row in rows)

    contents = gather([printable(name) for name in channels], wanted.channels, where, lines)
    return replace(contents, rate_hz=rate_hz, notes=(*records.notes, *notes, *contents.notes))
