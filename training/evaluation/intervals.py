"""How sure a mean is: bootstrap intervals that draw recordings, not windows.

Windows of one recording share its heart and its sensor. An interval that drew windows would count them as independent
and come out far too narrow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

N_RESAMPLES = 5000
CONFIDENCE = 0.95
# With G recordings an interval cannot reach further than from the worst of them to the best, which holds a true mean
# with a chance of about 1 - 2 / 2^G: 50 % for two, 75 % for three, 88 % for four.
FEW_RECORDINGS = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where the true one lies with the confidence asked for; low and high are NaN where nothing can tell."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero. False where it is unknown."""
        return self.low > 0 or self.high < 0


def bootstrap_mean(
    values: NDArray[np.float64],
    recording: NDArray[np.int64],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The mean of values[window] and its interval; `recording`[window] names the recording of each.

    Recordings are drawn with replacement, with all their windows, `n_resamples` times. The interval is the expanded
    percentile one: its level is moved so that a mean of few draws is covered as Student's t would (Hesterberg, "What
    teachers should know about the bootstrap", The American Statistician 69:371-386, 2015). NaN marks a window that
    could not be judged; it is left out. Fewer than two recordings give a mean without an interval.

    Raises ValueError where shapes differ, a value is infinite, or a number is out of its range.
    """
    if values.ndim != 1 or values.shape != recording.shape:
        raise ValueError(f"values {values.shape} and recording {recording.shape} must have one shape [window]")
    if n_resamples < 100:
        raise ValueError(f"n_resamples is {n_resamples}; at least 100 is needed, {N_RESAMPLES} is usual")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; a share between 0 and 1 is needed, 0.95 say")
    if np.isinf(values).any():
        raise ValueError("values hold an infinity, whose mean says nothing; take a share or a median instead")
    known = ~np.isnan(values)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    owners = np.unique(recording[known], return_inverse=True)[1]
    counts = np.bincount(owners)
    sums = np.bincount(owners, weights=values[known])
    mean = float(sums.sum() / counts.sum())
    n = len(counts)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"))
    draws = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    level = float(norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - confidence) / 2, n - 1)))
    low, high = np.quantile(means, (level, 1 - level))
    return Interval(mean, float(low), float(high))
