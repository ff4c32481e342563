"""Find the rate that a column of times gives, and the unit of the times."""

from pathlib import Path

import numpy as np

from data.errors import DataError, printable
from data.readers.clock import RATE_TOLERANCE, UNITS_S, drift_grid, grid_of, is_even, roundest, unit_since_1970
from data.readers.labels import Role
from data.readers.tables.columns import Clock, Column, Floats, quantum_of

FIT = 0.01  # of a rate that tells the unit of times
ASSUMED_HZ = (1.0, 1e6)


def rated(index: int, column: Column, role: Role, hint_hz: float | None, where: Path) -> Clock:
    """Return the rate that a column of times gives.

    hint_hz: the rate that the caller or the file states; it tells the unit of times that have none.

    Raises DataError if the times do not rise in steps that can be put on an even grid, or if their unit is unknown.
    """
    values, name = column.values, column.name
    assert values is not None
    what = f"{where}: column {name!r}"
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0]) + 1
        raise DataError(f"{what} holds NaN: no time in row {row}; write it, or remove that row")
    values = values - values[0] if column.kind == "stamp" else values
    quantum = quantum_of(values)
    grid = None
    if is_even(values, quantum):
        grid = drift_grid(values, quantum)
    else:
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
    elif coarseness > RATE_TOLERANCE:
        raise DataError(
            f"{what} does not tell the rate: it is from {rate_hz * (1 - slack):.5g} to {rate_hz * (1 + slack):.5g} Hz, "
            "as its times are coarse; write more decimal places, or give rate_hz="
        )
    else:
        rate_hz = roundest(rate_hz, rate_hz * slack)
    notes = [unit_note] if unit_note else []
    if grid is not None and grid.drift:
        notes.append(
            f"times in column {name} drift by up to {grid.drift:.3g} samples from an even rate; the samples are "
            f"interpolated to one of {rate_hz:.6g} Hz"
        )
    elif grid is not None and not grid.is_exact:
        notes.append(
            f"times in column {name} jitter by up to {100 * grid.jitter:.2g} % of a step; the samples are interpolated "
            f"to an even rate of {rate_hz:.6g} Hz"
        )
    if grid is not None and grid.n_samples > values.size:
        notes.append(f"column {name} shows gaps of {grid.n_samples - values.size} samples in all")
    return Clock(index, rate_hz, grid, not unit_note, slack, tuple(notes))


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
    unit = unit_since_1970(float(values[0]))
    if unit is not None:
        return UNITS_S[unit], f"column {name} is taken as times since 1970 in {unit}, which the file does not state"
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
