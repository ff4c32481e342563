"""What is known of a column of a text table when its role is decided: whether it is a clock, a counter or a signal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.readers.clock import Grid, decimal_step

Floats = NDArray[np.float64]
MIN_ROWS = 5  # any two or three rising numbers may be even
MIN_RISING = 20  # numbers that rise all along are no signal


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
class Clock:
    """A column of times: the rate that it gives, or why it gives none.

    rate_hz: 0 if it gives none.
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


def quantum_of(values: Floats) -> float:
    """Return the resolution of times that were read from text."""
    return max(decimal_step(values), float(np.spacing(np.abs(values).max())))


def never_falls(values: Floats) -> bool:
    """Return whether no number of a column is below the one before it, and the last is above the first.

    Missing numbers are left out. The first ones usually tell.
    """
    for part in (values[:1000], values):
        known = part[np.isfinite(part)]
        if not (np.diff(known) >= 0).all():
            return False
    return known.size >= MIN_ROWS and bool(known[-1] > known[0])
