"""The rate that numbers and texts beside a signal state, in a file of named arrays.

What is in the same struct counts before what is around it. A statement that contradicts another is refused.
"""

import math
from pathlib import Path

import numpy as np

from data.errors import DataError, printable
from data.readers.arrays.archive import Archive
from data.readers.arrays.levels import at, field_of, is_vector, level_of, levels
from data.readers.clock import agree
from data.readers.contents import Variable, listing
from data.readers.names import (
    is_clock_name,
    is_doubtful_rate,
    is_interval_name,
    is_rate_name,
    is_rate_name_of,
    is_unit_name_of,
    is_vague,
    number_and_unit,
    rate_from,
    rate_name_for,
    with_unit,
)

CONTAINERS = ("struct", "cell")
MOST_RATES = 64  # of channels; an array of more numbers holds something else
SLOWEST_HZ = 1.0  # of a sample interval: a slower one is in another unit, or that of something else


def rate_beside(store: Archive, name: str, where: Path, notes: list[str]) -> float | None:
    """Return the rate that a number or text beside a variable states, the nearest first; None if there is none.

    Raises DataError if statements in the same struct contradict each other, or if one can be no rate.
    """
    nearest: float | None = None
    for level in levels([name]):
        try:
            said = stated(store, level, field_of(name), where, notes)
        except DataError as error:
            if nearest is None:
                raise
            notes.append(f"not used: {str(error).removeprefix(f'{where}: ')}")
            continue
        if said is None:
            continue
        if nearest is None:
            nearest = said
        elif not agree(nearest, said):
            notes.append(f"{said:g} Hz, stated outside of {printable(level_of(name))}, is not its rate")
    return nearest


def stated(store: Archive, level: str, field: str, where: Path, notes: list[str]) -> float | None:
    """Return the rate that is stated in one struct, or at the top, for a field of it; None if there is none.

    Raises DataError if two statements contradict each other, or if one can be no rate.
    """
    own: dict[str, float] = {}
    common: dict[str, float] = {}
    for v in at(store, level):
        is_own, is_common = is_rate_name_of(field_of(v.name), field), _may_be_rate(store, v)
        if not (is_own or is_common) or v.name == (f"{level}.{field}" if level else field):
            continue
        rate = _rate_in(store, v, field if is_own else None, where, notes)
        if rate is not None:
            (own if is_own else common)[v.name] = rate
    found = own or common
    first = next(iter(found.values()), None)
    if first is not None and not all(agree(first, rate) for rate in found.values()):
        said = ", ".join(f"{printable(name)} = {rate:g} Hz" for name, rate in found.items())
        raise DataError(f"{where}: the file gives two rates ({said}); correct it")
    return first


def unused_rates(store: Archive, name: str) -> list[str]:
    """Return notes on what may be the rate of a variable and is not taken for it, as nothing makes it certain."""
    around = levels([name])
    notes = []
    for v in store.variables:
        field, is_beside = field_of(v.name), level_of(v.name) in around
        is_doubtful = is_beside and is_doubtful_rate(field)
        is_elsewhere = not is_beside and is_rate_name(field) and not is_clock_name(field)
        if not (is_doubtful or is_elsewhere) or not is_vector(v):
            continue
        values = np.ravel(store.load(v.name)) if v.name in store.numeric else np.empty(0)
        if values.size != 1:
            continue
        why = "it is often that of something else" if is_doubtful else "it is not beside the signal"
        notes.append(f"{printable(v.name)} = {float(values[0]):g} is not used as the rate: {why}")
    return [listing(notes, at_most=3)] if notes else []


def _may_be_rate(store: Archive, variable: Variable) -> bool:
    """Return whether a variable is a rate by its name, or by its name with the unit beside it."""
    field = field_of(variable.name)
    if is_rate_name(field):
        return True
    if not is_doubtful_rate(field):
        return False
    unit = unit_beside(store, variable)
    return unit is not None and with_unit(field, unit) not in (None, field)


def unit_beside(store: Archive, variable: Variable) -> str | None:
    """Return the unit of numbers that a text beside them states: "ms" in isi_units for isi; None if there is none."""
    field = field_of(variable.name)
    for v in at(store, level_of(variable.name)):
        if is_unit_name_of(field_of(v.name), field) and (texts := store.texts(v.name)):
            return " ".join(texts)
    return None


def _rate_in(store: Archive, variable: Variable, of: str | None, where: Path, notes: list[str]) -> float | None:
    """Return the rate that a variable states; None, with a note, if it holds no number.

    of: the array of which alone it is the rate; None if it is that of all.

    Raises DataError for a text or several numbers that state no single rate.
    """
    name, field = printable(variable.name), field_of(variable.name)
    texts = () if variable.name in store.numeric else store.texts(variable.name)
    if texts:
        numbers = [text for text in texts if text.strip()[:1] in "+-0123456789" and text.strip()]
        if not numbers or (is_vague(field) and number_and_unit(numbers[0]) is None):
            notes.append(f"{name} = {printable(' '.join(texts))[:80]!r} is no number, and not used as the rate")
            return None
        said = {_parsed(text, name, where) for text in numbers}
    else:
        values = np.ravel(store.load(variable.name)) if variable.name in store.numeric else np.empty(0)
        is_one = values.size > 0 and (values.size == 1 or bool((values == values[0]).all()))
        if variable.dtype in CONTAINERS or (not is_one and values.size > 1 and is_clock_name(field)):
            return None
        if not is_vector(variable) or not (is_one or 0 < values.size <= MOST_RATES):
            notes.append(f"{variable} is no single number, and not used as the rate")
            return None
        unit = unit_beside(store, variable) or ""
        said = {(float(value), unit) for value in (values[:1] if is_one else values)}
    if len(said) > 1:
        shown = listing(f"{value:g}{f' {unit}' if unit else ''}" for value, unit in sorted(said))
        raise DataError(f"{where}: {name} gives several rates ({shown}) for one signal; save it with its own")
    value, unit = said.pop()
    shown = f"{name} = {value:g}{f' {printable(unit)}' if unit else ''}"
    named = with_unit(field if of is None else rate_name_for(field, of) or field, unit)
    if named is None and is_vague(field):
        notes.append(f"{shown} is not used as the rate: its unit is none of a sample interval")
        return None
    if named is None:
        raise DataError(f"{where}: {shown} is no rate, for its unit is none of one; correct it, as in 500 Hz or 2 ms")
    rate = rate_from(named, value)
    if rate is None or not 0 < rate < math.inf:
        raise DataError(f"{where}: {shown} is no rate; a positive number is needed")
    if is_interval_name(named) and rate <= SLOWEST_HZ:
        notes.append(f"{shown} is not used as the rate: it would be {rate:g} Hz")
        return None
    return rate


def _parsed(text: str, name: str, where: Path) -> tuple[float, str]:
    """Return the number and the unit in a text. Raises DataError."""
    found = number_and_unit(text)
    if found is None:
        raise DataError(f"{where}: {name} = {printable(text)[:80]!r} is no rate; correct it, as in 500 or '500 Hz'")
    return found
