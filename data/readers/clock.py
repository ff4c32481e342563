"""Find the sampling rate in the times at which samples were taken."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError


def is_even(times: NDArray[np.float64], quantum: float) -> bool:
    """Return whether `times` ascend in equal steps, within 1 % of a step plus their resolution `quantum`."""
    if times.size < 2 or not np.isfinite(times).all() or times[-1] <= times[0]:
        return False
    steps = np.diff(times)
    step = (times[-1] - times[0]) / steps.size
    if max(steps.max() - step, step - steps.min()) > 0.01 * step + quantum:
        return False
    if quantum < 0.49 * step:
        return True  # a missing sample would have made a larger step
    # If the times are as coarse as the steps, rounding makes irregular steps that are spread evenly; a single one is a
    # gap.
    line = times[0] + step * np.arange(times.size)
    n_odd = np.count_nonzero(np.abs(steps - np.median(steps)) > 0.01 * step)
    return bool(np.abs(times - line).max() <= 1.001 * quantum and n_odd != 1)


def rate_of(times: NDArray[np.float64], quantum: float, where: Path, what: str) -> float:
    """Return the samples per second of evenly spaced times in s: the roundest rate that their resolution allows.

    Raises DataError if the times are not evenly spaced.
    """
    if not is_even(times, quantum):
        fault = "holds NaN" if np.isnan(times).any() else "does not rise in equal steps (within 1 %)"
        raise DataError(f"{where}: {what} {fault}; resample the recording to an even rate first")
    span = float(times[-1] - times[0])
    rate = (times.size - 1) / span
    slack = rate * max(quantum / span, 1e-6)
    round_rates = (grain * round(rate / grain) for grain in (1000, 100, 50, 10, 5, 1))
    return float(next((r for r in round_rates if r > 0 and abs(rate - r) <= slack), rate))
