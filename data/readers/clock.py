"""Find the sampling rate in the times at which samples were taken, and put unevenly timed samples on an even grid."""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError

EVEN = 0.01  # steps may differ by this share of a step
JITTER = 0.5  # steps may differ by this share of a step if samples are interpolated
RATE_TOLERANCE = 1e-3  # two statements of one rate may differ by this share
UNITS_S = MappingProxyType({"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9})  # in which clocks count
SINCE_1970_S = (9e8, 5e9)  # between the years 1998 and 2128
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """An even grid for samples whose times have gaps or jitter.

    positions: of the samples, in steps of the grid; whole numbers if the times only have gaps.
    slack: relative uncertainty of the step that the jitter causes.
    n_samples: of the grid.
    step: mean step of the times outside gaps.
    jitter: the largest deviation of such a step, as a share of it.
    largest_gap: the largest step, in steps of the grid.
    drift: how far even steps lead away from the grid in the course of the recording, in steps; 0 if they do not.
    """

    positions: Floats
    n_samples: int
    step: float
    jitter: float
    largest_gap: float
    slack: float = 0.0
    drift: float = 0.0

    @property
    def is_exact(self) -> bool:
        """Return whether samples keep their values: there are gaps, but no jitter."""
        return self.jitter == 0.0

    def place(self, samples: Floats) -> Floats:
        """Return the samples on the grid, interpolated linearly if there is jitter, and NaN in the gaps."""
        if self.is_exact:
            placed = np.full(self.n_samples, np.nan)
            placed[self.positions.astype(np.int64)] = samples
            return placed
        placed = np.interp(np.arange(self.n_samples), self.positions, samples)
        for i in np.flatnonzero(np.diff(self.positions) > 1 + JITTER):
            before, after = self.positions[i], self.positions[i + 1]
            n_lost = int(after - before + 0.5) - 1
            first = int(np.ceil((before + after - n_lost) / 2))  # centred in the gap
            placed[first : first + n_lost] = np.nan
        return placed


def agree(one_hz: float, other_hz: float) -> bool:
    """Return whether two rates are the same within 0.1 %."""
    return abs(one_hz - other_hz) <= RATE_TOLERANCE * max(one_hz, other_hz)


def unit_since_1970(first: float) -> str | None:
    """Return the unit, of s, ms, us and ns, in which a time since 1970 is of our days; None if it is in none."""
    return next((unit for unit, s in UNITS_S.items() if SINCE_1970_S[0] <= first * s <= SINCE_1970_S[1]), None)


def is_even(times: Floats, quantum: float) -> bool:
    """Return whether `times` ascend in equal steps, within 1 % of a step plus their resolution `quantum`."""
    if times.size < 2 or not np.isfinite(times).all() or times[-1] <= times[0]:
        return False
    steps = np.diff(times)
    step = (times[-1] - times[0]) / steps.size
    if max(steps.max() - step, step - steps.min()) > EVEN * step + quantum:
        return False
    if quantum < 0.49 * step:
        return True  # a missing sample would have made a larger step
    # If the times are as coarse as the steps, rounding makes irregular steps that are spread evenly; a single one is a
    # gap.
    line = times[0] + step * np.arange(times.size)
    n_odd = np.count_nonzero(np.abs(steps - np.median(steps)) > EVEN * step)
    return bool(np.abs(times - line).max() <= 1.001 * quantum and n_odd != 1)


def grid_of(times: Floats, quantum: float) -> Grid | None:
    """Return an even grid for times that have gaps or jitter; None if they fall or vary by more than half a step.

    A step of more than one and a half steps is a gap.
    """
    if times.size < 3 or not np.isfinite(times).all():
        return None
    steps = np.diff(times)
    if steps.min() <= 0:
        return None
    near = steps[steps <= (1 + JITTER) * np.median(steps)]
    step = float(near.mean())
    near = steps[steps <= (1 + JITTER) * step]
    step = float(near.mean())
    if near.min() < (1 - JITTER) * step:
        return None
    jitter = float(np.abs(near - step).max()) / step
    at = np.concatenate([[0.0], np.cumsum(np.where(steps > (1 + JITTER) * step, np.floor(steps / step + 0.5), 1.0))])
    largest_gap = float(steps.max()) / step
    if jitter <= EVEN + (quantum / step if quantum < 0.49 * step else 0.0) and (
        _drift(steps, step) <= JITTER + quantum / step
    ):
        return Grid(at, int(at[-1]) + 1, step, 0.0, largest_gap)
    # Jitter around an even grid, or steps that add up to more than half a step: only the former has a best line.
    centred = at - at.mean()
    slope = float(centred @ (times - times.mean()) / (centred @ centred))
    positions = (times - times.mean()) / slope + at.mean()
    off = np.abs(positions - at)
    if off.max() <= JITTER:
        slack = 3 * float(np.sqrt((off**2).mean())) / float(np.sqrt(centred @ centred))
        return Grid(positions, int(at[-1]) + 1, slope, jitter, largest_gap, slack)
    positions = (times - times[0]) / step
    return Grid(positions, int(positions[-1] + 0.5) + 1, step, jitter, largest_gap, jitter / times.size)


def drift_grid(times: Floats, quantum: float) -> Grid | None:
    """Return a grid for steps that are even, but lead more than half a step away from an even grid; None if none does.

    quantum: resolution of the times, which adds as much again.
    """
    steps = np.diff(times)
    step = float(steps.mean())
    if quantum >= 0.49 * step:
        return None  # is_even has compared them with a line
    drift = _drift(steps, step)
    if drift <= JITTER + quantum / step:
        return None
    jitter = float(np.abs(steps - step).max()) / step
    return Grid((times - times[0]) / step, times.size, step, jitter, float(steps.max()) / step, drift=drift)


def _drift(steps: Floats, step: float) -> float:
    """Return how far steps that are no gaps lead away from an even grid, in steps of the grid."""
    off = np.cumsum(np.where(steps > (1 + JITTER) * step, 0.0, steps / step - 1))
    return float(np.abs(off).max(initial=0.0))


def rate_of(times: Floats, quantum: float, where: Path, what: str) -> float:
    """Return the samples per second of evenly spaced times in s: the roundest rate that their resolution allows.

    Raises DataError if the times are not evenly spaced.
    """
    if not is_even(times, quantum):
        fault = "holds NaN" if np.isnan(times).any() else "does not rise in equal steps (within 1 %)"
        raise DataError(f"{where}: {what} {fault}; resample the recording to an even rate first")
    span = float(times[-1] - times[0])
    rate = (times.size - 1) / span
    return roundest(rate, rate * max(quantum / span, 1e-6))


def roundest(rate: float, slack: float) -> float:
    """Return the roundest number within `slack` of `rate`."""
    round_rates = (grain * round(rate / grain) for grain in (1000, 100, 50, 10, 5, 1))
    return float(next((r for r in round_rates if r > 0 and abs(rate - r) <= slack), rate))


def decimal_step(values: Floats) -> float:
    """Return the value of the last decimal place that values read from text use; 0 if it is below 1e-9."""
    for places in range(10):
        scaled = values * 10.0**places
        if np.abs(scaled - np.round(scaled)).max(initial=0.0) < 1e-3:
            return float(10.0**-places)
    return 0.0
