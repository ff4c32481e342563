"""Find the columns of a text table that count the samples, and the samples that they show to be lost."""

from pathlib import Path

import numpy as np

from data.errors import DataError
from data.readers.clock import Grid, grid_of
from data.readers.tables.columns import MIN_RISING, Column, Floats

COUNTING = 0.9  # of the steps of a counter are equal
PERIODS = (*(2.0**n for n in (*range(3, 17), 24, 32)), *(10.0**n for n in range(1, 7)))  # of counters that wrap


def count_of(column: Column, where: Path) -> tuple[bool, Grid | None]:
    """Return whether a column counts the samples, and where they go if some were lost.

    Raises DataError for a counter that starts again elsewhere than after a power of two or ten.
    """
    values = column.values
    assert values is not None
    steps = np.diff(values)
    step = float(np.median(steps))
    is_count = step == 1 or (bool(column.label) and step > 1 and step.is_integer())
    if not is_count or np.mean(steps == step) <= COUNTING or not np.isfinite(values).all():
        found = unwrapped(values)  # a counter of 3 bits falls in one of eight rows
        return found is not None, None if found is None else _gaps(found)
    if (steps == step).all():
        return True, None
    if (found := unwrapped(values)) is not None:
        return True, _gaps(found)
    if steps.min() <= 0:
        row = int(np.flatnonzero(steps <= 0)[0]) + 2
        raise DataError(
            f"{where}: column {column.name!r} counts the samples, but starts again in row {row}; cut the recording "
            "there, or name the columns that are signals in channels="
        )
    grid = grid_of(values, 0.0)
    return grid is not None and grid.is_exact, grid


def unwrapped(values: Floats) -> Floats | None:
    """Return the count of a counter that starts again and again after a power of two or ten; None if it is none.

    Nine in ten steps are equal, or lead back by that step and a power of two or ten; the others are lost samples.
    """
    if values.size < MIN_RISING or not np.isfinite(values).all():
        return None
    low, high = float(values.min()), float(values.max())
    steps = np.diff(values)
    step = float(np.median(steps))
    falls = steps[steps < 0]
    if step < 1 or low < 0 or falls.size == 0 or not step.is_integer():
        return None
    period = step - float(np.median(falls))
    if period not in PERIODS or high - low >= period or low > step or high < period - step:
        return None
    n_odd = np.count_nonzero((steps != step) & (steps != step - period))
    if n_odd > (1 - COUNTING) * steps.size or (steps != np.round(steps)).any():
        return None
    return np.concatenate([[0.0], np.cumsum(np.where(steps > 0, steps, steps % period))]) / step


def _gaps(counts: Floats) -> Grid | None:
    """Return where the samples go if the count shows that some were lost."""
    if (np.diff(counts) == 1).all():
        return None
    grid = grid_of(counts, 0.0)
    return grid if grid is not None and grid.is_exact else None
